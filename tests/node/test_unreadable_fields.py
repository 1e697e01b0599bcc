"""Rerankers over fields that ``_source`` does not have: what can be read is read, the rest is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

DOCUMENTS: list[dict[str, Any]] = [
    {
        "title": f"page {place}",
        "text": text,
        "stored": text,
        "word": text,
        "short": text,
        "parts": {"text": text},
        "passages": [dict.fromkeys(("text", "stored", "word", "short"), each) for each in ("a", text)],
    }
    for place, text in enumerate(("a crowd cheered", "the king signed the treaty", "the king slept"))
]
PROPERTIES: dict[str, Any] = {
    "title": {"type": "text"},
    "text": {"type": "text"},
    "stored": {"type": "text", "store": True},
    "word": {"type": "keyword"},
    "short": {"type": "keyword", "ignore_above": 5},
    "parts": {"properties": {"text": {"type": "text"}}},
    "other": {"type": "alias", "path": "stored"},
    "passages": {
        "type": "nested",
        "properties": {
            "text": {"type": "text"},
            "stored": {"type": "text", "store": True},
            "word": {"type": "keyword"},
            "short": {"type": "keyword", "ignore_above": 5},
        },
    },
}
BEST_FIRST = ["1", "2", "0"]
"""The order of the documents for the question "king signed treaty"."""


def make(es: Elasticsearch, index: str, source: dict[str, Any] | None = None) -> None:
    mappings = {"properties": PROPERTIES} | ({"_source": source} if source else {})
    es.indices.create(
        index=index, settings={"number_of_shards": 2, "number_of_replicas": 0}, mappings=mappings
    )
    for place, document in enumerate(DOCUMENTS):
        es.index(index=index, id=str(place), document=document)
    es.indices.refresh(index=index)


SOURCES: dict[str, dict[str, Any] | None] = {
    "whole": None,
    "off": {"enabled": False},
    "nothing": {"excludes": ["*"]},
    "title": {"includes": ["title"]},
    "not-pa": {"excludes": ["pa*"]},
    "not-text": {"excludes": ["text"]},
}


@pytest.fixture(scope="module")
def kept(node: Node) -> Iterator[Callable[[str], str]]:
    """Return the name of the index for a key of ``SOURCES``. It is made when it is first asked for."""
    made: list[str] = []
    prefix = f"test-kept-{uuid4().hex[:12]}"
    with Elasticsearch(node.url, request_timeout=60) as es:

        def named(source: str) -> str:
            name = f"{prefix}-{source}"
            if name not in made:
                make(es, name, SOURCES[source])
                made.append(name)
            return name

        yield named
        for name in made:
            es.indices.delete(index=name)


def tree(field: str | Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match_all": {}}}},
            "field": field,
            "inference_text": "king signed treaty",
            **more,
        }
    }


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker())


@pytest.mark.parametrize("source", ["whole", "off", "nothing", "title"])
@pytest.mark.parametrize(
    "field", ["stored", "word", "other", ["title", "stored"], "passages.stored", "passages.word"], ids=str
)
def test_what_an_index_keeps_apart_from_source_is_read(
    client: RerankClient, kept: Callable[[str], str], source: str, field: str | list[str]
) -> None:
    answer = client.search(index=kept(source), retriever=tree(field))
    assert ids(answer) == BEST_FIRST
    block = answer["rerank"]
    assert block["without_text"] == 0
    # The title of the second field is kept nowhere.
    lost = field == ["title", "stored"] and source in ("off", "nothing")
    assert block["status"] == ("partial" if lost else "reranked")


@pytest.mark.parametrize("field", ["passages.stored", "passages.word"])
def test_the_nearest_passages_are_read_too(
    client: RerankClient, kept: Callable[[str], str], field: str
) -> None:
    answer = client.search(index=kept("off"), retriever=tree(field, chunk_rescorer={"size": 2}))
    assert ids(answer) == BEST_FIRST
    assert answer["hits"]["hits"][0]["fields"]["rerank.passage"] == [{"text": DOCUMENTS[1]["text"]}]


@pytest.mark.parametrize("field", ["short", "passages.short", ["title", "short"]], ids=str)
def test_a_keyword_beyond_ignore_above_is_read(
    client: RerankClient, kept: Callable[[str], str], field: str | list[str]
) -> None:
    answer = client.search(index=kept("whole"), retriever=tree(field))
    assert ids(answer) == BEST_FIRST
    assert (answer["rerank"]["status"], answer["rerank"]["without_text"]) == ("reranked", 0)


@pytest.mark.parametrize(
    ("source", "field", "why"),
    [
        ("off", "text", "keeps no [_source]"),
        ("off", "short", "keeps no [_source]"),
        ("off", "passages.text", "keeps no [_source]"),
        ("not-text", "text", "leaves [text] out of its [_source]"),
        ("not-pa", "parts.text", "leaves [parts.text] out of its [_source]"),
        ("title", "text", "leaves [text] out of its [_source]"),
    ],
)
@pytest.mark.parametrize("failures", [False, True])
def test_a_window_without_text_keeps_its_order_and_says_why(
    client: RerankClient,
    es: Elasticsearch,
    kept: Callable[[str], str],
    source: str,
    field: str,
    why: str,
    failures: bool,
) -> None:
    index = kept(source)
    answer = client.search(index=index, retriever=tree(field, allow_rerank_failures=failures))
    plain = es.search(index=index, query={"match_all": {}})
    assert [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]] == [
        (hit["_id"], hit["_score"]) for hit in plain["hits"]["hits"]
    ]
    assert "rerank.logit" not in answer["hits"]["hits"][0]["fields"]
    assert (answer["rerank"]["status"], answer["rerank"]["without_text"]) == ("first_stage", 3)
    assert answer["rerank"]["reason"] == (
        f"none of the 3 documents of the window has text in [{field}]: index [{index}] {why}; "
        "name a field that they have, or index them with [_source]"
    )


def test_documents_that_have_no_value_are_counted_and_no_fault(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    make(es, index)
    es.index(index=index, id="bare", document={"title": "bare"}, refresh=True)
    es.index(index=index, id="blank", document={"text": " "}, refresh=True)
    answer = client.search(index=index, retriever=tree("text"))
    assert ids(answer)[:2] == BEST_FIRST[:2]
    assert (answer["rerank"]["status"], answer["rerank"]["without_text"]) == ("reranked", 2)
    alone = client.search(
        index=index,
        retriever=tree("text", retriever={"standard": {"query": {"ids": {"values": ["bare", "blank"]}}}}),
    )
    assert (alone["rerank"]["status"], alone["rerank"]["without_text"]) == ("first_stage", 2)
    assert (
        "none of the 2 documents of the window has text in [text]; name a field" in alone["rerank"]["reason"]
    )
    assert client.search(index=index, retriever=tree(["title", "text"]))["rerank"]["without_text"] == 1


def test_one_index_of_two_that_cannot_be_read_makes_the_answer_partial(
    client: RerankClient, kept: Callable[[str], str]
) -> None:
    indices = f"{kept('whole')},{kept('off')}"
    answer = client.search(index=indices, retriever=tree("text", rank_window_size=10))
    assert (answer["rerank"]["status"], answer["rerank"]["without_text"]) == ("partial", 3)
    assert answer["rerank"]["reason"] == (
        f"the text of 3 of 6 documents cannot be read: index [{kept('off')}] keeps no [_source]"
    )
    read = client.search(index=indices, retriever=tree("word", rank_window_size=10))
    assert read["rerank"]["status"] == "reranked"


def test_a_field_that_is_partly_read_makes_the_answer_partial(
    client: RerankClient, kept: Callable[[str], str]
) -> None:
    answer = client.search(index=kept("not-text"), retriever=tree(["title", "text"]))
    assert (answer["rerank"]["status"], answer["rerank"]["without_text"]) == ("partial", 0)
    assert "the text of 3 of 3 documents cannot be read" in answer["rerank"]["reason"]
    assert "leaves [text] out of its [_source]" in answer["rerank"]["reason"]


def test_a_field_that_is_a_keyword_in_one_index_and_a_text_in_another(
    client: RerankClient, es: Elasticsearch, kept: Callable[[str], str], index: str
) -> None:
    es.indices.create(index=index, mappings={"properties": {"word": {"type": "text"}}})
    es.index(index=index, id="other", document={"word": "king signed treaty"}, refresh=True)
    answer = client.search(index=f"{index},{kept('off')}", retriever=tree("word", rank_window_size=10))
    assert ids(answer) == ["other", *BEST_FIRST]
    assert answer["rerank"]["status"] == "reranked"


async def test_the_asynchronous_client_and_fused_candidates_read_the_same(
    node: Node, kept: Callable[[str], str]
) -> None:
    index = kept("off")
    leaf: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    async with AsyncElasticsearch(node.url) as plain:
        client = AsyncRerankClient(plain, reranker=WordOverlapReranker())
        answer = await client.search(
            index=index, retriever=tree("word", retriever={"rrf": {"retrievers": [leaf, leaf]}})
        )
        short = await client.rerank("king signed treaty", index=index, first_stage="bm25", field="stored")
    assert ids(answer) == BEST_FIRST
    assert ids(short)[0] == "1"
    assert short["rerank"]["status"] == "reranked"


def test_a_search_whose_documents_have_their_texts_asks_for_nothing_more(
    client: RerankClient, kept: Callable[[str], str]
) -> None:
    index = kept("whole")
    client.search(index=index, retriever=tree("text"))
    whole = client.search(index=index, retriever=tree("text"))["rerank"]["requests"]
    assert client.search(index=index, retriever=tree("stored"))["rerank"]["requests"] == whole

"""Headings of passages in an index, and what an index records for searches that name no field."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest, chunker, source_of

from es_rerank import RerankClient
from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError, RetrieverParsingError
from es_rerank.retrievers.execution.questions import reading_of, schema_for_question
from es_rerank.retrievers.planning.passages import passages_of
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.text.prompt import quoted
from ingest_pipelines import Ingest, read_sources
from ingest_pipelines.mapping import SEARCH_DEFAULTS, IndexRecipe, index_body
from ingest_pipelines.rejects import RejectsFile, rejected

FIELDS = SEARCH_DEFAULTS["field"]
LINUX = Document(
    "linux",
    "Guide",
    "# Install\n## Linux\nUnpack the archive. Then start it. Then wait a while.",
    {},
    "markdown",
)
PLAIN = Document("plain", "Guide", "Unpack the archive. Then start it. Then wait a while for it.", {})
QUESTION = "linux wait while"


def reranks(**parameters: Any) -> dict[str, Any]:
    """A tree over all documents, whose reranker names no field unless it is given."""
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    return {"text_similarity_reranker": {"retriever": child, "inference_text": QUESTION, **parameters}}


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    rerankers = {"first": WordOverlapReranker(), "second": WordOverlapReranker(name="second")}
    return RerankClient(es, reranker=rerankers, embedder=HashEmbedder(64), plugin="never")


def results(answer: Any) -> list[tuple[str, float, str]]:
    return [
        (hit["_id"], hit["_score"], hit["fields"]["rerank.passage"][0]["text"])
        for hit in answer["hits"]["hits"]
    ]


def of_today(version: str, es: Elasticsearch) -> str:
    """Make the index as the release before headings made it, and return its name."""
    body: dict[str, Any] = deepcopy(index_body(IndexRecipe("hash-64", 64, 8, 2)))
    del (
        body["mappings"]["_meta"]["search"],
        body["mappings"]["properties"]["passages"]["properties"]["heading"],
    )
    es.indices.create(index=version, **body)
    return version


def test_headings_are_stored_scored_and_shown(es: Elasticsearch, index: str, client: RerankClient) -> None:
    version = of_today(f"{index}-old", es)
    mapped = es.indices.get_mapping(index=version)[version]
    assert an_ingest(es).run(version, [PLAIN]).documents == 1
    assert es.indices.get_mapping(index=version)[version] == mapped, "a text needs no new field"
    an_ingest(es).run(index, [PLAIN])
    for name in (index, version):  # a new one, and one of before
        report = an_ingest(es).run(name, [PLAIN, LINUX])
        assert (report.documents, report.skipped) == (1, 1)
        stored = source_of(es, name, "linux")["passages"]
        assert {passage["heading"] for passage in stored} == {"Install > Linux"}
        assert all(LINUX.text[passage["start"] : passage["end"]] == passage["text"] for passage in stored)
        assert not any("heading" in passage for passage in source_of(es, name, "plain")["passages"])

        read = {
            "linux": [f"Guide\nInstall > Linux\n{passage['text']}" for passage in stored],
            "plain": [f"Guide\n{passage['text']}" for passage in source_of(es, name, "plain")["passages"]],
        }
        best = {
            key: float(WordOverlapReranker().score(QUESTION, texts).values.max())
            for key, texts in read.items()
        }
        assert best["linux"] > best["plain"]
        for chunks in ({}, {"chunk_rescorer": {"size": 9}}):
            found = client.search(index=name, retriever=reranks(field=FIELDS, **chunks)).body
            logits = [(hit["_id"], hit["fields"]["rerank.logit"]) for hit in found["hits"]["hits"]]
            assert logits == [(key, [pytest.approx(logit)]) for key, logit in best.items()]

        reading = reading_of(QUESTION, schema_for_question(client, name))
        answer = client.rerank(QUESTION, index=name, field=reading.fields, source=reading.source)
        first = passages_of(answer.body, reading.fields)[0]
        assert quoted(first).splitlines()[:2] == ["> Guide", "> Install > Linux"]
        assert LINUX.text[first.start : first.end] == first.text


async def test_a_search_that_names_no_field_reads_what_the_index_records(
    es: Elasticsearch, index: str, client: RerankClient, caller: httpx.AsyncClient
) -> None:
    version = an_ingest(es).run(index, [PLAIN, LINUX]).version
    named = client.search(index=index, retriever=reranks(field=FIELDS)).body
    unnamed = client.search(index=index, retriever=reranks()).body
    assert results(unnamed) == results(named)
    pit = es.open_point_in_time(index=index, keep_alive="1m")["id"]
    assert results(client.search(pit={"id": pit}, retriever=reranks()).body) == results(named)
    es.close_point_in_time(id=pit)
    inner = {"text_similarity_reranker": {**reranks()["text_similarity_reranker"], "retriever": reranks()}}
    assert results(client.search(index=index, retriever=inner).body) == results(named)
    texts = [
        [hit["fields"]["rerank.passage"][0]["text"] for hit in answer.json()["hits"]["hits"]]
        for answer in [
            await caller.post(f"/{index}/_search", json={"retriever": tree})
            for tree in (reranks(), reranks(field=FIELDS))
        ]
    ]
    assert texts[0] == texts[1] != []
    only_title = client.search(index=index, retriever=reranks(field="title")).body
    assert "rerank.passage" not in only_title["hits"]["hits"][0]["fields"], "what the caller names wins"

    meta = es.indices.get_mapping(index=version)[version]["mappings"]["_meta"]
    assert meta["search"] == SEARCH_DEFAULTS
    for recorded, ran, told in (
        ("second", "second", False),
        ("third", "word-overlap", True),
        (7, "word-overlap", False),
    ):
        es.indices.put_mapping(
            index=version, meta={**meta, "search": {**SEARCH_DEFAULTS, "inference_id": recorded}}
        )
        for answer in (
            client.search(index=index, retriever=reranks()).body,
            client.rerank(QUESTION, index=index).body,
        ):
            assert answer["rerank"]["model"] == ran
            assert ("[third]" in str(answer["rerank"].get("warnings"))) == told
        assert client.search(index=index, retriever=reranks(inference_id="first")).body["rerank"][
            "model"
        ] == ("word-overlap")


def test_an_ingest_records_the_reranker_that_it_is_told(
    es: Elasticsearch, index: str, client: RerankClient
) -> None:
    def ran(**options: Any) -> tuple[Any, Any]:
        ingest = Ingest(es, HashEmbedder(64), chunker=chunker(), **options)
        version = ingest.run(index, [LINUX], rebuild="rebuild" in index_state).version
        meta = es.indices.get_mapping(index=version)[version]["mappings"]["_meta"]
        return meta["search"].get("inference_id"), client.rerank(QUESTION, index=index).body["rerank"][
            "model"
        ]

    index_state: set[str] = set()
    assert ran() == (None, "word-overlap")
    assert ran(default_reranker="second") == ("second", "second"), "an index that exists"
    assert ran() == ("second", "second")
    index_state.add("rebuild")
    assert ran() == ("second", "second"), "a rebuild keeps it"
    assert ran(default_reranker="first") == ("first", "word-overlap")


def test_indices_that_record_no_defaults_or_others_are_told(
    es: Elasticsearch, index: str, client: RerankClient
) -> None:
    versions = [an_ingest(es).run(f"{index}-{name}", [LINUX]).version for name in "ab"]
    assert len(client.search(index=f"{index}-*", retriever=reranks()).body["hits"]["hits"]) == 2
    es.indices.put_mapping(index=versions[1], meta={"search": {"field": ["text"]}})
    with pytest.raises(
        IndexMismatchError, match=r"different defaults: \[.*-a-000001\] title, passages.text, "
    ):
        client.search(index=f"{index}-*", retriever=reranks())
    with pytest.raises(IndexMismatchError, match="different defaults"):
        client.rerank(QUESTION, index=f"{index}-*")
    assert client.search(index=f"{index}-*", retriever=reranks(field="text")).body["hits"]["hits"]

    # A tree and BM25 read no vector field of the record.
    meta = {"search": {"field": ["title", "passages.text"], "vector_field": "other"}}
    es.indices.put_mapping(index=versions[1], meta=meta)
    assert client.search(index=f"{index}-*", retriever=reranks()).body["hits"]["hits"]
    assert client.rerank(QUESTION, index=f"{index}-*", first_stage="bm25").body["hits"]["hits"]
    with pytest.raises(IndexMismatchError, match=r"vectors of passages.vector, .* vectors of other"):
        client.rerank(QUESTION, index=f"{index}-*")

    unread: list[dict[str, Any]] = [
        {},
        {"search": {"field": []}},
        {"search": {"field": [1]}},
        {"search": "text"},
    ]
    for broken in unread:
        es.indices.put_mapping(index=versions[1], meta=broken)
        with pytest.raises(RetrieverParsingError, match=r"Required \[field\]"):
            client.search(index=versions[1], retriever=reranks())
        assert client.rerank(QUESTION, index=versions[1]).body["hits"]["hits"], "as before"
    with pytest.raises(IndexMismatchError, match="none"):
        client.search(index=f"{index}-*", retriever=reranks())
    assert len(client.rerank(QUESTION, index=f"{index}-*").body["hits"]["hits"]) == 2


def test_a_rejected_markdown_document_is_markdown_when_it_is_read_again(tmp_path: Path) -> None:
    for document in (LINUX, PLAIN):
        file = RejectsFile("i", tmp_path / f"{document.id}.rejects.jsonl")
        file.write(rejected(document, "no room"))
        file.close()
        assert file.path is not None
        assert list(read_sources([file.path])) == [document]

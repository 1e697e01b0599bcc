"""LangChain and LlamaIndex, the real packages, over a real Elasticsearch and over rerankers at hand."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from corpus import ARTICLES, EMBEDDER, Broken, Late, fill
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined] # how its documentation imports it
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import ValidationError

from es_rerank.client import AsyncRerankClient, RerankClient
from es_rerank.errors import DeadlineError, IndexMismatchError, MissingExtraError, RequestError, ScoreError
from es_rerank.integrations.langchain import RerankCompressor, RerankRetriever
from es_rerank.integrations.llama_index import RerankPostprocessor
from es_rerank.node import Node
from es_rerank.scores import logistic
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Scores

QUESTION = "who signed the treaty"
TEXTS = [
    "It rained.",
    "The king signed the treaty.",
    "Stones lie on the road.",
    "Who signed the treaty?",
    "The queen signed the treaty.",
]
ORDER = [3, 1, 4, 2, 0]
"""Positions of TEXTS by the words that they share with QUESTION; 1 and 4 share three, 2 shares one."""
PROBABILITIES = [float(p) for p in logistic([4.0, 2.0, 2.0, -2.0, -4.0])]


class AsyncOnly(WordOverlapReranker):
    """Fails where its blocking verb is called."""

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return super().score(query, passages, deadline=deadline)

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        raise AssertionError("the event loop was blocked")


class Given(WordOverlapReranker):
    """Returns the given scores, and keeps what it was asked."""

    def __init__(self, scores: Scores) -> None:
        super().__init__("given")
        self.scores = scores
        self.passages: list[str] = []
        self.deadline: float | None = None

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        self.passages, self.deadline = list(passages), deadline
        return self.scores


def documents() -> list[Document]:
    return [Document(id=f"d{n}", page_content=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]


def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=f"n{n}", text=text), score=n / 10) for n, text in enumerate(TEXTS)
    ]


Keep = Callable[..., list[tuple[str, Any]]]


def compressed(reranker: Any, texts: Sequence[str] = TEXTS, **options: Any) -> list[tuple[str, float]]:
    given = [Document(page_content=text) for text in texts]
    return [
        (d.page_content, d.metadata["relevance_score"])
        for d in RerankCompressor(reranker=reranker, **options).compress_documents(given, QUESTION)
    ]


def postprocessed(reranker: Any, texts: Sequence[str] = TEXTS, **options: Any) -> list[tuple[str, float]]:
    given = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    kept = RerankPostprocessor(reranker=reranker, **options).postprocess_nodes(given, query_str=QUESTION)
    return [(item.text, item.get_score(raise_error=True)) for item in kept]


both = pytest.mark.parametrize("keep", [compressed, postprocessed])


@pytest.fixture
def client(es: Elasticsearch, index: str) -> RerankClient:
    fill(es, index)
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)


@both
def test_the_best_come_first_and_ties_keep_their_order(keep: Keep) -> None:
    assert keep(WordOverlapReranker(), top_n=None) == [
        (TEXTS[i], pytest.approx(p)) for i, p in zip(ORDER, PROBABILITIES, strict=True)
    ]
    assert keep(WordOverlapReranker(), top_n=2) == keep(WordOverlapReranker())[:2]
    assert len(keep(WordOverlapReranker(), [*TEXTS, *TEXTS])) == 5


@both
def test_logits_that_are_one_probability_are_told_apart(keep: Keep) -> None:
    kept = keep(Given(Scores.of([30.0, 50.0, 40.0])), TEXTS[:3])
    assert [text for text, _ in kept] == [TEXTS[1], TEXTS[2], TEXTS[0]]
    assert {score for _, score in kept} == {1.0}


@both
def test_probabilities_come_back_as_probabilities(keep: Keep) -> None:
    assert keep(Given(Scores.of([0.2, 0.9], "probability")), TEXTS[:2]) == [
        (TEXTS[1], pytest.approx(0.9)),
        (TEXTS[0], pytest.approx(0.2)),
    ]


@both
def test_min_score_is_a_probability_and_keeps_what_equals_it(keep: Keep) -> None:
    bound = keep(WordOverlapReranker())[1][1]
    assert [text for text, _ in keep(WordOverlapReranker(), min_score=bound)] == [TEXTS[i] for i in ORDER[:3]]
    assert [text for text, _ in keep(WordOverlapReranker(), min_score=bound, top_n=1)] == [TEXTS[3]]
    assert keep(WordOverlapReranker(), min_score=1.0) == []


@both
def test_nothing_in_is_nothing_out_and_asks_no_model(keep: Keep) -> None:
    assert keep(Broken(), []) == []


@both
def test_scores_that_are_missing_are_an_error(keep: Keep) -> None:
    with pytest.raises(DeadlineError, match=r"2 of 5 passages .*timeout_s"):
        keep(Late(reached=2))
    with pytest.raises(ScoreError, match="2 scores for 5 passages"):
        keep(Given(Scores.of([1.0, 2.0])))
    with pytest.raises(ScoreError, match="not a finite number"):
        keep(Given(Scores.of([1.0, np.nan])), TEXTS[:2])
    with pytest.raises(RuntimeError, match="fell over"):
        keep(Broken())


@both
def test_the_time_that_is_allowed_reaches_the_reranker(keep: Keep) -> None:
    reranker = Given(Scores.of([1.0]))
    keep(reranker, TEXTS[:1])
    assert reranker.deadline is None
    keep(reranker, TEXTS[:1], timeout_s=60)
    assert reranker.deadline is not None


@both
@pytest.mark.parametrize(
    "wrong", [{"top_n": 0}, {"min_score": 2}, {"timeout_s": 0}, {"top_k": 3}, {"reranker": "minilm"}]
)
def test_options_that_mean_nothing_are_refused(keep: Keep, wrong: dict[str, Any]) -> None:
    options = {"reranker": WordOverlapReranker(), **wrong}
    with pytest.raises(ValidationError):
        keep(options.pop("reranker"), **options)


def test_a_compressor_returns_copies() -> None:
    given = documents()
    kept = RerankCompressor(reranker=WordOverlapReranker(), top_n=None).compress_documents(given, QUESTION)
    assert given == documents()
    assert [(document.id, document.metadata["n"]) for document in kept] == [(f"d{i}", i) for i in ORDER]


async def test_a_compressor_does_not_block_the_event_loop() -> None:
    compressor = RerankCompressor(reranker=AsyncOnly(), top_n=3)
    assert await compressor.acompress_documents(documents(), QUESTION) == RerankCompressor(
        reranker=WordOverlapReranker(), top_n=3
    ).compress_documents(documents(), QUESTION)
    assert await compressor.acompress_documents([], QUESTION) == []


def test_a_postprocessor_returns_new_nodes() -> None:
    given = nodes()
    kept = RerankPostprocessor(reranker=WordOverlapReranker()).postprocess_nodes(given, QueryBundle(QUESTION))
    assert given == nodes()
    assert [item.node_id for item in kept] == [f"n{i}" for i in ORDER]
    assert all("retrieval_score" not in item.metadata for item in kept)


def test_the_retrieval_score_is_kept_where_asked() -> None:
    given = nodes()
    kept = RerankPostprocessor(reranker=WordOverlapReranker(), keep_retrieval_score=True).postprocess_nodes(
        given, query_str=QUESTION
    )
    assert given == nodes()
    assert [item.metadata["retrieval_score"] for item in kept] == [i / 10 for i in ORDER]


async def test_a_postprocessor_does_not_block_the_event_loop() -> None:
    kept = await RerankPostprocessor(reranker=AsyncOnly(), top_n=3).apostprocess_nodes(
        nodes(), query_str=QUESTION
    )
    assert kept == RerankPostprocessor(reranker=WordOverlapReranker(), top_n=3).postprocess_nodes(
        nodes(), query_str=QUESTION
    )
    assert await RerankPostprocessor(reranker=AsyncOnly()).apostprocess_nodes([], query_str=QUESTION) == []


async def test_a_postprocessor_needs_the_query() -> None:
    postprocessor = RerankPostprocessor(reranker=WordOverlapReranker())
    for given in (nodes(), []):
        with pytest.raises(RequestError, match="query_bundle or query_str"):
            postprocessor.postprocess_nodes(given)
        with pytest.raises(RequestError, match="query_bundle or query_str"):
            await postprocessor.apostprocess_nodes(given)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, "year: 1648\n\nPeace."),
        ({"metadata_mode": MetadataMode.NONE}, "Peace."),
        ({"metadata_mode": MetadataMode.ALL}, "year: 1648\npage: 9\n\nPeace."),
    ],
)
def test_what_is_embedded_is_what_is_read(options: dict[str, Any], read: str) -> None:
    reranker = Given(Scores.of([1.0]))
    node = TextNode(text="Peace.", metadata={"year": 1648, "page": 9}, excluded_embed_metadata_keys=["page"])
    RerankPostprocessor(reranker=reranker, **options).postprocess_nodes(
        [NodeWithScore(node=node)], query_str=QUESTION
    )
    assert reranker.passages == [read]


def test_a_postprocessor_is_shown_by_its_name_and_options() -> None:
    shown = RerankPostprocessor(reranker=WordOverlapReranker(), top_n=3).to_dict()
    assert (shown["class_name"], shown["top_n"]) == ("RerankPostprocessor", 3)
    json.dumps(shown)


def test_llama_indexs_observers_see_the_reranking() -> None:
    seen: list[BaseEvent] = []

    class Observer(BaseEventHandler):
        def handle(self, event: BaseEvent, **more: Any) -> None:
            seen.append(event)

    root = get_dispatcher()
    root.add_event_handler(Observer())
    try:
        kept = RerankPostprocessor(reranker=WordOverlapReranker(), top_n=None).postprocess_nodes(
            nodes(), query_str=QUESTION
        )
    finally:
        root.event_handlers.pop()
    start, end = (event for event in seen if isinstance(event, ReRankStartEvent | ReRankEndEvent))
    assert isinstance(start, ReRankStartEvent)
    assert (start.query, start.top_n, start.model_name, len(start.nodes)) == (QUESTION, 5, "word-overlap", 5)
    assert end.nodes == kept


async def test_a_postprocessor_stands_in_a_query_engine() -> None:
    class Fixed(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return nodes()

    engine = RetrieverQueryEngine(
        retriever=Fixed(),
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[RerankPostprocessor(reranker=WordOverlapReranker(), top_n=2)],
    )
    assert [item.node_id for item in engine.query(QUESTION).source_nodes] == ["n3", "n1"]
    assert [item.node_id for item in (await engine.aquery(QUESTION)).source_nodes] == ["n3", "n1"]


def test_a_retriever_returns_the_best_passages(client: RerankClient, index: str) -> None:
    hits = client.rerank(QUESTION, index=index, size=3)["hits"]["hits"]
    found = RerankRetriever(client=client, index=index, k=3).invoke(QUESTION)
    assert [document.id for document in found] == [hit["_id"] for hit in hits]
    for document, hit in zip(found, hits, strict=True):
        passage, (title, text, year) = (
            hit["fields"]["rerank.passage"][0],
            ARTICLES[int(hit["_id"].removeprefix("a"))],
        )
        assert document.page_content == passage["text"] == text[passage["start"] : passage["end"]]
        assert document.metadata == {
            "year": year,
            "title": title,
            "start": passage["start"],
            "end": passage["end"],
            "_index": index,
            "_id": hit["_id"],
            "_score": hit["_score"],
            "_status": "reranked",
        }


def test_a_retriever_hands_its_options_on(client: RerankClient, index: str) -> None:
    recent = {"range": {"metadata.year": {"gte": 2021}}}
    options: dict[str, Any] = {
        "first_stage": "bm25",
        "window": 4,
        "filter": recent,
        "field": ["title", "text"],
    }
    hits = client.rerank(QUESTION, index=index, size=2, **options)["hits"]["hits"]
    assert [
        (d.id, d.metadata["_score"])
        for d in RerankRetriever(client=client, index=index, k=2, **options).invoke(QUESTION)
    ] == [(hit["_id"], hit["_score"]) for hit in hits]
    assert {
        d.id for d in RerankRetriever(client=client, index=[index], filter=[recent]).invoke(QUESTION)
    } == {"a2", "a3", "a4"}
    assert len(RerankRetriever(client=client, index=index).invoke(QUESTION)) == 5
    with pytest.raises(IndexMismatchError, match=r"\[absent\]"):
        RerankRetriever(client=client, index=index, vector_field="absent").invoke(QUESTION)
    with pytest.raises(ValidationError, match="windows"):
        RerankRetriever(**{"client": client, "index": index, "windows": 4})  # noqa: PIE804 mypy would see it first


def test_a_retriever_on_someones_own_index(client: RerankClient, es: Elasticsearch, index: str) -> None:
    own = f"{index}-own"
    vectors = {name: {"type": "dense_vector", "dims": EMBEDDER.dims} for name in ("embedding", "other")}
    settings = {"index.mapping.exclude_source_vectors": False, "number_of_replicas": 0}
    es.indices.create(
        index=own, settings=settings, mappings={"properties": {"abstract": {"type": "text"}, **vectors}}
    )
    vector = EMBEDDER.embed([TEXTS[1]])[0].tolist()
    source = {
        "abstract": TEXTS[1],
        "notes": {"en": ["a", "b"]},
        "page": 7,
        "ratings": [1, 2],
        "embedding": vector,
        "other": vector,
    }
    es.index(index=own, id="one", document=source, refresh=True)
    options: dict[str, Any] = {
        "client": client,
        "index": own,
        "field": "abstract",
        "vector_field": "embedding",
    }
    (read,) = RerankRetriever(**options).invoke(QUESTION)
    assert read.page_content == TEXTS[1]
    assert {name: value for name, value in read.metadata.items() if name[0] != "_"} == {
        "page": 7,
        "ratings": [1, 2],
        "notes": {"en": ["a", "b"]},
    }
    failing = {**options, "client": RerankClient(es, reranker=Broken(), embedder=EMBEDDER)}
    assert RerankRetriever(**failing).invoke(QUESTION)[0].page_content == TEXTS[1]
    assert RerankRetriever(**failing, content_field="notes.en").invoke(QUESTION)[0].page_content == "a\nb"
    assert RerankRetriever(**failing, content_field="absent").invoke(QUESTION)[0].page_content == ""


def test_a_retriever_marks_what_was_not_reranked(client: RerankClient, es: Elasticsearch, index: str) -> None:
    options: dict[str, Any] = {"index": index, "first_stage": "bm25", "k": 3}
    broken = RerankRetriever(client=RerankClient(es, reranker=Broken(), embedder=EMBEDDER), **options).invoke(
        QUESTION
    )
    assert {document.metadata["_status"] for document in broken} == {"first_stage"}
    assert [document.page_content for document in broken] == [
        ARTICLES[int((document.id or "").removeprefix("a"))][1] for document in broken
    ]
    late = RerankRetriever(
        client=RerankClient(es, reranker=Late(reached=1), embedder=EMBEDDER), **options
    ).invoke(QUESTION)
    assert [(document.metadata["_status"], document.metadata["_score"] is None) for document in late] == [
        ("partial", False),
        ("partial", True),
        ("partial", True),
    ]


async def test_a_retriever_awaits_the_async_client_or_lends_a_thread(
    client: RerankClient, node: Node, index: str
) -> None:
    expected = RerankRetriever(client=client, index=index).invoke(QUESTION)
    assert await RerankRetriever(client=client, index=index).ainvoke(QUESTION) == expected
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=AsyncOnly(), embedder=EMBEDDER)
        retriever = RerankRetriever(client=client, async_client=twin, index=index)
        assert await retriever.ainvoke(QUESTION) == expected
        assert retriever.invoke(QUESTION) == expected


async def test_a_retriever_and_a_compressor_stand_in_a_chain(client: RerankClient, index: str) -> None:
    compressor = RerankCompressor(reranker=WordOverlapReranker(), top_n=2)
    retriever = RerankRetriever(client=client, index=index)
    question: RunnableLambda[dict[str, str], str] = RunnableLambda(lambda given: given["question"])
    kept: RunnableLambda[list[Document], list[Document]] = RunnableLambda(
        lambda found: list(compressor.compress_documents(found, QUESTION))
    )
    texts: RunnableLambda[list[Document], str] = RunnableLambda(
        lambda found: "\n".join(document.page_content for document in found)
    )
    chain = question | retriever | kept | texts
    expected = "\n".join(
        d.page_content for d in compressor.compress_documents(retriever.invoke(QUESTION), QUESTION)
    )
    assert chain.invoke({"question": QUESTION}) == await chain.ainvoke({"question": QUESTION}) == expected
    assert expected.count("\n") == 1
    assert retriever.batch([QUESTION, "cats sleep"])[1][0].page_content == "Cats sleep."


def test_langchains_observers_see_documents_and_errors(client: RerankClient, index: str) -> None:
    class Observer(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_retriever_end(self, documents: Sequence[Document], **more: Any) -> None:
            self.seen.append([document.id for document in documents])

        def on_retriever_error(self, error: BaseException, **more: Any) -> None:
            self.seen.append(isinstance(error, RequestError))

    observer = Observer()
    retriever = RerankRetriever(client=client, index=index, k=1)
    retriever.invoke(QUESTION, config={"callbacks": [observer]})
    with pytest.raises(RequestError, match="query is empty"):
        retriever.invoke(" ", config={"callbacks": [observer]})
    assert observer.seen == [["a2"], True]


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_without_its_package_an_integration_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    for name in [package, *sys.modules]:
        if name.split(".")[0] == package:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"es_rerank.integrations.{module}")
    with pytest.raises(
        MissingExtraError,
        match=rf"needs {package}\S*, which is not installed; .* pip install 'es-rerank\[{extra}\]'",
    ) as caught:
        importlib.import_module(f"es_rerank.integrations.{module}")
    assert caught.value.extra == extra


def test_the_package_imports_no_framework() -> None:
    code = (
        "import sys, es_rerank, es_rerank.integrations\n"
        "assert not {'langchain_core', 'llama_index'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""LangChain and LlamaIndex, the real packages, over rerankers at hand."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from corpus import AsyncOnly, Broken, Late
from langchain_core.documents import Document
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

from es_rerank.errors import DeadlineError, MissingExtraError, RequestError, ScoreError
from es_rerank.integrations.langchain import PartialAnswerWarning, RerankCompressor
from es_rerank.integrations.llama_index import RerankPostprocessor
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
        match=rf"needs {package}\S*, which is not installed; .* pip install .*\[{extra}\]",
    ) as caught:
        importlib.import_module(f"es_rerank.integrations.{module}")
    assert caught.value.extra == extra


def test_the_package_imports_no_framework() -> None:
    code = (
        "import sys, es_rerank, es_rerank.integrations\n"
        "assert not {'langchain_core', 'llama_index'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CUT = Scores(
    np.asarray([2.0, 1.0], dtype=np.float32),
    "logit",
    done=np.ones(2, dtype=np.bool_),
    truncated=np.asarray([True, False]),
    cached=np.zeros(2, dtype=np.bool_),
)


def test_a_compressor_says_that_a_text_was_cut() -> None:
    documents = [Document(page_content=text) for text in TEXTS[:2]]
    with pytest.warns(PartialAnswerWarning, match="read only the beginning of 1 of 2 texts"):
        assert len(RerankCompressor(reranker=Given(CUT)).compress_documents(documents, QUESTION)) == 2


def test_a_postprocessor_says_that_a_node_was_cut() -> None:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS[:2]]
    with pytest.warns(PartialAnswerWarning, match="read only the beginning of 1 of 2 texts"):
        kept = RerankPostprocessor(reranker=Given(CUT)).postprocess_nodes(nodes, query_str=QUESTION)
    assert len(kept) == 2


class LatinOnly(WordOverlapReranker):
    scripts = ("Latin",)


@pytest.mark.parametrize(
    ("query", "text"), [("谁签署了条约", TEXTS[1]), (QUESTION, "король подписал договор")]
)
async def test_a_script_that_the_model_does_not_read_is_told(query: str, text: str) -> None:
    compressor = RerankCompressor(reranker=LatinOnly("english"))
    postprocessor = RerankPostprocessor(reranker=LatinOnly("english"))
    documents = [Document(page_content=text)]
    nodes = [NodeWithScore(node=TextNode(text=text))]
    said = r"the model \[english\] was not trained on texts in (Han|Cyrillic) script"
    with pytest.warns(UserWarning, match=said):
        compressor.compress_documents(documents, query)
    with pytest.warns(UserWarning, match=said):
        await compressor.acompress_documents(documents, query)
    with pytest.warns(UserWarning, match=said):
        postprocessor.postprocess_nodes(nodes, query_str=query)
    with pytest.warns(UserWarning, match=said):
        await postprocessor.apostprocess_nodes(nodes, query_str=query)
    # Warnings are errors in tests: texts that the model reads give none.
    compressor.compress_documents([Document(page_content=TEXTS[1])], QUESTION)

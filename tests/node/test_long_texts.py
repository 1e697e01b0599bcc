"""Long texts that nobody cut before: read whole in parts, the parts' logits aggregated,
nothing left out without a mark.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_cross_encoder

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.errors import RetrieverParsingError
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.whole_texts import WholeTexts
from es_rerank.node import Node
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.planning.long_texts import in_parts
from es_rerank.retrievers.planning.text_source import PASSAGE_CAP
from es_rerank.scores import aggregated
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Aggregation, Candidate, Passage

QUESTION = "who signed the treaty"
WINDOW = 64
TEXTS = {
    "short": "the king signed",
    "long": " ".join(f"word{i} came and went." for i in range(10)),
    "longer": " ".join(f"the moon rose over stone {i}." for i in range(25)),
    "endless": "rain and " * 3_000,
}
LOGITS = st.lists(st.floats(-20, 20, width=32) | st.just(float("nan")), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"), max_length=WINDOW)) as model:
        yield model


@pytest.fixture
def filled(es: Elasticsearch, index: str) -> str:
    """An index of plain texts, as people have them."""
    es.indices.create(
        index=index,
        mappings={"properties": {"title": {"type": "text"}, "text": {"type": "text"}}},
        settings={"number_of_replicas": 0},
    )
    for name, text in TEXTS.items():
        es.index(index=index, id=name, document={"title": f"about {name}", "text": text})
    es.indices.refresh(index=index)
    return index


def tree(**more: Any) -> dict[str, Any]:
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    return {
        "text_similarity_reranker": {"retriever": child, "field": "text", "inference_text": QUESTION, **more}
    }


def whole(text: str, context: str = "") -> Candidate:
    return Candidate("i", "d", 1.0, 1, context=context, passages=(Passage(text, 0, 0),), whole=True)


# --- cutting ------------------------------------------------------------------------------------------------


@given(
    text=st.text("ab .。中文\n", max_size=400),
    context=st.text("ab ", max_size=40),
    query=st.text("ab ", max_size=60),
)
def test_the_parts_cover_the_text_and_none_is_truncated(
    model: CrossEncoder, text: str, context: str, query: str
) -> None:
    (parts,) = model.cut(query, [(context, text)])
    assert all(text[part.start : part.end] == part.text for part in parts)
    covered = {position for part in parts for position in range(part.start, part.end)}
    assert all(character.isspace() or position in covered for position, character in enumerate(text))
    read = [f"{context}\n{part.text}" if context else part.text for part in parts]
    assert not model.score(query, read).truncated.any()


def test_a_text_that_fits_is_left_as_it_is(model: CrossEncoder) -> None:
    candidate = whole("the king signed")
    assert in_parts(model, QUESTION, [candidate]) == [candidate]


def test_more_parts_than_the_cap_are_marked(model: CrossEncoder) -> None:
    (cut,) = in_parts(model, QUESTION, [whole(TEXTS["endless"])])
    assert (len(cut.passages), cut.capped, cut.whole) == (PASSAGE_CAP, True, False)


def test_after_the_deadline_nothing_is_cut(model: CrossEncoder) -> None:
    candidate = whole(TEXTS["long"])
    assert in_parts(model, QUESTION, [candidate], time.monotonic() - 1) == [candidate]


def test_a_reranker_that_does_not_say_how_much_it_reads_gets_texts_as_they_are() -> None:
    candidate = whole(TEXTS["long"])
    assert in_parts(WordOverlapReranker(), QUESTION, [candidate]) == [candidate]


# --- aggregating --------------------------------------------------------------------------------------------


@given(LOGITS, st.integers(1, 15))
def test_aggregations_are_what_their_names_say(logits: list[float], k: int) -> None:
    values = np.asarray(logits, dtype=np.float32)
    known = sorted((float(value) for value in values if not np.isnan(value)), reverse=True)
    expected = (
        {"max": known[0], "mean": np.mean(known), "top_k_mean": np.mean(known[:k])}
        if known
        else dict.fromkeys(("max", "mean", "top_k_mean"), np.nan)
    )
    for kind, value in expected.items():
        aggregation = Aggregation(kind, k)  # type: ignore[arg-type]
        assert aggregated(values, aggregation) == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)
    assert aggregated(values, Aggregation("first")) == pytest.approx(float(values[0]), nan_ok=True)


@given(LOGITS, st.randoms(use_true_random=False))
def test_the_order_of_passages_changes_no_aggregate_but_the_first(logits: list[float], random: Any) -> None:
    shuffled = list(logits)
    random.shuffle(shuffled)
    for aggregation in (Aggregation("max"), Aggregation("mean"), Aggregation("top_k_mean", 3)):
        one, other = (
            aggregated(np.asarray(values, dtype=np.float32), aggregation) for values in (logits, shuffled)
        )
        assert one == other or (np.isnan(one) and np.isnan(other))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("sum", "Unknown aggregation [sum]"),
        ({"top_k_mean": 0}, "[top_k_mean] must be greater than 0"),
        ({"top_k_mean": 2, "mean": 1}, "Unknown aggregation"),
        (3, "Unknown aggregation [3]"),
    ],
)
def test_an_aggregation_that_is_none_is_refused(value: Any, fault: str) -> None:
    with pytest.raises(RetrieverParsingError, match=r"failed to parse field \[aggregation\]") as caught:
        parse(tree(aggregation=value))
    assert fault in caught.value.cause[1]  # type: ignore[index]


def test_first_and_nearest_exclude_each_other() -> None:
    with pytest.raises(RetrieverParsingError, match="name one of the two"):
        parse(tree(aggregation="first", chunk_rescorer={"size": 2}))


# --- on a real Elasticsearch --------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregation", ["max", "first", "mean", {"top_k_mean": 2}])
def test_a_document_scores_what_its_parts_do(
    es: Elasticsearch, filled: str, model: CrossEncoder, aggregation: Any
) -> None:
    answer = RerankClient(es, reranker=model).search(
        index=filled, retriever=tree(aggregation=aggregation, field=["title", "text"])
    )
    assert answer["rerank"]["status"] == "reranked"
    assert answer["rerank"]["truncated"] == 0
    assert answer["rerank"]["capped"] == (0 if aggregation == "first" else 1)
    hits = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
    for name, text in TEXTS.items():
        title = f"about {name}"
        (parts,) = model.cut(QUESTION, [(title, text)])
        read = [f"{title}\n{part.text}" for part in parts[:PASSAGE_CAP]]
        logits = model.score(QUESTION, read).values
        expected = {"max": logits.max(), "first": logits[0], "mean": logits.mean()}.get(
            str(aggregation), np.sort(logits)[::-1][:2].mean()
        )
        assert hits[name]["fields"]["rerank.logit"][0] == pytest.approx(float(expected), abs=1e-5)
        if len(parts) > 1:
            best = parts[0] if aggregation == "first" else parts[int(np.argmax(logits))]
            assert hits[name]["fields"]["rerank.passage"] == [
                {"text": best.text, "start": best.start, "end": best.end}
            ]
            assert text[best.start : best.end] == best.text
        else:
            assert "rerank.passage" not in hits[name]["fields"]
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == sorted(
        hits, key=lambda name: -hits[name]["_score"]
    )


async def test_the_async_client_cuts_as_the_blocking_one(
    node: Node, es: Elasticsearch, filled: str, model: CrossEncoder
) -> None:
    blocking = RerankClient(es, reranker=model).search(index=filled, retriever=tree())
    async with AsyncElasticsearch(node.url) as inner:
        other = await AsyncRerankClient(inner, reranker=model).search(index=filled, retriever=tree())
    assert other["hits"] == blocking["hits"]


def test_the_nearest_chunk_is_read_where_chunks_are_asked_for(
    es: Elasticsearch, filled: str, model: CrossEncoder
) -> None:
    answer = RerankClient(es, reranker=model).search(index=filled, retriever=tree(chunk_rescorer={"size": 1}))
    assert answer["rerank"]["capped"] == 0
    assert all("rerank.passage" in hit["fields"] for hit in answer["hits"]["hits"])


# --- texts outside Elasticsearch ----------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [list(TEXTS.values()), ["short", "also short"], [""], []])
async def test_a_text_of_any_length_scores_what_its_best_part_does(
    model: CrossEncoder, texts: list[str]
) -> None:
    scores = WholeTexts(model).score(QUESTION, texts)
    for text, value in zip(texts, scores.values.tolist(), strict=True):
        parts = [part.text for part in model.cut(QUESTION, [("", text)])[0]] or [text]
        assert value == model.score(QUESTION, parts).values.max()
    assert not scores.truncated.any()
    assert scores.done.all()
    assert (await WholeTexts(model).ascore(QUESTION, texts)).values.tobytes() == scores.values.tobytes()


def test_a_reader_of_whole_texts_is_transparent_where_it_does_not_know_the_window() -> None:
    inner = WordOverlapReranker("mine")
    assert WholeTexts(inner).name == "mine"
    assert (
        WholeTexts(inner).score(QUESTION, list(TEXTS.values())).values.tolist()
        == inner.score(QUESTION, list(TEXTS.values())).values.tolist()
    )

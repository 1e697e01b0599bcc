"""Long texts that nobody cut before: read whole in parts, the parts' logits aggregated,
nothing left out without a mark.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from long_texts import QUESTION, TEXTS, WINDOW, tree
from tiny_models import tiny_cross_encoder

from es_rerank.defaults import MAX_TEXT_CHARACTERS
from es_rerank.errors import RetrieverParsingError
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.whole_texts import WholeTexts
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.planning.long_texts import in_parts
from es_rerank.retrievers.planning.text_source import PASSAGE_CAP, TextSource, with_texts
from es_rerank.retrievers.ranking.rerank import rank
from es_rerank.retrievers.response.rescore import rescore_candidates
from es_rerank.scores import aggregated
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Aggregation, Candidate, Passage

LOGITS = st.lists(st.floats(-20, 20, width=32) | st.just(float("nan")), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"), max_length=WINDOW)) as model:
        yield model


def whole(text: str, context: str = "") -> Candidate:
    return Candidate("i", "d", 1.0, 1, context=context, passages=(Passage(text, 0, 0),), whole=True)


# --- cutting ------------------------------------------------------------------------------------------------


@given(
    text=st.text("ab .。中文\n", max_size=400),
    context=st.text("ab ", max_size=40),
    query=st.text("ab ", max_size=60),
)
@example(text="a" * 40, context="a" * 20, query="a" * 30)
def test_the_parts_cover_the_text_and_none_is_truncated(
    model: CrossEncoder, text: str, context: str, query: str
) -> None:
    (parts,) = model.cut(query, [(context, text)])
    assert all(text[part.start : part.end] == part.text for part in parts)
    covered = {position for part in parts for position in range(part.start, part.end)}
    assert all(character.isspace() or position in covered for position, character in enumerate(text))
    read = [f"{context}\n{part.text}" if context else part.text for part in parts]
    # The window holds 61 tokens beside the special ones. Of a query over half of them, some are cut, and a
    # context over three quarters of what is left reaches into what belongs to the passage.
    if len(query) <= 30 and len(context) <= 20:
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


# --- a title before each passage


LONG_TITLE = " ".join("abcdefgh"[n % 8] for n in range(450))


def stored(*texts: str, context: str) -> Candidate:
    return Candidate("i", "d", 1.0, 1, context=context, passages=tuple(Passage(text, 0, 0) for text in texts))


@pytest.mark.parametrize(
    "candidate", [whole(TEXTS["long"], LONG_TITLE), stored("x y z", "k l", context=LONG_TITLE)]
)
def test_a_long_title_pushes_no_passage_out_of_the_window(model: CrossEncoder, candidate: Candidate) -> None:
    (cut,) = in_parts(model, QUESTION, [candidate])
    assert cut.context_cut
    assert LONG_TITLE.startswith(cut.context)
    assert not model.score(QUESTION, cut.texts()).truncated.any()
    logits = model.score(QUESTION, cut.texts()).values
    assert len(set(logits.tolist())) == len({passage.text for passage in cut.passages})
    ranking = rank([cut], model.score(QUESTION, cut.texts()), None)
    assert ranking.truncated == len(cut.passages)


def test_a_title_that_fits_is_left_as_it_is(model: CrossEncoder) -> None:
    candidate = stored("x y z", "k l", context="a title")
    assert in_parts(model, QUESTION, [candidate]) == [candidate]


@given(
    passage=st.text("ab .。中文\n", min_size=1, max_size=200),
    context=st.text("ab .", min_size=1, max_size=200),
    query=st.text("ab ", max_size=30),
)
def test_a_passage_of_three_quarters_of_the_room_is_read_whole_beside_any_title(
    model: CrossEncoder, passage: str, context: str, query: str
) -> None:
    (cut,) = in_parts(model, query, [whole(passage, context)])
    assert not model.score(query, cut.texts()).truncated.any()


def test_of_a_text_that_is_too_long_the_beginning_is_read_and_counts_as_capped() -> None:
    for length, capped in ((MAX_TEXT_CHARACTERS, False), (MAX_TEXT_CHARACTERS + 1, True)):
        hit = {"_id": "1", "_source": {"title": "t", "text": "x" * length}}
        (rescored,) = rescore_candidates({"hits": {"hits": [hit]}}, ["title", "text"])
        searched = with_texts(rescored, hit, TextSource(("title",), chunked="text"))
        for candidate in (rescored, searched):
            (text,) = [passage.text for passage in candidate.passages]
            assert (len(text), candidate.context) == (MAX_TEXT_CHARACTERS, "t")
            assert (candidate.capped, candidate.whole) == (capped, True)

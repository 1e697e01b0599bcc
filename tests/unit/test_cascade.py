"""Two rerankers in a row: the kept passages have the better one's scores,
the others follow in the cheap one's order.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import load_reranker
from es_rerank.caller import LATER_S
from es_rerank.errors import ModelError, ModelFolderError, SettingsError
from es_rerank.models import FirstStageReranker, LoadedReranker, LongTextReranker
from es_rerank.models.closeable import Closeable
from es_rerank.models.load import check_reranker
from es_rerank.models.manifest import read_manifest
from es_rerank.models.stand_in import PredictionRecord, StandIn
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.cascade import LEAST_KEPT, cascade
from es_rerank.models.wrappers.wrapped import expected_s
from es_rerank.node.checks import check_model
from es_rerank.retrievers.ranking.rerank import rank
from es_rerank.scores import standardise
from es_rerank.types import Aggregation, Blend, Candidate, FirstStageScores, Passage, Scores

QUERY = "who signed the treaty"
PASSAGES = [f"passage {number} of {'many words ' * (number % 7)}" for number in range(40)]


class Given(Closeable):
    """Gives the logit that a passage's text spells, and remembers what it was asked."""

    calibration = None

    def __init__(self, name: str, sign: int = 1) -> None:
        self.name, self.sign, self.asked, self.closed = name, sign, list[str](), False

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        self.asked += passages
        return Scores.of([self.sign * float(passage) for passage in passages])

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return self.score(query, passages, deadline=deadline)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tiny_cross_encoder(tmp_path / "small", 0), tiny_cross_encoder(tmp_path / "large", 1, max_length=64)


@example(
    logits=[1.0] * 11, share=0.5
)  # a distance that float32 does not hold put the eleventh level with the kept
@given(st.lists(st.floats(-1e3, 1e3, width=32), max_size=60), st.floats(0.01, 0.99))
def test_the_kept_come_first_and_the_others_in_the_cheap_ones_order(
    logits: list[float], share: float
) -> None:
    first, then = Given("first"), Given("then", sign=-1)
    scores = cascade(first, then, share=share).score(QUERY, [repr(each) for each in logits])
    most = max(LEAST_KEPT, -int(-share * len(logits) // 1))
    kept = sorted(np.argsort(-np.asarray(logits, dtype=np.float32), kind="stable")[:most].tolist())
    assert then.asked == [repr(logits[position]) for position in kept]
    assert scores.done.all()
    values = scores.values
    assert [float(values[position]) for position in kept] == [
        -float(np.float32(logits[position])) for position in kept
    ]
    others = [position for position in range(len(logits)) if position not in kept]
    if others:
        assert values[others].max() < values[kept].min()
    for one, other in pairwise(others):
        assert (values[one] >= values[other]) == (
            np.float32(logits[one]) >= np.float32(logits[other])
        ) or values[one] == values[other]


def test_a_kept_passage_has_the_better_models_bits(folders: tuple[Path, Path]) -> None:
    small, large = folders
    with load_reranker(large) as alone, load_reranker(f"cascade:0.3+{small}+{large}") as both:
        scores, expected = both.score(QUERY, PASSAGES), alone.score(QUERY, PASSAGES)
        same = scores.values == expected.values
        assert same.sum() == 12  # 0.3 of 40
        assert scores.values[~same].max() < scores.values[same].min()
        assert asyncio.run(both.ascore(QUERY, PASSAGES)).values.tobytes() == scores.values.tobytes()
        assert both.name == "tiny-cross-encoder after tiny-cross-encoder"
        assert isinstance(both, LoadedReranker)
        assert isinstance(both, LongTextReranker)
        assert both.cut(QUERY, [("", "word " * 200)]) == alone.cut(QUERY, [("", "word " * 200)])  # type: ignore[attr-defined] # checked above


def test_without_time_nothing_is_scored(folders: tuple[Path, Path]) -> None:
    with load_reranker(f"cascade:0.3+{folders[0]}+{folders[1]}") as both:
        scores = both.score(QUERY, PASSAGES, deadline=time.monotonic() - 1)
        assert not scores.done.any()
        assert len(scores) == len(PASSAGES)


def test_where_time_runs_out_what_was_not_worth_reading_does_not_pass_what_was() -> None:
    first, then = Given("first"), Given("then")
    whole = then.score

    def late(query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        scores = whole(query, passages, deadline=deadline)
        scores.done[1:] = False
        return scores

    then.score = late  # type: ignore[method-assign] # a clock that runs out after one passage
    scores = cascade(first, then, share=0.1).score(QUERY, [str(number) for number in range(30)])
    assert np.flatnonzero(scores.done).tolist() == [20]


def test_both_stages_are_remembered(folders: tuple[Path, Path]) -> None:
    with load_reranker(f"cascade:0.3+{folders[0]}+{folders[1]}", cache=ScoreCache(1000)) as both:
        before, again = both.score(QUERY, PASSAGES), both.score(QUERY, PASSAGES)
        assert not before.cached.any()
        assert again.cached.all()
        assert before.values.tobytes() == again.values.tobytes()


def test_closing_ends_both_and_their_pool(folders: tuple[Path, Path]) -> None:
    first, then = Given("first"), Given("then")
    cascade(first, then, share=0.5).close()
    assert (first.closed, then.closed) == (True, True)
    both = load_reranker(f"cascade:0.3+{folders[0]}+{folders[1]}")
    both.close()
    with pytest.raises(ModelError, match="is closed"):
        both.score(QUERY, PASSAGES)


@pytest.mark.parametrize(
    "wrong",
    [
        "top0+A+B",
        "top+A+B",
        "topten+A+B",
        "0+A+B",
        "1+A+B",
        "many+A+B",
        "0.3+A",
        "0.3++A",
        "0.3+cascade:0.3+A",
    ],
)
def test_what_is_no_cascade_is_refused(wrong: str) -> None:
    for ask in (load_reranker, check_reranker):
        with pytest.raises(SettingsError, match="is not a cascade; write cascade:SHARE"):
            ask(f"cascade:{wrong}")


def test_a_stage_that_is_no_reranker_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    embedder = tiny_bi_encoder(tmp_path / "bi")
    for ask in (load_reranker, check_reranker):
        with pytest.raises(ModelFolderError, match="holds a bi-encoder"):
            ask(f"cascade:0.3+{folders[0]}+{embedder}")


def test_its_name_is_known_before_it_is_loaded_and_the_doctor_sees_both(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    small, large = folders
    assert check_reranker(f"cascade:0.3+{small}+{large}") == "tiny-cross-encoder after tiny-cross-encoder"
    assert check_model("cross-encoder", f"cascade:0.3+{small}+{large}").status == "ok"
    assert check_model("cross-encoder", f"cascade:0.3+{small}+{tmp_path / 'nothing'}").status in {
        "fail",
        "warn",
    }
    assert check_model("cross-encoder", "cascade:3").status == "fail"


class Costly(Given):
    """A reranker that takes a second for each passage, and remembers what was said to follow."""

    later_s = -1.0

    def expected_s(self, query: str, passages: Sequence[str]) -> float:
        assert query
        return float(len(passages))

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        self.later_s = LATER_S.get()
        return super().score(query, passages, deadline=deadline)


async def test_the_first_reranker_is_admitted_with_the_work_of_the_second_one() -> None:
    passages = [str(number) for number in range(100)]
    for score in ("score", "ascore"):
        first, then = Costly("first"), Costly("then")
        both = cascade(first, then, share=0.3)
        assert expected_s(both, QUERY, passages) == 130
        scores = getattr(both, score)(QUERY, passages)
        assert len(await scores if score == "ascore" else scores) == 100
        assert (first.later_s, then.later_s) == (30, 0)
    assert expected_s(cascade(Given("a"), Given("b"), share=0.3), QUERY, passages) == 0


# --- with the first stage -----------------------------------------------------------------------------------


def stand_in(margin: float = 0.5, sha256: str = "0" * 64) -> StandIn:
    record = PredictionRecord(logit=1.0, first_stage=2.0, intercept=0.0, margin=margin)
    alone = PredictionRecord(logit=1.0, first_stage=0.0, intercept=0.0, margin=margin)
    return StandIn(model="then", sha256=sha256, joined=record, alone=alone, quantile=0.9, share=0.4)


@settings(deadline=None)
@given(st.lists(st.floats(-9, 9, width=16), min_size=12, max_size=40), st.randoms(use_true_random=False))
def test_first_stage_and_cheap_model_choose_together(logits: list[float], draw: Any) -> None:
    scores = [draw.uniform(0, 1) for _ in logits]
    first, then = Given("first"), Given("then")
    both = cascade(first, then, share=0.3, stand_in=stand_in())
    assert isinstance(both, FirstStageReranker)
    known = FirstStageScores(tuple(scores), (1,) * len(scores))
    found = both.score_after(QUERY, [repr(each) for each in logits], known)
    assert found.estimated is not None
    values = np.asarray(logits, dtype=np.float32)
    expected = values + 2 * values.astype(np.float64).std() * standardise(scores)
    kept = np.flatnonzero(~found.estimated)
    assert len(kept) == max(LEAST_KEPT, math.ceil(0.3 * len(logits)))
    assert expected[kept].min() >= np.delete(expected, kept).max(initial=-np.inf) - 1e-4
    assert found.values[kept].tolist() == values[kept].tolist()
    np.testing.assert_allclose(found.values[found.estimated], expected[found.estimated], atol=1e-3)
    again = asyncio.run(both.ascore_after(QUERY, [repr(each) for each in logits], known))
    assert again.values.tobytes() == found.values.tobytes()


def test_a_window_ends_by_itself_and_its_page_comes_first() -> None:
    first, then = Given("first"), Given("then")
    passages = [repr(float(20 - number)) for number in range(40)]
    found = cascade(first, then, top=3, stand_in=stand_in(margin=0.5)).score(QUERY, passages)
    assert then.asked == passages[:4]
    assert found.done.all()
    assert found.values.tolist() == [20.0 - number for number in range(40)]
    known = FirstStageScores((1.0,) * 40, (1,) * 40)
    found = cascade(first, then, top=12, stand_in=stand_in(margin=2.5)).score_after(QUERY, passages, known)
    assert found.estimated is not None
    assert np.flatnonzero(~found.estimated).tolist() == list(range(14))


def test_a_deadline_within_the_reading_leaves_what_was_not_read_without_a_score() -> None:
    first, then = Given("first"), Given("then")
    whole, calls = then.score, 0

    def late(query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        nonlocal calls
        calls += 1
        scores = whole(query, passages, deadline=deadline)
        scores.done[1:] &= calls == 1
        return scores

    then.score = late  # type: ignore[method-assign] # a clock that runs out in the second step
    passages = [repr(float(-number) / 10) for number in range(40)]
    found = cascade(first, then, top=3, stand_in=stand_in(margin=1.0)).score(QUERY, passages)
    assert np.flatnonzero(found.done).tolist() == [0, 1, 2, 3, 4]
    assert calls == 2


def test_a_fit_to_another_model_is_refused_where_it_is_needed(folders: tuple[Path, Path]) -> None:
    small, large = folders
    ends = f"cascade:top10+{small}+{large}"
    for ask in (load_reranker, check_reranker):
        with pytest.raises(SettingsError, match=r"was not fitted to .* run es-rerank bench cascade"):
            ask(ends)
    manifest = read_manifest(large)
    fitted = stand_in(sha256=manifest.files[manifest.variants[manifest.default_variant]].sha256)
    reseal(small, stand_in=fitted)
    assert check_reranker(ends) == "tiny-cross-encoder after tiny-cross-encoder"
    with load_reranker(ends) as both, load_reranker(large) as alone:
        scores, expected = both.score(QUERY, PASSAGES), alone.score(QUERY, PASSAGES)
        assert scores.estimated is not None
        read = ~scores.estimated
        assert read.sum() >= 10
        assert scores.values[read].tobytes() == expected.values[read].tobytes()
    reseal(small, stand_in=stand_in())
    with pytest.raises(SettingsError, match="it was fitted to another file of then"):
        check_reranker(ends)
    assert check_reranker(f"cascade:0.3+{small}+{large}")


# --- the order of a search ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-9, 9, width=16), st.booleans(), st.floats(0, 5, width=16)),
        min_size=1,
        max_size=30,
    ),
    st.none()
    | st.tuples(st.floats(0.1, 2), st.floats(0, 2), st.floats(-2, 2)).map(lambda drawn: Blend(*drawn)),
)
def test_what_was_read_comes_before_what_is_estimated_and_scores_descend(
    drawn: list[tuple[float, bool, float]], blend: Blend | None
) -> None:
    logits, estimated, scores = zip(*drawn, strict=True)
    window = [
        Candidate("i", str(number), score, number + 1, passages=(Passage("p", 0, 1),))
        for number, score in enumerate(scores)
    ]
    given = replace(Scores.of(logits), estimated=np.asarray(estimated, dtype=np.bool_))
    ranking = rank(window, given, None, blend=blend)
    places = [estimated[int(hit.candidate.id)] for hit in ranking.hits]
    assert places == sorted(places)
    assert ranking.estimated == sum(estimated)
    shown = [hit.score for hit in ranking.hits if hit.score is not None]
    assert len(shown) == len(window)
    assert shown == sorted(shown, reverse=True)
    # Elasticsearch sorts by the score alone, and equal scores by its own rule. Scores of 1 do not differ.
    last = places.index(True) if True in places else 0
    if last and shown[last - 1] < 1:
        assert shown[last - 1] > shown[last]
    whole = {hit.candidate.id: hit for hit in rank(window, Scores.of(logits), None, blend=blend).hits}
    for hit in ranking.hits:
        if not estimated[int(hit.candidate.id)]:
            assert hit == whole[hit.candidate.id]
    for one, other in pairwise(hit for hit in ranking.hits if estimated[int(hit.candidate.id)]):
        before, after = whole[one.candidate.id].score, whole[other.candidate.id].score
        assert before is not None and after is not None and before >= after - 1e-6  # noqa: PT018 one order


def test_of_a_document_that_was_read_the_estimates_do_not_count() -> None:
    pieces = (Passage("a", 0, 1), Passage("b", 1, 2))
    window = [Candidate("i", str(number), 1.0, number + 1, passages=pieces) for number in range(2)]
    given = replace(
        Scores.of([5.0, 1.0, 0.5, 0.25]), estimated=np.asarray([True, False, True, True], dtype=np.bool_)
    )
    first, second = rank(window, given, None).hits
    assert (first.candidate.id, first.logit, first.passage) == ("0", 1.0, pieces[1])
    assert (second.candidate.id, second.logit, second.passage) == ("1", 0.5, pieces[0])
    assert [hit.candidate.id for hit in rank(window, given, None, min_score=0.7).hits] == ["0"]


def test_in_a_mean_the_passages_count_that_were_only_estimated() -> None:
    """Only the best passages of a document are read, and their mean alone is too high."""
    pieces = (Passage("a", 0, 1), Passage("b", 1, 2))
    window = [Candidate("i", str(number), 1.0, number + 1, passages=pieces) for number in range(2)]
    given = replace(
        Scores.of([3.0, -5.0, 1.0, 1.0]), estimated=np.asarray([False, True, False, False], dtype=np.bool_)
    )
    for aggregation in (Aggregation("mean"), Aggregation("top_k_mean", 2)):
        ranking = rank(window, given, None, aggregation=aggregation)
        assert [(hit.candidate.id, hit.logit) for hit in ranking.hits] == [("1", 1.0), ("0", -1.0)]
        assert ranking.estimated == 0
    assert [hit.candidate.id for hit in rank(window, given, None).hits] == ["0", "1"]


def test_an_estimate_is_never_above_what_was_read() -> None:
    window = [Candidate("i", str(number), 1.0, number + 1) for number in range(3)]
    given = replace(Scores.of([8.0, -1.0, 7.5]), estimated=np.asarray([True, False, True], dtype=np.bool_))
    hits = rank(window, given, None).hits
    assert [hit.candidate.id for hit in hits] == ["1", "0", "2"]
    assert hits[0].logit == -1.0
    assert hits[1].logit == pytest.approx(-1.0, abs=1e-5)
    assert hits[2].logit == pytest.approx(-1.5, abs=1e-5)
    assert all(hit.probability == hit.score for hit in hits)

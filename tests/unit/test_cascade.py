"""Two rerankers in a row: the kept passages have the better one's scores,
the others follow in the cheap one's order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import load_reranker
from es_rerank.caller import LATER_S
from es_rerank.errors import ModelError, ModelFolderError, SettingsError
from es_rerank.models import LoadedReranker, LongTextReranker
from es_rerank.models.closeable import Closeable
from es_rerank.models.load import check_reranker
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.cascade import LEAST_KEPT, cascade
from es_rerank.models.wrappers.wrapped import expected_s
from es_rerank.node.checks import check_model
from es_rerank.types import Scores

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


@pytest.mark.parametrize("wrong", ["0+A+B", "1+A+B", "many+A+B", "0.3+A", "0.3++A", "0.3+cascade:0.3+A"])
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

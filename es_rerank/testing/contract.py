"""Tests for the contract of ``Reranker``: what every reranker must do.

Derive a class from ``RerankerContract`` in a test module of pytest:

>>> class TestMyReranker(RerankerContract):
...     tolerance = 0.0

The module also needs two fixtures. ``reranker`` is the reranker to test. ``broken`` is a reranker of the same
kind whose model or service gives NaN for every pair. The tests use plain ``assert``. Call
``pytest.register_assert_rewrite("es_rerank.testing.contract")`` in ``conftest.py``: pytest then shows the
compared values when a test fails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from ..errors import ScoreError
from ..models import Reranker
from ..scores import as_logits
from ..types import FloatArray, Scores

QUERY = "who signed the treaty of westphalia"
PASSAGES = (
    "envoys of france and of sweden signed the treaty in 1648",
    "the treaty of westphalia ended a war of thirty years",
    "bread rises for an hour and is baked in a hot oven",
    "tides come from the pull of the moon on the water",
    "no",
    "who signed the treaty of westphalia",
)
"""Test passages. They are short, so that no model truncates them, and of different lengths, so that a
reranker that pads its batches would pad them."""


class RerankerContract:
    """The tests of the contract. A derived class needs the fixtures ``reranker`` and ``broken``.

    ``tolerance`` is the largest allowed change of a logit when the other passages of the call change. 0
    demands the same bits. A larger value is for services that build batches themselves.
    """

    tolerance: float = 0.0

    def test_one_finite_score_per_passage_in_the_order_given(self, reranker: Reranker) -> None:
        scores = reranker.score(QUERY, PASSAGES)
        _check_shape(scores, len(PASSAGES))
        assert scores.done.all()
        assert not scores.truncated.any()
        assert np.isfinite(scores.values).all()
        assert len(np.unique(scores.values)) > 1, (
            "every passage has the same score: the model does not look at the passages"
        )

    def test_a_probability_lies_between_0_and_1(self, reranker: Reranker) -> None:
        scores = reranker.score(QUERY, PASSAGES)
        assert scores.scale in ("logit", "probability")
        assert scores.scale == "logit" or ((scores.values >= 0) & (scores.values <= 1)).all()

    def test_the_order_of_passages_changes_no_score(self, reranker: Reranker) -> None:
        expected = _logits(reranker, PASSAGES)
        for order in (range(len(PASSAGES) - 1, -1, -1), (2, 0, 5, 3, 1, 4)):
            self._same(_logits(reranker, [PASSAGES[i] for i in order]), expected[list(order)])

    def test_equal_passages_have_equal_scores(self, reranker: Reranker) -> None:
        logits = _logits(reranker, [PASSAGES[0], PASSAGES[2], PASSAGES[0], PASSAGES[0]])
        self._same(logits[[0, 2, 3]], np.full(3, logits[0], dtype=np.float32))

    def test_batch_mates_change_no_score(self, reranker: Reranker) -> None:
        together = _logits(reranker, [*PASSAGES, "treaty " * 200])[: len(PASSAGES)]
        self._same(np.concatenate([_logits(reranker, [passage]) for passage in PASSAGES]), together)

    def test_the_asynchronous_twin_says_the_same(self, reranker: Reranker) -> None:
        expected = _logits(reranker, PASSAGES)

        async def several() -> list[Scores]:
            return await asyncio.gather(*(reranker.ascore(QUERY, PASSAGES) for _ in range(3)))

        for scores in asyncio.run(several()):
            self._same(as_logits(scores), expected)

    def test_no_passages_have_no_scores(self, reranker: Reranker) -> None:
        _check_shape(reranker.score(QUERY, []), 0)

        async def none() -> Scores:
            return await reranker.ascore(QUERY, [])

        _check_shape(asyncio.run(none()), 0)

    def test_one_passage_has_one_score(self, reranker: Reranker) -> None:
        _check_shape(reranker.score(QUERY, PASSAGES[:1]), 1)

    def test_an_empty_text_is_scored(self, reranker: Reranker) -> None:
        scores = reranker.score(QUERY, ["", " \n", PASSAGES[0]])
        assert scores.done.all()
        assert np.isfinite(scores.values).all()

    def test_ten_thousand_words_are_scored(self, reranker: Reranker) -> None:
        scores = reranker.score(QUERY, ["treaty " * 10_000, PASSAGES[0]])
        assert scores.done.all()
        assert np.isfinite(scores.values).all()
        assert not scores.truncated[1]

    def test_text_that_is_no_valid_unicode_is_scored(self, reranker: Reranker) -> None:
        scores = reranker.score("treaty \udfff", ["a\x00b", "lone \ud800 half", "\ud83d\ude00", "\x00"])
        assert scores.done.all()
        assert np.isfinite(scores.values).all()

    def test_a_deadline_that_has_passed_scores_nothing(self, reranker: Reranker) -> None:
        past = time.monotonic() - 1

        async def late() -> Scores:
            return await reranker.ascore(QUERY, PASSAGES, deadline=past)

        for scores in (reranker.score(QUERY, PASSAGES, deadline=past), asyncio.run(late())):
            _check_shape(scores, len(PASSAGES))
            assert not scores.done.any()

    def test_a_cancelled_call_ends_and_leaves_the_reranker_usable(self, reranker: Reranker) -> None:
        async def cancelled() -> Scores:
            task = asyncio.ensure_future(
                reranker.ascore(QUERY, [f"{passage} {i}" for i in range(200) for passage in PASSAGES])
            )
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
            return await reranker.ascore(QUERY, PASSAGES)

        assert asyncio.run(cancelled()).done.all()

    def test_a_score_that_is_no_finite_number_is_an_error(self, broken: Reranker) -> None:
        _raises_score_error(lambda: broken.score(QUERY, PASSAGES))

        async def asynchronously() -> Scores:
            return await broken.ascore(QUERY, PASSAGES)

        _raises_score_error(lambda: asyncio.run(asynchronously()))

    def _same(self, logits: FloatArray, expected: FloatArray) -> None:
        if self.tolerance:
            assert np.abs(logits - expected).max() <= self.tolerance
        else:
            assert logits.tobytes() == expected.astype(np.float32).tobytes()


def _check_shape(scores: Scores, passages: int) -> None:
    for values, kind in (
        (scores.values, np.float32),
        (scores.done, np.bool_),
        (scores.truncated, np.bool_),
        (scores.cached, np.bool_),
    ):
        assert values.shape == (passages,)
        assert values.dtype == kind


def _logits(reranker: Reranker, passages: Sequence[str]) -> FloatArray:
    return as_logits(reranker.score(QUERY, passages))


def _raises_score_error(call: Callable[[], object]) -> None:
    try:
        call()
    except ScoreError:
        return
    raise AssertionError("a score that is not finite did not raise ScoreError")

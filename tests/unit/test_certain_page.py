"""A window that ends by itself reads in the order of what is expected, and leaves out only what the bound
excludes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from es_rerank.models.stand_in import Prediction, best_of_each, from_calibrations
from es_rerank.models.wrappers.certain_page import MOST_STEPS, STEP, CertainPage
from es_rerank.scores import standardise
from es_rerank.types import Blend, Calibration, FirstStageScores, FloatArray

LOGIT = st.floats(-12, 12, width=16)


class Window(NamedTuple):
    """A window with known logits: what is expected of each text, and what the model says."""

    first_stage: FirstStageScores
    expected: FloatArray
    logits: FloatArray
    margin: float
    depth: int


@st.composite
def windows(draw: st.DrawFn, *, kept_to: bool) -> Window:
    counts = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=30)))
    scores = tuple(draw(st.lists(st.floats(0, 20, width=16), min_size=len(counts), max_size=len(counts))))
    texts = sum(counts)
    expected = np.asarray(draw(st.lists(LOGIT, min_size=texts, max_size=texts)), dtype=np.float32)
    margin = draw(st.floats(0, 3, width=16))
    above = st.floats(-12, margin if kept_to else 12, width=16)
    off = np.asarray(draw(st.lists(above, min_size=texts, max_size=texts)), dtype=np.float32)
    blend = draw(
        st.none() | st.tuples(st.floats(0.1, 2), st.floats(0, 2)).map(lambda drawn: Blend(*drawn, -1.0))
    )
    return Window(
        FirstStageScores(scores, counts, blend), expected, expected + off, margin, draw(st.integers(1, 12))
    )


def read(window: Window) -> list[list[int]]:
    """The texts that are read, step by step."""
    page = CertainPage(window.expected, window.margin, window.first_stage, window.depth)
    steps = []
    while wanted := page.next():
        steps.append(wanted)
        page.tell(wanted, window.logits[wanted])
    return steps


def log_odds(window: Window, logits: FloatArray, spread: float) -> FloatArray:
    """What the documents of a window are ordered by, with a spread that is given."""
    blend = window.first_stage.blend
    if blend is None:
        return logits
    places = standardise(window.first_stage.scores)
    return np.asarray(blend.logit * logits + blend.first_stage * spread * places, dtype=np.float64)


@settings(deadline=None)
@given(windows(kept_to=True))
def test_where_the_bound_holds_the_page_is_that_of_the_whole_window(window: Window) -> None:
    steps = read(window)
    seen = np.full(len(window.expected), -np.inf, dtype=np.float32)
    read_texts = [position for step in steps for position in step]
    seen[read_texts] = window.logits[read_texts]
    best = best_of_each(seen, window.first_stage)
    whole = best_of_each(window.logits, window.first_stage)
    mixed = np.where(np.isfinite(best), best, best_of_each(window.expected, window.first_stage))
    spread = float(mixed.astype(np.float64).std())
    depth = min(window.depth, len(best))
    known = np.sort(log_odds(window, best, spread)[np.isfinite(best)])[::-1]
    everything = np.sort(log_odds(window, whole, spread))[::-1]
    assert len(known) >= depth
    np.testing.assert_allclose(known[:depth], everything[:depth], atol=1e-4)


@settings(deadline=None)
@given(windows(kept_to=False))
def test_it_ends_only_when_nothing_can_enter_under_the_bound(window: Window) -> None:
    steps = read(window)
    order = [position for step in steps for position in step]
    assert len(order) == len(set(order))
    left = sorted(set(range(len(window.expected))) - set(order))
    seen = np.full(len(window.expected), -np.inf, dtype=np.float32)
    seen[order] = window.logits[order]
    best = best_of_each(seen, window.first_stage)
    mixed = np.where(np.isfinite(best), best, best_of_each(window.expected, window.first_stage))
    spread, owner = (
        float(mixed.astype(np.float64).std()),
        np.repeat(np.arange(len(best)), window.first_stage.counts),
    )
    last = np.sort(log_odds(window, best, spread)[np.isfinite(best)])[::-1][min(window.depth, len(best)) - 1]
    for position in left:
        highest = np.full(len(best), window.expected[position] + window.margin, dtype=np.float32)
        assert log_odds(window, highest, spread)[owner[position]] <= last + 1e-3


@settings(deadline=None)
@given(windows(kept_to=False))
def test_the_steps_are_small_and_the_first_one_fills_the_page(window: Window) -> None:
    steps = read(window)
    assert steps == read(window)
    assert all(step == sorted(step) for step in steps)
    assert len(steps[0]) == min(
        len(window.expected), max(STEP, min(window.depth, len(window.first_stage.counts)))
    )
    expected = log_odds(
        window,
        best_of_each(window.expected, window.first_stage),
        float(best_of_each(window.expected, window.first_stage).astype(np.float64).std()),
    )
    if all(count == 1 for count in window.first_stage.counts) and len(steps[0]) < len(expected):
        others = np.delete(expected, steps[0])
        assert expected[steps[0]].min() >= others.max() - 1e-4


def test_a_page_that_is_far_ahead_ends_the_window_at_once() -> None:
    expected = np.asarray([9.0] * 4 + [0.0] * 26, dtype=np.float32)
    window = Window(FirstStageScores.unknown(30), expected, expected, 2.0, 3)
    assert read(window) == [[0, 1, 2, 3]]
    assert sum(map(len, read(window._replace(margin=9.0)))) == 30
    assert read(Window(FirstStageScores((), ()), expected[:0], expected[:0], 1.0, 3)) == []


@example(logits=[0.0], scores=[float("nan")])
@given(
    st.lists(LOGIT, min_size=1, max_size=20), st.lists(st.floats(0, 9, width=16), min_size=20, max_size=20)
)
def test_what_is_expected_is_linear_in_the_logit_and_uses_the_first_stage(
    logits: list[float], scores: list[float]
) -> None:
    known = FirstStageScores(tuple(scores[: len(logits)]), (1,) * len(logits))
    cheap = np.asarray(logits, dtype=np.float32)
    assert Prediction(1.0, 0.0, 0.0).expected(cheap, known).tolist() == cheap.tolist()
    found = Prediction(2.0, 0.5, -1.0).expected(cheap, known)
    places = standardise(known.scores)
    np.testing.assert_allclose(
        found, 2 * cheap + 0.5 * cheap.astype(np.float64).std() * places - 1, atol=1e-3
    )


def test_two_calibrated_models_say_the_same_by_their_log_odds() -> None:
    cheap, better = Calibration(0.5, 1.0), Calibration(0.25, -1.0)
    scale = from_calibrations(cheap, better, joined=False)
    assert scale == Prediction(2.0, 0.0, 8.0)
    logits = np.asarray([-3.0, 2.0], dtype=np.float32)
    expected = scale.expected(logits, FirstStageScores.unknown(2))
    np.testing.assert_allclose(0.25 * expected - 1.0, 0.5 * logits + 1.0, rtol=1e-6)
    assert from_calibrations(None, None, joined=True).first_stage > 0


def test_a_large_window_is_read_in_few_steps() -> None:
    """With a step of four texts, these 2,000 would take 500 steps, each over all of them."""
    first_stage = FirstStageScores(tuple(map(float, range(1_000, 0, -1))), (2,) * 1_000)
    logits = np.linspace(3, -3, 2_000, dtype=np.float32)
    steps = read(Window(first_stage, logits, logits, 10.0, 10))
    assert sorted(position for step in steps for position in step) == list(range(2_000))
    assert len(steps) <= MOST_STEPS

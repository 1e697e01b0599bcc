"""The parts of a fit: nDCG@10 of a window, and the line from values to log-odds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.research.training.calibration_fit import JudgedWindow, fit_line, ndcg


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=8),
            st.integers(0, 2**16),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_probabilities_never_turn_an_order_around(drawn: list[tuple[list[float], int]]) -> None:
    values = [np.asarray(logits, dtype=np.float32) for logits, _ in drawn]
    labels = [
        np.asarray([float(bits >> place & 1) for place in range(len(logits))], dtype=np.float32)
        for logits, bits in drawn
    ]
    line = fit_line(values, labels, np.full(len(drawn), 1 / len(drawn)))
    assert 0 < line.slope < np.inf
    assert np.isfinite(line.intercept)


def test_ndcg_is_that_of_the_window() -> None:
    labels = np.array([0, 1, np.nan], dtype=np.float32)
    window = JudgedWindow("one", "q", "dense", np.zeros(3, dtype=np.float32), labels, labels)
    assert ndcg(window, [3.0, 2.0, 1.0]) == pytest.approx(1 / np.log2(3))
    assert ndcg(window, [0.0, 0.0, 0.0]) == pytest.approx(1 / np.log2(3))
    assert ndcg(window, [1.0, 2.0, 3.0]) == pytest.approx(1 / np.log2(3))
    assert ndcg(window, [1.0, 3.0, 2.0]) == 1.0

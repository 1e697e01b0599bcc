"""Weights rounded so that their products change least, rather than each weight by itself.

GPTQ, https://arxiv.org/abs/2210.17323: weights are rounded one row after the other, and what rounding a row did to the
products is made good by the rows that are still to come, as far as their activations go along with its own. That needs
texts like those that will be read: fitted to others, the products of real ones get worse.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..types import FloatArray

_DAMPING = 0.01
"""Share of the mean square of the activations that is added to each one's, as in the paper (section 3.3, step 3)."""
_BLOCK = 128
"""Rows after which what is left is brought up to date in one product (section 3.3, step 2)."""


def fitted(weights: FloatArray, steps: FloatArray, read: FloatArray, largest: int) -> npt.NDArray[np.int8]:
    """Return weights, (rows, columns), as whole numbers up to ``largest``; ``steps`` is the step of each column.

    ``read``, (n, rows), holds what the weights are multiplied with.
    """
    squares = read.T.astype(np.float64) @ read
    squares[np.diag_indices_from(squares)] += _DAMPING * np.trace(squares) / len(squares) + np.finfo(np.float32).tiny
    order = np.argsort(-np.diag(squares), kind="stable")  # what weighs most while most rows can still make it good
    passed_on = np.linalg.cholesky(np.linalg.inv(squares[np.ix_(order, order)])).T
    left = weights[order].astype(np.float64)
    grid = np.empty_like(weights, dtype=np.int8)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(left)))
        errors = np.empty_like(left[block])
        for row in range(block.start, block.stop):
            whole = np.clip(np.rint(left[row] / steps), -largest, largest)
            grid[order[row]] = whole
            errors[row - start] = (left[row] - whole * steps) / passed_on[row, row]
            left[row + 1 : block.stop] -= np.outer(passed_on[row, row + 1 : block.stop], errors[row - start])
        left[block.stop :] -= passed_on[block, block.stop :].T @ errors
    return grid

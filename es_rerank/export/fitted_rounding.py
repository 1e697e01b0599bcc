"""Weights rounded so that their products change least, rather than each weight by itself.

GPTQ, https://arxiv.org/abs/2210.17323: weights are rounded one row after the other, and what rounding a row did to the
products is made good by the rows that are still to come, as far as their activations go along with its own. That needs
texts like those that will be read: fitted to others, the products of real ones get worse. Row by row is greedy; where
few rows can make good what was done to others, a column may come out worse than rounded, and is rounded then.
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
    products = read.T.astype(np.float64) @ read
    squares = products.copy()
    squares[np.diag_indices_from(squares)] += (
        _DAMPING * np.trace(squares) / len(squares) + np.finfo(np.float32).tiny
    )
    order = np.argsort(
        -np.diag(squares), kind="stable"
    )  # what weighs most while most rows can still make it good
    passed_on = np.linalg.cholesky(np.linalg.inv(squares[np.ix_(order, order)])).T
    left = weights[order].astype(np.float64)
    grid = np.empty_like(weights, dtype=np.int8)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(left)))
        errors = np.empty_like(left[block])
        for row in range(block.start, block.stop):
            whole = _rounded(left[row], steps, largest)
            grid[order[row]] = whole
            errors[row - start] = (left[row] - whole * steps) / passed_on[row, row]
            left[row + 1 : block.stop] -= np.outer(passed_on[row, row + 1 : block.stop], errors[row - start])
        left[block.stop :] -= passed_on[block, block.stop :].T @ errors
    rounded = _rounded(weights, steps, largest).astype(np.int8)
    worse = _loss(grid * steps - weights, products) > _loss(rounded * steps - weights, products)
    return np.where(worse, rounded, grid)


def _rounded(weights: npt.NDArray[np.floating], steps: FloatArray, largest: int) -> npt.NDArray[np.floating]:
    return np.clip(np.rint(weights / steps), -largest, largest)


def _loss(errors: FloatArray, products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return, per column, the sum of squares by which products change; ``products`` holds those of the activations with each other."""
    return np.asarray((errors * (products @ errors)).sum(axis=0), dtype=np.float64)

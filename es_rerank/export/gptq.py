"""Rounding of weights that changes their products least. It does not round each weight on its own.

This is GPTQ, https://arxiv.org/abs/2210.17323. Weights are rounded one row after the other. The error that
rounding a row causes in the products is corrected in the rows that follow, as far as their activations are
correlated. That needs texts like those of production: fitted to other texts, the products of real texts get
worse. The method is greedy. When too few rows follow to correct an error, a column may come out worse than
with plain rounding; such a column is rounded plainly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..types import FloatArray

_DAMPING = 0.01
"""Share of the activations' mean square that is added to each square, as in the paper (section 3.3, step 3).
"""
_BLOCK = 128
"""Rows after which all remaining rows are updated in one product (section 3.3, step 2)."""


def gptq_round(
    weights: FloatArray, steps: FloatArray, read: FloatArray, largest: int
) -> npt.NDArray[np.int8]:
    """Return weights, (rows, columns), as whole numbers up to ``largest``; ``steps`` is the step of each
    column.

    ``read``, (n, rows), holds the activations that the weights multiply.
    """
    products = read.T.astype(np.float64) @ read
    squares = products.copy()
    squares[np.diag_indices_from(squares)] += (
        _DAMPING * np.trace(squares) / len(squares) + np.finfo(np.float32).tiny
    )
    # The rows with the largest activations first: most rows can still correct their errors then.
    order = np.argsort(-np.diag(squares), kind="stable")
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
    """Return, for each column, the sum of squared changes of the products.

    ``products`` is the matrix of the activations' products with each other, (rows, rows).
    """
    return np.asarray((errors * (products @ errors)).sum(axis=0), dtype=np.float64)

"""Computes the passes of a training step side by side, one thread of one core for each.

torch can also share one matrix product between the cores, but then they wait for each other after every
operation. With two cores and other work on the machine, one pass on two threads was slower than on one: 591
tokens/s instead of 1,006. Passes need nothing of each other until their gradients are added up.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .batches import MicroBatch

Loss = Callable[[torch.nn.Module, "MicroBatch"], torch.Tensor]
"""A function that returns the loss of one pass, a scalar, computed with the given model."""


class SideBySide:
    """Copies of a model that share its weights and have gradients of their own.

    With one thread nothing is copied, and torch shares the work between the cores as it does by default.
    """

    def __init__(self, model: torch.nn.Module, threads: int) -> None:
        self._models = [model, *(_sharing_weights(model) for _ in range(threads - 1))]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        if threads > 1:
            torch.set_num_threads(1)

    def backward(self, loss: Loss, passes: Sequence[MicroBatch]) -> float:
        """Add the gradients of all passes to the model's; return the sum of their losses.

        Each thread takes the next pass that is left, so passes of different lengths keep all threads busy.
        """
        if self._pool is None:
            return sum(_backward(self._models[0], loss, part) for part in passes)
        left, lock = iter(passes), threading.Lock()

        def work(model: torch.nn.Module) -> float:
            total = 0.0
            while True:
                with lock:
                    part = next(left, None)
                if part is None:
                    return total
                total += _backward(model, loss, part)

        total = sum(self._pool.map(work, self._models))
        for other in self._models[1:]:
            for own, copied in zip(self._models[0].parameters(), other.parameters(), strict=True):
                if copied.grad is None:
                    continue
                own.grad = copied.grad if own.grad is None else own.grad.add_(copied.grad)
                copied.grad = None
        return total


def _backward(model: torch.nn.Module, loss: Loss, part: MicroBatch) -> float:
    value = loss(model, part)
    value.backward()
    return float(value.item())


def _sharing_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a model whose parameters are the same memory, so that a step changes both."""
    other = copy.deepcopy(model)
    for own, copied in zip(model.parameters(), other.parameters(), strict=True):
        copied.data = own.data
    return other

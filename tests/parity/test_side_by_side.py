"""Passes side by side give the gradients and the loss that one pass after the other gives."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from es_rerank.research.training.side_by_side import SideBySide


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def loss(model: torch.nn.Module, part: Any) -> torch.Tensor:
    value: torch.Tensor = model(part.rows).pow(2).mean()
    return value


def model() -> torch.nn.Module:
    torch.manual_seed(3)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    layers[0].bias.requires_grad = False
    return layers


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_and_weights_are_those_of_one_thread(threads: int) -> None:
    torch.manual_seed(5)
    passes: list[Any] = [SimpleNamespace(rows=torch.randn(count, 5)) for count in (3, 1, 8, 2, 5)]
    plain, shared = model(), model()
    side_by_side = SideBySide(shared, threads)
    for network in (plain, shared):
        network.zero_grad()
    for _ in range(3):
        expected = sum(loss(plain, part).item() for part in passes)
        for part in passes:
            loss(plain, part).backward()
        assert side_by_side.backward(loss, passes) == pytest.approx(expected, rel=1e-5)
        for own, other in zip(plain.parameters(), shared.parameters(), strict=True):
            if own.requires_grad:
                assert other.grad is not None
                assert torch.allclose(own.grad, other.grad, atol=1e-6)
            with torch.no_grad():  # a step that every copy must see
                for each in (own, other):
                    if each.grad is not None:
                        each.sub_(0.1 * each.grad)
                    each.grad = None


def test_a_failure_in_one_thread_reaches_the_caller() -> None:
    side_by_side = SideBySide(model(), 2)

    def broken(_: torch.nn.Module, part: Any) -> torch.Tensor:
        raise ValueError(part)

    with pytest.raises(ValueError, match="1"):
        side_by_side.backward(broken, [1, 1, 1])  # type: ignore[list-item]

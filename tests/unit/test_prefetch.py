"""Working ahead of who reads: the order, the errors and the end stay as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import (
    ModelError,
)
from ingest_pipelines.prefetch import prefetch


@given(st.lists(st.integers()), st.integers(1, 4))
def test_working_ahead_keeps_the_order(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth)) == items


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ModelError("third")

    stream = prefetch(items(), depth=3)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ModelError, match="third"):
        next(stream)


def test_closing_early_asks_for_no_more() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    stream = prefetch(items(), depth=2)
    next(stream)
    stream.close()
    assert len(asked) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest-ahead")]

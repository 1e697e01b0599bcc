"""Steps side by side: the order, the errors, the bounds and the end are those of one step after another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import ModelError
from ingest_pipelines.flow import Flow, Step


def flow_of(items: Iterator[int], *steps: Step[int], most: int = 1_000) -> Flow[int]:
    return Flow(items, steps, weight=lambda _: 1, most_weight=most)


def no_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("ingest-")]


@given(st.lists(st.integers(), max_size=30), st.lists(st.integers(1, 3), max_size=3))
def test_the_order_is_kept(items: list[int], workers: list[int]) -> None:
    steps = [Step(f"step {place}", lambda item: item + 1, count) for place, count in enumerate(workers)]
    with flow_of(iter(items), *steps) as flow:
        assert list(flow) == [item + len(workers) for item in items]
    assert no_threads()


@pytest.mark.parametrize("where", ["read", "first", "second"])
def test_an_error_comes_in_its_place(where: str) -> None:
    def fail(at: str, item: int) -> int:
        if at == where and item == 3:
            raise ModelError(at)
        return item

    items = (fail("read", item) for item in range(1_000))
    steps = [Step("a", lambda item: fail("first", item), 2), Step("b", lambda item: fail("second", item), 2)]
    seen: list[int] = []
    with flow_of(items, *steps) as flow, pytest.raises(ModelError, match=where):
        seen.extend(flow)
    # ``extend`` keeps nothing of an iterator that raises, so the items are taken one by one.
    assert no_threads()
    with flow_of((fail("read", item) for item in range(1_000)), *steps) as flow:
        results = iter(flow)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ModelError):
            next(results)
    assert no_threads()


def test_no_more_is_held_than_the_weight() -> None:
    taken, held = 0, list[int]()

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    with flow_of(items(), *(Step(str(number), lambda item: item, 3) for number in range(5)), most=4) as flow:
        held.extend(taken - done for done, _ in enumerate(flow))
    assert max(held) <= 5  # the fifth was read and waits
    heavy = Flow(iter([9, 9, 1]), [Step("a", lambda item: item)], weight=lambda item: item, most_weight=4)
    with heavy:
        assert list(heavy) == [9, 9, 1]


def test_leaving_early_reads_no_more() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    with flow_of(items(), Step("a", lambda item: item)) as flow:
        next(iter(flow))
    assert len(asked) <= 8
    assert no_threads()


def test_items_with_a_common_key_are_worked_on_one_after_the_other() -> None:
    """Two of three run at once; the third waits for the first, which has the same key."""
    meeting, first_done, order = threading.Barrier(2, timeout=60), threading.Event(), list[int]()

    def run(item: int) -> int:
        if item in {1, 2}:
            meeting.wait()
        if item == 1:
            first_done.set()
        if item == 11:
            assert first_done.is_set()
        order.append(item)
        return item

    step = Step("write", run, 3, keys=lambda item: {str(item % 10)})
    with flow_of(iter([1, 2, 11]), step) as flow:
        assert list(flow) == [1, 2, 11]
    assert order.index(1) < order.index(11)


@pytest.mark.parametrize("gives_up", [False, True])
def test_finishing_ends_what_has_begun_and_begins_no_more(gives_up: bool) -> None:
    begun, go_on, embedded = threading.Event(), threading.Event(), list[int]()

    def embed(item: int) -> int | None:
        embedded.append(item)
        begun.set()
        assert go_on.wait(60)
        return None if gives_up else item

    steps = [
        Step("cut", lambda item: item),
        Step("embed", embed, last_begun=True),
        Step("write", lambda i: i),
    ]
    with flow_of(iter(range(100)), *steps) as flow:
        assert begun.wait(60)
        flow.finish()
        go_on.set()
        assert list(flow) == ([] if gives_up else [0])
        assert flow.cut_short
    assert embedded == [0]
    assert no_threads()


def test_finishing_does_not_wait_for_a_source_that_gives_nothing() -> None:
    never, waiting = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        waiting.set()
        never.wait(60)

    with flow_of(items(), Step("embed", lambda item: item, last_begun=True)) as flow:
        assert next(iter(flow)) == 1
        assert waiting.wait(60)
        flow.finish()
        assert list(flow) == []
    assert flow.cut_short
    never.set()


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_an_error_does_not_wait_for_a_source_that_gives_nothing(fault: type[BaseException]) -> None:
    never, waiting = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        waiting.set()
        never.wait(60)

    with suppress(fault), flow_of(items(), Step("embed", lambda item: item)) as flow:
        assert next(iter(flow)) == 1
        assert waiting.wait(60)
        raise fault
    assert not never.is_set()
    (reader,) = (each for each in threading.enumerate() if each.name == "ingest-read")
    never.set()
    reader.join()


def test_a_run_that_had_ended_is_not_cut_short() -> None:
    with flow_of(iter([1]), Step("embed", lambda item: item, last_begun=True)) as flow:
        assert list(flow) == [1]
        flow.finish()
    assert not flow.cut_short

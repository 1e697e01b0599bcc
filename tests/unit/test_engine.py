"""The pool: fair, bounded, bit-exact at any concurrency,
with deadlines and cancellation that free what waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_models import GRAPH, save_graph, tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.engine import processor
from es_rerank.engine.pool import Pool, Rate
from es_rerank.engine.processor import cores
from es_rerank.engine.session import Session
from es_rerank.errors import ModelError, ModelFolderError, OverloadError
from es_rerank.research.bench.machine import machine


def itself(item: int) -> int:
    return item


class Gate:
    """Work that waits until it is let through, and records what has begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open = threading.Event()
        self._first = threading.Semaphore(0)

    def work(self, item: int) -> int:
        self.begun.append(item)
        self._first.release()
        assert self.open.wait(timeout=10)
        return item

    def wait_until_begun(self) -> None:
        assert self._first.acquire(timeout=10)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(1)
    yield pool
    pool.close()


def in_thread(target: object, *args: object, **settings: object) -> tuple[threading.Thread, list[object]]:
    """Run in a thread; the list receives the result or the error."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(target(*args, **settings))  # type: ignore[operator] # a callable
        except Exception as error:  # noqa: BLE001 handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_results_come_in_the_order_of_the_items(pool: Pool) -> None:
    assert pool.run(itself, [3, 1, 2], length=itself) == [3, 1, 2]


def test_nothing_asked_is_nothing_done(pool: Pool) -> None:
    assert pool.run(itself, [], length=itself) == []


def test_the_longest_item_runs_first(pool: Pool) -> None:
    order: list[int] = []
    pool.run(order.append, [1, 3, 2], length=itself)
    assert order == [3, 2, 1]


def test_items_run_side_by_side_up_to_the_number_of_threads() -> None:
    pool, together = Pool(3), threading.Barrier(3)
    pool.run(lambda _: together.wait(timeout=10), [0, 0, 0], length=itself)
    pool.close()


def test_two_calls_take_turns(pool: Pool, gate: Gate) -> None:
    first, _ = in_thread(pool.run, gate.work, [10, 11, 12, 13], length=lambda item: -item)
    gate.wait_until_begun()
    second, _ = in_thread(pool.run, gate.work, [20, 21], length=lambda item: -item)
    until(lambda: pool.waiting == 5)
    gate.open.set()
    first.join()
    second.join()
    assert gate.begun == [10, 11, 20, 12, 21, 13]


def test_of_calls_with_deadlines_the_earliest_goes_first_and_shares_with_those_without(
    pool: Pool, gate: Gate
) -> None:
    blocking, _ = in_thread(pool.run, gate.work, [0], length=itself)
    gate.wait_until_begun()
    now = time.monotonic()
    calls = [([10, 11], now + 90), ([20, 21], now + 30), ([30, 31], None), ([40, 41], None)]
    threads = []
    for count, (items, deadline) in enumerate(calls, 1):
        threads.append(in_thread(pool.run, gate.work, items, length=lambda item: -item, deadline=deadline)[0])
        until(lambda most=2 * count: pool.waiting == most)  # type: ignore[misc]
    gate.open.set()
    for thread in [blocking, *threads]:
        thread.join()
    assert gate.begun == [0, 20, 30, 21, 40, 10, 31, 11, 41]


def test_a_deadline_already_past_runs_nothing(pool: Pool, gate: Gate) -> None:
    assert pool.run(gate.work, [1, 2], length=itself, deadline=time.monotonic() - 1) == [None, None]
    assert gate.begun == []


def test_at_the_deadline_what_has_not_begun_is_left_out(pool: Pool, gate: Gate) -> None:
    threading.Timer(0.2, gate.open.set).start()
    assert pool.run(gate.work, [2, 1], length=itself, deadline=time.monotonic() + 0.05) == [2, None]


def test_a_late_call_does_not_wait_for_another_call(pool: Pool, gate: Gate) -> None:
    thread, outcome = in_thread(pool.run, gate.work, [1], length=itself)
    gate.wait_until_begun()
    assert pool.run(itself, [5], length=itself, deadline=time.monotonic() + 0.01) == [None]
    assert pool.waiting == 0
    gate.open.set()
    thread.join()
    assert outcome == [[1]]


async def test_cancelling_frees_what_waits(pool: Pool, gate: Gate) -> None:
    call = asyncio.create_task(pool.arun(gate.work, list(range(100)), length=itself))
    await asyncio.to_thread(gate.wait_until_begun)
    assert pool.waiting == 99
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert pool.waiting == 0
    gate.open.set()
    assert await pool.arun(itself, [7], length=itself) == [7]
    assert gate.begun == [99]


async def test_the_event_loop_is_free_while_the_pool_works(pool: Pool, gate: Gate) -> None:
    call = asyncio.create_task(pool.arun(gate.work, [1], length=itself, deadline=time.monotonic() + 10))
    await asyncio.to_thread(gate.wait_until_begun)
    gate.open.set()
    assert await call == [1]


async def test_an_asynchronous_call_keeps_its_deadline(pool: Pool, gate: Gate) -> None:
    first = asyncio.create_task(pool.arun(gate.work, [1], length=itself))
    await asyncio.to_thread(gate.wait_until_begun)
    assert await pool.arun(itself, [5, 6], length=itself, deadline=time.monotonic() + 0.01) == [None, None]
    gate.open.set()
    assert await first == [1]


def test_an_error_ends_its_call_and_no_other(pool: Pool) -> None:
    ran: list[int] = []

    def fails(item: int) -> None:
        ran.append(item)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.run(fails, [1, 2, 3], length=itself)
    assert ran == [3]
    assert pool.run(itself, [4], length=itself) == [4]


def test_work_without_a_deadline_is_bounded_in_seconds(gate: Gate) -> None:
    pool, rate = Pool(1, most_waiting_s=30.0), Rate(1.0)
    thread, outcome = in_thread(pool.run, gate.work, [1, 2, 3], length=lambda item: item * 5.0, rate=rate)
    gate.wait_until_begun()
    with pytest.raises(OverloadError, match=r"35\.0 s of work would wait, and at most 30\.0 s may"):
        pool.run(itself, [1, 2], length=lambda item: item * 20 / 3, rate=rate)
    gate.open.set()
    thread.join()
    assert outcome == [[1, 2, 3]]
    # Alone, a call may be larger than the bound: refusing it would refuse it for ever.
    assert pool.run(itself, [1, 2, 3, 4], length=lambda _: 60.0, rate=Rate(1.0)) == [1, 2, 3, 4]
    pool.close()


def test_a_call_that_would_be_late_is_refused_before_it_waits(gate: Gate) -> None:
    pool, rate = Pool(1), Rate(1.0)
    thread, _ = in_thread(pool.run, gate.work, [1, 1], length=lambda _: 60.0, rate=rate)
    gate.wait_until_begun()
    with pytest.raises(OverloadError) as refused:
        pool.run(itself, [1], length=lambda _: 60.0, rate=rate, deadline=time.monotonic() + 60)
    assert 30 < (refused.value.retry_after_s or 0) <= 45, "half of what runs, with the margin"
    figures = pool.figures()
    assert (figures.running, figures.waiting, figures.waiting_s, figures.refused) == (1, 1, 60.0, 1)
    gate.open.set()
    thread.join()
    pool.close()


def test_the_figures_count_what_ended_how(pool: Pool, gate: Gate) -> None:
    thread, _ = in_thread(pool.run, gate.work, [1], length=itself)
    gate.wait_until_begun()
    assert pool.run(itself, [5], length=itself, deadline=time.monotonic() + 0.01) == [None]
    gate.open.set()
    thread.join()
    figures = pool.figures()
    assert (figures.late, figures.dropped, figures.tokens, figures.running) == (1, 0, 1, 0)


async def test_a_caller_who_left_is_counted_as_dropped(pool: Pool, gate: Gate) -> None:
    call = asyncio.create_task(pool.arun(gate.work, [1, 2], length=itself))
    await asyncio.to_thread(gate.wait_until_begun)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.open.set()
    assert (pool.figures().dropped, pool.figures().waiting) == (1, 0)


def test_closing_ends_what_runs_and_fails_what_waits(gate: Gate) -> None:
    pool = Pool(1)
    running, done = in_thread(pool.run, gate.work, [1], length=itself)
    gate.wait_until_begun()
    waiting, failed = in_thread(pool.run, itself, [2], length=itself)
    until(lambda: pool.waiting == 1)
    closing, _ = in_thread(pool.close)
    waiting.join()
    gate.open.set()
    for thread in (running, closing):
        thread.join()
    assert done == [[1]]
    assert isinstance(failed[0], ModelError)
    with pytest.raises(ModelError, match="closed"):
        pool.run(itself, [1], length=itself)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("150000 100000\n", 1), ("max 100000\n", None), ("50000 100000\n", 1), ("nonsense", None)],
)
def test_a_container_s_quota_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(text, encoding="ascii")
    monkeypatch.setattr(processor, "_QUOTA", tmp_path / "nothing")
    unbounded = cores()
    monkeypatch.setattr(processor, "_QUOTA", tmp_path / "cpu.max")
    assert cores() == (expected or unbounded)
    assert machine("9.5.0")["cores"] == cores(), "the bench names the cores that it could use"


def test_a_graph_gives_the_same_bits_at_any_concurrency(tmp_path: Path) -> None:
    session = Session(tiny_cross_encoder(tmp_path) / GRAPH)
    items = [[2, *draw, 3] for draw in np.random.default_rng(0).integers(4, 60, size=(200, 30)).tolist()]

    def score(ids: list[int]) -> bytes:
        return session.run([ids], [[0] * len(ids)]).tobytes()

    alone = [score(ids) for ids in items]
    for threads in (1, 2, 8):
        pool = Pool(threads)
        assert pool.run(score, items, length=len) == alone
        pool.close()


def test_the_head_of_a_graph_is_found_by_running_it(tmp_path: Path) -> None:
    assert Session(tiny_cross_encoder(tmp_path / "one") / GRAPH).labels() == 1
    assert Session(tiny_cross_encoder(tmp_path / "two", labels=2) / GRAPH).labels() == 2
    assert Session(tiny_bi_encoder(tmp_path / "bi", dims=5) / GRAPH).dims() == 5


def test_a_graph_without_head_is_refused_as_a_reranker(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"\(1, 3, 8\).*without its head"):
        Session(tiny_bi_encoder(tmp_path) / GRAPH).labels()


def test_a_graph_that_pools_is_refused_as_an_embedder(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="not one hidden state per token"):
        Session(tiny_cross_encoder(tmp_path) / GRAPH).dims()


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / GRAPH).write_bytes(b"not a graph")
    with pytest.raises(ModelFolderError, match=r"model\.onnx is not a graph"):
        Session(tmp_path / GRAPH)


def test_a_graph_with_inputs_of_its_own_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["logits"])],
        "other",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / GRAPH).write_bytes(model.SerializeToString())
    with pytest.raises(ModelFolderError, match="not known here: pixels"):
        Session(tmp_path / GRAPH)


def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[2, 2]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "shape"], ["logits"]),
    ]
    save_graph(tmp_path, nodes, {}, ("logits", ["batch", "labels"]))
    with pytest.raises(ModelFolderError, match="loads but does not run"):
        Session(tmp_path / GRAPH).labels()

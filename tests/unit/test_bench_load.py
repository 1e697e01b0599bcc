"""The bench of latency under load: its arithmetic in a time that costs none, its servers as processes, and
the command on a tiny model.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from instant_loop import instantly
from rerank_stand_in import FAKE, Start, stand_ins
from tiny_models import GRAPH, reseal, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import file_record, read_manifest
from es_rerank.research.bench import under_load
from es_rerank.research.bench.load import (
    Reply,
    RequestOutcome,
    arrivals,
    capacity,
    offer,
    percentile,
    rate_result,
    without_collection,
)
from es_rerank.research.bench.peers import System
from es_rerank.research.bench.peers.environment import installed
from es_rerank.research.bench.servers import (
    INFINITY,
    INFINITY_DIALECT,
    Server,
    in_precision,
    start_infinity,
    start_sidecar,
)
from es_rerank.research.bench.under_load import Contender, UnderLoad, reference
from es_rerank.research.bench.windows import Candidates, requests_of
from es_rerank.research.bench.workers import WorkerError
from es_rerank.research.plots.curves import COLOURS, Curve, Line, Panel, curves

# --- arithmetic, in a time that costs none ------------------------------------------------------------------


class OneAtATime:
    """A server that works off its queue in order, each request for its own number of seconds."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.seconds = seconds
        self._turn = asyncio.Lock()

    async def ask(self, number: int) -> RequestOutcome:
        async with self._turn:
            await asyncio.sleep(self.seconds[number])
        return "answered"


def latencies(seconds: Sequence[float], due: Sequence[float], timeout_s: float = 1e6) -> list[Reply]:
    return instantly(offer(OneAtATime(seconds).ask, np.asarray(due, dtype=np.float64), timeout_s=timeout_s))


def test_a_slow_server_cannot_hide_its_queue() -> None:
    """At two requests a second, a server of one a second keeps the k-th waiting k/2 seconds longer; asked in
    turn it would show one second each.
    """
    replies = latencies([1.0] * 10, [0.5 * k for k in range(10)])
    assert [reply.seconds for reply in replies] == pytest.approx([1 + 0.5 * k for k in range(10)])
    assert all(reply.behind == pytest.approx(0, abs=1e-9) for reply in replies)


def test_a_stall_is_seen_by_every_request_that_was_due_meanwhile() -> None:
    replies = latencies([0.001] * 20 + [5.0] + [0.001] * 179, [0.1 * k for k in range(200)])
    assert 50 <= sum(reply.seconds > 0.01 for reply in replies) <= 52
    assert max(reply.seconds for reply in replies) == pytest.approx(5, abs=0.01)


queue = st.lists(st.tuples(st.floats(0, 10), st.floats(0.001, 10)), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(queue)
def test_latency_is_that_of_queueing_theory(each: list[tuple[float, float]]) -> None:
    due, seconds = sorted(at for at, _ in each), [length for _, length in each]
    ended, expected = 0.0, []
    for at, length in zip(due, seconds, strict=True):  # Lindley's recursion
        ended = max(at, ended) + length
        expected.append(ended - at)
    # Requests that are due at one moment may be served in any order.
    assert sum(reply.seconds for reply in latencies(seconds, due)) == pytest.approx(sum(expected)) or len(
        set(due)
    ) < len(due)


def test_what_is_not_answered_in_time_is_late_and_given_up() -> None:
    replies = latencies([1.0] * 4, [0.0, 0.1, 0.2, 0.3], timeout_s=2.05)
    assert [reply.outcome for reply in replies] == ["answered", "answered", "late", "late"]
    assert [reply.seconds for reply in replies[2:]] == [math.inf, math.inf]


def test_an_error_ends_the_measuring_as_itself() -> None:
    ended = []

    async def ask(number: int) -> RequestOutcome:
        if number == 1:
            raise WorkerError("ended")
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(number)
        return "answered"

    with pytest.raises(WorkerError, match="ended"):
        instantly(offer(ask, np.asarray([0.0, 1.0, 2.0]), timeout_s=1e6))
    assert ended == [0]


@pytest.mark.parametrize(("side_by_side", "expected"), [(1, 2.0), (2, 4.0), (8, 4.0)])
def test_capacity_is_what_a_busy_server_answers(side_by_side: int, expected: float) -> None:
    room = asyncio.Semaphore(2)

    async def ask(_: int) -> RequestOutcome:
        async with room:
            await asyncio.sleep(0.5)
        return "answered"

    assert instantly(capacity(ask, 40, side_by_side=side_by_side)) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 1000), st.integers(1, 500))
def test_arrivals_have_the_offered_rate_and_one_pattern(rate: float, requests: int) -> None:
    due = arrivals(rate, requests)
    assert len(due) == requests
    assert (np.diff(due) >= 0).all()
    assert 0 <= due[0] <= due[-1] <= requests / rate
    assert due * rate == pytest.approx(arrivals(1.0, requests))


def test_arrivals_are_a_poisson_stream() -> None:
    gaps = np.diff(arrivals(4.0, 20_000))
    assert gaps.mean() == pytest.approx(0.25, rel=0.01)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.03)  # 0 for a metronome
    assert np.mean(gaps > 0.25) == pytest.approx(math.exp(-1), abs=0.01)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, 1e6), st.just(math.inf)), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_a_step_counts_what_became_of_its_requests() -> None:
    replies = [
        Reply("answered", 0.1, 0.0),
        Reply("rejected", 0.01, 0.002),
        Reply("answered", 0.3, 0.0),
        Reply("late", math.inf, 0.0),
    ]
    step = rate_result(2.0, np.asarray([0.0, 0.5, 1.9, 1.95]), replies)
    assert (step.requests, step.rejected, step.late) == (4, 1, 1)
    assert step.achieved == pytest.approx(2 / 2.2)
    assert step.p50_ms == pytest.approx(300)
    assert step.p95_ms == math.inf
    shown = step.as_json()
    assert (shown["p50_ms"], shown["p95_ms"], shown["behind_ms"]) == (300.0, None, 2.0)
    json.dumps(shown, allow_nan=False)
    refused = rate_result(2.0, np.asarray([0.0]), [Reply("rejected", 0.1, 0.0)])
    assert (refused.p50_ms, refused.achieved) == (None, 0.0)


def test_garbage_is_collected_again_afterwards() -> None:
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


texts = st.lists(st.text("abc", min_size=1, max_size=4), max_size=12, unique=True)


@given(st.dictionaries(st.text("qr", min_size=1), texts, max_size=5), st.integers(1, 4))
def test_requests_share_no_pair_and_are_full(found: dict[str, list[str]], size: int) -> None:
    asked = list(
        requests_of(
            {name: Candidates(name, each, each, [0.0] * len(each)) for name, each in found.items()}, size
        )
    )
    pairs = [(query, text) for query, each in asked for text in each]
    assert len(set(pairs)) == len(pairs)
    assert all(len(each) == size for _, each in asked)
    assert len(asked) == sum(len(each) // size for each in found.values())


# --- servers ------------------------------------------------------------------------------------------------

REQUESTS = [
    (f"query {number}", [f"{'passage ' * length}{number}" for length in range(1, 4)]) for number in range(6)
]


def expected(query: str, passages: Sequence[str]) -> list[float]:
    return [len(query) - len(passage) / 10 for passage in passages]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a stand-in by its behaviour."""
    with stand_ins(tmp_path) as start:
        yield start


def contender(
    start: Start, behaviour: str, batches: Sequence[int | None] = (None,), peer: str | None = "some-peer"
) -> Contender:
    return Contender(
        System(behaviour, "fp32", peer, behaviour, "torch"), "1.0", lambda _: start(behaviour), batches
    )


def measured(contenders: Sequence[Contender], rates: Sequence[float] | None = (200.0, 400.0)) -> UnderLoad:
    told: list[str] = []
    with UnderLoad(contenders, REQUESTS, reference(expected, REQUESTS), timeout_s=30) as contest:
        contest.prepare(told.append)
        assert len(told) == contest.preparations()
        contest.time(told.append, rates=rates)
    return contest


@pytest.mark.long
def test_servers_are_measured_and_what_fails_says_why(fake: Start) -> None:
    contest = measured(
        [contender(fake, name) for name in ("is well", "is wrong", "refuses", "fails", "ends", "dies")]
    )
    well, *failed = contest.rows
    assert well.reason is None
    assert well.capacity is not None
    assert [(step.offered, step.requests, step.rejected, step.late) for step in well.steps] == [
        (200, 6, 0, 0),
        (400, 6, 0, 0),
    ]
    assert well.peak_rss_mb is not None
    for row, why in zip(
        failed, ("wrong scores", "429", "500", "the weights are gone", "gave no scores"), strict=True
    ):
        assert row.reason is not None
        assert why in row.reason
        assert not row.steps
    assert json.loads(json.dumps([row.as_json() for row in contest.rows]))[0]["steps"][0]["late"] == 0


def test_a_server_that_answers_nothing_under_load_says_why(fake: Start) -> None:
    for behaviour, why in (
        ("refuses", "answered none of 8"),
        ("fails", "answered 500"),
        ("dies", "broke the connection"),
    ):
        with UnderLoad([contender(fake, behaviour)], REQUESTS) as contest:
            contest.prepare(lambda _: None)
            contest.time(lambda _: None, rates=[100.0])
        (row,) = contest.rows
        assert row.reason is not None
        assert why in row.reason
        assert not row.steps


@pytest.mark.long
def test_without_rates_each_server_is_offered_shares_of_its_own_capacity(fake: Start) -> None:
    (row,) = measured([contender(fake, "is well")], None).rows
    assert row.capacity is not None
    assert [step.offered for step in row.steps] == pytest.approx(
        [share * row.capacity for share in under_load.CAPACITY_SHARES]
    )


def test_the_best_batch_size_is_kept_and_the_others_end(fake: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([1.0, 3.0, 1.0, 9.0, 1.0, 5.0])  # warm-up and measurement of each size
    started: list[Server] = []

    async def known(*_: object, **__: object) -> float:
        return next(speeds)

    def start(_: int | None) -> Server:
        started.append(fake("is well"))
        return started[-1]

    monkeypatch.setattr(under_load, "capacity", known)
    with UnderLoad(
        [Contender(System("x", "fp32", "some-peer", "x", "torch"), "1", start, (4, 8, 16))], REQUESTS
    ) as contest:
        contest.prepare(lambda _: None)
        assert (contest.rows[0].batch, contest.rows[0].capacity) == (8, 9.0)
        assert [psutil.pid_exists(server.process_tree.pid) for server in started] == [False, True, False]
        assert psutil.Process(started[1].process_tree.pid).status() == psutil.STATUS_STOPPED
    assert not psutil.pid_exists(started[1].process_tree.pid)


def test_refusals_and_late_answers_are_counted(fake: Start) -> None:
    async def outcomes(server: Server) -> set[RequestOutcome]:
        async with server.sender(REQUESTS) as ask:
            return {await ask(number) for number in range(3)}

    for behaviour, outcome in (("is well", "answered"), ("refuses", "rejected"), ("is late", "late")):
        assert asyncio.run(outcomes(fake(behaviour))) == {outcome}


@pytest.mark.long
def test_our_sidecar_gives_the_models_own_scores(tmp_path: Path) -> None:
    folder, other = tiny_cross_encoder(tmp_path / "a"), tiny_cross_encoder(tmp_path / "b", seed=1)
    (folder / "second.onnx").write_bytes((other / GRAPH).read_bytes())
    reseal(
        folder,
        variants={"fp32": GRAPH, "int8": "second.onnx"},
        files={name: file_record(folder / name) for name in (GRAPH, "second.onnx", "tokenizer.json")},
    )
    served = in_precision(folder, "int8", tmp_path / "served")
    assert read_manifest(served).variants == {"int8": "second.onnx"}  # no other one can be the faster one
    with (
        CrossEncoder(other, threads=1) as model,
        start_sidecar(served, tmp_path, threads=1, timeout_s=30) as server,
    ):
        for query, passages in REQUESTS[:2]:
            assert server.scores(query, passages) == pytest.approx(
                model.score(query, passages).values, abs=1e-6
            )
    with pytest.raises(ModelFolderError, match="has no int8 variant"):
        in_precision(other, "int8", tmp_path / "none")


def test_a_sidecar_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"ended: .*nowhere"):
        start_sidecar(tmp_path / "nowhere", tmp_path, threads=1, timeout_s=30)


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A cache that holds what looks like the environment of infinity's server,
    whose program notes how it was called.
    """
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    binaries = tmp_path / "cache" / f"{INFINITY.name}-{INFINITY.version}-{version}" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    (binaries.parent / "installed").touch()
    called = (
        "import json, os, sys\n"
        f"json.dump([sys.argv[1:], os.environ['OMP_NUM_THREADS']], open({str(tmp_path / 'called')!r}, 'w'))\n"
    )
    (binaries / "infinity_emb").write_text(f"#!{sys.executable}\n{called}{FAKE}", encoding="utf-8")
    (binaries / "infinity_emb").chmod(0o755)
    return tmp_path / "cache"


def test_infinity_is_asked_in_its_own_dialect(peer: Path, tmp_path: Path) -> None:
    with start_infinity(
        installed(INFINITY, peer, uv=["/nowhere/uv"]), tmp_path / "torch", tmp_path, threads=3, batch=16
    ) as server:
        assert server.scores(*REQUESTS[0]) == pytest.approx(expected(*REQUESTS[0]))
    called, threads = json.loads((tmp_path / "called").read_text(encoding="utf-8"))
    assert threads == "3"
    assert called[0] == "v2"
    for name, value in (
        ("--engine", "torch"),
        ("--batch-size", "16"),
        ("--model-id", str(tmp_path / "torch")),
        ("--dtype", "float32"),
    ):
        assert called[called.index(name) + 1] == value
    assert INFINITY_DIALECT.body("q", ["a"])["model"] == called[called.index("--served-model-name") + 1]


# --- the picture --------------------------------------------------------------------------------------------


def test_curves_lie_where_their_values_are() -> None:
    line = Curve("a & b", [(0.0, 1.0), (10.0, 21.0)], line=Line(2.0, 1.0))
    logarithmic = Curve("<p95>", [(1.0, 1.0), (2.0, 10.0), (3.0, 100.0)], COLOURS[1], dashed=True)
    drawn = ET.fromstring(
        curves("title", [Panel("one", "x", "y", [line]), Panel("two", "x", "y", [logarithmic], log=True)])
    )
    space = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in drawn.iter(f"{space}text")]
    assert {"title", "one", "two", "a & b", "<p95>", "10", "100"} <= set(texts)
    dots = [
        float(each.attrib["cy"])
        for each in list(drawn.iter(f"{space}g"))[1].iter(f"{space}circle")
        if each.attrib["fill"] == COLOURS[1]
    ]
    assert dots[0] - dots[1] == pytest.approx(dots[1] - dots[2], abs=0.2)  # a decade is as high as the next


def test_a_line_that_would_fall_below_the_axis_begins_at_it() -> None:
    drawn = ET.fromstring(
        curves(
            "t",
            [
                Panel(
                    "p", "x", "y", [Curve("c", [(1.0, 1.0), (2.0, 1.0), (10.0, 40.0)], line=Line(5.0, -10.0))]
                )
            ],
        )
    )
    (path,) = [each.attrib["d"] for each in drawn.iter("{http://www.w3.org/2000/svg}path")]
    heights = [float(part.split()[1]) for part in path[1:].split(" L")]
    axis = max(
        float(each.attrib["y1"])
        for each in drawn.iter("{http://www.w3.org/2000/svg}line")
        if each.attrib["y1"] == each.attrib["y2"] != "0"
    )
    assert max(heights) <= axis


@example(points=[(5e-324, 1.0)], log=False)
@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0.001, 1e6)), min_size=1, max_size=8), st.booleans())
def test_any_measurement_can_be_drawn_within_its_axes(points: list[tuple[float, float]], log: bool) -> None:
    drawn = ET.fromstring(curves("t", [Panel("p", "x", "y", [Curve("c", sorted(points))], log)]))
    height, width = float(drawn.attrib["height"]), float(drawn.attrib["width"])
    for dot in drawn.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(dot.attrib["cx"]) <= width
        assert 0 <= float(dot.attrib["cy"]) <= height


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": str(number), "title": "", "text": f"the tide turns, moon {number}"} for number in range(12)
    ]
    for name, records in (
        ("corpus", documents),
        ("queries", [{"_id": f"q{number}", "text": f"tide moon {number}"} for number in range(4)]),
    ):
        (folder / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8"
        )
    return folder


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "es_rerank", "bench", "load", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.long
def test_a_run_reports_every_rate_and_draws_it(tmp_path: Path, collection: Path) -> None:
    model = tiny_cross_encoder(tmp_path / "model")
    given_ = [str(model), "--data", str(collection), "--window", "3", "--threads", "1"]
    done = _run(
        *given_,
        "--requests",
        "8",
        "--rates",
        "20",
        "--rates",
        "40",
        "--json",
        "--plot",
        str(tmp_path / "load.svg"),
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert set(shown) == {"machine", "requests", "window", "timeout_s", "servers"}
    (row,) = shown["servers"]
    assert set(row) == {"name", "precision", "version", "batch", "capacity", "steps", "peak_rss_mb", "reason"}
    assert [step["offered"] for step in row["steps"]] == [20, 40]
    for step in row["steps"]:
        assert set(step) == {
            "offered",
            "achieved",
            "requests",
            "rejected",
            "late",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "behind_ms",
        }
        assert 0 < step["p50_ms"] <= step["p95_ms"] <= step["p99_ms"]
        assert (step["requests"], step["rejected"], step["late"]) == (8, 0, 0)
    texts = [each.text for each in ET.parse(tmp_path / "load.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert {"es-rerank sidecar fp32 p50", "es-rerank sidecar fp32 p95"} <= set(texts)
    table = _run(*given_, "--requests", "2", "--rates", "20")
    assert table.returncode == 0, table.stderr
    assert "es-rerank sidecar fp32: capacity" in table.stdout
    assert next(line for line in table.stdout.splitlines() if line.startswith("20.00")).split()[-2:] == [
        "0",
        "0",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "a.png"], "ends in .svg"),
        (["--rates", "0"], "--rates 0 is not a rate"),
        (["--requests", "100000", "--window", "1000"], "--requests 100000 is more than the"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(
    arguments: list[str], message: str, collection: Path
) -> None:
    done = CliRunner().invoke(app, ["bench", "load", "--data", str(collection), *arguments])
    assert isinstance(done.exception, SettingsError)
    assert message in done.exception.message

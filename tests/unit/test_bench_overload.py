"""``bench load --overload``: its arithmetic in a time that costs none, stand-ins as processes, and the
command on a tiny model.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instant_loop import instantly
from rerank_stand_in import Start, stand_ins
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.cli.bench_overload import OverloadReport
from es_rerank.errors import SettingsError
from es_rerank.research.bench import servers
from es_rerank.research.bench.load import Reply, RequestOutcome, arrivals, capacity, offer
from es_rerank.research.bench.machine import Cores, bound_to, cores_apart
from es_rerank.research.bench.overload import (
    DEADLINE_S,
    OVERLOADS,
    SECONDS,
    USUAL_SHARE,
    Overload,
    OverloadRow,
    UniqueRequests,
)
from es_rerank.research.bench.overload_step import (
    LEAST_GOODPUT,
    MOST_BEHIND_MS,
    MOST_GENERATOR_CPU,
    MOST_RECOVERY_S,
    MOST_REFUSAL_MS,
    Busy,
    OverloadStep,
    criteria,
    recovery_s,
    step_result,
)
from es_rerank.research.bench.peers import System
from es_rerank.research.bench.process_tree import ProcessTree
from es_rerank.research.bench.servers import Server
from es_rerank.research.bench.under_load import Contender
from es_rerank.research.bench.workers import WorkerError

WINDOWS = [(f"query {place}", [f"passage {place} {each}" for each in range(3)]) for place in range(7)]
IDLE = Busy(0.0, 1.0)

# --- arithmetic, in a time that costs none ------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=6))
def test_no_pair_occurs_twice_however_many_requests_are_taken(counts: list[int]) -> None:
    requests, again = UniqueRequests(WINDOWS), UniqueRequests(WINDOWS)
    taken = [requests.take(count) for count in counts]
    pairs = [(query, text) for each in taken for query, texts in each for text in texts]
    assert len(set(pairs)) == len(pairs) == 3 * sum(counts)
    assert taken == [again.take(count) for count in counts]  # every server gets the same
    for each in taken:
        for place, (query, texts) in enumerate(each):
            assert query.startswith(f"{WINDOWS[place % 7][0]} ")
            assert texts == WINDOWS[place % 7][1]


class Naive:
    """One request a second, in the order of arrival, whether or not the caller still waits."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def ask(self, _: int) -> RequestOutcome:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + 1
        await asyncio.sleep(self._free_at - now)
        return "answered"


class Admitting(Naive):
    """The same, but what would wait longer than 4 seconds is refused at once."""

    async def ask(self, number: int) -> RequestOutcome:
        if self._free_at - asyncio.get_running_loop().time() > 4:
            return "rejected"
        return await super().ask(number)


def overloaded(server: Naive, share: float, seconds: float = 200.0) -> OverloadStep:
    """Return what comes of an overload and of the same seconds at half of the capacity, deadline 5 s."""
    due, calm = (
        arrivals(share, round(share * seconds)),
        arrivals(USUAL_SHARE, round(USUAL_SHARE * seconds)),
    )
    usual = instantly(offer(Naive().ask, calm, timeout_s=5.0))
    replies = instantly(offer(server.ask, np.concatenate([due, seconds + calm]), timeout_s=5.0))
    step = step_result(share, due, replies[: len(due)], seconds, Counter(), IDLE)
    return OverloadStep(
        **{name: getattr(step, name) for name in OverloadStep.__slots__ if name != "recovery_s"},
        recovery_s=recovery_s(calm, replies[len(due) :], usual),
    )


@pytest.mark.parametrize("share", OVERLOADS)
def test_a_server_that_refuses_what_comes_too_late_holds_every_criterion(share: float) -> None:
    step = overloaded(Admitting(), share)
    assert step.goodput_share > 0.9
    assert step.goodput <= 1  # no more than the capacity can be counted
    assert step.refused > 0
    assert (step.late, step.failures) == (0, {})
    assert all(criterion.met for criterion in criteria([step], 5.0))


def test_a_server_that_refuses_nothing_is_seen_to_serve_nothing_in_time() -> None:
    step = overloaded(Naive(), 2.0)
    assert step.goodput_share < 0.1
    assert step.admitted_ms == (math.inf, math.inf)
    assert (step.refused, step.refused_ms, step.recovery_s) == (0, None, math.inf)
    assert [criterion.met for criterion in criteria([step], 5.0)] == [False] * 4
    assert [criterion.shown for criterion in criteria([step], 5.0)][1:] == ["late", "no refusal", "not seen"]


def test_late_and_failed_requests_are_not_left_out_of_the_latency() -> None:
    replies = [
        *[Reply("answered", 0.1, 0.001)] * 97,
        Reply("rejected", 0.01, 0.5),
        Reply("late", math.inf, 0.0),
        Reply("failed", 0.2, 0.0),
    ]
    step = step_result(2.0, np.linspace(0, 9.95, 100), replies, 10.0, Counter({"500": 1}), IDLE)
    assert (step.requests, step.answered, step.refused, step.late) == (100, 97, 1, 1)
    assert step.failures == {"500": 1}
    assert step.admitted_ms == pytest.approx((100, math.inf))
    assert step.refused_ms == pytest.approx((10, 10))
    assert (step.offered, step.goodput) == (10.0, 9.7)
    assert step.goodput_share == pytest.approx(9.7 / 10 * 2)
    assert step.behind_ms == pytest.approx(1)
    shown = step.as_json()
    assert (shown["p50_ms"], shown["p99_ms"], shown["recovery_s"]) == (100, None, None)
    json.dumps(shown, allow_nan=False)


def test_an_answer_after_the_end_of_the_load_is_no_goodput() -> None:
    replies = [Reply("answered", 1.0, 0.0), Reply("answered", 1.5, 0.0)]
    step = step_result(1.2, np.asarray([0.5, 1.0]), replies, 2.0, Counter(), IDLE)
    assert (step.answered, step.goodput) == (2, 0.5)


def answered(*seconds: float) -> list[Reply]:
    return [Reply("late" if math.isinf(each) else "answered", each, 0.0) for each in seconds]


USUAL = answered(*[0.1, 0.2] * 15)  # the median is 0.1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.1] * 30, 0.0),
        ([0.1] * 15 + [0.19] * 15, 0.0),  # at most twice the largest median before
        ([0.1, math.inf] + [0.1] * 28, 0.0),  # one in ten
        ([math.inf] * 12 + [0.1] * 18, 12.0),
        ([0.9] * 12 + [0.1] * 18, 12.0),
        ([0.9] * 4 + [0.1] * 26, 4.0),
        ([0.1] * 12 + [0.9] * 18, math.inf),  # as before at first, then not
        ([math.inf] * 30, math.inf),
        ([0.1] * 4, 0.0),
    ],
)
def test_the_time_until_a_server_answers_as_before(seconds: Sequence[float], expected: float) -> None:
    due = np.arange(len(seconds), dtype=np.float64)
    assert recovery_s(due, answered(*seconds), USUAL) == expected
    assert recovery_s(due, answered(*seconds), answered(*[math.inf] * 30)) == math.inf


def step_of(
    share: float = 2.0,
    *,
    goodput: float = 9.5,
    p99: float = 1900.0,
    refused_ms: float | None = 3.0,
    recovery: float | None = 1.0,
    generator: float = 0.1,
    behind_ms: float = 1.0,
    failures: dict[str, int] | None = None,
) -> OverloadStep:
    """A step of a server whose capacity is 10 requests a second."""
    return OverloadStep(
        share=share,
        offered=10 * share,
        requests=round(600 * share),
        answered=570,
        refused=0 if refused_ms is None else round(600 * share) - 570,
        late=0,
        failures=failures or {},
        goodput=goodput,
        admitted_ms=(1000.0, p99),
        refused_ms=None if refused_ms is None else (refused_ms, 9.0),
        behind_ms=behind_ms,
        busy=Busy(generator, 0.97),
        recovery_s=recovery,
    )


@pytest.mark.parametrize(
    ("wrong", "met"),
    [
        (step_of(), [True, True, True, True]),
        (step_of(goodput=8.9), [False, True, True, True]),
        (step_of(p99=2001.0), [True, False, True, True]),
        (step_of(p99=math.inf), [True, False, True, True]),
        (step_of(refused_ms=51.0), [True, True, False, True]),
        (step_of(refused_ms=None), [True, True, True, True]),  # another rate has refusals
        (step_of(recovery=5.1), [True, True, True, False]),
        (step_of(recovery=None), [True, True, True, False]),
    ],
)
def test_a_criterion_is_met_when_every_rate_meets_it(wrong: OverloadStep, met: list[bool]) -> None:
    assert [each.met for each in criteria([step_of(1.2), wrong, step_of(3.0)], 2.0)] == met


def test_a_bench_that_cannot_keep_up_makes_the_run_invalid() -> None:
    assert step_of(generator=MOST_GENERATOR_CPU, behind_ms=MOST_BEHIND_MS).is_valid
    assert not step_of(generator=MOST_GENERATOR_CPU + 0.01).is_valid
    assert not step_of(behind_ms=MOST_BEHIND_MS + 1).is_valid


def test_capacity_is_measured_for_a_time_too() -> None:
    asked = []

    async def ask(number: int) -> RequestOutcome:
        asked.append(number)
        await asyncio.sleep(0.3)
        return "answered"

    # Each of two callers gets three answers within the second, and one more that does not count.
    assert instantly(capacity(ask, 1000, side_by_side=2, seconds=1.0)) == pytest.approx(6.0)
    assert len(asked) == 8
    assert instantly(capacity(ask, 4, side_by_side=2, seconds=1.0)) == pytest.approx(4 / 0.6)


# --- processes ----------------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a stand-in by its behaviour."""
    with stand_ins(tmp_path) as start:
        yield start


needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the operating system binds no process to a core"
)


@needs_cores
def test_a_server_is_bound_to_its_cores_and_the_bench_to_another() -> None:
    before = os.sched_getaffinity(0)
    last = frozenset({max(before)})
    with bound_to(last):
        assert os.sched_getaffinity(0) == last
        shown = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert shown.stdout.strip() == str(set(last))
    assert os.sched_getaffinity(0) == before
    with bound_to(None):
        assert os.sched_getaffinity(0) == before


@needs_cores
def test_the_bench_gets_a_core_that_no_server_has_if_there_is_one() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    with bound_to(frozenset(allowed[:1])):
        assert cores_apart(1) == Cores(frozenset(allowed[:1]), allowed[0], shared=True)
    if len(allowed) > 1:
        with bound_to(frozenset(allowed[:2])):
            assert (cores_apart(1).server, cores_apart(1).bench) == (frozenset(allowed[:1]), allowed[1])
            assert cores_apart(2).shared


def test_a_request_carries_its_deadline_and_other_answers_are_counted(fake: Start) -> None:
    async def outcomes(server: Server, deadline_s: float) -> tuple[set[RequestOutcome], Counter[str]]:
        failures = Counter[str]()
        async with server.sender(WINDOWS, deadline_s=deadline_s, failures=failures) as send:
            return {await send(number) for number in range(3)}, failures

    needs = fake("needs a deadline")
    assert asyncio.run(outcomes(needs, 1.5)) == ({"answered"}, Counter())
    assert asyncio.run(outcomes(needs, 2.0)) == ({"failed"}, Counter({"400": 3}))
    found, failures = asyncio.run(outcomes(fake("dies"), 2.0))
    assert "failed" in found
    assert failures.total() >= 2  # it may have answered the first one
    assert all(name.endswith("Error") for name in failures)


def test_a_server_is_idle_when_its_work_is_done(fake: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_IDLE_INTERVAL_S", 0.01)
    used = iter([0.0, 0.5, 0.5, 0.5])
    server = fake("is well")
    monkeypatch.setattr(ProcessTree, "clock", lambda _: lambda: next(used))
    server.wait_until_idle(60.0)
    assert next(used, None) is None
    psutil.Process(server.process_tree.pid).kill()
    with pytest.raises(WorkerError, match=r"ended|not ready"):
        server.wait_until_idle(60.0)


def contender(start: Start, behaviour: str, peer: str | None = None) -> Contender:
    return Contender(System(behaviour, "fp32", peer, behaviour, "ours"), "1.0", lambda _: start(behaviour))


@pytest.mark.long
def test_each_server_is_offered_multiples_of_its_own_capacity(
    fake: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_IDLE_INTERVAL_S", 0.01)
    told: list[str] = []
    behaviours = ("is well", "refuses", "ends")
    with Overload([contender(fake, each) for each in behaviours], WINDOWS, seconds=0.1) as contest:
        contest.prepare(told.append)
        assert len(told) == contest.preparations() == 3
        told.clear()
        contest.time(told.append)
    assert len(told) == contest.timings() / 3 == len(OVERLOADS) + 3
    well, refusing, ended = contest.rows
    assert well.reason is None
    assert well.capacity
    assert well.capacity_after
    assert well.usual
    assert well.usual.share == USUAL_SHARE
    for share, step in zip(OVERLOADS, well.steps, strict=True):
        assert (step.share, step.requests) == (share, max(round(share * well.capacity * 0.1), 1))
        assert step.requests == step.answered + step.refused + step.late
        assert step.recovery_s is not None
    for row, why in ((refusing, "answered none of 8"), (ended, "the weights are gone")):
        assert why in str(row.reason)
        assert (row.capacity, row.usual, row.steps, row.criteria(2.0)) == (None, None, [], [])


# --- the report and the command -----------------------------------------------------------------------------


def report(capsys: pytest.CaptureFixture[str], *steps: OverloadStep, width: int = 80) -> str:
    """Return what is printed of one server, with single spaces, and check that no column is cut off."""
    row = OverloadRow(
        Contender(System("a server", "int8", None, "a", "ours"), "1.0", lambda _: None),  # type: ignore[arg-type, return-value]
        capacity=10.0,
        capacity_after=9.9,
        usual=step_of(USUAL_SHARE, goodput=5.0, p99=300.0, refused_ms=None, recovery=None),
        steps=list(steps),
    )
    shown = OverloadReport([row], 60.0, 2.0, 20, 1, Cores(frozenset({0}), 1, shared=False))
    json.dumps(shown.as_json(), allow_nan=False)
    texts = [each.text for each in ET.fromstring(shown.picture()).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("a server int8") == 2
    shown.show()
    printed = capsys.readouterr().out
    assert "…" not in printed
    return " ".join(printed.split())


def test_the_table_says_what_was_served_and_whether_that_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    good = report(capsys, step_of(1.2), step_of(2.0), step_of(3.0, failures={"500": 2}))
    assert "a server int8: capacity 10.0 requests/s, 9.9 at the end" in good
    assert "0.5x 5.0 5.0 50% 1000 / 300 0% 0%" in good
    assert "3x 30.0 9.5 95% 1000 / 1900 68% 3.0 / 9.0 0% 1.0 s" in good
    assert "errors: 2 x 500." in good
    assert "met: goodput at least 90% of capacity (95.0%)" in good
    assert "not met" not in good
    assert "NOT VALID" not in good
    bad = report(capsys, step_of(p99=math.inf, refused_ms=None, recovery=math.inf, generator=0.6))
    assert "2x 20.0 9.5 95% 1000 / late 0% 0% no" in bad
    assert "not met: p99 of admitted requests within the deadline (late)" in bad
    assert "not met: median refusal within 50 ms (no refusal)" in bad
    assert "not met: full speed within 5 s after (not seen)" in bad
    assert "NOT VALID: the sender could not keep up with a server int8" in bad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--overload", "--rates", "5"], "--rates changes nothing with --overload"),
        (["--overload", "--requests", "5"], "--requests changes nothing with --overload"),
        (["--overload", "--timeout", "5"], "--timeout changes nothing with --overload"),
        (["--seconds", "5"], "--seconds changes nothing without --overload"),
        (["--deadline", "5"], "--deadline changes nothing without --overload"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["bench", "load", *arguments])
    assert isinstance(done.exception, SettingsError)
    assert message in done.exception.message


@pytest.mark.long
def test_a_run_in_overload_reports_every_rate(tmp_path: Path) -> None:
    model = tiny_cross_encoder(tmp_path / "model")
    command = [sys.executable, "-m", "es_rerank", "bench", "load", str(model), "--overload"]
    picture = tmp_path / "overload.svg"
    options = ["--seconds", "1", "--deadline", "1", "--json", "--plot", str(picture)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240, check=False)
    shown = json.loads(done.stdout)
    (row,) = shown["servers"]
    assert row["reason"] is None
    # A tiny model answers so many requests that the bench may not keep up. It says so.
    assert done.returncode == (0 if row["valid"] else 1), done.stderr
    assert ("the bench could not keep up" in done.stderr) is not row["valid"]
    assert (shown["seconds"], shown["deadline_s"], shown["window"]) == (1, 1, 20)
    assert [step["share"] for step in row["steps"]] == list(OVERLOADS)
    for step in row["steps"]:
        assert step["offered"] == pytest.approx(step["share"] * row["capacity"], rel=0.05)
        assert step["requests"] >= step["answered"] + step["refused"] + step["late"]
    assert len(row["criteria"]) == 4
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_an_overload_lasts_a_minute_at_1_2_2_and_3_times_the_capacity() -> None:
    assert (SECONDS, OVERLOADS, USUAL_SHARE, DEADLINE_S) == (60, (1.2, 2, 3), 0.5, 2)
    assert (LEAST_GOODPUT, MOST_REFUSAL_MS, MOST_RECOVERY_S) == (0.9, 50, 5)

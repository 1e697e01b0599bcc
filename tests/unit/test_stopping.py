"""The first signal lets a command finish what it does, and a second one ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError, TransportError

from es_rerank.cli.ingest import _show
from es_rerank.cli.stopping import ingest_of, stoppable, with_way_on
from es_rerank.errors import IngestError
from ingest_pipelines import IngestReport

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _signals_are_not_ignored() -> Iterator[None]:
    """Under nohup SIGHUP is ignored, and SIGINT in the background of a shell."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _CODES if _ignored(number)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize(("number", "code"), _CODES.items())
def test_a_signal_before_the_work_ends_the_command(number: signal.Signals, code: int) -> None:
    with stoppable("finishing", "at once"), pytest.raises(SystemExit) as ended:
        signal.raise_signal(number)
    assert ended.value.code == code


@pytest.mark.parametrize(("number", "code"), _CODES.items())
def test_a_signal_during_the_work_stops_it(
    capfd: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    calls: list[str] = []
    with stoppable("finishing the batch", "at once") as stopping:
        stopping.by(lambda: calls.append("stop"))
        signal.raise_signal(number)
        assert (calls, stopping.exit_code) == (["stop"], code)
    assert "finishing the batch" in capfd.readouterr().err


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable("finishing", "at once") as stopping:
            signal.raise_signal(signal.SIGHUP)
            assert stopping.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


SECOND = """
import os, signal
from es_rerank.cli.stopping import stoppable
with stoppable("finishing", "ended at once") as stopping:
    stopping.by(lambda: print("first", flush=True))
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    print("one signal sent twice", flush=True)
    stopping.came -= 2
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached")
"""


def test_a_second_signal_ends_the_command_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "first\none signal sent twice\n")
    assert done.stderr.splitlines() == ["finishing", "ended at once"]


def test_a_closed_stderr_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError

    stopped: list[Callable[[], None]] = []
    monkeypatch.setattr(os, "write", broken)
    with stoppable("finishing", "at once") as stopping:
        stopping.by(lambda: stopped.append(print))
        signal.raise_signal(signal.SIGTERM)
    assert stopped


def test_the_command_for_the_rejects_reads_records_as_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        "ingest o a.jsonl --text-field body --json --id-field=uid --sync --encoding gb18030 --rejects r.jsonl"
    )
    monkeypatch.setattr("sys.argv", ["es-rerank", *given.split(), "--elasticsearch-url", "http://u:secret@h"])
    command = ingest_of("o", "my rejects.jsonl")
    assert command.startswith(
        "es-rerank ingest o 'my rejects.jsonl' --text-field body --id-field=uid --encoding gb18030 "
        "--elasticsearch-url "
    )
    assert "secret" not in command


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("a.csv, line 2: its fields are a; none of them is the text; name it by --text-field", True),
        ("a.csv, line 2: its text is empty", False),
    ],
)
def test_the_error_of_a_missing_text_field_gives_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch, reason: str, remedy: bool
) -> None:
    monkeypatch.setattr("sys.argv", ["es-rerank", "ingest", "o", "a.csv"])
    report = IngestReport("o", "o-000001", failed=1, rejects=Path("o.rejects.jsonl"))
    with pytest.raises(IngestError) as refused:
        _show(report, reason, as_json=True)
    assert ("run: es-rerank ingest o o.rejects.jsonl --text-field FIELD" in str(refused.value)) == remedy
    assert ("correct them there" in str(refused.value)) != remedy


@pytest.mark.parametrize(
    ("status", "goes_on"), [(429, True), (503, True), (None, True), (403, False), (400, False)]
)
def test_the_error_of_an_elasticsearch_that_is_busy_or_away_names_the_command_that_goes_on(
    status: int | None, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["es-rerank", "ingest", "a", "b c.jsonl"])
    meta = ApiResponseMeta(status or 200, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "a", 1))
    error = TransportError("away") if status is None else ApiError("busy", meta, {"error": "busy"})
    message = "; when it answers again, go on with: es-rerank ingest a 'b c.jsonl'"
    assert with_way_on(error).message.endswith(message) is goes_on
    assert with_way_on(own := IngestError("no")) is own

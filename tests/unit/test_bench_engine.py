"""The engine's bench: its protocol with real processes, its arithmetic on known numbers,
and what becomes of a peer that fails.

No peer is installed: processes of the current interpreter stand in for them, which speak the same protocol.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny_models import GRAPH, reseal, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli import bench_engine_tables
from es_rerank.cli.app import app
from es_rerank.cli.bench_engine import read_windows
from es_rerank.collection import read_qrels
from es_rerank.engine import processor
from es_rerank.errors import SettingsError
from es_rerank.models.load import model_folder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import file_record
from es_rerank.research.bench import peers as table
from es_rerank.research.bench.collection_windows import CollectionWindows, timed_lists
from es_rerank.research.bench.engine import BATCH_SIZES, Contest, Entrant, SystemRow, label
from es_rerank.research.bench.engine_report import EngineReport
from es_rerank.research.bench.ingest import embedding_systems
from es_rerank.research.bench.machine import int8_preset
from es_rerank.research.bench.paired import Added, ratio
from es_rerank.research.bench.peers import PEERS, SYSTEMS, Peer, System
from es_rerank.research.bench.peers import environment as environments
from es_rerank.research.bench.peers import worker as script
from es_rerank.research.bench.peers.environment import installed
from es_rerank.research.bench.weights import dequantised, flat_folder
from es_rerank.research.bench.workers import Worker, WorkerError, last_words
from es_rerank.research.bm25 import Bm25
from es_rerank.research.evaluation.packaged import packaged
from es_rerank.research.plots.bars import GREY, Bar, chart
from es_rerank.settings import BUNDLED_RERANKER
from es_rerank.text.strategies import words_of
from es_rerank.types import Blend

LISTS = [
    (f"query {number}", [f"{'passage ' * length}{number}" for length in range(1, 6)]) for number in range(4)
]
EXPECTED = np.asarray([len(query) - len(passage) / 10 for query, passages in LISTS for passage in passages])

FAKE = """
import json, os, subprocess, sys, time
behaviour = sys.argv[1]
calls = open(sys.argv[2], "a") if len(sys.argv) > 2 else None
def say(answer):
    print(json.dumps(answer), flush=True)
if behaviour == "hangs loading":
    time.sleep(600)
if behaviour == "ends loading":
    sys.exit("no such model\\nRuntimeError: the weights are gone")
if behaviour == "raises loading":
    say({"error": "ValueError: no such thing"})
    sys.exit(1)
if behaviour == "has a child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
say({"ready": True})
answered = 0
for line in sys.stdin:
    request = json.loads(line)
    scores = [len(query) - len(passage) / 10 for query, passages in request["lists"] for passage in passages]
    answered += 1
    if calls:
        print(behaviour, os.getpid(), request["batch"], len(scores), file=calls, flush=True)
    if behaviour == "hangs":
        time.sleep(600)
    if behaviour == "ends" or behaviour == "ends later" and answered > 2:
        sys.exit("Killed")
    if behaviour == "babbles":
        print("hello", flush=True)
        continue
    if behaviour == "is wrong":
        scores[0] += 0.01
    if behaviour == "is constant":
        scores = [1.0] * len(scores)
    if behaviour == "is rounded":
        scores = [round(score) for score in scores]
    if behaviour == "is not finite":
        scores[-1] = float("nan")
    if behaviour == "loses one":
        scores.pop()
    if behaviour == "is a probability":
        scores = [1 / (1 + 2.718281828459045 ** -score) for score in scores]
    seconds = {"is slow": 0.4}.get(behaviour, 0.1) + abs(request["batch"] - 8) / 100
    say({"seconds": seconds, "scores": scores})
"""


Start = Callable[[str], Worker]


@pytest.fixture
def fake(tmp_path: Path) -> Start:
    """A function that starts a stand-in by its behaviour;
    what is asked of it is written to ``tmp_path / "calls"``.
    """
    path = tmp_path / "fake.py"
    path.write_text(FAKE, encoding="utf-8")
    numbers = itertools.count()
    return lambda behaviour: Worker(
        [sys.executable, str(path), behaviour, str(tmp_path / "calls")],
        tmp_path / f"{next(numbers)}.log",
        load_timeout_s=60,
    )


def system(name: str, precision: Any = "fp32", peer: str | None = "some-peer", **more: Any) -> System:
    return System(name, precision, peer, name, "torch", **more)


def entrant(
    start: Start, behaviour: str, precision: Any = "fp32", peer: str | None = "some-peer", **more: Any
) -> Entrant:
    return Entrant(system(behaviour, precision, peer, **more), "1.0", lambda: start(behaviour))


def steps() -> tuple[list[str], Callable[[str], None]]:
    told: list[str] = []
    return told, told.append


# --- one process --------------------------------------------------------------------------------------------


def test_a_worker_scores_and_tells_its_memory(fake: Start) -> None:
    with fake("is well") as worker:
        answer = worker.score(LISTS, 8)
        worker.note_memory()
    assert answer.seconds == 0.1
    assert answer.scores == pytest.approx(EXPECTED)
    assert 1 < worker.peak_rss_mb < 1000


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("ends", "ended: Killed"),
        ("babbles", "answered 'hello.n', which does not follow the protocol"),
        ("is not finite", "gave 20 scores for 20 passages, 1 of them not finite"),
        ("loses one", "gave 19 scores for 20 passages"),
    ],
)
def test_a_worker_that_fails_says_how(fake: Start, behaviour: str, reason: str) -> None:
    with fake(behaviour) as worker, pytest.raises(WorkerError, match=reason):
        worker.score(LISTS, 8)


def test_a_worker_that_ended_before_it_was_asked_says_so(fake: Start) -> None:
    with fake("is well") as worker:
        worker.process_tree.kill()
        with pytest.raises(WorkerError, match="ended: it said nothing"):
            worker.score(LISTS, 8)


def test_a_worker_that_hangs_is_given_up(fake: Start) -> None:
    with fake("hangs") as worker, pytest.raises(WorkerError, match="did not answer within 0 seconds"):
        worker.score(LISTS, 8, timeout_s=0.2)
    assert not psutil.pid_exists(worker.process_tree.pid)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("ends loading", "ended: RuntimeError: the weights are gone"),
        ("raises loading", "ValueError: no such thing"),
    ],
)
def test_a_worker_that_does_not_load_says_why(fake: Start, behaviour: str, reason: str) -> None:
    with pytest.raises(WorkerError, match=reason):
        fake(behaviour)


def test_a_worker_that_hangs_while_it_loads_is_ended(fake: Start, tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(WorkerError, match="did not answer within"):
        Worker(
            [sys.executable, str(tmp_path / "fake.py"), "hangs loading"], tmp_path / "log", load_timeout_s=0.2
        )
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_program_that_is_not_there_is_a_reason_too(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="does not run"):
        Worker([str(tmp_path / "python")], tmp_path / "log")


def test_a_worker_sleeps_outside_its_block_with_its_children_and_all_end(fake: Start) -> None:
    with fake("has a child") as worker:
        process = psutil.Process(worker.process_tree.pid)
        family = [process, *process.children()]
        assert len(family) == 2
        with worker.awake():
            worker.score(LISTS, 8)
        assert all(_stops(each) for each in family)
        with worker.awake():
            assert worker.score(LISTS, 8).scores.size == EXPECTED.size
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


def _stops(process: psutil.Process) -> bool:
    """Return whether a process that was sent a stop stops, which takes the kernel a moment."""
    for _ in range(500):
        if process.status() == psutil.STATUS_STOPPED:
            return True
        time.sleep(0.01)  # between two looks
    return False


def test_last_words_are_the_last_lines_that_hold_something() -> None:
    assert last_words("a\n\n b \nc\n\n", lines=2) == "b c"
    assert last_words("\n \n") == "it said nothing"


# --- the contest --------------------------------------------------------------------------------------------


@pytest.fixture
def contest(fake: Start) -> Iterator[Callable[..., dict[str, SystemRow]]]:
    """A function that runs a whole contest and returns its rows by label."""

    def run(
        *entrants: Entrant, rounds: int = 2, batches: tuple[int, ...] = (1, 8), **options: Any
    ) -> dict[str, SystemRow]:
        with Contest(entrants, LISTS, EXPECTED, batches=batches, **options) as held:
            held.prepare(lambda _: None)
            held.time(rounds, lambda _: None)
            told, step = steps()
            expected = held.rank_steps(LISTS)
            held.rank(LISTS, step)
            assert len(told) == expected
        return {label(row.system): row for row in held.rows()}

    yield run
    assert not psutil.Process().children()


def test_rows_tell_batch_speed_ratio_memory_and_whose_scores_are_ranked(
    contest: Callable[..., dict[str, SystemRow]], fake: Start
) -> None:
    rows = contest(
        entrant(fake, "is well", peer=None, batches=False),
        entrant(fake, "is slow"),
        entrant(fake, "is well", "int8"),
        entrant(fake, "is rounded", "int8", None),
    )
    ours, slow, int8 = rows["is well fp32"], rows["is slow fp32"], rows["is well int8"]
    assert [row.batch for row in (ours, slow, int8)] == [1, 8, 8]
    assert ours.pairs_per_second == pytest.approx(EXPECTED.size / 0.17)
    assert slow.pairs_per_second == slow.low == slow.high == pytest.approx(EXPECTED.size / 0.4)
    assert ours.ratio is not None
    assert ours.ratio_any is not None
    assert ours.ratio == pytest.approx([0.4 / 0.17] * 3)
    assert ours.ratio_any == pytest.approx([0.1 / 0.17] * 3)
    assert slow.ratio == pytest.approx([1.0] * 3)
    assert slow.ranked_by == "is well fp32"
    assert slow.ranked is not None
    assert slow.ranked == pytest.approx(EXPECTED)
    assert int8.ranked_by == "is well int8"
    rounded = rows["is rounded int8"]
    assert rounded.ranked is not None
    assert rounded.ranked == pytest.approx(np.round(EXPECTED))
    assert rounded.largest_difference == pytest.approx(np.abs(np.round(EXPECTED) - EXPECTED).max())
    assert all(
        row.reason is None and row.peak_rss_mb is not None and row.peak_rss_mb > 1 for row in rows.values()
    )
    assert list(rows) == [
        "is well int8",
        "is rounded int8",
        "is well fp32",
        "is slow fp32",
    ]  # the fastest first


@pytest.mark.parametrize(
    ("behaviour", "precision", "reason"),
    [
        ("ends loading", "fp32", "ended: RuntimeError"),
        ("ends later", "fp32", "ended: Killed"),
        ("is wrong", "fp32", "wrong scores: they differ from torch's by up to 0.01, more than 0.001"),
        ("is constant", "int8", "wrong scores: their correlation with torch's is 0.00"),
        ("is not finite", "int8", "not finite"),
    ],
)
def test_a_peer_that_fails_is_a_row_that_says_why_and_the_others_go_on(
    contest: Callable[..., dict[str, SystemRow]], fake: Start, behaviour: str, precision: str, reason: str
) -> None:
    rows = contest(entrant(fake, behaviour, precision), entrant(fake, "is well", peer=None))
    failed, well = rows[f"{behaviour} {precision}"], rows["is well fp32"]
    assert failed.reason is not None
    assert reason in failed.reason
    assert (failed.pairs_per_second, failed.ratio, failed.ranked, failed.peak_rss_mb) == (
        None,
        None,
        None,
        None,
    )
    assert well.reason is None
    assert well.pairs_per_second is not None
    assert (well.ratio, well.ratio_any) == (None, None)  # no peer is left to be compared with
    assert list(rows)[-1] == label(failed.system)


def test_a_peer_that_ends_in_the_rounds_has_no_speed_from_the_others(
    contest: Callable[..., dict[str, SystemRow]], fake: Start
) -> None:
    rows = contest(entrant(fake, "ends later", batches=False), entrant(fake, "is well"), rounds=5)
    assert rows["ends later fp32"].reason == "ended: Killed"
    assert rows["ends later fp32"].pairs_per_second is None
    assert rows["is well fp32"].ratio == pytest.approx([1.0] * 3)


def test_without_lists_to_rank_rows_have_speeds_alone(fake: Start) -> None:
    with Contest([entrant(fake, "is well")], LISTS, EXPECTED, batches=(1,)) as held:
        held.prepare(lambda _: None)
        held.time(1, lambda _: None)
        assert held.rank_steps([]) == 0
        held.rank([], lambda _: None)
    (row,) = held.rows()
    assert (row.reason, row.ranked, row.ranked_by) == (None, None, None)
    assert row.pairs_per_second is not None


def test_a_peer_that_was_not_installed_is_a_row(
    contest: Callable[..., dict[str, SystemRow]], fake: Start
) -> None:
    def fail() -> Worker:
        raise WorkerError("could not be installed: no network")

    rows = contest(Entrant(system("absent"), "2.0", fail), entrant(fake, "is well", peer=None))
    shown = rows["absent fp32"].as_json()
    assert (shown["reason"], shown["version"], shown["batch"], shown["pairs_per_second"], shown["ratio"]) == (
        "could not be installed: no network",
        "2.0",
        None,
        None,
        None,
    )


def test_probabilities_are_compared_with_probabilities(
    contest: Callable[..., dict[str, SystemRow]], fake: Start
) -> None:
    rows = contest(
        entrant(fake, "is a probability", scale="probability"),
        Entrant(system("as logits"), "1", lambda: fake("is a probability")),
    )
    found = rows["is a probability fp32"]
    assert found.reason is None
    assert found.largest_difference is not None
    assert found.largest_difference < 1e-9
    assert "wrong scores" in str(rows["as logits fp32"].reason)


def test_every_round_asks_every_process_once_for_everything_in_an_order_of_its_own(
    contest: Callable[..., dict[str, SystemRow]], fake: Start, tmp_path: Path
) -> None:
    names = ["is well", "is slow", "is rounded", "a fourth"]
    contest(*(entrant(fake, name, "int8", batches=False) for name in names), rounds=12)
    calls = [line.rsplit(" ", 3) for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()]
    assert all((int(batch), int(size)) == (1, EXPECTED.size) for _, _, batch, size in calls)
    orders = [tuple(call[0] for call in calls[start : start + 4]) for start in range(0, len(calls), 4)]
    assert len(orders) == 1 + 12 + 1  # once to warm up, the rounds, once to rank
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len(set(orders[1:-1])) > 3


def test_the_batch_size_is_tried_on_a_part_and_the_process_made_anew(
    contest: Callable[..., dict[str, SystemRow]], fake: Start, tmp_path: Path
) -> None:
    rows = contest(entrant(fake, "is well"), rounds=1, batches=BATCH_SIZES)
    assert rows["is well fp32"].batch == 8
    calls = [line.split()[2:] for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()]
    tried, used = [call for call in calls if call[2] == "5"], [call for call in calls if call[2] == "20"]
    assert (
        {1, 4, 8} <= {int(batch) for _, batch, _ in tried} <= set(BATCH_SIZES)
    )  # no larger ones once they are clearly slower
    assert {batch for _, batch, _ in used} == {"8"}
    assert len({pid for pid, _, _ in tried}) == len({pid for pid, _, _ in used}) == 1
    assert {pid for pid, _, _ in tried} != {pid for pid, _, _ in used}


def test_without_a_restart_the_process_that_tried_the_batches_is_timed(
    contest: Callable[..., dict[str, SystemRow]], fake: Start, tmp_path: Path
) -> None:
    rows = contest(entrant(fake, "is well"), rounds=1, batches=BATCH_SIZES, tries=1, restart=False)
    assert (rows["is well fp32"].batch, rows["is well fp32"].peak_rss_mb) == (8, None)
    calls = [line.split()[1:] for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()]
    assert len({call[1] for call in calls}) == 1


def test_a_row_as_json_has_the_promised_keys() -> None:
    shown = SystemRow(
        system("x"), "1", pairs_per_second=12.345, low=1.0, high=20.0, largest_difference=0.0000123456
    ).as_json()
    assert set(shown) >= {
        "name",
        "precision",
        "batch",
        "pairs_per_second",
        "min",
        "max",
        "ratio",
        "peak_rss_mb",
        "largest_difference",
    }
    assert (shown["pairs_per_second"], shown["largest_difference"]) == (12.3, 1.23e-05)
    json.dumps(shown)


positive = st.lists(st.floats(min_value=0.01, max_value=1e3), min_size=1, max_size=20)


@settings(max_examples=10, deadline=None)
@given(positive, st.floats(min_value=0.1, max_value=10))
def test_a_ratio_is_that_of_every_pair_and_turns_with_the_sides(times: list[float], factor: float) -> None:
    slow, fast = np.asarray(times) * factor, np.asarray(times)
    assert ratio(fast, slow) == pytest.approx([factor] * 3)
    assert ratio(slow, fast).median == pytest.approx(1 / factor)


# --- environments -------------------------------------------------------------------------------------------

UV = """
import os, pathlib, sys, time
with open({calls!r}, "a") as calls:
    print(" ".join(sys.argv[1:]), os.getcwd(), file=calls)
if sys.argv[1] == "venv":
    folder = pathlib.Path(sys.argv[-1])
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("")
elif {behaviour!r} == "hangs":
    time.sleep(600)
elif {behaviour!r} == "fails":
    sys.exit("error: No solution found\\n  cause: transformers cannot be both")
"""

PEER = Peer("some-peer", "1.2", "some-peer[onnx]")


def fake_uv(folder: Path, behaviour: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "uv.py").write_text(
        UV.format(calls=str(folder / "uv-calls"), behaviour=behaviour), encoding="utf-8"
    )
    return [sys.executable, str(folder / "uv.py")]


def test_a_peer_is_installed_once_at_its_version_away_from_any_project(tmp_path: Path) -> None:
    uv, cache = fake_uv(tmp_path, "works"), tmp_path / "cache"
    python = installed(PEER, cache, uv=uv)
    assert python.is_file()
    assert "some-peer-1.2" in python.parts[-3]
    assert installed(PEER, cache, uv=["/nowhere/uv"]) == python
    venv, install = (tmp_path / "uv-calls").read_text(encoding="utf-8").splitlines()
    assert venv.startswith("venv")
    assert "some-peer[onnx]==1.2" in install
    assert venv.endswith(f" {cache}")
    assert install.endswith(f" {cache}")


def test_an_installation_that_fails_says_what_uv_said_and_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            WorkerError,
            match="could not be installed: error: No solution found cause: transformers cannot be both",
        ):
            installed(PEER, tmp_path / "cache", uv=fake_uv(tmp_path, "fails"))
    assert installed(PEER, tmp_path / "cache", uv=fake_uv(tmp_path, "works")).is_file()


def test_an_installation_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="was not installed within"):
        installed(PEER, tmp_path / "cache", uv=fake_uv(tmp_path, "hangs"), timeout_s=1.0)


def test_without_uv_the_reason_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerError, match="does not run"):
        installed(PEER, tmp_path / "cache", uv=["/nowhere/uv"])
    monkeypatch.setattr(environments, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match="pip install uv"):
        installed(PEER, tmp_path / "cache")


@pytest.mark.parametrize("own", [False, True])
def test_measured_systems_send_no_usage_statistics(tmp_path: Path, own: bool) -> None:
    settings = environments.variables(tmp_path, own=own)
    assert (settings["DO_NOT_TRACK"], settings["INFINITY_ANONYMOUS_USAGE_STATS"]) == ("1", "0")
    assert settings["HF_HUB_OFFLINE"] == "1"


def test_environments_lie_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environments.default_environments() == tmp_path / "es-rerank" / "bench"


# --- the real worker ----------------------------------------------------------------------------------------


def start(folder: Path, log: Path, name: str) -> Worker:
    task = {"system": name, "folder": str(folder), "threads": 2, "max_length": 128}
    env = {**os.environ, "PYTHONPATH": str(Path(table.__file__).parents[4])}
    return Worker([sys.executable, "-P", script.__file__, json.dumps(task)], log, env=env)


def test_our_own_modes_are_the_models_of_the_folder(tmp_path: Path) -> None:
    folder, other = tiny_cross_encoder(tmp_path / "a"), tiny_cross_encoder(tmp_path / "b", seed=1)
    (folder / "second.onnx").write_bytes((other / GRAPH).read_bytes())
    reseal(
        folder,
        variants={"fp32": GRAPH, "int8": "second.onnx"},
        files={name: file_record(folder / name) for name in (GRAPH, "second.onnx", "tokenizer.json")},
    )
    for precision, source in (("fp32", folder), ("int8", other)):
        with (
            CrossEncoder(source, variant="fp32") as model,
            start(folder, tmp_path / "log", f"es-rerank-{precision}") as worker,
        ):
            expected = np.concatenate([model.score(query, passages).values for query, passages in LISTS])
            answer = worker.score(LISTS, 1)
            assert answer.scores == pytest.approx(expected, abs=1e-6)
            assert answer.seconds > 0


def test_what_a_system_cannot_load_is_what_the_worker_answers(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"ModelFolderError: .*nowhere"):
        start(tmp_path / "nowhere", tmp_path / "log", "es-rerank-fp32")
    with pytest.raises(WorkerError, match="KeyError: 'unknown'"):
        start(tmp_path, tmp_path / "log", "unknown")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_sleeping_worker_ends_with_a_bench_that_is_killed(tmp_path: Path) -> None:
    task = json.dumps(
        {
            "system": "es-rerank-fp32",
            "folder": str(tiny_cross_encoder(tmp_path / "model")),
            "threads": 1,
            "max_length": 128,
        }
    )
    program = (
        "import sys, time, pathlib; from es_rerank.research.bench.workers import Worker\n"
        f"worker = Worker([sys.executable, '-P', {script.__file__!r}, {task!r}], "
        f"pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "with worker.awake(): pass\n"
        "print(worker.process_tree.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        worker = psutil.Process(int(bench.stdout.readline()))
        bench.kill()
    _, alive = psutil.wait_procs([worker], timeout=30)
    assert not alive


def test_every_system_of_the_table_has_a_way_to_run_and_a_name_of_its_own() -> None:
    named = [
        *SYSTEMS,
        table.REFERENCE,
        table.EXPORT,
    ]
    embedding = {each.worker for each in embedding_systems("ours", Path("torch"), Path("flat"), Path("int8"))}
    assert {each.worker for each in named} | embedding == set(script.LOADERS)
    assert len({label(each) for each in named}) == len(named)
    assert {each.peer for each in SYSTEMS} - {None} == {peer.name for peer in PEERS}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2", "avx2"),
        ("fpu avx2 avx512f", "avx512"),
        ("fpu avx512f avx512_vnni", "avx512_vnni"),
        ("fpu avx_vnni", "avx2"),
    ],
)
def test_the_preset_is_the_best_that_the_cpu_has(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert int8_preset() == expected
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert int8_preset() == "arm64"


# --- weights ------------------------------------------------------------------------------------------------


def test_the_bundled_weights_are_all_that_a_bert_with_a_head_has() -> None:
    import onnx  # noqa: PLC0415

    tensors = dequantised(onnx.load(model_folder(BUNDLED_RERANKER) / "model_int8.onnx"))
    modules = [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
    ]
    modules += ["intermediate.dense", "output.dense", "output.LayerNorm"]
    names = [f"bert.encoder.layer.{layer}.{module}" for layer in range(6) for module in modules]
    names += ["bert.embeddings.LayerNorm", "bert.pooler.dense", "classifier"]
    tables = {f"bert.embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")}
    assert set(tensors) == tables | {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    assert tensors["bert.encoder.layer.3.intermediate.dense.weight"].shape == (1536, 384)
    assert tensors["classifier.weight"].shape == (1, 384)
    assert all(
        value.dtype == np.float32 and np.isfinite(value).all() and value.std() > 0
        for value in tensors.values()
        if value.size > 1
    )


def test_a_flat_folder_has_what_flashrank_asks_for(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (source / name).write_text(name, encoding="utf-8")
    (tmp_path / "graph.onnx").write_text("graph", encoding="utf-8")
    flat = flat_folder(source, tmp_path / "graph.onnx", tmp_path / "flat")
    assert {path.name: path.read_text(encoding="utf-8").strip() for path in flat.iterdir()} == {
        "config.json": "config.json",
        "tokenizer.json": "tokenizer.json",
        "special_tokens_map.json": "{}",
        "model.onnx": "graph",
    }


# --- first stage and nDCG -----------------------------------------------------------------------------------

words = st.lists(st.sampled_from(["tide", "moon", "bread", "oven", "lamp", "the"]), max_size=12).map(" ".join)


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=12), words, st.integers(min_value=1, max_value=12))
def test_bm25_is_the_formula(texts: list[str], query: str, size: int) -> None:
    counts = [Counter(words_of(text)) for text in texts]
    average = max(sum(count.total() for count in counts) / len(texts), 1.0)

    def idf(word: str) -> float:
        holding = sum(word in count for count in counts)
        return math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))

    def score(count: Counter[str]) -> float:
        norm = 1.2 * (0.25 + 0.75 * count.total() / average)
        return sum(
            idf(word) * count[word] / (count[word] + norm) for word in words_of(query) if word in count
        )

    scores = [score(count) for count in counts]
    best = Bm25(texts).best(query, size)
    assert len(best) == min(size, sum(value > 0 for value in scores))
    assert [scores[place] for place, _ in best] == pytest.approx(sorted(scores, reverse=True)[: len(best)])
    assert [score for _, score in best] == pytest.approx([scores[place] for place, _ in best])


@pytest.fixture(scope="module")
def collection() -> CollectionWindows:
    return read_windows(packaged(), None, 10, 20)


def test_a_collection_gives_windows_and_their_ndcg(collection: CollectionWindows) -> None:
    first = collection.ndcg()
    assert first is not None
    assert 0.3 < first < 1
    lengths = [len(texts) for _, texts in collection.judged]
    assert max(lengths) == 10
    in_order = np.concatenate([-np.arange(length, dtype=float) for length in lengths])
    assert collection.ndcg(in_order) == first
    judgements = read_qrels(packaged(), collection.split)
    grades = [
        float(judgements[name].get(document, 0))
        for name, found in collection.judged_candidates.items()
        for document in found.documents[: collection.window]
    ]
    assert len(grades) == collection.texts()
    best = collection.ndcg(np.asarray(grades))
    assert best is not None
    assert best > first
    assert collection.ndcg(-np.asarray(grades)) < first  # type: ignore[operator]


def test_joined_with_the_first_stage_an_order_is_between_both(collection: CollectionWindows) -> None:
    scores = np.random.default_rng(3).normal(size=collection.texts())
    assert collection.ndcg(scores, Blend(1.0, 0.0, -3.0)) == collection.ndcg(scores)
    assert collection.ndcg(scores, Blend(0.0, 1.0, 0.0)) == collection.ndcg()
    assert collection.ndcg(scores, Blend(1.0, 1.0, 0.0)) not in {
        collection.ndcg(scores),
        collection.ndcg(),
    }


def test_what_is_timed_is_as_many_pairs_as_asked_for(collection: CollectionWindows) -> None:
    for pairs in (20, 33, 200):
        lists = timed_lists(collection.every, pairs)
        assert sum(len(texts) for _, texts in lists) == pairs
        assert lists[: len(lists) - 1] == timed_lists(collection.every, 200)[: len(lists) - 1]
    with pytest.raises(SettingsError, match="--pairs 1000000 is more than the"):
        timed_lists(collection.every, 1_000_000)


# --- the picture, and the command's own refusals ------------------------------------------------------------


def test_a_chart_is_xml_whose_bars_are_as_long_as_their_values() -> None:
    drawn = ET.fromstring(
        chart("a & b <c>", [Bar("fast & int8", 100.0, 90.0, 120.0), Bar("slow", 25.0, 20.0, 30.0, GREY)])
    )
    space = "{http://www.w3.org/2000/svg}"
    widths = [
        float(each.attrib["width"]) for each in drawn.iter(f"{space}rect") if each.attrib["width"] != "100%"
    ]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
    texts = [each.text for each in drawn.iter(f"{space}text")]
    assert texts == ["a & b <c>", "fast & int8", "100.0", "slow", "25.0"]
    colours = {each.attrib["fill"] for each in drawn.iter(f"{space}rect")}
    assert len(colours) == 3


def test_the_tables_fit_into_80_columns_and_say_what_was_not_measured(
    collection: CollectionWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = Added(1.234, 0.9, 12.5)
    rows = [
        SystemRow(
            each,
            "1.2.3",
            None,
            16,
            1.5e-5,
            1234.5,
            1000.0,
            1300.0,
            spread,
            spread,
            1234.0,
            np.zeros(collection.texts()),
            "x",
        )
        for each in SYSTEMS
        if each.peer
    ]
    report = EngineReport(
        [*rows, SystemRow(SYSTEMS[0], "0.1", "ended: [no] memory")],
        [collection],
        LISTS,
        3,
        2,
        Blend(0.0, 1.0, 0.0),
        on_our_grid=True,
    )
    out = io.StringIO()
    monkeypatch.setattr(bench_engine_tables, "stdout", Console(file=out, width=80))
    bench_engine_tables.show_engine_report(report)
    lines = out.getvalue().splitlines()
    for row in rows:
        found = [line for line in lines if line.startswith(label(row.system))]
        assert len(found) == (3 if row.system.scale == "logit" else 2)
        assert max(map(len, found)) <= 80
        assert found[0].split()[-5:] == ["16", "1234.5", "1000-1300", "1.23", "(0.90-12.50)"]
        assert all(f"{collection.ndcg():.4f}" in line for line in found[1:])
    assert "not measured: es-rerank fp32 0.1: ended: [no] memory" in lines
    assert sum("first stage (BM25)" in line for line in lines) == 1
    shown = report.as_json()
    assert (
        shown["systems"][0]["ndcg@10"]
        == shown["collections"][0]["first_stage"]["ndcg@10"]
        == collection.ndcg()
    )
    assert shown["systems"][0]["ndcg@10_joined_by_collection"] == {collection.name: collection.ndcg()}
    assert (shown["systems"][-1]["ndcg@10"], shown["systems"][-1]["ndcg@10_joined"]) == (None, None)
    assert set(shown["machine"]) == {"cpu", "cores", "python", "threads"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "flashrank", "--peers", "nobody"], "--peers nobody is not a known peer"),
        (["--plot", "a.png"], "ends in .svg"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["bench", "engine", *arguments])
    assert isinstance(done.exception, SettingsError)
    assert message in done.exception.message


def test_a_model_without_a_calibration_joins_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "engine", "--calibration", str(tiny_cross_encoder(tmp_path))])
    assert isinstance(done.exception, SettingsError)
    assert "has no calibration; learn one with: es-rerank calibrate" in done.exception.message

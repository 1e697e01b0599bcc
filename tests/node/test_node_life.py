"""Real nodes are started, found, killed and stopped here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import another_process, run
from elasticsearch import Elasticsearch

from es_rerank.errors import NodeError
from es_rerank.node import (
    VERSION,
    Node,
    address,
    doctor,
    down,
    running,
    up,
)
from es_rerank.node.probe import probe
from es_rerank.node.record import ProcessRecord, read, write

STARTUP_S = 300.0


@pytest.fixture
def own(node: Node) -> Node:
    """The session's node, where it is a process that we started."""
    if node.how != "maven":
        pytest.skip("this test looks at a node that was started as a process")
    return node


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    with another_process() as found:
        yield found


def place_of(state_dir: Path) -> ProcessRecord:
    record = read(state_dir)
    assert record is not None
    assert isinstance(record.place, ProcessRecord)
    return record.place


# -- a node that runs ----------------------------------------------------------------------------------------


def test_a_second_up_finds_the_running_node(own: Node, state_dir: Path) -> None:
    again = up(state_dir)
    assert again.found
    assert again == own == running(state_dir)
    assert own.version == VERSION
    assert address(None, state_dir) == own.url


def test_the_node_is_out_of_reach_of_our_terminal(own: Node) -> None:
    assert own.pid is not None
    assert os.getsid(own.pid) != os.getsid(0)
    assert os.getpid() not in [parent.pid for parent in psutil.Process(own.pid).parents()]


def test_the_node_listens_on_loopback_only(own: Node) -> None:
    listening = [
        each.laddr
        for each in psutil.Process(own.pid).net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2  # HTTP and transport
    assert all(each.ip.removeprefix("::ffff:") == "127.0.0.1" for each in listening)


def test_down_leaves_a_server_alone_that_is_only_named_in_the_settings(node: Node, tmp_path: Path) -> None:
    done = run(
        "down", "--purge", "--json", ELASTICSEARCH_URL=node.url, ES_RERANK_STATE_DIR=str(tmp_path / "state")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "url": None,
        "version": None,
        "how": None,
        "ok": True,
        "stopped": False,
        "purged": False,
    }
    assert probe(node.url).status in {"green", "yellow"}
    assert not (tmp_path / "state").exists()


# -- life and death, on one node of this file's own ----------------------------------------------------------


@pytest.mark.node
@pytest.mark.timeout(900)  # two nodes start and stop
def test_life_of_a_node(tmp_path: Path) -> None:
    """One test, because every start takes a quarter of a minute: each step needs the one before."""
    state = tmp_path / "state"
    environ = {"ES_RERANK_STATE_DIR": str(state)}
    try:
        first = _two_commands_at_once_start_one_node(environ)
        with Elasticsearch(first["url"]) as es:
            es.index(index="kept", id="1", document={"text": "still here"}, refresh=True)
        _down_stops_it(environ, first["pid"])

        second = up(state, heap_mb=256, timeout_s=STARTUP_S)
        assert not second.found
        _document_is_there(second)

        assert second.pid is not None
        os.kill(second.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(second.pid)] if psutil.pid_exists(second.pid) else [], timeout=30)
        assert running(state) is None
        with pytest.raises(NodeError, match="es-rerank up"):
            address(None, state)

        third = up(state, heap_mb=256, timeout_s=STARTUP_S)
        assert third.pid != second.pid
        _document_is_there(third)
    finally:
        done = down(state, purge=True)
    assert done.stopped is not None
    assert done.purged
    assert third.home is not None
    assert not third.home.exists()
    assert read(state) is None


def _two_commands_at_once_start_one_node(environ: dict[str, str]) -> dict[str, Any]:
    line = [
        sys.executable,
        "-m",
        "es_rerank",
        "up",
        "--json",
        "--heap-mb",
        "256",
        "--timeout-s",
        str(STARTUP_S),
    ]
    commands = [
        subprocess.Popen(line, env={**os.environ, **environ}, stdout=subprocess.PIPE) for _ in range(2)
    ]
    answers = [json.loads(each.communicate()[0]) for each in commands]
    assert sorted(answer.pop("started") for answer in answers) == [False, True]
    assert answers[0] == answers[1]
    assert {key: answers[0][key] for key in ("version", "how", "ok")} == {
        "version": VERSION,
        "how": "maven",
        "ok": True,
    }
    return dict(answers[0])


def _down_stops_it(environ: dict[str, str], pid: int) -> None:
    done = run("down", **environ)
    assert done.returncode == 0, done.stderr
    assert "stopped Elasticsearch" in done.stdout
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "nothing to stop" in run("down", **environ).stdout


def _document_is_there(node: Node) -> None:
    with Elasticsearch(node.url) as es:
        assert es.get(index="kept", id="1")["_source"] == {"text": "still here"}


# -- records that are no longer true -------------------------------------------------------------------------


def test_a_record_of_a_dead_process_is_stale(own: Node, state_dir: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    _copy_record(state_dir, tmp_path, pid=ended.pid)
    assert running(tmp_path) is None
    assert down(tmp_path).stopped is None
    assert probe(own.url).status is not None


@pytest.mark.usefixtures("own")
def test_a_recycled_pid_is_neither_believed_nor_stopped(
    state_dir: Path, tmp_path: Path, bystander: psutil.Process
) -> None:
    for started_at in (place_of(state_dir).started_at, bystander.create_time()):
        _copy_record(state_dir, tmp_path, pid=bystander.pid, started_at=started_at)
        assert running(tmp_path) is None
        assert down(tmp_path).stopped is None
        assert bystander.is_running()


@pytest.mark.usefixtures("own")
def test_another_server_at_the_recorded_address_is_not_ours(state_dir: Path, tmp_path: Path) -> None:
    record = read(state_dir)
    assert record is not None
    write(tmp_path, record.model_copy(update={"node_id": "somebody-else"}))
    assert running(tmp_path) is None
    write(tmp_path, record.model_copy(update={"version": "8.0.0"}))
    assert running(tmp_path) is None
    write(tmp_path, record)
    assert running(tmp_path) is not None


def _copy_record(state_dir: Path, to: Path, **changes: float) -> None:
    record = read(state_dir)
    assert record is not None
    write(to, record.model_copy(update={"place": place_of(state_dir).model_copy(update=changes)}))


# -- what a machine lacks ------------------------------------------------------------------------------------


def test_doctor_knows_a_running_node_and_what_the_machine_has(node: Node) -> None:
    diagnosis = doctor(Path("/nowhere"), node.url)
    rows = {check.name: check for check in diagnosis.checks}
    assert (diagnosis.url, diagnosis.version, diagnosis.how) == (node.url, node.version, "given")
    assert {name for name, check in rows.items() if check.status == "fail"} <= {
        "Reranker"
    }  # a checkout in which it is not built yet
    assert diagnosis.ok == (rows["Reranker"].status == "ok")
    assert "basic licence" in rows["Elasticsearch"].found
    assert {
        "Elasticsearch",
        "Python",
        "JDK",
        "Maven",
        "Docker",
        "Elastic's archive",
        "Disk",
        "Memory",
        "CPU",
        "ONNX Runtime",
        "Reranker",
        "Embedder",
    } == set(rows)
    assert all(check.remedy for check in diagnosis.checks if check.status != "ok")
    assert not any(check.remedy for check in diagnosis.checks if check.status == "ok")


def test_doctor_prints_a_table(own: Node, state_dir: Path) -> None:
    done = run("doctor", "--no-speed", ES_RERANK_STATE_DIR=str(state_dir), COLUMNS="200")
    assert done.returncode == int(not doctor(state_dir, own.url).ok), done.stderr
    assert own.url in done.stdout
    assert "ONNX Runtime" in done.stdout

"""What is known of a node before one runs: its record, its address, what the machine lacks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import another_process, open_folder, run

from es_rerank.addresses import masked
from es_rerank.errors import NodeError, SettingsError, UnreachableError
from es_rerank.node import (
    address,
    doctor,
    down,
    process,
    running,
)
from es_rerank.node.lifecycle import obstacles
from es_rerank.node.probe import probe


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    with another_process() as found:
        yield found


# -- records that are no longer true -------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", '{"url": "http://127.0.0.1:9200"}', "[]"])
def test_a_record_that_cannot_be_understood_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "node.json").write_text(content)
    assert running(tmp_path) is None
    assert down(tmp_path).stopped is None


def test_a_node_without_a_record_is_stopped_before_the_next_start(
    folder: Path, bystander: psutil.Process
) -> None:
    """The command that started it was killed before it could write the record;
    the node would keep the data locked.
    """
    with subprocess.Popen(
        [sys.executable, "-c", "input()", f"-Drerank.home={folder}"], stdin=subprocess.PIPE
    ) as orphan:
        for pid in (bystander.pid, orphan.pid):
            (folder / "elasticsearch.pid").write_text(str(pid))
            process.stop_orphan(folder)
        assert orphan.wait(30) == -signal.SIGTERM
    assert bystander.is_running()


# -- addresses -----------------------------------------------------------------------------------------------


def test_an_address_that_is_given_comes_before_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "https://search.example:9243")
    assert address("http://localhost:9200", tmp_path) == "http://localhost:9200"
    assert address(None, tmp_path) == "https://search.example:9243"


def test_without_any_address_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"es-rerank up.*ELASTICSEARCH_URL"):
        address(None, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9200",
        "ftp://localhost",
        "http://",
        "http://[",
        "http://localhost:x",
        "elastic:secret@localhost",
    ],
)
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a URL"):
        address(url, tmp_path)


def test_passwords_do_not_show() -> None:
    assert masked("https://elastic:s3:cr@t@host:9200/x") == "https://elastic:***@host:9200/x"
    assert masked("http://localhost:9200") == "http://localhost:9200"
    with pytest.raises(UnreachableError, match=r"elastic:\*\*\*@") as caught:
        probe(f"http://elastic:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(caught.value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- what a machine lacks ------------------------------------------------------------------------------------


def test_a_machine_without_docker_java_and_maven_gets_one_clear_error(folder: Path) -> None:
    missing = obstacles(folder, {"PATH": str(folder)}, folders=[f"{folder}/*"])
    assert [each.install for each in missing] == ["a JDK 21 or newer", "Maven"]
    assert "no Java at all" in missing[0].found

    done = run(
        "up",
        "--json",
        PATH=str(folder),
        XDG_CACHE_HOME=str(folder),
        ES_RERANK_STATE_DIR=str(folder / "state"),
    )
    assert done.returncode == 5
    assert done.stdout == ""
    assert "docker is not on PATH" in done.stderr
    assert "Install Docker and start its daemon, or install" in done.stderr
    assert "Maven" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_fails_where_no_elasticsearch_can_be(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run(
        "doctor", "--no-speed", "--json", "--elasticsearch-url", url, ES_RERANK_STATE_DIR=str(tmp_path)
    )
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["url"], answer["how"], answer["ok"]) == (url, "given", False)
    failed = [check for check in answer["checks"] if check["status"] == "fail"]
    assert failed[0]["name"] == "Elasticsearch"
    assert "ELASTICSEARCH_URL" in failed[0]["remedy"]


def test_doctor_fails_without_the_model_and_says_which_setting_names_it(tmp_path: Path) -> None:
    rows = {
        check.name: check
        for check in doctor(tmp_path, None, reranker=str(tmp_path), embedder="somebody/on-the-hub").checks
    }
    assert (rows["Reranker"].status, rows["Embedder"].status) == ("fail", "warn")
    assert "ES_RERANK_RERANKER" in rows["Reranker"].remedy
    assert "Hugging Face Hub" in rows["Embedder"].remedy

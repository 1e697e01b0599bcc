"""A real run of ``es-rerank bench gateway`` is looked at for its shape, never for its speed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from elasticsearch import Elasticsearch
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import NodeError
from es_rerank.node import Node
from es_rerank.research.bench.gateway_searches import CASES, Case, without_model
from es_rerank.research.bench.machine import machine
from es_rerank.settings import PREFIX


@pytest.fixture
def environment(tmp_path: Path, state_dir: Path) -> dict[str, str]:
    """Tiny models, the session's node as the user's own, a variable that is not to be used,
    and a mark that children inherit.
    """
    models = {
        "RERANKER": tiny_cross_encoder(tmp_path / "tiny-ce"),
        "EMBEDDER": tiny_bi_encoder(tmp_path / "tiny-be"),
        "STATE_DIR": state_dir,
    }
    ours = {PREFIX + name: str(path) for name, path in models.items()}
    return {
        **os.environ,
        **ours,
        "ELASTICSEARCH_URL": "http://127.0.0.1:9",
        "COLUMNS": "80",
        "BENCH_MARK": uuid4().hex,
    }


def _command(node: Node, *arguments: str) -> list[str]:
    where = ["--elasticsearch-url", node.url] if node.how == "given" else []
    return [sys.executable, "-m", "es_rerank", "bench", "gateway", *where, *arguments]


def _run(node: Node, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(node, *arguments), env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def _children(environment: dict[str, str]) -> list[str]:
    """Return the command lines of processes that were started with the environment's mark and still run."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("BENCH_MARK") == environment["BENCH_MARK"]:
                found.append(" ".join(each.cmdline()))
        except psutil.Error:
            continue
    return found


def _rows(ways: set[str]) -> list[Case]:
    """Return the cases of the rows that a run of these ways shows."""
    return [
        row
        for case in CASES
        if case.way in ways
        for row in ([case, without_model(case)] if case.reranks else [case])
    ]


def _assert_nothing_is_left(es: Elasticsearch, environment: dict[str, str]) -> None:
    assert not es.indices.get(index="bench-gateway-*").body
    assert _children(environment) == []


@pytest.mark.long
@pytest.mark.node
def test_a_run_prints_every_case_and_leaves_nothing_behind(
    es: Elasticsearch, node: Node, environment: dict[str, str]
) -> None:
    done = _run(node, environment, "--documents", "200", "--rounds", "3", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert set(shown) == {"machine", "documents", "rounds", "cases"}
    assert shown["machine"] == machine(node.version)
    assert (shown["documents"], shown["rounds"]) == (200, 3)
    assert [(case["name"], case["baseline"]) for case in shown["cases"]] == [
        (case.name, case.baseline) for case in _rows({"direct", "sidecar", "library"})
    ]
    for case in shown["cases"]:
        _check(case)
    assert "the plugin is not measured: the node has none" in done.stderr
    _assert_nothing_is_left(es, environment)


@pytest.mark.node
@pytest.mark.long
def test_a_node_with_the_plugin_is_measured_with_it(
    plugin_es: Elasticsearch, plugin_node: Node, environment: dict[str, str]
) -> None:
    where = ("--elasticsearch-url", plugin_node.url)
    done = _run(plugin_node, environment, *where, "--documents", "100", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert [case["name"] for case in json.loads(done.stdout)["cases"]] == [
        case.name for case in _rows({"direct", "sidecar", "library", "plugin"})
    ]
    _assert_nothing_is_left(plugin_es, environment)

    done = _run(plugin_node, environment, *where, "--documents", "100", "--rounds", "1", "--no-plugin")
    assert done.returncode == 0, done.stderr
    assert "by plugin" not in done.stdout


@pytest.mark.node
@pytest.mark.long
def test_a_plugin_whose_sidecar_is_not_ours_is_left_out_and_demanded_it_is_an_error(
    plugin_node: Node, plugin_sidecar: str, environment: dict[str, str]
) -> None:
    command = ("--elasticsearch-url", plugin_node.url, "--documents", "100", "--rounds", "1")
    done = _run(plugin_node, environment, *command)
    assert done.returncode == 0, done.stderr
    assert f"the plugin is not measured: it asks the sidecar at {plugin_sidecar}, where" in done.stderr
    done = _run(plugin_node, environment, *command, "--plugin")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"it asks the sidecar at {plugin_sidecar}, where something listens; stop it" in done.stderr


def _check(case: dict[str, Any]) -> None:
    """Check what the command line promises, key by key."""
    differences = [case[key] for key in ("added_low_ms", "added_ms", "added_high_ms")]
    assert set(case) == {
        "name",
        "baseline",
        "p50_ms",
        "p95_ms",
        "min_ms",
        "max_ms",
        "added_ms",
        "added_low_ms",
        "added_high_ms",
    }
    # Without the model's time: the plugin's search may have taken less than the model took in the sidecar's.
    least = -math.inf if case["name"].endswith("-rest") else 0
    assert least < case["min_ms"] <= case["p50_ms"] <= case["p95_ms"] <= case["max_ms"]
    if case["baseline"] is None:
        assert differences == [None] * 3
    else:
        assert differences == sorted(differences)


@pytest.mark.node
@pytest.mark.long
def test_a_run_shows_a_table(node: Node, environment: dict[str, str]) -> None:
    done = _run(node, environment, "--documents", "100", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert all(case.about in done.stdout for case in _rows({"direct", "sidecar", "library"}))
    for what in ("100 documents, 1 rounds", node.version, "added", "95 % interval"):
        assert what in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.long
@pytest.mark.node
def test_a_sidecar_that_does_not_start_says_why_in_one_sentence(
    es: Elasticsearch, node: Node, environment: dict[str, str], tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone")
    rerankers = {**environment, PREFIX + "RERANKER": gone}
    done = _run(node, rerankers, "--documents", "100", "--rounds", "1", "--no-plugin")
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert "the sidecar ended with 4" in sentence
    assert gone in sentence
    _assert_nothing_is_left(es, environment)


@pytest.mark.node
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.long
def test_an_interrupted_run_leaves_nothing_behind(
    es: Elasticsearch, node: Node, environment: dict[str, str], number: signal.Signals
) -> None:
    line = _command(node, "--documents", "100", "--rounds", "100000")
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            while not es.indices.get(index="bench-gateway-*").body:
                assert running.poll() is None
                time.sleep(0.05)  # between two looks; what is awaited is the index
            running.send_signal(number)
            assert running.wait(60) != 0
        finally:
            # A run that ignores the signal, as one started in the background ignores SIGINT, fails the test
            # and does not hang it.
            running.kill()
    _assert_nothing_is_left(es, environment)


@pytest.mark.node
def test_the_sidecar_of_a_run_has_no_cache_and_searches_outside(
    node: Node, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refused(_: str, **options: Any) -> Any:
        asked.append(options["settings"])
        raise NodeError("it need not start")

    monkeypatch.setattr("es_rerank.cli.own_sidecar.own_sidecar", refused)
    for name in ("RERANKER", "EMBEDDER", "STATE_DIR"):
        monkeypatch.setenv(PREFIX + name, environment[PREFIX + name])
    line = ["bench", "gateway", "--elasticsearch-url", node.url, "--documents", "100", "--no-plugin"]
    CliRunner().invoke(app, line)
    assert asked == [{"ES_RERANK_SCORE_CACHE": "0", "ES_RERANK_PLUGIN": "never"}]

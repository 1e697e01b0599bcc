"""Measuring speed: the arithmetic on known numbers, and a real run that is looked at for its shape,
never for its speed.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import pytest
from elasticsearch import Elasticsearch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.engine import processor
from es_rerank.errors import SearchError
from es_rerank.node import Node
from es_rerank.research.bench.gateway import CASES, measure, questions, rows
from es_rerank.research.bench.machine import machine
from es_rerank.research.bench.paired import added, spread
from es_rerank.settings import PREFIX

times = st.lists(st.floats(min_value=0.01, max_value=1e4), min_size=1, max_size=40)


def test_a_spread_is_the_one_worked_out_by_hand() -> None:
    assert spread(np.arange(1.0, 102.0)) == (51.0, 96.0, 1.0, 101.0)
    assert spread(np.array([2.5])) == (2.5, 2.5, 2.5, 2.5)


def test_what_is_added_is_the_median_of_the_pairs_not_the_difference_of_the_medians() -> None:
    baseline, through = np.array([1.0, 2.0, 9.0]), np.array([2.0, 9.5, 10.0])
    assert added(through, baseline).median == 1.0
    assert np.median(through) - np.median(baseline) == 7.5


def test_a_drift_that_both_share_cancels() -> None:
    baseline = np.linspace(1, 50, 200)
    assert added(baseline + 3, baseline) == pytest.approx((3, 3, 3))


def test_the_interval_is_as_wide_as_theory_says() -> None:
    draw, rounds = np.random.default_rng(5), 2_000
    found = added(draw.normal(4, 1, rounds), np.zeros(rounds))
    expected = (
        2 * 1.96 * math.sqrt(math.pi / 2 / rounds)
    )  # twice 1.96 standard errors of a median of normal draws
    assert found.low < 4 < found.high
    assert found.high - found.low == pytest.approx(expected, rel=0.25)


@settings(max_examples=25, deadline=None)
@given(times, st.randoms(use_true_random=False))
def test_the_median_lies_in_its_interval_and_turns_with_the_sides(values: list[float], shuffled: Any) -> None:
    other = values.copy()
    shuffled.shuffle(other)
    there, back = added(np.array(values), np.array(other)), added(np.array(other), np.array(values))
    assert there.low <= there.median <= there.high
    assert min(np.subtract(values, other)) <= there.low
    assert there.high <= max(np.subtract(values, other))
    assert there.median == pytest.approx(-back.median)
    assert added(np.array(values), np.array(other)) == there


def test_timings_of_other_rounds_are_not_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        added(np.ones(3), np.ones(2))


def test_a_machine_without_cpuinfo_has_a_name_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all(machine("9.5.0").values())
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert set(machine("9.5.0")) == {"cpu", "cores", "python", "elasticsearch"}
    assert all(machine("9.5.0").values())


# --- the loop -----------------------------------------------------------------------------------------------


class Recorder:
    """Answers every search with the hits that it was given, and keeps in which order it was asked what."""

    def __init__(
        self, way: str, asked: list[tuple[str, str]], hits: Callable[[], list[str]] = lambda: ["a", "b"]
    ) -> None:
        self.way, self.asked, self.hits = way, asked, hits

    def search(self, *, index: str, body: dict[str, Any]) -> dict[str, Any]:
        assert index == "some-index"
        assert not gc.isenabled()
        self.asked.append((self.way, next(iter(body.get("retriever", body)))))
        return {"hits": {"hits": [{"_id": name} for name in self.hits()]}}


def test_every_round_asks_every_case_once_in_an_order_of_its_own() -> None:
    asked: list[tuple[str, str]] = []
    told: list[int] = []
    measured = measure(
        {way: Recorder(way, asked) for way in ("direct", "sidecar", "library")}, "some-index", 20, told.append
    )
    per_round = [asked[start : start + len(CASES)] for start in range(0, len(asked), len(CASES))]
    assert len(per_round) == 40  # as many again warm up
    assert all(sorted(each) == sorted(per_round[0]) for each in per_round)
    assert len(set(per_round[0])) == len(CASES)
    assert len({tuple(each) for each in per_round}) > 30
    assert told == [0] * 20 + list(range(1, 21))
    assert [row.case for row in measured] == list(CASES)
    assert gc.isenabled()


def test_a_way_that_finds_other_hits_ends_the_run() -> None:
    ways = {
        "direct": Recorder("direct", []),
        "library": Recorder("library", []),
        "sidecar": Recorder("sidecar", [], lambda: ["b", "a"]),
    }
    with pytest.raises(SearchError, match="search-sidecar finds other hits"):
        measure(ways, "some-index", 1, lambda _: None)  # type: ignore[arg-type]
    assert gc.isenabled()


def test_rows_compare_each_case_with_its_baseline() -> None:
    names = [case.name for case in CASES]
    taken = np.tile(np.arange(float(len(CASES))), (5, 1))
    for row in rows(taken):
        place = names.index(row.case.name)
        shown = row.as_json()
        assert (shown["p50_ms"], shown["min_ms"], shown["max_ms"]) == (place, place, place)
        assert shown["added_ms"] == (
            None if row.case.baseline is None else place - names.index(row.case.baseline)
        )


def test_questions_are_the_same_every_time() -> None:
    first = questions(30)
    assert questions(30) == first
    assert len({question.text for question in first}) > 25
    assert all(len(question.vector) == 64 for question in first)


# --- the program, on the real node --------------------------------------------------------------------------


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


def _assert_nothing_is_left(es: Elasticsearch, environment: dict[str, str]) -> None:
    assert not es.indices.get(index="bench-gateway-*").body
    assert _children(environment) == []


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
        (case.name, case.baseline) for case in CASES
    ]
    for case in shown["cases"]:
        _check(case)
    _assert_nothing_is_left(es, environment)


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
    assert 0 < case["min_ms"] <= case["p50_ms"] <= case["p95_ms"] <= case["max_ms"]
    if case["baseline"] is None:
        assert differences == [None] * 3
    else:
        assert differences == sorted(differences)


@pytest.mark.node
def test_a_run_shows_a_table(node: Node, environment: dict[str, str]) -> None:
    done = _run(node, environment, "--documents", "100", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert all(case.about in done.stdout for case in CASES)
    for what in ("100 documents, 1 rounds", node.version, "added", "95 % interval"):
        assert what in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.node
def test_a_sidecar_that_does_not_start_says_why_in_one_sentence(
    es: Elasticsearch, node: Node, environment: dict[str, str], tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone")
    done = _run(node, {**environment, PREFIX + "RERANKER": gone}, "--documents", "100", "--rounds", "1")
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert "the sidecar ended with 4" in sentence
    assert gone in sentence
    _assert_nothing_is_left(es, environment)


@pytest.mark.node
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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

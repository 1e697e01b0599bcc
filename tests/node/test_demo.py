"""The demo: what it shows, what it promises as JSON, where it writes, and that its sidecar answers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from rich.console import Console
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.demo import INDEX, side_by_side
from es_rerank.node import Node
from es_rerank.settings import PREFIX


def _hit(name: str, text: str, was: int, score: float) -> dict[str, Any]:
    return {
        "_id": name,
        "_score": score,
        "_source": {"text": text},
        "fields": {"rerank.first_stage_rank": [was], "rerank.first_stage_score": [1 / was]},
    }


def _printed(hits: list[dict[str, Any]], judged: dict[str, int]) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(side_by_side("who [b]signed[/b] it?", hits, judged))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_side_by_side_shows_movement_scores_and_answers_within_100_columns() -> None:
    hits = [_hit("a", "the envoys " * 30, 2, 0.9), _hit("b", "[not] markup", 1, 0.25)]
    shown = _printed(hits, {"a": 1, "b": 0})
    assert max(map(len, shown.splitlines())) <= 100
    assert "who [b]signed[/b] it?" in shown
    assert "[not] markup" in shown
    assert "✔ the envoys" in shown
    assert "✔ [not]" not in shown
    for what in ("2 ▲", "1 ▼", "0.900", "0.250", "1.000", "0.500"):
        assert what in shown
    assert "first answer: rank 2 before, rank 1 after" in shown


def test_an_answer_that_no_hit_holds_is_said_to_be_missing() -> None:
    assert "first answer: not among 1 before, not among 1 after" in _printed(
        [_hit("a", "text", 1, 0.5)], {"z": 1}
    )


# --- the program, on the real node --------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path, state_dir: Path, es: Elasticsearch) -> Iterator[dict[str, str]]:
    """Tiny models, the session's node as the user's own,
    and a variable that names an Elasticsearch which must stay untouched.
    """
    models = {
        "RERANKER": tiny_cross_encoder(tmp_path / "tiny-ce"),
        "EMBEDDER": tiny_bi_encoder(tmp_path / "tiny-be"),
        "STATE_DIR": state_dir,
    }
    yield {
        **os.environ,
        **{PREFIX + name: str(path) for name, path in models.items()},
        "ELASTICSEARCH_URL": "http://127.0.0.1:9",
        "COLUMNS": "100",
    }
    for name in es.indices.get(index=f"{INDEX}-*"):
        es.indices.delete(index=name)


def _command(node: Node, *arguments: str) -> list[str]:
    where = ["--elasticsearch-url", node.url] if node.how == "given" else []
    return [sys.executable, "-m", "es_rerank", "demo", *where, *arguments]


@pytest.mark.node
@pytest.mark.long
def test_the_demo_shows_before_and_after_and_what_it_is_worth(
    node: Node, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        _command(node, "--queries", "2", "--limit", "50"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "6,135 sentences" in done.stdout
    assert len(re.findall(r"^first answer: ", done.stdout, flags=re.MULTILINE)) == 2
    assert "50 queries, knn, window 50" in done.stdout
    for row in ("first stage", "cross-encoder alone", "shipped default", "queries better"):
        assert row in done.stdout


def _address(process: subprocess.Popen[str]) -> str:
    """Return where the sidecar says that it listens."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"sidecar on (http://[\w.:]+)", line):
            return found[1]
    pytest.fail("the demo ended before its sidecar listened:\n" + "".join(lines))


def _await_ready(url: str, process: subprocess.Popen[str]) -> None:
    while httpx.get(f"{url}/readyz", trust_env=False, timeout=60).status_code != httpx.codes.OK:
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the sidecar ended with {process.wait(0.2)} before it was ready")


@pytest.mark.node
def test_the_demo_prints_its_json_and_serves_until_interrupted(
    node: Node, environment: dict[str, str]
) -> None:
    line = _command(node, "--limit", "5", "--json", "--serve", "--port", "0")
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            url = _address(process)
            _await_ready(url, process)
            answer = httpx.post(
                f"{url}/{INDEX}/_search",
                json={"query": {"match": {"text": "treaty"}}, "size": 1},
                trust_env=False,
                timeout=60,
            )
        finally:
            process.send_signal(signal.SIGINT)
        shown = json.loads(process.communicate()[0])
    assert process.returncode == 0
    assert answer.json()["hits"]["hits"]
    _check(shown, node)


def _check(shown: dict[str, Any], node: Node) -> None:
    """Check what the command line promises, key by key."""
    promised = {
        "elasticsearch",
        "index",
        "documents",
        "passages",
        "queries",
        "first_stage",
        "cross_encoder",
        "reranked",
        "p_value",
        "seconds",
        "distribution",
        "notes",
    }
    assert set(shown) == promised
    assert bool(shown["notes"]) == (shown["distribution"] == "stripped")
    assert shown["elasticsearch"] == {"version": node.version, "how": node.how}
    assert (shown["index"], shown["documents"], shown["queries"]) == (INDEX, 6_135, 5)
    assert shown["passages"] >= 6_135
    assert all(0 <= shown[run]["ndcg@10"] <= 1 for run in ("first_stage", "cross_encoder", "reranked"))
    assert 0 <= shown["p_value"] <= 1
    assert set(shown["seconds"]) == {"node", "ingest", "search_p50"}


@pytest.mark.long
@pytest.mark.node
def test_with_the_bundled_models_reranking_is_worth_it(node: Node, environment: dict[str, str]) -> None:
    bundled = {
        name: value
        for name, value in environment.items()
        if name not in {PREFIX + "RERANKER", PREFIX + "EMBEDDER"}
    }
    done = subprocess.run(
        _command(node, "--limit", "60", "--json"), env=bundled, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["documents"], shown["passages"], shown["queries"]) == (6_135, 6_135, 60)
    assert shown["reranked"]["ndcg@10"] > shown["first_stage"]["ndcg@10"]

"""The parts of the Ray runner that need no Ray."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import JsonSerializer
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.collection import Document
from es_rerank.errors import EsRerankError, IngestError, SettingsError
from ingest_pipelines import ray_runner
from ingest_pipelines.patience import Patience
from ingest_pipelines.ray_runner.connection import Connection, Hidden
from ingest_pipelines.ray_runner.errors import first_cause, told
from ingest_pipelines.ray_runner.rows import Failure, Written, documents_of
from ingest_pipelines.ray_runner.workers import Workers, workers_for
from ingest_pipelines.reading.deferred import DeferredDocument, read_deferred
from ingest_pipelines.reading.sources import read_sources


def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_runner, "find_spec", lambda _name: None)
    with pytest.raises(EsRerankError, match=r"ray, pyarrow, pandas; install the extra with: pip .*\[ray\]"):
        CliRunner().invoke(
            app, ["ingest", "articles", str(tmp_path), "--runner", "ray"], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runner", "spark"], "--runner is local or ray, not spark"),
        (["--ray-actors", "2"], "need --runner ray"),
        (["--runner", "ray", "--dry-run"], "leave --runner ray out"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        CliRunner().invoke(app, ["ingest", "articles", str(tmp_path), *options], catch_exceptions=False)


def test_an_ingest_without_ray_imports_none_of_it() -> None:
    code = "import sys, ingest_pipelines.pipeline, es_rerank.cli.ingest; print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "'ingest_pipelines.pipeline'" in loaded
    assert "'ray'" not in loaded
    assert "ray_runner" not in loaded


def test_an_address_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(Hidden("https://elastic:not-to-be-shown@es.example:9200"))
    assert "not-to-be-shown" not in f"{connection} {connection!r} {[connection]}"
    assert "es.example" in repr(connection)
    again = pickle.loads(pickle.dumps(connection))
    assert again == connection
    assert again.url.shown() == connection.url.shown()
    # The key is the one of the machine on which the client is made, and no part of what is sent there.
    for name in ("ES_RERANK_ELASTICSEARCH_API_KEY", "ELASTICSEARCH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ELASTICSEARCH_API_KEY", "key-of-this-machine")
    there = Connection(Hidden("http://es.example:9201"))
    with there.client() as client:
        assert client._headers["authorization"] == "ApiKey key-of-this-machine"  # noqa: SLF001 told nowhere else
    assert b"key-of-this-machine" not in pickle.dumps(there)


def test_each_row_is_a_document_or_a_failure() -> None:
    dumps = JsonSerializer().dumps

    def made(rows: list[dict[str, Any]], source: str | None = None) -> tuple[list[Any], list[Failure]]:
        written = Written()
        return list(documents_of(rows, "id", source, written, dumps)), written.failures

    assert made([{"id": 7, "n": 1}, {"id": "a", "n": None}]) == ([("7", {"n": 1}), ("a", {"n": None})], [])
    assert made([{"id": "a", "doc": '{"n": 1}'}, {"id": "b", "doc": {"n": 2}}], "doc") == (
        [("a", {"n": 1}), ("b", {"n": 2})],
        [],
    )
    documents, failures = made([{"id": None}, {"n": 1}, {"id": ""}, {"id": "a", "n": object()}])
    assert documents == []
    assert [each.id for each in failures] == [None, None, "", "a"]
    documents, failures = made([{"id": "a", "doc": "[1]"}, {"id": "b", "doc": "{"}, {"id": "c"}], "doc")
    assert documents == []
    assert [each.status for each in failures] == [None] * 3


@pytest.mark.parametrize(
    ("nodes", "actors", "threads", "workers"),
    [
        ([2.0], None, None, Workers(1, 1, 1)),
        ([1.0], None, None, Workers(1, 1, 0.5)),
        ([], None, None, Workers(1, 1, 0.5)),
        ([16.0] * 4, None, None, Workers(15, 4, 4)),
        ([0.0, 8.0, 8.0], None, None, Workers(3, 4, 4)),
        ([2.0], 8, None, Workers(1, 1, 1)),
        ([16.0], 2, 3, Workers(2, 3, 3)),
        ([2.0], None, 8, Workers(1, 8, 1)),
        ([3.0], None, 8, Workers(1, 8, 2)),
        ([4.0, 4.0], None, 4, Workers(1, 4, 4)),
        ([4.0, 4.0, 4.0], None, 8, Workers(2, 8, 4)),
        ([4.0], None, 4, Workers(1, 4, 3)),
        ([2.0, 64.0], None, None, Workers(65, 1, 1)),
    ],
)
def test_some_processors_are_left_for_tasks(
    nodes: list[float], actors: int | None, threads: int | None, workers: Workers
) -> None:
    chosen = workers_for(nodes, actors, threads)
    assert chosen == workers
    assert chosen.actors * chosen.cpus < max(1.0, sum(nodes))
    assert chosen.cpus <= max([1.0, *nodes])
    assert chosen.cpus < 1 or chosen.cpus == int(chosen.cpus)


def test_an_error_of_a_task_comes_as_it_was_raised() -> None:
    with pytest.raises(IngestError, match="ZeroDivisionError: division by zero") as caught, told():
        1 / 0  # noqa: B018 it is what is raised
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message
    outer = RuntimeError("of Ray")
    outer.cause = RuntimeError("of a task")  # type: ignore[attr-defined]
    outer.cause.cause = caught.value  # type: ignore[attr-defined]
    assert first_cause(outer) is caught.value
    told_by_ray = "The actor died\n  File x\nes_rerank.errors.SettingsError: no model here\n"
    of_actor = first_cause(RuntimeError(told_by_ray))
    assert isinstance(of_actor, SettingsError)
    assert of_actor.message == "no model here"
    assert "RuntimeError: of Ray" in first_cause(RuntimeError("of Ray")).message


def test_files_to_convert_are_left_to_workers(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<title>A page</title><p>Its words.", encoding="utf-8")
    (tmp_path / "note.md").write_text("A note.", encoding="utf-8")
    (note, page), read_here = read_sources([tmp_path], elsewhere=True), [*read_sources([tmp_path])]
    assert (note, page.id) == (read_here[0], "page.html")
    assert isinstance(page, DeferredDocument)
    sent = pickle.loads(pickle.dumps(page))
    notes: list[str] = []
    assert [*read_deferred(sent, notes.append, "worker-1")] == read_here[1:]
    (tmp_path / "page.html").unlink()
    (reject,) = read_deferred(sent, notes.append, "worker-1")
    assert not isinstance(reject, Document)
    assert "the machine worker-1 does not find it" in reject.reason
    assert json.loads(json.dumps(reject.file)) == str(tmp_path / "page.html")


def test_a_patience_goes_to_another_process_without_the_run_that_it_looks_at() -> None:
    assert pickle.loads(pickle.dumps(Patience(2, 0.5, lambda: True))) == Patience(2, 0.5)

"""An ingest on a local Ray of two processors: the index, the counts and the rejects of one without Ray.

``pytest --long tests/node/test_ray_ingest.py``. Each ingest runs in a process of its own, which Ray changes.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
from proxies import PAGE, Outcome, proxied
from waiting import until

from es_rerank.node import Node

pytestmark = [pytest.mark.long, pytest.mark.node, pytest.mark.timeout(1_800)]

SUPPORT = Path(__file__).parents[1] / "support"
COUNTED = ("documents", "skipped", "failed", "duplicates", "removed", "unfit")
PATIENCE_S = 900.0


def start(url: str, index: str, folder: Path, runner: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SUPPORT / "ray_program.py"), url, index, str(folder), runner, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"RAY_worker_niceness": "0"},  # so that it does not wait for other programs
    )


def counts(run: subprocess.Popen[str]) -> dict[str, Any]:
    said, errors = run.communicate()
    assert run.returncode == 0, errors
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    return {name: report[name] for name in COUNTED}


def ingested(url: str, index: str, folder: Path, runner: str, *more: str) -> dict[str, Any]:
    with start(url, index, folder, runner, *more) as run:
        return counts(run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 documents: JSON lines with rejects and repeated ids, Markdown, HTML that workers convert."""
    made = tmp_path_factory.mktemp("ray") / "source"
    (made / "pages").mkdir(parents=True)
    lines = []
    for number in range(1_900):
        record: dict[str, Any] = {
            "_id": str(number),
            "text": f"Document {number} speaks of {number % 7} things. It has {number % 11} more sentences. "
            * 3,
            "number": number if number % 3 else f"{number} pieces",
        }
        if number % 100 == 7:
            record["_id"] = "x" * 600
        elif number % 250 == 11:
            record["_id"] = str(number - 3)
        elif number % 600 == 599:  # in another batch
            record["_id"] = str(number - 400)
        lines.append("no JSON" if number % 100 == 57 else json.dumps(record))
    (made / "records.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for number in range(80):
        (made / f"note-{number}.md").write_text(
            f"---\nyear: {1900 + number}\n---\n# Note {number}\n\nIts text.\n\n## Part\n\n"
            + f"A sentence of note {number}. " * 60,
            encoding="utf-8",
        )
    for number in range(20):
        page = f"<title>Page {number}</title><h1>Page</h1><p>Words of page {number}.</p>" if number else ""
        (made / "pages" / f"{number}.html").write_text(page, encoding="utf-8")
    return made


@pytest.fixture
def expected(node: Node, es: Elasticsearch, index: str, folder: Path) -> dict[str, Any]:
    """What the local runner makes of the folder, under the name ``index-local``."""
    return ingested(node.url, f"{index}-local", folder, "local")


def everything(es: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    es.indices.refresh(index=index)
    return {
        hit["_id"]: {name: value for name, value in hit["_source"].items() if name != "@timestamp"}
        for hit in scan(es, index=index, size=1_000)
    }


def mapping(es: Elasticsearch, index: str) -> dict[str, Any]:
    (state,) = es.indices.get_mapping(index=index).values()
    return dict(state["mappings"])


def assert_equal(es: Elasticsearch, index: str, folder: Path) -> None:
    made, wanted = everything(es, f"{index}-ray"), everything(es, f"{index}-local")
    assert len(wanted) > 1_900
    assert made.keys() == wanted.keys()
    assert [name for name in wanted if made[name] != wanted[name]] == []
    assert mapping(es, f"{index}-ray") == mapping(es, f"{index}-local")
    rejects = [
        sorted(folder.with_name(f"{index}-{runner}.rejects.jsonl").read_text(encoding="utf-8").splitlines())
        for runner in ("ray", "local")
    ]
    assert rejects[0] == rejects[1]


def test_the_index_is_that_of_the_local_runner(
    node: Node, es: Elasticsearch, index: str, folder: Path, expected: dict[str, Any]
) -> None:
    assert ingested(node.url, f"{index}-ray", folder, "ray") == expected
    assert_equal(es, index, folder)


def test_unchanged_documents_are_skipped_and_others_removed(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(10):
        kind = "html" if number < 3 else "md"
        (folder / f"{number}.{kind}").write_text(f"<p>Text of number {number}.", encoding="utf-8")
    for runner in ("local", "ray"):
        assert ingested(node.url, f"{index}-{runner}", folder, runner)["documents"] == 10
    for name in ("0.html", "3.md"):
        (folder / name).unlink()
    for name in ("1.html", "4.md"):
        (folder / name).write_text("<p>Another text.", encoding="utf-8")
    again = [ingested(node.url, f"{index}-{runner}", folder, runner, "sync") for runner in ("local", "ray")]
    assert again[0] == again[1]
    assert [again[1][name] for name in ("documents", "skipped", "removed")] == [2, 6, 2]
    assert everything(es, f"{index}-ray") == everything(es, f"{index}-local")


def processes(run: subprocess.Popen[str], kind: str) -> list[psutil.Process]:
    """Return the processes of Ray below a program that do this kind of work now."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "".join(child.cmdline()).startswith(f"ray::{kind}"):
                    found.append(child)
    return found


def written(es: Elasticsearch, index: str) -> int:
    stats = es.indices.stats(index=index, metric="indexing")
    return int(stats["_all"]["total"].get("indexing", {}).get("index_total", 0))


@pytest.mark.parametrize("kind", ["MapWorker(MapBatches(Embedding))", "MapBatches(prepare)", "Write"])
def test_a_worker_that_is_killed_changes_nothing(
    node: Node, es: Elasticsearch, index: str, folder: Path, expected: dict[str, Any], kind: str
) -> None:
    with start(node.url, f"{index}-ray", folder, "ray") as run:
        victims: list[psutil.Process] = []

        def seen() -> bool:
            if written(es, f"{index}-ray*"):
                victims.extend(processes(run, kind))
            return bool(victims) or run.poll() is not None

        until(seen, patience_s=PATIENCE_S)
        assert victims, "the run ended before one was seen"
        victims[0].kill()
        assert counts(run) == expected
    assert_equal(es, index, folder)


def test_a_program_that_is_killed_or_stopped_goes_on(
    node: Node, es: Elasticsearch, index: str, folder: Path, expected: dict[str, Any]
) -> None:
    with start(node.url, f"{index}-ray", folder, "ray") as run:
        until(lambda: written(es, f"{index}-ray*") > 0, patience_s=PATIENCE_S)
        below = psutil.Process(run.pid).children(recursive=True)
        run.kill()
        run.communicate()
    psutil.wait_procs(below, timeout=PATIENCE_S)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in below)
    left = expected["documents"] - len(everything(es, f"{index}-ray"))
    rest = ingested(node.url, f"{index}-ray", folder, "ray")
    assert rest["documents"] == left
    assert rest["documents"] + rest["skipped"] == expected["documents"]
    assert_equal(es, index, folder)


def test_a_signal_ends_it_after_the_round(node: Node, es: Elasticsearch, index: str, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    lines = [json.dumps({"_id": str(number), "text": f"text {number}"}) for number in range(2_100)]
    (folder / "records.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with start(node.url, index, Path("-"), "ray") as run:
        assert run.stdin is not None
        run.stdin.write("\n".join(lines) + "\n")
        run.stdin.flush()  # and it stays open: the run waits for more
        until(lambda: written(es, f"{index}*") > 0, patience_s=PATIENCE_S)
        os.killpg(run.pid, signal.SIGINT)  # as Ctrl-C does: Ray's processes get it too
        assert run.stderr is not None
        errors = run.stderr.read()
    assert run.returncode == 1
    assert "2000 documents were indexed" in errors
    rest = ingested(node.url, index, folder, "ray")
    assert (rest["documents"], rest["skipped"]) == (100, 2_000)


def test_a_busy_elasticsearch_loses_nothing(
    node: Node, es: Elasticsearch, index: str, folder: Path, expected: dict[str, Any]
) -> None:
    number = itertools.count(1)

    def rule(_method: str, path: str, _size: int) -> Outcome:
        return (429, PAGE) if path.endswith(("_bulk", "_mget")) and next(number) % 3 == 0 else None

    with proxied(node.url, rule) as proxy:
        assert ingested(proxy.url, f"{index}-ray", folder, "ray") == expected
        assert (429, PAGE) in proxy.outcomes("_bulk")
        assert (429, PAGE) in proxy.outcomes("_mget")
    assert_equal(es, index, folder)


SINK = """
import json, logging, pathlib, sys
import ray
from ray._private.worker import global_worker
from es_rerank.errors import IngestError
from ingest_pipelines.ray_runner.datasink import ElasticsearchDatasink

url, index = sys.argv[1:]
url = url.replace("//", "//somebody:secret-of-ours@")
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
rows = [{"_id": number, "n": number, "text": f"text {number}"} for number in range(200)]
said = []
for options in ({}, {"raise_failures": False}, {"op_type": "create", "raise_failures": False}):
    sink = ElasticsearchDatasink(url, index, id_column="_id", **options)
    try:
        ray.data.from_items(rows, override_num_blocks=4).write_datasink(sink)
        raised = None
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    said.append([sink.documents, sorted({each.status for each in sink.failures}), len(sink.failures), raised])
texts = [{"key": "json", "doc": '{"n": 1}'}, {"key": "none", "doc": "[1]"}, {"key": None, "doc": "{}"}]
sink = ElasticsearchDatasink(url, index, id_column="key", source_column="doc", raise_failures=False)
ray.data.from_items(texts).write_datasink(sink)
said.append([sink.documents, sorted(each.reason for each in sink.failures)])
logs = pathlib.Path(global_worker.node.get_session_dir_path())
told = [str(path) for path in logs.rglob("*") if path.is_file() and b"secret-of-ours" in path.read_bytes()]
print(json.dumps({"said": said, "told": told, "shown": repr(sink)}))
"""


def test_the_sink_alone(node: Node, es: Elasticsearch, index: str) -> None:
    es.indices.create(index=index, mappings={"properties": {"n": {"type": "byte"}}})
    done = subprocess.run(
        [sys.executable, "-c", SINK, node.url, index],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    raised, kept, created, texts = result["said"]
    assert raised[:3] == [128, [400], 72]
    assert "72 of 200 documents were not indexed" in raised[3]
    assert kept == [128, [400], 72, None]
    assert created == [0, [400, 409], 200, None]
    assert texts == [1, ["the column doc holds no JSON object", "the row has no id in the column key"]]
    assert result["told"] == []
    assert "secret-of-ours" not in result["shown"] + done.stdout + done.stderr
    es.indices.refresh(index=index)
    assert es.count(index=index)["count"] == 129
    assert es.get(index=index, id="5")["_source"] == {"n": 5, "text": "text 5"}


def test_the_command_runs_on_ray(node: Node, es: Elasticsearch, index: str, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.md").write_text(f"# Title {number}\n\nA text of number {number}.", "utf-8")
    for runner in ("local", "ray"):
        more = ["--ray-address", "local"] if runner == "ray" else []
        done = subprocess.run(
            [
                *(sys.executable, "-m", "es_rerank", "ingest", f"{index}-{runner}", str(tmp_path), "--json"),
                *("--elasticsearch-url", node.url, "--runner", runner, *more),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["documents"] == 20
    made, wanted = everything(es, f"{index}-ray"), everything(es, f"{index}-local")
    assert made == wanted

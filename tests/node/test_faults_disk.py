"""A full or read-only disk: what is lost, and who says so. The commands run as users run them."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from elasticsearch import Elasticsearch
from fault_table import fault
from ingests import MOON, TREATY, an_ingest, write
from server import is_ready, reserved_port
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.collection import Document
from es_rerank.errors import IngestError, NodeError, outcome_of
from es_rerank.node import Node, lifecycle, record, running
from es_rerank.node.plugin import archive, installation

FULL = Path("/dev/full")


def full_disk() -> None:
    """Let this process write no byte into a file, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def run(
    *arguments: str,
    stdout: Path | None = None,
    stderr: Path | None = None,
    full: bool = False,
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    """Run the program with its output where a test wants it; ``full``: it can write no file."""
    before: Callable[[], None] | None = full_disk if full else None
    with (stdout or Path(os.devnull)).open("w") as out, (stderr or Path(os.devnull)).open("w") as err:
        return subprocess.run(
            [sys.executable, "-m", "es_rerank", *arguments],
            env=os.environ | environ,
            stdout=out if stdout else subprocess.PIPE,
            stderr=err if stderr else subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=before,
        )


@fault(
    "the disk of the sidecar's log is full",
    caller="its answer, as ever",
    log="nothing: lines that cannot be written are dropped and counted",
    after="the sidecar serves, and ends well at SIGTERM",
)
@pytest.mark.long
def test_a_log_that_cannot_be_written_fails_no_request(node: Node, tmp_path: Path) -> None:
    models = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")
    with reserved_port() as port, FULL.open("w") as full:
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "es_rerank", "serve", "--port", str(port)]
        command += ["--elasticsearch-url", node.url]
        command += ["--reranker", str(models[0]), "--embedder", str(models[1])]
        with subprocess.Popen(command, stdout=full, stderr=full) as serving:
            until(lambda: is_ready(url, serving))
            texts = {"query": "q", "texts": ["a", "b"]}
            assert httpx.post(f"{url}/rerank", json=texts, timeout=60).status_code == 200
            assert httpx.post(f"{url}/rerank", json={"query": 1}, timeout=60).status_code == 422
            assert httpx.post(f"{url}/a/_search", content=b"{", timeout=60).status_code >= 400
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) in {0, -signal.SIGTERM}


@fault(
    "a command cannot write its output or its messages",
    caller="exit code 1 for output that is lost; messages that are lost change no exit code",
    log="one sentence with the reason",
    after="nothing else changed",
)
@pytest.mark.long
def test_output_that_cannot_be_written_is_said_in_one_sentence() -> None:
    for arguments in (["--version"], ["--help"], ["search", "--help"]):
        done = run(*arguments, stdout=FULL)
        assert done.returncode == 1, arguments
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    done = run("search", "i", "q", "--elasticsearch-url", "http://127.0.0.1:1", stderr=FULL)
    assert done.returncode == 5


@fault(
    "the folder of the node's record is full or read-only (`ES_RERANK_STATE_DIR`)",
    caller="exit code 5 of `es-rerank up`, which names the folder",
    log="one sentence with the reason",
    after="no node is left running without a record",
)
@pytest.mark.long
def test_a_node_without_a_record_is_not_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("up", full=True, ES_RERANK_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 5, done.stderr
    assert "name another state folder with ES_RERANK_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr
    read_only = run("up", ES_RERANK_STATE_DIR="/proc/es-rerank")
    assert (read_only.returncode, "/proc/es-rerank" in read_only.stderr) == (5, True)

    # The record is written after the node was started.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        place = record.ProcessRecord(pid=started.pid, started_at=0.0, home=tmp_path)
        made = record.Record(url="http://127.0.0.1:1", version="9.5.0", node_id="n", place=place)
        monkeypatch.setattr(lifecycle, "_start", lambda *_: made)
        monkeypatch.setattr(lifecycle, "write", _cannot_write)
        with pytest.raises(NodeError, match="the node was stopped") as caught:
            lifecycle.up(tmp_path / "other")
        assert outcome_of(caught.value).exit_code == 5
        assert started.wait(60) != 0
    assert running(tmp_path / "other") is None


def _cannot_write(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@fault(
    "the disk of the rejects file of an ingest is full",
    caller="exit code 6, with the name of the file",
    log="one sentence with the reason",
    after="what was indexed stays; the same run meets every other document again",
)
@pytest.mark.long
def test_a_reject_that_cannot_be_kept_ends_the_ingest(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.jsonl", [TREATY, "no", MOON])
    arguments = ("ingest", "--elasticsearch-url", node.url, index, str(source))
    done = run(*arguments, "--rejects", str(FULL))
    assert done.returncode == 6, done.stderr
    assert "/dev/full cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    again = run(*arguments, "--rejects", str(tmp_path / "bad.jsonl"), "--json")
    assert again.returncode == 6
    report = json.loads(again.stdout)
    assert report["documents"] + report["skipped"] == 2
    assert json.loads((tmp_path / "bad.jsonl").read_text(encoding="utf-8"))["document"] == "no"
    assert es.count(index=index)["count"] == 2


DOCUMENTS = [Document(str(number), "", f"The text of document {number}.", {}) for number in range(6)]


@fault(
    "Elasticsearch's disk is over the flood-stage watermark, or an index is read-only, during an ingest",
    caller="exit code 6 after the retries, with Elasticsearch's reason",
    log="one sentence with the reason",
    after="no document becomes a reject; the same run goes on where it ended",
)
@pytest.mark.parametrize("block", ["read_only_allow_delete", "write"])
def test_an_index_that_takes_no_documents_ends_the_ingest(
    es: Elasticsearch, index: str, tmp_path: Path, block: str
) -> None:
    ingest, rejects = an_ingest(es), tmp_path / "rejects.jsonl"
    assert ingest.run(index, DOCUMENTS[:2], rejects=rejects).documents == 2
    es.indices.put_settings(index=index, settings={f"index.blocks.{block}": True})
    with pytest.raises(IngestError, match=r"takes no documents: index .* blocked by") as caught:
        ingest.run(index, DOCUMENTS, rejects=rejects)
    assert outcome_of(caught.value).exit_code == 6
    assert not rejects.exists()
    es.indices.put_settings(index=index, settings={f"index.blocks.{block}": None})
    report = ingest.run(index, DOCUMENTS, rejects=rejects)
    assert (report.documents, report.skipped, report.failed) == (4, 2, 0)


@fault(
    "the disk is full while the plugin's archive is written",
    caller="exit code 5, with the name of the folder",
    log="one sentence with the reason",
    after="no part of an archive is left, and an earlier one is whole",
)
def test_no_half_archive_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    done = run("plugin", "build", "--out", str(out), full=True)
    assert done.returncode == 5, done.stderr
    assert (str(out) in done.stderr, list(out.iterdir())) == (True, [])
    made = archive.build("9.5.0", "1", out)
    before = made.path.read_bytes()

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(NodeError, match="No space left"):
        archive.build("9.5.0", "1", out)
    assert made.path.read_bytes() == before
    assert {entry.name for entry in out.iterdir()} == {made.path.name, made.checksum.name}


TOOL = """#!/bin/sh
# Plays elasticsearch-plugin: it removes, and cannot install.
case "$1" in
  remove) rm -r "$(dirname "$0")/../plugins/$2" ;;
  *) echo "No space left on device" >&2; exit 74 ;;
esac
"""


@fault(
    "the disk is full while the plugin is replaced in Elasticsearch",
    caller="exit code 5, with the last lines of Elasticsearch's tool",
    log="one sentence with the reason",
    after="the plugin that was installed before is back",
)
def test_a_plugin_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    before = tmp_path / "plugins" / "es-rerank" / "plugin-descriptor.properties"
    for folder in ("lib", "bin"):
        (tmp_path / folder).mkdir()
    before.parent.mkdir(parents=True)
    before.write_text("version=0.9\n", encoding="utf-8")
    (tmp_path / "lib" / "elasticsearch-9.5.0.jar").touch()
    tool = tmp_path / "bin" / "elasticsearch-plugin"
    tool.write_text(TOOL, encoding="utf-8")
    tool.chmod(0o755)
    with pytest.raises(NodeError, match="No space left on device"):
        installation.install(tmp_path)
    assert before.read_text(encoding="utf-8") == "version=0.9\n"
    assert installation.installed_version(tmp_path) == "0.9"

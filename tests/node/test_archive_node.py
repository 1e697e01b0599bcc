"""A node from Elastic's own archive. The archive is played by the distribution that Maven has, with a JDK
beside it as in Elastic's, and comes from a server that stands in for Elastic's.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from archive_server import ArchiveServer, archive_server
from commands import open_folder, run

from es_rerank.node import VERSION, Node, distribution, doctor, down, elastic_archive, java, running
from es_rerank.node.account import default_cache

STARTUP_S = "300"


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture
def server(folder: Path) -> Iterator[ArchiveServer]:
    problem = elastic_archive.problem()
    if problem is not None:
        pytest.skip(problem)
    jdk = java.find(os.environ)
    assert jdk is not None
    archive = folder / "archive.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as written:
        stripped = distribution.fetch(default_cache(), jdk.home)
        written.add(stripped, "elasticsearch-x", filter=_as_elastic_packs)
        home = folder / "jdk"
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "java").write_text(f'#!/bin/sh\nexec {jdk.home}/bin/java "$@"\n')
        (home / "bin" / "java").chmod(0o755)
        written.add(home, "elasticsearch-x/jdk")
    with archive_server() as served:
        served.add(elastic_archive.name_of_archive(), archive)
        yield served


def _as_elastic_packs(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Keep other accounts out of the configuration, as Elastic's archive does."""
    if "/config" in entry.name:
        entry.mode = 0o750 if entry.isdir() else 0o660
    return entry


@pytest.mark.node
@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_machine_without_docker_starts_elastics_archive_with_the_plugin(
    folder: Path, server: ArchiveServer
) -> None:
    environ = {
        "ES_RERANK_STATE_DIR": str(folder / "state"),
        "ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL": server.url,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "ES_JAVA_HOME": "/nowhere",
    }
    server.breaks = [10_000_000]
    try:
        line = ("up", "--plugin", "--json", "--heap-mb", "256", "--timeout-s", STARTUP_S)
        done = run(*line, **environ)
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        again = json.loads(run(*line, **environ).stdout)
        assert (shown.pop("started"), again.pop("started")) == (True, False)
        assert shown == again
        assert httpx.get(f"{shown['url']}/_es_rerank", trust_env=False).status_code == httpx.codes.OK
        assert (shown["how"], shown["distribution"], shown["notes"]) == ("archive", "full", [])
        assert shown["version"] == VERSION
        assert [asked[1] for asked in server.asked] == [None, None, "bytes=10000000-"]
        found = running(folder / "state")
        assert found is not None
        assert (found.url, found.how, found.distribution) == (shown["url"], "archive", "full")
        assert found.sidecar is not None
    finally:
        down(folder / "state", purge=True)


def test_the_stripped_distribution_says_what_it_lacks(node: Node, tmp_path: Path) -> None:
    if node.how == "docker":
        pytest.skip("the session's node is a full Elasticsearch")
    diagnosis = doctor(tmp_path, node.url)
    row = next(check for check in diagnosis.checks if check.name == "Elasticsearch")
    assert (diagnosis.distribution, row.status, diagnosis.ok) == ("stripped", "warn", True)
    for lacking in ("stripped distribution", "info()", "405", "scripts", "`english`", "`rrf`", "403"):
        assert lacking in row.found
    assert "es-rerank up" in row.remedy


def test_up_says_that_it_is_stripped_and_why(node: Node, state_dir: Path) -> None:
    if node.how != "maven":
        pytest.skip("this test looks at a node that the session started from Maven")
    done = run("up", "--json", ES_RERANK_STATE_DIR=str(state_dir))
    shown = json.loads(done.stdout)
    assert shown["distribution"] == "stripped"
    assert any("stripped distribution" in note for note in shown["notes"])
    assert any("ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL names no address" in note for note in shown["notes"])
    assert all(note in done.stderr for note in shown["notes"])

"""Elastic's own archive is downloaded from a server that stands in for Elastic's, whatever happens."""

from __future__ import annotations

import io
import os
import platform
import random
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from archive_server import ArchiveServer, archive_server, packed
from commands import make_program, open_folder, run
from rich.console import Console

from es_rerank.cli import starting
from es_rerank.errors import NodeError
from es_rerank.node import VERSION, docker, doctor, download, elastic_archive, java, lifecycle, up
from es_rerank.node.download import Progress

CONTENT = packed(
    {"bin/elasticsearch": b"#!/bin/sh\n", "lib/a.jar": random.Random(0).randbytes(300_000)},
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The archive's name on Linux with x86-64, whatever runs here."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    return f"elasticsearch-{VERSION}-linux-x86_64.tar.gz"


@pytest.fixture
def server(name: str) -> Iterator[ArchiveServer]:
    with archive_server() as served:
        served.add(name, CONTENT)
        yield served


def fetched(folder: Path, server: ArchiveServer, progress: Progress | None = None) -> Path:
    return elastic_archive.fetch(folder / "cache", server.url, progress=progress)


def test_the_archive_is_downloaded_checked_and_unpacked_once(
    folder: Path, server: ArchiveServer, name: str
) -> None:
    seen: list[tuple[int, int | None]] = []
    first = fetched(folder, server, lambda there, total: seen.append((there, total)))
    assert fetched(folder, server) == first == elastic_archive.unpacked(folder / "cache")
    assert [asked for asked, _ in server.asked] == [name + ".sha512", name]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(path.name for path in (folder / "cache").iterdir()) == [
        f"elasticsearch-{VERSION}-full",
        "lock",
    ]
    modes = [stat.S_IMODE((first / path).stat().st_mode) for path in ("", "bin/elasticsearch", "lib/a.jar")]
    assert modes == [0o755, 0o755, 0o644]  # Elastic's own modes keep other accounts out


def test_a_transfer_that_breaks_goes_on_where_it_stopped(
    folder: Path, server: ArchiveServer, name: str
) -> None:
    server.breaks = [100_000, 50_000]
    assert fetched(folder, server).is_dir()
    assert [range_ for asked, range_ in server.asked if asked == name] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]


def test_a_command_that_was_ended_is_gone_on_by_the_next_one(
    folder: Path, server: ArchiveServer, name: str
) -> None:
    server.breaks = [70_000, 0, 0, 0, 0]
    with pytest.raises(NodeError, match=r"broke off 5 times .*`es-rerank up` goes on from there"):
        fetched(folder, server)
    server.asked.clear()
    assert fetched(folder, server).is_dir()
    assert server.asked == [(name + ".sha512", None), (name, "bytes=70000-")]


@pytest.mark.parametrize("kept", [CONTENT[:1000], b"of another file", CONTENT + b"more"])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_kept_is_not_believed(
    kept: bytes, ranges: bool, folder: Path, server: ArchiveServer, name: str
) -> None:
    (folder / "cache").mkdir()
    (folder / "cache" / f"{name}.part").write_bytes(kept)
    server.ranges = ranges
    assert fetched(folder, server).is_dir()


def test_another_file_is_refused_and_deleted(folder: Path, server: ArchiveServer, name: str) -> None:
    server.files[name] = CONTENT[:-1] + b"x"
    with pytest.raises(NodeError, match=r"does not have the SHA-512 .*check the proxy or the mirror"):
        fetched(folder, server)
    assert [path.name for path in (folder / "cache").iterdir()] == ["lock"]


def test_what_is_no_archive_of_elasticsearch_leaves_nothing_behind(
    folder: Path, server: ArchiveServer, name: str
) -> None:
    for content, fault in (
        (b"no archive", "cannot be unpacked"),
        (packed({"readme": b""}), "lacks bin/elasticsearch"),
        (packed({"../../outside": b"", "bin/elasticsearch": b""}), "cannot be unpacked"),
    ):
        server.add(name, content)
        with pytest.raises(NodeError, match=fault):
            fetched(folder, server)
        assert [path.name for path in (folder / "cache").iterdir()] == ["lock"]
    assert not (folder / "outside").exists()


def test_a_server_without_the_archive_is_named_with_its_answer(folder: Path, server: ArchiveServer) -> None:
    server.files.clear()
    with pytest.raises(NodeError, match=r"linux-x86_64.tar.gz.sha512 answers 404"):
        fetched(folder, server)


@pytest.mark.usefixtures("name")
def test_a_host_that_is_not_there_is_no_long_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NodeError, match=r"^http://127.0.0.1:9 is not reached \("):
        elastic_archive.fetch(folder / "cache", "http://127.0.0.1:9/downloads")
    assert download.CONTACT_S == 6  # as the README says
    # A look-up that takes longer than any wait is left alone.
    monkeypatch.setattr(download, "CONTACT_S", 0.05)
    released = threading.Event()
    monkeypatch.setattr(download, "_get", lambda _: "late" if released.wait(60) else "never")
    with pytest.raises(NodeError, match=r"is not reached \(no answer within"):
        elastic_archive.fetch(folder / "cache", "http://host.example/downloads")
    released.set()


@pytest.mark.parametrize(
    ("system", "machine", "libc", "found"),
    [
        ("Linux", "aarch64", "glibc", "linux-aarch64"),
        ("Darwin", "arm64", "", "darwin-aarch64"),
        ("Darwin", "x86_64", "", "darwin-x86_64"),
        ("Linux", "x86_64", "", "needs a Linux with glibc"),
        ("Linux", "riscv64", "glibc", "no archive for Linux on riscv64"),
        ("FreeBSD", "amd64", "", "no archive for FreeBSD on amd64"),
    ],
)
def test_each_system_has_its_archive_or_none(
    system: str, machine: str, libc: str, found: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    problem = elastic_archive.problem()
    if problem is None:
        assert elastic_archive.name_of_archive() == f"elasticsearch-{VERSION}-{found}.tar.gz"
    else:
        assert found in problem
        with pytest.raises(NodeError, match=found):
            elastic_archive.fetch(folder, "http://127.0.0.1:9")
    rows = {check.name: check for check in doctor(folder, None, download_url="http://127.0.0.1:9").checks}
    assert rows["Elastic's archive"].status == ("ok" if problem is None else "warn")


def test_a_person_sees_how_far_the_download_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=100)
        monkeypatch.setattr(starting, "stderr", console)
        with starting.shown_start() as report:
            report(0, 300_000_000)
            report(150_000_000, 300_000_000)
            report(300_000_000, 300_000_000)
            report(1_000_000, 300_000_000)  # a second download, after one that was another file
        assert ("286.1/286.1 MiB" in screen.getvalue()) is terminal
        assert ("looking, downloading where needed" in screen.getvalue()) is terminal
        with starting.shown_start():
            """Nothing is downloaded."""
        assert "MiB" not in screen.getvalue().rpartition("looking")[2]


# -- the order in which ``up`` tries -------------------------------------------------------------------------


@pytest.mark.usefixtures("name")
def test_without_docker_archive_and_maven_every_reason_has_its_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "problem", lambda: "docker is not on PATH")
    monkeypatch.setattr(java, "survey", lambda *_: [])
    monkeypatch.setattr(java, "find", lambda *_: None)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(NodeError) as caught:
        up(folder / "state", cache_dir=folder / "cache", download_url="http://127.0.0.1:9")
    for part in (
        "docker is not on PATH",
        "http://127.0.0.1:9 is not reached",
        "no Java at all",
        "Maven (mvn) is not on PATH",
        "Install Docker and start its daemon, or install a JDK 21 or newer and Maven",
        f"or name a web server that has elasticsearch-{VERSION}-linux-x86_64.tar.gz",
        "ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL",
        "or give an address with --elasticsearch-url",
    ):
        assert part in caught.value.message


def test_the_archive_comes_before_maven_and_runs_on_its_own_jdk(
    folder: Path, server: ArchiveServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(
        name,
        packed(
            {
                "bin/elasticsearch": b'#!/bin/sh\necho "[x][ERROR] JDK ${ES_JAVA_HOME:-its own}"; exit 7\n',
                "config/log4j2.properties": b"",
                "config/jvm.options": b"",
            }
        ),
    )
    monkeypatch.setattr(docker, "problem", lambda: "the Docker daemon does not answer")
    make_program(folder / "bin", "mvn", "sys.exit('Maven is not asked')\n")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(NodeError, match=r"exit status 7[^*]*JDK its own"):
        up(folder / "state", cache_dir=folder / "cache", download_url=server.url)


def test_windows_gets_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "os", SimpleNamespace(name="nt"))
    with pytest.raises(NodeError, match=r"^es-rerank starts no Elasticsearch on Windows: .*WSL 2") as caught:
        up(folder / "state")
    monkeypatch.undo()
    assert caught.value.message.count(". ") == 0


def test_the_tests_never_ask_elastics_server() -> None:
    assert os.environ["ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL"] == ""
    assert run("doctor", "--json", "--no-speed").stdout.count("artifacts.elastic.co") == 0

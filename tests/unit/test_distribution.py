"""Elasticsearch's distribution is fetched once, and a start that fails says why; Maven and Elasticsearch are
played by scripts.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import make_program, open_folder

from es_rerank.errors import NodeError
from es_rerank.node import (
    VERSION,
    distribution,
    process,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


# -- the distribution ----------------------------------------------------------------------------------------


FAKE_MAVEN = """
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("-D"))
with open(os.environ["CALLS"], "a") as calls:
    calls.write(options["artifact"] + "\\n")
target = pathlib.Path(options["outputDirectory"], "elasticsearch.zip")
with zipfile.ZipFile(target, "w") as archive:
    entry = zipfile.ZipInfo("elasticsearch-x/bin/elasticsearch")
    entry.external_attr = 0o100755 << 16
    archive.writestr(entry, "#!/bin/sh\\n")
    archive.writestr("elasticsearch-x/lib/a.jar", "jar" * 1000)
if os.environ.get("CUT"):
    target.write_bytes(target.read_bytes()[:-200])
"""


@pytest.fixture
def maven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven on PATH that delivers a tiny archive; returned is the file with its calls."""
    make_program(folder / "bin", "mvn", FAKE_MAVEN)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    return folder / "calls"


def test_the_distribution_is_fetched_and_unpacked_once(folder: Path, maven: Path) -> None:
    (folder / "cache" / ".unpacking-killed").mkdir(parents=True)
    first = distribution.fetch(folder / "cache", folder)
    assert distribution.fetch(folder / "cache", folder) == first == distribution.unpacked(folder / "cache")
    assert maven.read_text().splitlines() == [
        f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
    ]
    assert stat.S_IMODE((first / "bin" / "elasticsearch").stat().st_mode) == 0o755
    assert sorted(path.name for path in (folder / "cache").iterdir()) == [f"elasticsearch-{VERSION}", "lock"]


@pytest.mark.usefixtures("maven")
def test_half_an_archive_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUT", "1")
    with pytest.raises(NodeError, match="cannot be unpacked"):
        distribution.fetch(folder / "cache", folder)
    assert distribution.unpacked(folder / "cache") is None
    assert [path.name for path in (folder / "cache").iterdir()] == ["lock"]


@pytest.mark.usefixtures("maven")
def test_what_maven_complains_of_is_quoted(folder: Path) -> None:
    make_program(
        folder / "bin", "mvn", "print('[ERROR] Could not transfer artifact: no route to host')\nsys.exit(1)\n"
    )
    with pytest.raises(NodeError, match=r"no route to host; check the network and the mirrors"):
        distribution.fetch(folder / "cache", folder)


@pytest.mark.usefixtures("maven")
@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (
            "WARNING: sun.misc.Unsafe is old\n\033[0m[ERROR] no such artifact",
            r"9\.5\.0:zip: .ERROR. no such artifact; check the network",
        ),
        (
            "The JAVA_HOME environment variable is not defined correctly,\nthis",
            "not defined correctly; install a JDK",
        ),
        ("[ERROR] copy failed: No space left on device", "No space left on device; free space"),
        ("[ERROR] ~/.m2/x.part (Permission denied)", "Permission denied.*check who may write"),
        ("", "exit status 3; check the network"),
    ],
)
def test_a_failure_of_maven_is_told_with_its_remedy(folder: Path, printed: str, message: str) -> None:
    make_program(folder / "bin", "mvn", f"sys.stderr.write({printed!r})\nsys.exit(3)\n")
    with pytest.raises(NodeError, match=message):
        distribution.fetch(folder / "cache", folder)


def test_without_maven_or_with_one_that_does_not_start_the_message_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder / "bin"))
    with pytest.raises(NodeError, match=r"is not in the cache and Maven \(mvn\).*is not on PATH"):
        distribution.fetch(folder / "cache", folder)
    make_program(folder / "bin", "mvn", "")
    (folder / "bin" / "mvn").write_text("#!/no/such/interpreter\n")
    with pytest.raises(NodeError, match=r"mvn cannot be started \(No such file"):
        distribution.fetch(folder / "cache", folder)


# -- a start that fails --------------------------------------------------------------------------------------


def make_distribution(folder: Path, body: str) -> Path:
    """Make a distribution whose ``bin/elasticsearch`` is the shell script ``body``."""
    made = folder / "distribution"
    (made / "config").mkdir(parents=True)
    for name in ("log4j2.properties", "jvm.options"):
        (made / "config" / name).touch()
    (made / "bin").mkdir()
    (made / "bin" / "elasticsearch").write_text(f"#!/bin/sh\n{body}")
    (made / "bin" / "elasticsearch").chmod(0o755)
    return made


def test_a_node_that_ends_while_it_starts_is_quoted(folder: Path) -> None:
    made = make_distribution(
        folder, "echo '[x][INFO ] fine'; echo '[x][ERROR] disk on fire'; echo '  at a.b.c(D.java:1)'; exit 78"
    )
    process.prepare(folder / "home", made)
    with pytest.raises(NodeError) as caught:
        process.start(folder / "home", made, folder, heap_mb=256, timeout_s=30)
    assert "exit status 78" in caught.value.message
    assert caught.value.message.endswith("ends:\n  [x][ERROR] disk on fire")


def test_a_node_that_does_not_come_up_in_time_is_ended(folder: Path) -> None:
    made = make_distribution(folder, 'echo $$ > "$ES_PATH_CONF/pid"; exec sleep 600')
    process.prepare(folder / "home", made)
    with pytest.raises(NodeError, match=r"within 1 seconds.*--timeout-s"):
        process.start(folder / "home", made, folder, heap_mb=256, timeout_s=1)
    assert not psutil.pid_exists(int((folder / "home" / "config" / "pid").read_text()))


def test_a_folder_of_somebody_else_is_neither_written_nor_removed(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    (home / "thesis.tex").touch()
    with pytest.raises(NodeError, match="was not made by es-rerank"):
        process.prepare(home, make_distribution(folder, ""))
    process.remove(home)
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]

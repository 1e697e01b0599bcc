"""Finds a JDK that Elasticsearch can run on. The distribution from Maven Central does not contain one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .account import is_reachable

OLDEST = 21
MODULE = "jdk.incubator.vector"
_QUERY_TIMEOUT_S = 20.0
FOLDERS = (
    "/usr/lib/jvm/*",
    "/opt/java*",
    "/opt/java/*",
    "/opt/jdk*",
    "~/.sdkman/candidates/java/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
)
"""Patterns of the folders in which packages and version managers install JDKs."""


@dataclass(frozen=True)
class Jdk:
    """A Java installation. ``problem`` says why Elasticsearch cannot use it, None if it can."""

    home: Path
    version: tuple[int, ...]
    problem: str | None

    def __str__(self) -> str:
        """Return the version and the folder, such as "21.0.5 at /usr/lib/jvm/java-21"."""
        return f"{'.'.join(map(str, self.version)) or 'unknown version'} at {self.home}"


def find(environ: Mapping[str, str], folders: Iterable[str] = FOLDERS) -> Jdk | None:
    """Return the JDK to use, None if there is none that Elasticsearch can use.

    That is the JDK that ES_JAVA_HOME names if Elasticsearch can use it, otherwise the newest usable JDK.
    """
    usable = [jdk for jdk in survey(environ, folders) if jdk.problem is None]
    named = environ.get("ES_JAVA_HOME")
    chosen = [jdk for jdk in usable if named and jdk.home == Path(named).resolve()]
    return max(chosen or usable, key=lambda jdk: jdk.version, default=None)


def survey(environ: Mapping[str, str], folders: Iterable[str] = FOLDERS) -> list[Jdk]:
    """Return all Java installations, also those that Elasticsearch cannot use.

    They are searched in ES_JAVA_HOME, JAVA_HOME, the folders that match the patterns ``folders``, and on
    PATH.
    """
    homes = dict.fromkeys(home.resolve() for home in _homes(environ, folders))
    return [_inspect(home) for home in homes if (home / "bin" / "java").is_file()]


def _homes(environ: Mapping[str, str], folders: Iterable[str]) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in ("ES_JAVA_HOME", "JAVA_HOME") if environ.get(name))
    for pattern in folders:
        path = Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    java = shutil.which("java", path=environ.get("PATH", os.defpath))
    if java:
        yield Path(java).resolve().parent.parent


def _inspect(home: Path) -> Jdk:
    release = _release(home)
    version = _numbers(release.get("JAVA_VERSION", "")) or _numbers(_ask(home, "-version"))
    return Jdk(home, version, _problem(home, version, release))


def _problem(home: Path, version: tuple[int, ...], release: Mapping[str, str]) -> str | None:
    if not version:
        return "does not report its version"
    if version[0] < OLDEST:
        return f"older than {OLDEST}"
    if not is_reachable(home / "bin" / "java"):
        return "in a folder that the node's account cannot enter"
    modules = release.get("MODULES") or _ask(home, "--list-modules")
    return None if MODULE in modules else f"lacks the module {MODULE}"


def _release(home: Path) -> dict[str, str]:
    """Return the keys and values of a JDK's file ``release``, empty if there is no such file."""
    try:
        text = (home / "release").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, flags=re.MULTILINE))


def _numbers(text: str) -> tuple[int, ...]:
    """Return the first version number in ``text``: (25, 0, 3) for ``openjdk version "25.0.3" 2026-04-21``."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _ask(home: Path, option: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 a java that was found  # nosec B603
            [home / "bin" / "java", option],
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout if done.returncode == 0 else ""

"""Clients in Java and JavaScript, built in the git-ignored folder ``.clients`` from their sources in
``tests/clients``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from client_environments import CLIENTS, ENVIRONMENTS

from es_rerank.node.record import locked

_NODE, _JAVA = 20, 17
_BUILD_S, _CALL_S = 600.0, 240.0
"""Guards against what hangs."""

_CLASSPATH = "target/classpath"
_MADE = ("node_modules", "target")
"""What a build makes beside the sources of a project."""


def javascript(name: str) -> list[str]:
    """Return the command of the project ``tests/clients/NAME``, whose program is ``run.mjs``.

    The test is skipped where Node.js is missing or too old.
    """
    if not (shutil.which("node") and shutil.which("npm")) or _major(["node", "--version"]) < _NODE:
        pytest.skip(f"needs Node.js {_NODE} or newer on PATH (node, npm)")
    return ["node", str(_built(name, ["npm", "install"]) / "run.mjs")]


def java(name: str) -> list[str]:
    """Return the command of the project ``tests/clients/NAME``, whose class is ``clients.Run``.

    The test is skipped where Maven or a JDK is missing or too old.
    """
    programs = [shutil.which(program) for program in ("mvn", "java", "javac")]
    if not all(programs) or _major(["javac", "-version"]) < _JAVA:
        pytest.skip(f"needs Maven and a JDK {_JAVA} or newer on PATH (mvn, java, javac)")
    options = [f"-Dmdep.outputFile={_CLASSPATH}", "-Dmdep.includeScope=runtime"]
    folder = _built(name, ["mvn", "-B", "-q", "compile", "dependency:build-classpath", *options])
    path = (folder / _CLASSPATH).read_text(encoding="utf-8")
    return ["java", "-cp", f"{folder / 'target' / 'classes'}:{path}", "clients.Run"]


def answers_of(command: Sequence[str], url: str, key: str, request: Path) -> Any:
    """Return the JSON that a client prints about the sidecar at ``url``: for each case what it understood."""
    return json.loads(_output([*command, url, key, str(request)], timeout_s=_CALL_S))


def _built(name: str, build: Sequence[str]) -> Path:
    """Return the folder of a project, which is built when it is missing or its sources changed."""
    sources, folder = CLIENTS / name, ENVIRONMENTS / name
    built = folder / "built.txt"  # written last: without it the project may be half built
    files = sorted(path for path in sources.rglob("*") if path.is_file() and not _made(path, sources))
    wanted = "\n".join(f"{path.relative_to(sources)}\n{path.read_text(encoding='utf-8')}" for path in files)
    with locked(ENVIRONMENTS / "locks" / name):
        if not built.exists() or built.read_text(encoding="utf-8") != wanted:
            built.unlink(missing_ok=True)
            # What was fetched and compiled before stays: npm and Maven bring it up to date.
            shutil.copytree(sources, folder, ignore=shutil.ignore_patterns(*_MADE), dirs_exist_ok=True)
            _output(build, folder, timeout_s=_BUILD_S)
            built.write_text(wanted, encoding="utf-8")
    return folder


def _made(path: Path, sources: Path) -> bool:
    return path.relative_to(sources).parts[0] in _MADE


def _major(command: Sequence[str]) -> int:
    found = re.search(r"\d+", _output(command, timeout_s=_CALL_S))
    return int(found[0]) if found else 0


def _output(command: Sequence[str], folder: Path | None = None, *, timeout_s: float) -> str:
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=folder, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout

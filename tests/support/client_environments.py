"""Environments for packages of other vendors, which conflict with each other and with the tests' own.

`tests/clients/environments/NAME.txt` holds the exact versions, made from `NAME.in` beside it by:
    cd / && uv pip compile --universal --python-version 3.11 --no-annotate --no-header NAME.in -o NAME.txt
In the repository's folder uv would ask for the versions in `pyproject.toml` as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from es_rerank.node.record import locked

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "clients"
ENVIRONMENTS = ROOT / ".clients"
"""The environments; git ignores them."""

_INSTALL_S = 600.0
_CALL_S = 240.0
"""Guards against what hangs."""


def environment(name: str) -> Path:
    """Return the Python of the environment, which is made when it is missing or its versions changed.

    Fails with what uv said where the packages cannot be had.
    """
    requirements = CLIENTS / "environments" / f"{name}.txt"
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    installed = folder / "installed.txt"  # written last: without it the environment may be half made
    wanted = f"{sys.version}\n{requirements.read_text(encoding='utf-8')}"
    with locked(ENVIRONMENTS / "locks" / name):
        if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--quiet", "--python", str(python), "--requirements", str(requirements))
            installed.write_text(wanted, encoding="utf-8")
    return python


def answer_of(name: str, script: str, *arguments: str, env: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Run a script of `tests/clients/calls/` in an environment and return the JSON that it prints.

    `env` are variables that it has besides PATH and HOME: none of the user's own (keys of vendors, proxies)
    reach it. Fails with the script's standard error when the script does.
    """
    python = environment(name)
    told = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    done = subprocess.run(
        [str(python), str(CLIENTS / "calls" / script), *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**told, **env},
        timeout=_CALL_S,
        check=False,
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise AssertionError(f"{script} printed no JSON\n{done.stdout}\n{done.stderr}") from error


def version(name: str, package: str) -> str:
    """Return the version of a package that the environment has."""
    for line in (CLIENTS / "environments" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        found, _, rest = line.partition("==")
        if found == package:
            return rest.partition(" ")[0]
    raise AssertionError(f"{name}.txt has no package [{package}]")


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    assert uv, f"no uv beside {sys.executable} or on PATH; install it as CONTRIBUTING.md says"
    # At the root of the file system uv meets no pyproject.toml, whose versions are those of the tests' own.
    done = subprocess.run(
        [uv, *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(sys.executable).anchor,
        timeout=_INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, (
        "packages of clients could not be installed; they need a package index that uv can ask\n"
        f"uv {' '.join(arguments)}\n{done.stderr}"
    )

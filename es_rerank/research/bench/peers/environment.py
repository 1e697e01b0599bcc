"""An environment of its own for each peer, made by uv once and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ..workers import WorkerError, last_words
from . import Peer

INSTALL_TIMEOUT_S = 1800.0
"""torch is gigabytes."""

_DONE = "installed"
_ROOT = Path(__file__).parents[4]


def default_cache() -> Path:
    """Return where environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "es-rerank" / "bench"


def installed(
    peer: Peer, cache: Path, *, timeout_s: float = INSTALL_TIMEOUT_S, uv: list[str] | None = None
) -> Path:
    """Return the Python of an environment that holds ``peer``, made in the folder ``cache`` where it is not there yet.

    ``uv`` replaces the one that is found. Packages come from where the user's own configuration of uv says. Raises
    WorkerError with uv's own words when it cannot be made.
    """
    folder = cache / f"{peer.name}-{peer.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if (folder / _DONE).is_file() and python.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    command = uv or _uv()
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted installation left
    _run([*command, "venv", "--quiet", "--python", sys.executable, str(folder)], cache, timeout_s)
    _run([*command, "pip", "install", "--quiet", "--python", str(python), peer.pinned], cache, timeout_s)
    (folder / _DONE).write_text(f"{peer.pinned}\n", encoding="utf-8")
    return python


def variables(scratch: Path, *, own: bool) -> dict[str, str]:
    """Return the environment of a process that is measured: no network, temporary files in ``scratch``; this project visible to its ``own`` alone."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        "TOKENIZERS_PARALLELISM": "true",
    }
    return {**kept, **offline, "TMPDIR": str(scratch), **({"PYTHONPATH": str(_ROOT)} if own else {})}


def _uv() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise WorkerError("uv, which installs it, is not found; install it with: pip install uv")
    return [found]


def _run(command: list[str], folder: Path, timeout_s: float) -> None:
    """Run uv within ``folder``, so that no project of the current folder constrains what is installed."""
    try:
        done = subprocess.run(  # noqa: S603 uv, with names of our own table
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"was not installed within {timeout_s:.0f} seconds") from error
    except OSError as error:
        raise WorkerError(f"could not be installed: {command[0]} does not run ({error.strerror})") from error
    if done.returncode:
        raise WorkerError(f"could not be installed: {last_words(done.stderr, lines=4)}")

"""One Python environment for each peer, made by uv once and kept in the user's cache."""

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
"""Long, because torch is gigabytes."""

_DONE = "installed"
_ROOT = Path(__file__).parents[4]


def default_environments() -> Path:
    """Return the folder that keeps the environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "es-rerank" / "bench"


def installed(
    peer: Peer, cache: Path, *, timeout_s: float = INSTALL_TIMEOUT_S, uv: list[str] | None = None
) -> Path:
    """Return the Python of an environment with ``peer``. The environment is made in ``cache`` if it is not
    there.

    ``uv`` is the command to use instead of the uv that is found. Packages come from the index in the user's
    own uv configuration. Raises WorkerError with uv's output when the environment cannot be made.
    """
    folder = cache / f"{peer.name}-{peer.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if (folder / _DONE).is_file() and python.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    command = uv or _uv()
    shutil.rmtree(folder, ignore_errors=True)  # an interrupted installation may have left files
    _run([*command, "venv", "--quiet", "--python", sys.executable, str(folder)], cache, timeout_s)
    _run([*command, "pip", "install", "--quiet", "--python", str(python), peer.pinned], cache, timeout_s)
    (folder / _DONE).write_text(f"{peer.pinned}\n", encoding="utf-8")
    return python


def variables(scratch: Path, *, own: bool) -> dict[str, str]:
    """Return the environment variables of a measured process: no network, temporary files in ``scratch``.

    With ``own`` the process can import this project, otherwise it cannot.
    """
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
        "INFINITY_HOME": str(scratch),  # else it writes a folder where the bench was started
        "TOKENIZERS_PARALLELISM": "true",
    }
    return {**kept, **offline, "TMPDIR": str(scratch), **({"PYTHONPATH": str(_ROOT)} if own else {})}


def _uv() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    path = str(beside) if beside.is_file() else shutil.which("uv")
    if path is None:
        raise WorkerError("could not be installed: uv is not found; install it with: pip install uv")
    return [path]


def _run(command: list[str], folder: Path, timeout_s: float) -> None:
    """Run uv in ``folder``, so that a project in the current folder does not constrain what is installed."""
    try:
        done = subprocess.run(  # noqa: S603 uv, with names from the bench's own table  # nosec B603
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

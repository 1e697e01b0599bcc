"""A command's own sidecar: an ``es-rerank serve`` process that lives as long as the command needs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from ..errors import EsRerankError
from ..settings import PREFIX
from .output import stderr

_ADDRESS = re.compile(r"sidecar on (http://\S+)")
_READY_S = 120.0
"""Most seconds until the sidecar has loaded its models."""

_TLS = PREFIX + "TLS_"
_ASK_S = 5.0
_STOP_S = 30.0
_INTERVAL_S = 0.05


@contextmanager
def own_sidecar(
    elasticsearch_url: str, *, port: int = 0, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a sidecar over an Elasticsearch address without credentials; yield its own address when it is
    ready.

    ``port`` is its port of 127.0.0.1; 0 takes a free one. ``settings`` replaces environment variables. Its
    other settings are those of this process. It ends with the block. Raises EsRerankError, with the sidecar's
    own message, when the sidecar ends, or is not ready within two minutes.
    """
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "serve",
        "--port",
        str(port),
        "--elasticsearch-url",
        elasticsearch_url,
    ]
    with tempfile.TemporaryDirectory(prefix="es-rerank-") as folder:
        log = Path(folder) / "log"  # not a pipe: a pipe that nobody reads becomes full, and blocks
        with (
            log.open("wb") as out,
            subprocess.Popen(  # noqa: S603 this program  # nosec B603
                command,
                env={**_inherited(), **(settings or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            ) as running,
        ):
            try:
                with stderr.status("sidecar: starting ..."):
                    address = _ready(running, log)
                yield address
            finally:
                _end(running)


def _inherited() -> dict[str, str]:
    """Return the variables of this process, without those for a sidecar that others reach."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_TLS)}
    return {**variables, PREFIX + "DRAIN_DELAY_MS": "0"}


def _ready(running: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _READY_S
    while running.poll() is None and time.monotonic() < deadline:
        address = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if address and _is_ready(address[1]):
            return address[1]
        time.sleep(_INTERVAL_S)
    ended = "is not ready" if running.poll() is None else f"ended with {running.returncode}"
    raise EsRerankError(f"the sidecar {ended}: {_last_words(log)}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=_ASK_S, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _last_words(log: Path) -> str:
    lines = [
        line.strip()
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    return lines[-1].removeprefix("error: ") if lines else "it printed no message"


def _end(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        running.kill()

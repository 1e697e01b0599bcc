"""Sidecars: one as a process of its own, one in a thread of this process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx
import uvicorn
from starlette.applications import Starlette
from waiting import until

from es_rerank.settings import PREFIX

_ADDRESS = re.compile(r"sidecar on (https?://\S+)[ ,]")


@contextmanager
def sidecar(
    url: str | None,
    reranker: Path,
    embedder: Path,
    log: Path,
    port: int = 0,
    extra: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run ``es-rerank serve`` until the block ends; yields its address, once it is ready, and its process.

    Without ``url`` it looks for the local node by itself. ``environment`` are variables that it has besides
    those of this process.
    """
    models = ["--reranker", str(reranker), "--embedder", str(embedder)]
    where = [] if url is None else ["--elasticsearch-url", url]
    arguments = ["--port", str(port), *where, *models, *extra]
    with serve(arguments, log, environment) as process:
        yield ready_address(process, log), process


@contextmanager
def serving(app: Starlette, port: int, ready: str = "/readyz") -> Iterator[str]:
    """Serve the application of a sidecar from a thread until the block ends; yields its address, once it is
    ready: ``ready`` answers with 200.

    Its models may be objects of this process.
    """
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: httpx.get(f"{address}{ready}", timeout=60).status_code == 200)
            yield address
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a free port of 127.0.0.1 until the block ends; nothing listens there.

    A server that sets SO_REUSEADDR, as Python's do, can listen at it. No other program gets it by chance: a
    socket holds it that never listens.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@contextmanager
def serve(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``es-rerank serve`` until the block ends; its output goes to the log."""
    command = [sys.executable, "-m", "es_rerank", "serve", *arguments]
    # No load balancer has to see that it stops.
    variables = {**os.environ, PREFIX + "DRAIN_DELAY_MS": "0", **environment, "COLUMNS": "200"}
    with log.open("wb") as out, subprocess.Popen(command, stderr=out, stdout=out, env=variables) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def is_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Return whether the sidecar at an address is ready. Its process must not have ended."""
    assert process.poll() is None, f"the sidecar ended with {process.returncode}"
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def address_in(log: Path) -> str:
    """Return the address that a sidecar printed into its log, "" if it did not do so yet."""
    found = _ADDRESS.search(log.read_text("utf-8", "replace"))
    return found[1] if found else ""


def ready_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address that the sidecar printed, when /readyz says so."""

    def ready() -> bool:
        assert process.poll() is None, log.read_text("utf-8", "replace")
        address = address_in(log)
        return bool(address) and is_ready(address, process)

    until(ready, f"the sidecar with the log {log} is ready")
    return address_in(log)


def started(arguments: Sequence[str], log: Path, environment: dict[str, str]) -> str:
    """Run ``serve`` until it listens, end it, and return what it said by then."""
    with serve(["--port", "0", *arguments], log, environment) as process:
        until(lambda: address_in(log) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
    return log.read_text()

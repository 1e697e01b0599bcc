"""The sidecar that is attacked: a process of its own, with small models, from the sources of some tree."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from server import ready_address
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from .drafts import KEY

TREE = Path(__file__).parents[3]
"""The tree that this file belongs to."""

LONGEST_S = 20
"""Longest deadline of a request: some Elasticsearch itself never answers, and the sidecar must."""

_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Target:
    """An address to attack; if the sidecar is ours, its process, its log and the file of its callbacks."""

    address: str
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    times: Path | None = None

    def rss_mib(self) -> float:
        """Return the resident memory of the process and those it started, in MiB; NaN if it is not ours."""
        if self.process is None or self.process.poll() is not None:
            return float("nan")
        own = psutil.Process(self.process.pid)
        sizes = []
        for process in (own, *own.children(recursive=True)):
            try:
                sizes.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return sum(sizes) / 2**20

    def log_from(self, start: int) -> str:
        """Return the log from this byte on."""
        return "" if self.log is None else self.log.read_bytes()[start:].decode("utf-8", "replace")

    def log_size(self) -> int:
        """Return how many bytes the log has."""
        return 0 if self.log is None else self.log.stat().st_size

    def loop_times(self) -> str:
        """Return what the event loop's callbacks took, as a line of JSON; "" if it is not measured."""
        if self.process is None or self.times is None or self.process.poll() is not None:
            return ""
        before = self.times.stat().st_size if self.times.exists() else 0
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            text = self.times.read_text() if self.times.exists() else ""
            if len(text) > before and text.endswith("\n"):
                return text.splitlines()[-1]
            time.sleep(0.05)  # between two looks; what is awaited is the line
        return ""


@contextmanager
def target(tree: Path, elasticsearch: str, folder: Path, more: Sequence[str] = ()) -> Iterator[Target]:
    """Run the sidecar of a source tree until the block ends. ``more`` are arguments of ``serve``."""
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    log, times = folder / "log", folder / "loop-times"
    command = [
        *(sys.executable, str(TREE / "tests/support/loop_times.py"), "--port", "0"),
        *("--elasticsearch-url", elasticsearch, "--reranker", str(models[0]), "--embedder", str(models[1])),
        *more,
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ES_RERANK_")},
        "PYTHONPATH": str(tree),
        "COLUMNS": "200",
        "LOOP_TIMES_FILE": str(times),
        "LOOP_TIMES_STACKS": "0",
        **_longest(tree),
        "ES_RERANK_STATE_DIR": str(folder / "state"),
        "ES_RERANK_API_KEY_HASHES": hashlib.sha256(KEY).hexdigest(),
    }
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=tree) as process,
    ):
        try:
            yield Target(ready_address(process, log), process, log, times)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _longest(tree: Path) -> dict[str, str]:
    """Return the setting of the longest deadline, where the sources of the tree know it."""
    known = "max_timeout_ms" in (tree / "es_rerank" / "settings.py").read_text(encoding="utf-8")
    return {"ES_RERANK_MAX_TIMEOUT_MS": str(LONGEST_S * 1000)} if known else {}

"""Starts the process that converts files, asks it, and ends it when a file takes too long."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ingest_pipelines
from es_rerank.forks import in_every_child

from .converted import Converted, UnreadableError

FILE_SECONDS = 900.0
"""Most seconds for a PDF."""

PAGE_SECONDS = 60.0
"""Most seconds for one page of a PDF."""

WHOLE_SECONDS = 180.0
"""Most seconds for a file of another kind, and for opening a PDF."""

MEMORY = 2048 * 1024 * 1024
"""Most bytes that converting a file may take."""


class Converter:
    """Converts files in a process that it starts when one is needed, and again after one ended.

    It may be used from several threads; they wait for each other.
    """

    def __init__(
        self,
        *,
        file_seconds: float = FILE_SECONDS,
        page_seconds: float = PAGE_SECONDS,
        whole_seconds: float = WHOLE_SECONDS,
        memory: int = MEMORY,
    ) -> None:
        self._file_seconds = file_seconds
        self._whole_seconds = whole_seconds
        self._page_seconds = page_seconds
        self._memory = memory
        self._renew()
        in_every_child(self._renew)

    def _renew(self) -> None:
        """Begin without a process: that of the parent is not shared with a forked child."""
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._files = 0
        self._closed = False

    def convert(self, path: Path, encoding: str | None = None) -> Converted:
        """Return the file as Markdown.

        Raises UnreadableError, which says why, for a file that cannot be converted within the limits.
        """
        with self._lock:
            while True:
                if self._closed:
                    raise UnreadableError("the program ends")
                child = self._running()
                fresh, self._files = self._files == 0, self._files + 1
                answer = self._ask(child, path, encoding)
                # What earlier files left behind in the process is no fault of this one.
                if answer.get("again") and not fresh:
                    self._end()
                    continue
                if answer.get("again"):
                    self._end()
                if "reason" in answer:
                    raise UnreadableError(answer["reason"])
                return Converted(answer["text"], answer["title"], answer["metadata"], answer["notes"])

    def close(self) -> None:
        """End the process for good, at once, even if it is at work for another thread."""
        self._closed = True
        if (child := self._child) is not None:
            child.kill()
        if self._lock.acquire(blocking=False):  # else the thread that waits for it ends it
            self._end()
            self._lock.release()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            home = str(Path(ingest_pipelines.__file__).parents[1])
            search = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._child = subprocess.Popen(  # noqa: S603 this program, no shell  # nosec B603
                [sys.executable, "-P", "-m", __package__ or "", str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Threads of libraries that calculate would take gigabytes of addresses on a large machine.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(search),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
                start_new_session=True,  # Ctrl-C in the terminal is for the process that asks
            )
        return self._child

    def _end(self) -> None:
        child, self._child, self._files = self._child, None, 0
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]  # both are pipes
            child.wait()

    def _ask(self, child: subprocess.Popen[bytes], path: Path, encoding: str | None) -> dict[str, Any]:
        """Return the last answer to a file. It has ``again`` if the file is to be tried in a new process."""
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018, S101 both are pipes
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps([str(path.absolute()), encoding]).encode() + b"\n")
            child.stdin.flush()
        ends = time.monotonic() + self._file_seconds
        page: int | None = None
        rest: list[bytes] = []
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            page_ends = time.monotonic() + self._whole_seconds
            while True:
                if not ready.select(max(0.0, min(ends, page_ends) - time.monotonic())):
                    self._end()
                    return {"reason": self._too_long(page, whole=ends <= page_ends)}
                block = os.read(child.stdout.fileno(), 1 << 20)
                if not block:
                    return {
                        "reason": f"the process that reads it ended{_at(page)}: {_how(child)}",
                        "again": True,
                    }
                rest.append(block)
                if b"\n" not in block:
                    continue
                *lines, unfinished = b"".join(rest).split(b"\n")
                rest = [unfinished]
                for answer in map(json.loads, lines):
                    if "page" in answer:
                        page, page_ends = answer["page"], time.monotonic() + self._page_seconds
                    elif "begun" not in answer:
                        return {**answer, "again": bool(answer.get("memory"))}

    def _too_long(self, page: int | None, *, whole: bool) -> str:
        if whole:
            return f"it takes longer than {self._file_seconds:g} seconds to read{_at(page)}; split it"
        what, seconds = (f"page {page}", self._page_seconds) if page else ("it", self._whole_seconds)
        return f"{what} takes longer than {seconds:g} seconds to read"


def _at(page: int | None) -> str:
    return f" (at page {page})" if page else ""


def _how(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    return f"by signal {-code}" if code < 0 else f"with status {code}"


_shared = Converter()
atexit.register(_shared.close)


def convert(path: Path, encoding: str | None = None) -> Converted:
    """Convert a file with the converter that this process shares (see ``Converter.convert``)."""
    return _shared.convert(path, encoding)

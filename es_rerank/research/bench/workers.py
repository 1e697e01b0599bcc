"""A system in its own process: started, asked for scores, stopped while others are timed, and ended in every
case.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from .process_tree import ProcessTree

Lists = Sequence[tuple[str, Sequence[str]]]
"""Queries, each with the passages that are scored for it."""

ScoreArray = npt.NDArray[np.float64]

LOAD_TIMEOUT_S = 300.0
SCORE_TIMEOUT_S = 1800.0


class WorkerError(Exception):
    """A system cannot be measured. The message says why and goes into its row; the error does not leave the
    bench.
    """


class TimedScores(NamedTuple):
    """The seconds that scoring took, and one score for each passage."""

    seconds: float
    scores: ScoreArray


class Worker:
    """A process that speaks the protocol of ``peers/worker.py``; its stderr goes to the file ``log``.

    The model is loaded when the constructor returns. Raises WorkerError, with the last output of the process,
    when it is not loaded within ``load_timeout_s``. ``score`` raises WorkerError for a process that ends,
    hangs, or answers anything but finite scores.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        self._log = log
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.peak_rss_mb = 0.0
        """Largest memory of the process and its children, in MB, among the calls of ``note_memory``."""
        try:
            with log.open("wb") as err:
                self._process = subprocess.Popen(  # noqa: S603 command from the bench's own table  # nosec B603
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    env=env,
                    encoding="utf-8",
                )
        except OSError as error:
            raise WorkerError(f"{command[0]} does not run ({error.strerror})") from error
        self.process_tree = ProcessTree(self._process.pid)
        """The process and its children."""
        assert self._process.stdout is not None  # noqa: S101 it is a pipe
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        try:
            self._answer(load_timeout_s)
        except BaseException:
            self.close()
            raise

    def score(self, lists: Lists, batch: int, *, timeout_s: float = SCORE_TIMEOUT_S) -> TimedScores:
        """Return the scores of all passages, in batches of ``batch``, and how long scoring took."""
        passages = sum(len(texts) for _, texts in lists)
        try:
            self._write(json.dumps({"lists": lists, "batch": batch}))
        except OSError as error:
            raise WorkerError(f"ended: {self._last_words()}") from error
        answer = self._answer(timeout_s)
        scores = np.asarray(answer.get("scores", ()), dtype=np.float64)
        if scores.shape != (passages,) or not np.isfinite(scores).all():
            raise WorkerError(
                f"gave {scores.size} scores for {passages} passages, {int((~np.isfinite(scores)).sum())} of "
                "them not finite"
            )
        return TimedScores(float(answer["seconds"]), scores)

    @contextmanager
    def awake(self) -> Iterator[Self]:
        """Let the process run inside the block, and stop it when the block ends."""
        with self.process_tree.awake():
            yield self

    def note_memory(self) -> None:
        """Record the largest memory that the process and its children have used until now."""
        self.peak_rss_mb = max(self.peak_rss_mb, self.process_tree.peak_rss_mb())

    def close(self) -> None:
        """End the process and its children."""
        self.process_tree.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 it is a pipe
            with suppress(OSError):  # the process ended before it read all input
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, lines: IO[str]) -> None:
        with suppress(ValueError):  # ``close`` closed the pipe
            for line in lines:
                self._said.put(line)
        self._said.put("")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 it is a pipe
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._said.get(timeout=timeout_s)
        except queue.Empty:
            raise WorkerError(f"did not answer within {timeout_s:.0f} seconds") from None
        if not line:
            raise WorkerError(f"ended: {self._last_words()}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise WorkerError(f"answered {line[:80]!r}, which does not follow the protocol")
        if "error" in answer:
            raise WorkerError(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        return last_words(self._log.read_text(encoding="utf-8", errors="replace"))


def last_words(text: str, *, lines: int = 1) -> str:
    """Return the last lines of a text that are not blank, joined to one line."""
    lines_with_text = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines_with_text[-lines:]) if lines_with_text else "it said nothing"

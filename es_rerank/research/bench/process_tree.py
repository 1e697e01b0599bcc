"""A process of the bench with its children: asleep while others are timed, told its memory, ended together in every case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_END_S = 10.0
_STATUS = "/proc/{}/status"


class ProcessTree:
    """The process ``pid`` and whatever it has started. Nothing here raises for a process that is gone."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def sleep(self) -> None:
        """Stop every process until the family is awake."""
        self._all("suspend")

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the processes run for a block; they were put to sleep, and are again when the block ends."""
        self._all("resume")
        try:
            yield
        finally:
            self.sleep()

    def peak_rss_mb(self) -> float:
        """Return the most memory that the processes took until now, in MB; 0 where they are gone."""
        with suppress(psutil.Error):
            return sum(_peak_mb(each) for each in self._members())
        return 0.0

    def kill(self) -> None:
        """End every process, and wait until they have ended."""
        members = self._members()
        for each in members:
            with suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(members, timeout=_END_S)

    def _all(self, what: str) -> None:
        for each in self._members():
            with suppress(psutil.Error):
                getattr(each, what)()

    def _members(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._pid)
            return [*process.children(recursive=True), process]
        except psutil.Error:
            return []


def _peak_mb(process: psutil.Process) -> float:
    """Return the process's peak where the kernel keeps it (VmHWM, KiB), else what it holds now.

    Not getrusage's maximum: that starts with the parent's, which a process has until it runs its own program.
    """
    with suppress(OSError):
        for line in Path(_STATUS.format(process.pid)).read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6

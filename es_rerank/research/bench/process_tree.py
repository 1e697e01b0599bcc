"""A process of the bench with its children: stopped while others are timed, its memory measured, ended in
every case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_END_S = 10.0
_STATUS = "/proc/{}/status"


class ProcessTree:
    """The process ``pid`` and all its children. No method raises for a process that has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def sleep(self) -> None:
        """Stop every process until ``awake``."""
        self._all("suspend")

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the processes run inside the block, and stop them when it ends."""
        self._all("resume")
        try:
            yield
        finally:
            self.sleep()

    def peak_rss_mb(self) -> float:
        """Return the largest memory that the processes have used until now, in MB; 0 when they have ended."""
        with suppress(psutil.Error):
            return sum(_peak_mb(process) for process in self._members())
        return 0.0

    def clock(self) -> Callable[[], float]:
        """Return a function that tells the CPU time, in seconds, that the processes of this moment have used.

        To find the processes takes much longer than to read their times. It tells 0 when they have ended.
        """
        members = self._members()

        def used() -> float:
            with suppress(psutil.Error):
                return sum(sum(process.cpu_times()[:2]) for process in members)
            return 0.0

        return used

    def kill(self) -> None:
        """End every process, and wait until they have ended."""
        members = self._members()
        for process in members:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(members, timeout=_END_S)

    def _all(self, what: str) -> None:
        for process in self._members():
            with suppress(psutil.Error):
                getattr(process, what)()

    def _members(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.pid)
            return [*process.children(recursive=True), process]
        except psutil.Error:
            return []


def _peak_mb(process: psutil.Process) -> float:
    """Return the peak memory of a process in MB if the kernel keeps it (VmHWM, KiB), else its memory now.

    The maximum of getrusage is not used: a process inherits it from its parent until it runs its own program.
    """
    with suppress(OSError):
        for line in Path(_STATUS.format(process.pid)).read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6

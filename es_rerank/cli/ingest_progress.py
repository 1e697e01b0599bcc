"""What ``es-rerank ingest`` shows while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from .output import stderr

if TYPE_CHECKING:
    from ingest_pipelines import IngestReport

_EVERY_S = 30.0
"""Seconds between two lines where no bar can be drawn, as in the log of a container."""

_LATELY_S = 60.0
"""The rate and the time left come from what happened in so many seconds: skipped documents take no time."""


class _Moment(NamedTuple):
    seconds: float
    passages: int
    read: float


class Rates:
    """The rate of an ingest lately, and how long it will take, from its reports.

    ``read`` tells which share of the sources was read, None where that is not known.
    """

    def __init__(self, read: Callable[[], float | None] = lambda: None) -> None:
        self._read = read
        self._moments = deque([_Moment(0.0, 0, 0.0)])

    def line(self, report: IngestReport) -> str:
        """Return what is known now, in words."""
        read = self._read()
        now = _Moment(report.seconds, report.passages, read or 0.0)
        while len(self._moments) > 1 and self._moments[0].seconds < now.seconds - _LATELY_S:
            self._moments.popleft()
        before = self._moments[0]
        self._moments.append(now)
        took = max(now.seconds - before.seconds, 1e-9)
        parts = [
            f"{report.documents:,} documents",
            f"{(now.passages - before.passages) / took:,.0f} passages/s",
        ]
        if report.skipped:
            parts.append(f"{report.skipped:,} unchanged")
        if report.failed:
            parts.append(f"{report.failed:,} failed")
        if report.removed:
            parts.append(f"{report.removed:,} removed")
        if read is not None and read >= 1:  # what is in the queue takes a time that is not known
            parts.append("all is read")
        elif read is not None and now.read > before.read:
            parts.append(f"{_spoken((1 - now.read) / (now.read - before.read) * took)} left")
        return ", ".join(parts)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def ingest_progress(
    index: str, read: Callable[[], float | None] = lambda: None
) -> Iterator[Callable[[IngestReport], None]]:
    """Show the progress on stderr; yield what takes the counts so far. ``read``: see ``Rates``."""
    rates, said = Rates(read), time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("indexing into {task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[line]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        bar.add_task(index, total=None, line="")

        def show(report: IngestReport) -> None:
            nonlocal said
            line, share = rates.line(report), read()
            bar.update(TaskID(0), total=None if share is None else 1.0, completed=share or 0.0, line=line)
            if not stderr.is_terminal and time.monotonic() - said >= _EVERY_S:
                said = time.monotonic()
                stderr.print(f"{index}: {line}", highlight=False, markup=False, soft_wrap=True)

        yield show

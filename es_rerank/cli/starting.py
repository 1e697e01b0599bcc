"""What a command shows while it starts an Elasticsearch, and what it says of the one that it got."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from .output import stderr

if TYPE_CHECKING:
    from ..node import Node
    from ..node.download import Progress as Report


@contextmanager
def shown_start() -> Iterator[Report]:
    """Show on stderr that a node is looked for and started.

    The function in the ``with`` block takes the bytes of a download that are there and those of the whole
    file, and shows a bar instead.
    """
    status = stderr.status("Elasticsearch: looking, downloading where needed, starting ...")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    )
    task = bar.add_task("Elastic's archive of Elasticsearch", total=None)

    def report(there: int, total: int | None) -> None:
        if not bar.live.is_started:
            status.stop()
            bar.start()
        bar.update(task, completed=there, total=total)
        if there == total:
            bar.stop()
            status.start()

    status.start()
    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
        status.stop()


def notes(found: Node) -> list[str]:
    """Return sentences about an Elasticsearch: why it was started in this way, and what it lacks."""
    from .. import node

    if found.distribution != "stripped":
        return []
    better = [f"a better way was not possible: {reason}" for reason in found.passed_over]
    return [*better, f"{node.STRIPPED}; {node.FULL}"]


def tell(found: Node) -> None:
    """Print the notes on stderr."""
    for note in notes(found):
        stderr.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)

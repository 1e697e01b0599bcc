"""What the ``es-rerank bench`` commands share: options and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from ..errors import SettingsError
from .output import progress

Plot = Annotated[Path | None, typer.Option(help="Write a picture, FILE.svg.", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="Cores that each system may use; 0 is all.")]


def check_plot(plot: Path | None) -> None:
    """Raise SettingsError, before anything is measured, for a file type that cannot be drawn here."""
    if plot is not None and plot.suffix != ".svg":
        raise SettingsError(
            f"--plot {plot} is not a file that can be drawn here; name a file that ends in .svg"
        )


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar of ``total`` steps on stderr; yield a function that takes the name of each step.

    No thread draws the bar while something is timed.
    """
    with progress(total, what, by_itself=False) as bar:
        yield lambda name: bar.update(TaskID(0), advance=1, description=f"{what} {name}", refresh=True)

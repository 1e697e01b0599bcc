"""Moves a finished model folder to its place."""

from __future__ import annotations

from pathlib import Path

from .manifest import MANIFEST


def put_in_place(made: Path, out: Path) -> None:
    """Move the finished folder to ``out``. The old folder there is deleted with the temporary folder around
    ``made``.

    torch makes weights over 2 GB readable by their owner only. They get the mode of the manifest.
    """
    mode = (made / MANIFEST).stat().st_mode
    for path in made.iterdir():
        path.chmod(mode)
    if out.exists():
        out.rename(made.parent / "replaced")
    made.rename(out)

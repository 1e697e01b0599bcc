"""The options of ``es-rerank ingest`` that remove documents, and what they do not go with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError

SyncOption = Annotated[
    bool,
    typer.Option(
        "--sync",
        help="Afterwards remove every document of the index that SOURCES do not hold: name all of them. "
        "What failed stays. Nothing is removed when a source was not read whole.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="With --sync: remove even more than half of the index.")
]


def check_sync_options(
    sources: Sequence[Path], *, sync: bool, yes: bool, rebuild: bool, dry_run: bool
) -> None:
    """Raise SettingsError for options that do not go together, and for sources that hold rejects."""
    from ingest_pipelines.lifecycle.sync import check_sync, check_sync_sources

    if yes and not sync:
        raise SettingsError("--yes says that --sync may remove most of the index; write --sync too")
    if not sync:
        return
    check_sync(sync=sync, rebuild=rebuild)
    if dry_run:
        raise SettingsError("--dry-run does not count what --sync would remove; leave one of the two out")
    check_sync_sources(sources)

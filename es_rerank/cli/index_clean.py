"""``es-rerank index clean``: remove what killed rebuilds left, and earlier versions on request."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import IngestError, SettingsError
from .index_list import Name, shown
from .output import ElasticsearchUrl, Json, print_json, print_table, stderr, stdout


def clean(
    name: Name = None,
    *,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="Remove earlier versions too, of names that are in use.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="With --earlier: leave so many of each name, the latest.", show_default="0"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without a question.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Remove what killed rebuilds left, and earlier versions on request. What has an alias, is being built or
    is being read stays.
    """
    from ingest_pipelines.lifecycle.catalog import catalog
    from ingest_pipelines.lifecycle.cleaning import removable, remove

    from ..settings import read_settings
    from .connection import connect

    if keep is not None and not earlier:
        raise SettingsError("--keep says how many earlier versions stay; write --earlier too")
    kept = (keep or 0) if earlier else None
    with connect(elasticsearch_url, read_settings()) as client:
        chosen = removable(catalog(client, name), keep=kept)
        if chosen and not as_json:
            print_table(shown(chosen))
        if chosen and not dry_run and not yes and not _agreed(len(chosen)):
            raise IngestError("nothing was removed; repeat the command with --yes, or answer with y")
        done = [] if dry_run else list(remove(client, chosen, keep=kept))
    removed = [version.index for version, gone in done if gone]
    stayed = [version.index for version, gone in done if not gone]
    if as_json:
        print_json({"removable": [version.as_json() for version in chosen], "removed": removed})
    elif dry_run:
        stdout.print(f"{len(chosen)} would be removed")
    else:
        stdout.print(f"{len(removed)} removed")
    if stayed:
        stderr.print(
            f"{', '.join(stayed)} stayed: in use by now, or removed by somebody else",
            markup=False,
            highlight=False,
        )


def _agreed(count: int) -> bool:
    """Ask on stderr. A stdin without an answer is a no."""
    try:
        return typer.confirm(f"Remove {count} {'index' if count == 1 else 'indices'}?", err=True)
    except typer.Abort:
        return False

"""``es-rerank index list``: the indices that es-rerank made, and which of their versions is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from ..errors import SearchError
from .output import ElasticsearchUrl, Json, print_json, print_table, stderr

if TYPE_CHECKING:
    from ingest_pipelines.lifecycle.catalog import IndexVersion

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Name that searches use, or a version of it.", show_default="all of es-rerank"
    ),
]

STATES = {
    "in_use": "in use",
    "earlier": "earlier version",
    "building": "being built",
    "orphan": "orphan of a killed rebuild",
}


def list_indices(
    name: Name = None, *, elasticsearch_url: ElasticsearchUrl = None, as_json: Json = False
) -> None:
    """List the indices that es-rerank made, with their versions: which is in use, and which a killed rebuild
    left.
    """
    from ingest_pipelines.lifecycle.catalog import catalog

    from ..settings import read_settings
    from .connection import connect

    with connect(elasticsearch_url, read_settings()) as client:
        versions = catalog(client, name)
    if name and not versions:
        raise SearchError(
            f"there is no index of the name [{name}] that es-rerank made; es-rerank index list shows all"
        )
    if as_json:
        print_json({"indices": [version.as_json() for version in versions]})
    elif versions:
        print_table(shown(versions))
    else:
        stderr.print("there is no index here that es-rerank made")


list = list_indices  # noqa: A001 the command's name


def shown(versions: Sequence[IndexVersion]) -> Table:
    """Return the versions as a table for a person."""
    table = Table()
    for column in ("index", "aliases", "state"):
        table.add_column(column, overflow="fold")
    for column in ("documents", "passages", "size"):
        table.add_column(column, justify="right")
    for column in ("embedder", "vectors", "created", "blocks"):
        table.add_column(column, overflow="fold")
    for version in versions:
        table.add_row(
            escape(version.index),
            escape(", ".join(version.aliases) or "-"),
            STATES[version.state],
            "?" if version.documents is None else str(version.documents),
            "?" if version.passages is None else str(version.passages),
            "?" if version.size is None else decimal(version.size),
            escape(f"{version.embedder}, {version.dims} dimensions"),
            _vectors(version.vectors or {}),
            version.created or "?",
            ", ".join(version.blocks) or "-",
        )
    return table


def _vectors(options: Mapping[str, Any]) -> str:
    """Return the index options of the vectors in words."""
    oversample = options.get("rescore_vector", {}).get("oversample")
    kind = str(options.get("type", "?"))
    return f"{kind}, oversampled {oversample} times" if oversample else kind

"""``es-rerank index``: list the indices that es-rerank made, and remove what is not needed any more."""

from __future__ import annotations

from typing import ClassVar

import typer

from .lazy_group import Entry, LazyGroup


class _IndexCommands(LazyGroup):
    """The commands about indices that exist."""

    entries: ClassVar = {
        "list": Entry(
            "index_list",
            "List the indices that es-rerank made, with their versions: which is in use, and which a killed "
            "rebuild left.",
        ),
        "check": Entry(
            "index_check",
            "Compare an index's vector search with the exact one (recall@10, latency), and look for what it "
            "lacks. The exit code is 1 if something is wrong.",
        ),
        "clean": Entry(
            "index_clean",
            "Remove what killed rebuilds left, and earlier versions on request. What has an alias, is being "
            "built or is being read stays.",
        ),
        "delete": Entry(
            "index_delete",
            "Remove documents by their ids, with their passages and vectors. An id that is not there is an "
            "error, after the others were removed.",
        ),
    }


index = typer.Typer(
    name="index",
    cls=_IndexCommands,
    add_completion=False,
    no_args_is_help=True,
    help="List, check and clean the indices that es-rerank made.",
)


@index.callback()
def _options() -> None:
    """Take no options: each command has its own."""

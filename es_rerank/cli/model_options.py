"""Options that ``es-rerank import`` and ``es-rerank export`` have in common."""

from __future__ import annotations

from typing import Annotated

import typer

MaxLength = Annotated[
    int | None,
    typer.Option(
        min=8,
        help="Maximum length in tokens; without it, the model's own, at most 512.",
        show_default=False,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(help="Where the model came from, for the manifest; without it, MODEL.", show_default=False),
]
Revision = Annotated[
    str | None,
    typer.Option(help="Revision to fetch from the Hub, or to record for a local folder.", show_default=False),
]
Attribution = Annotated[
    str | None, typer.Option(help="Authors of the weights, for the manifest.", show_default=False)
]
QueryPrefix = Annotated[
    str | None,
    typer.Option(
        help="Text that a bi-encoder reads before a query; without it, as its files state.",
        show_default=False,
    ),
]
PassagePrefix = Annotated[
    str | None,
    typer.Option(
        help="Text that a bi-encoder reads before a passage; without it, as its files state.",
        show_default=False,
    ),
]

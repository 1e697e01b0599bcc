"""``es-rerank ingest --dry-run``: what an ingest would do, without writing or sending anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import SettingsError
from ..text.chunking import Chunker
from .output import print_json, stderr, stdout

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ingest_pipelines.dry_run import Estimate, PlannedEmbedder
    from ingest_pipelines.vector_options import IndexOptions

    from ..models.embedder_spec import EmbedderSpec
    from ..settings import Settings

_DIMS = {
    "text-embedding-3-small": 1_536,
    "text-embedding-3-large": 3_072,
    "text-embedding-ada-002": 1_536,
    "embed-v4.0": 1_536,
    "embed-english-v3.0": 1_024,
    "embed-multilingual-v3.0": 1_024,
    "embed-english-light-v3.0": 384,
    "embed-multilingual-light-v3.0": 384,
}
"""Dimensions of models of OpenAI's and Cohere's, as their references say: they never change."""

_PANEL = "Embedders elsewhere, and what a run would cost"

TokenizerOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder or file of the tokenizer that cuts the passages for an embedder elsewhere; without it, "
        "the one of an installed model of that name, or else the bundled one.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Count documents, passages and tokens, and estimate size, time and price: nothing is written, "
        "and nothing is sent to an embedder elsewhere.",
        rich_help_panel=_PANEL,
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Price of a million tokens, for --dry-run.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="How many tokens a minute the service of the embedder takes, for --dry-run.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class DryRunChoices:
    """The options of a dry run; ``embedder`` None is the one of the settings."""

    embedder: str | None
    tokenizer: Path | None
    passage_tokens: int
    overlap_tokens: int
    index_options: IndexOptions | None
    rebuild: bool
    price: float | None
    tokens_per_minute: float | None


def check_dry_run(price: float | None, tokens_per_minute: float | None, *, dry_run: bool) -> None:
    """Raise SettingsError for an option that has no meaning in a run."""
    for name, given in (("--price", price), ("--tokens-per-minute", tokens_per_minute)):
        if given is not None and not dry_run:
            raise SettingsError(f"{name} is for an estimate; add --dry-run, or leave it out")


def show_dry_run(
    client: Elasticsearch,
    index: str,
    documents: Iterable[Any],
    settings: Settings,
    choices: DryRunChoices,
    *,
    as_json: bool,
) -> None:
    """Print what an ingest of the documents would do.

    Raises what ``DryRun.run`` raises, and what ``load_embedder`` raises for an embedder of this machine.
    """
    from ingest_pipelines.dry_run import DryRun, PlannedEmbedder, current_recipe

    from ..models import room_of
    from ..models.embedder_spec import parse_embedder
    from ..models.load import embedder_of, tokenizer_for

    spec = parse_embedder(choices.embedder or settings.embedder)

    def estimated(planned: PlannedEmbedder, chunker: Chunker) -> Estimate:
        run = DryRun(
            client,
            planned,
            chunker=chunker,
            index_options=choices.index_options,
            price=choices.price,
            tokens_per_minute=choices.tokens_per_minute,
        )
        return run.run(index, documents, rebuild=choices.rebuild)

    size, overlap = choices.passage_tokens, choices.overlap_tokens
    if spec.hosted:
        name = _stated_name(spec)
        recorded = current_recipe(client, index)
        known = name or (recorded[1].embedder if recorded and not choices.rebuild else "")
        tokenizer, cut_by = tokenizer_for(known, choices.tokenizer)
        planned = PlannedEmbedder(
            name, spec.dims or _DIMS.get(spec.model), spec.room, cut_by, prefix=spec.passage_prefix
        )
        found = estimated(planned, Chunker(tokenizer, size=size, overlap=overlap))
    else:
        with embedder_of(settings, choices.embedder, tokenizer=choices.tokenizer) as model:
            planned = PlannedEmbedder(model.name, model.dims, room_of(model), local=model)
            found = estimated(planned, Chunker(model.tokenizer, size=size, overlap=overlap))
    _show(found, as_json=as_json)


def _stated_name(spec: EmbedderSpec) -> str | None:
    """Return the name that an index records, None if the service has to tell it, as a sidecar and TEI do."""
    if spec.kind != "remote":
        return spec.name_with(spec.model)
    from ..models.hosted.http_service import service_address

    model = service_address(spec.model, "remote:").params.get("model")
    return spec.name_with(model) if model and spec.dialect not in (None, "es-rerank", "tei") else None


def _show(found: Estimate, *, as_json: bool) -> None:
    if as_json:
        print_json(found.as_json())
    else:
        stdout.print(_table(found))
    for each in found.rejects:
        named = each.id or each.file or "a document"
        stderr.print(f"reject {named}: {each.reason}", highlight=False, markup=False, soft_wrap=True)
    if found.failed > len(found.rejects):
        stderr.print(f"and {found.failed - len(found.rejects)} more rejects", highlight=False)
    for note in found.notes:
        stderr.print(note, highlight=False, markup=False, soft_wrap=True)


def _table(found: Estimate) -> Table:
    table = Table(title=escape(f"{found.index}: nothing was written or sent"), show_header=False)
    left_out = {"dry_run", "index", "rejects", "notes"}
    for name, value in found.as_json().items():
        if name not in left_out:
            table.add_row(name, "unknown" if value is None else f"{value:,}")
    return table

"""``es-rerank ingest``: write documents to an index, with passages and vectors."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import IngestError, IngestStoppedError
from ..text.chunking import OVERLAP_TOKENS, PASSAGE_TOKENS, Chunker
from .dry_run import (
    DryRunChoices,
    DryRunOption,
    PriceOption,
    RateOption,
    TokenizerOption,
    check_dry_run,
    show_dry_run,
)
from .from_index import (
    FromIndexOption,
    FromQueryOption,
    FromUrlOption,
    IndexSource,
    from_index_of,
    index_source,
    read_only,
)
from .ingest_progress import ingest_progress
from .output import ElasticsearchUrl, Json, print_json, stderr, stdout
from .ray_options import (
    RayActorsOption,
    RayAddressOption,
    RayThreadsOption,
    RunnerOption,
    check_ray_options,
    ray_ingest,
)
from .source_options import (
    EncodingOption,
    FirstReject,
    IdFieldOption,
    MetadataOption,
    SourcesArgument,
    TextFieldsOption,
    TitleFieldOption,
    check_rejects,
    tell,
)
from .stopping import again, ingest_of, stoppable, with_way_on
from .sync_options import SyncOption, YesOption, check_sync_options

if TYPE_CHECKING:
    from ingest_pipelines import IngestReport
    from ingest_pipelines.vector_options import IndexOptions

_FINISHING = "finishing the batch in work; a second signal ends the program at once"
_AT_ONCE = (
    "ended at once; repeat the command to go on. A --rebuild leaves its new version, which es-rerank index "
    "clean removes"
)

_PASSAGES = "Passages and vectors"

_MOST_NOTES = 20
"""Most lines about values of metadata that are not indexed as their field's type."""


def ingest(
    index: Annotated[
        str,
        typer.Argument(
            help="Name to search by: an alias of the versioned index that is created.", show_default=False
        ),
    ],
    sources: SourcesArgument = None,
    *,
    from_index: FromIndexOption = None,
    from_url: FromUrlOption = None,
    from_query: FromQueryOption = None,
    text_field: TextFieldsOption = None,
    title_field: TitleFieldOption = None,
    id_field: IdFieldOption = None,
    metadata: MetadataOption = None,
    encoding: EncodingOption = None,
    elasticsearch_url: ElasticsearchUrl = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Embedder: bundled name, exported folder, Hub id, maven:NAME, openai:MODEL, cohere:MODEL or "
            "remote:URL; without it, ES_RERANK_EMBEDDER.",
            rich_help_panel=_PASSAGES,
        ),
    ] = None,
    passage_tokens: Annotated[
        int, typer.Option(help="Longest passage, in tokens of the embedder.", rich_help_panel=_PASSAGES)
    ] = PASSAGE_TOKENS,
    overlap_tokens: Annotated[
        int, typer.Option(help="Tokens that two neighbouring passages share.", rich_help_panel=_PASSAGES)
    ] = OVERLAP_TOKENS,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="File for documents that fail; without it, INDEX.rejects.jsonl.", show_default=False
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Build a new index beside the one in use and switch to it at the end; the old one is kept.",
        ),
    ] = False,
    index_options: Annotated[
        str | None,
        typer.Option(
            help="How Elasticsearch indexes the vectors: flat, hnsw, int8_hnsw, bbq_hnsw, or auto: by how "
            "many there are.",
            rich_help_panel=_PASSAGES,
            show_default="what the index has, else auto",
        ),
    ] = None,
    default_reranker: Annotated[
        str | None,
        typer.Option(
            help="Reranker that the index records for searches that name neither a field nor a reranker.",
            show_default=False,
        ),
    ] = None,
    sync: SyncOption = False,
    yes: YesOption = False,
    tokenizer: TokenizerOption = None,
    dry_run: DryRunOption = False,
    price: PriceOption = None,
    tokens_per_minute: RateOption = None,
    runner: RunnerOption = "local",
    ray_address: RayAddressOption = None,
    ray_actors: RayActorsOption = None,
    ray_threads: RayThreadsOption = None,
    as_json: Json = False,
) -> None:
    """Index documents with passages and vectors. Unchanged documents are skipped, so the command may be
    repeated.
    """
    from ingest_pipelines import Fields, Ingest, read_sources
    from ingest_pipelines.reading.meter import Meter

    from .. import node
    from ..models.load import embedder_of
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect

    check_sync_options(sources or (), sync=sync, yes=yes, rebuild=rebuild, dry_run=dry_run)
    on_ray = check_ray_options(runner, ray_address, ray_actors, ray_threads, dry_run=dry_run)
    settings = read_settings()
    check_rejects(rejects, sources or ())
    fields = Fields(tuple(text_field or ()), title_field, id_field, tuple(metadata) if metadata else None)
    given = from_index_of(from_index, from_url, from_query, fields, sources or ())
    first_reject = FirstReject()
    meter = Meter()
    files = read_sources(
        sources or (),
        fields=fields,
        encoding=encoding,
        not_this=rejects,
        on_note=tell,
        meter=meter,
        elsewhere=on_ray,
    )
    client = connect(elasticsearch_url, settings, request_timeout_s=BULK_TIMEOUT_S)
    check_dry_run(price, tokens_per_minute, dry_run=dry_run)
    if dry_run:
        choices = DryRunChoices(
            embedder,
            tokenizer,
            passage_tokens,
            overlap_tokens,
            cast("IndexOptions | None", index_options),
            rebuild,
            price,
            tokens_per_minute,
        )
        with client, read_only(given, client, settings) if given else nullcontext(files) as read:
            show_dry_run(client, index, read, settings, choices, as_json=as_json)
        return
    with (
        stoppable(_FINISHING, _AT_ONCE) as stopping,
        client,
        index_source(given, index, client, settings, rebuild=rebuild, embedder=embedder or settings.embedder)
        if given
        else nullcontext(IndexSource(files)) as source,
        embedder_of(settings, embedder, tokenizer=tokenizer) as model,
        ingest_progress(index, meter.share) as show,
    ):
        made: dict[str, Any] = {
            "chunker": Chunker(model.tokenizer, size=passage_tokens, overlap=overlap_tokens),
            "index_options": cast("IndexOptions | None", index_options),  # Ingest refuses any other name
            "default_reranker": default_reranker,
        }
        run: Ingest = (
            ray_ingest(
                client,
                model,
                url=node.address(elasticsearch_url or settings.elasticsearch_url, settings.state_dir),
                settings=settings,
                model=embedder or settings.embedder,
                tokenizer=tokenizer,
                address=ray_address,
                actors=ray_actors,
                threads=ray_threads,
                **made,
            )
            if on_ray
            else Ingest(client, model, **made)
        )
        stopping.by(run.stop)
        try:
            report = run.run(
                index,
                first_reject.among(source.documents),
                rebuild=rebuild,
                rejects=rejects,
                sync=sync,
                remove_most=yes,
                on_progress=show,
                before_switch=source.before_switch,
            )
        except IngestStoppedError as error:
            stderr.print(f"{error.message}: {again()}", highlight=False, markup=False, soft_wrap=True)
            raise SystemExit(stopping.exit_code) from None
        except Exception as error:
            raise with_way_on(error) from error
    _show(source.told(report), first_reject.reason, as_json=as_json)


def _read(report: IngestReport) -> int:
    return report.documents + report.skipped + report.failed + report.duplicates


def _show(report: IngestReport, first_reject: str | None, *, as_json: bool) -> None:
    """Print the report, then the problems.

    Raises IngestError when documents failed, so that the exit code is not 0.
    """
    if as_json:
        print_json(report.as_json())
    else:
        stdout.print(_table(report))
    if report.duplicates:
        stderr.print(
            f"{report.duplicates} documents had the id of a later one and were replaced by it",
            highlight=False,
        )
    for note in _notes(report):
        stderr.print(note, highlight=False, markup=False)
    not_removed = f"nothing was removed: {report.not_removed}"
    if report.failed and report.not_removed is not None:
        stderr.print(not_removed, highlight=False, markup=False, soft_wrap=True)
    if report.failed:
        run = ingest_of(report.index, str(report.rejects))
        remedy = f"correct them there, or the files that it names, and run: {run}"
        if first_reject and "name it by --text-field" in first_reject:
            remedy = f"name the field of their text, and run: {run} --text-field FIELD"
        raise IngestError(
            f"{report.failed} of {_read(report)} documents were not indexed; {report.rejects} holds each of "
            f"them with the reason; {remedy}" + (f". The first: {first_reject}" if first_reject else ""),
            failed=report.failed,
        )
    if report.not_removed is not None:
        raise IngestError(not_removed)


_EMBEDDERS = {
    "Han": "; for Chinese: multilingual-e5-small-zh-en (bundles/zh-en, see the README's section Models)"
}
"""What reads a script, by its name in ``text.scripts``."""


def _notes(report: IngestReport) -> list[str]:
    """Return what was stored but not indexed as it stands, a line for each."""
    notes = [str(unfit) for unfit in report.unfit]
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more kinds of values of metadata"]
    if report.titles_cut:
        notes.append(
            f"{report.titles_cut} documents have a title of more than a quarter of what the embedder reads; "
            "only its beginning is embedded"
        )
    if report.passages_cut:
        notes.append(f"{report.passages_cut} passages are longer than what the embedder reads")
    notes += [
        f"{count} documents are in {script} script, on which the embedder was not trained; kNN hardly finds "
        "them: choose an embedder that reads it (--embedder), and index with --rebuild"
        + _EMBEDDERS.get(script, "; the README's section Models lists some")
        for script, count in report.other_scripts.most_common()
    ]
    return notes


def _table(report: IngestReport) -> Table:
    table = Table(title=escape(f"{report.index} ({report.version})"), show_header=False)
    for name, value in report.as_json().items():
        if name != "index":
            table.add_row(name, escape(str(value)))
    return table

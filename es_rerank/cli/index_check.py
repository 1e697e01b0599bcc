"""``es-rerank index check``: compare an index's vector search with the exact one; look for what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from ..collection import read_jsonl
from ..errors import SourceError
from .output import ElasticsearchUrl, Json, print_json, print_table, progress, stderr

if TYPE_CHECKING:
    from ingest_pipelines.checking.check import IndexCheck

_LEAST_RECALL = 0.9


def check(
    name: Annotated[
        str,
        typer.Argument(help="Name that searches use, or a version of it.", show_default=False),
    ],
    *,
    elasticsearch_url: ElasticsearchUrl = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Embedder: bundled name, exported folder, Hub id, maven:NAME, openai:MODEL, cohere:MODEL or "
            "remote:URL; without it, ES_RERANK_EMBEDDER."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="File of queries: one on each line, or JSON lines with a key text (.jsonl, also .gz).",
            show_default="the first 8 words of passages",
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(min=1, max=1_000, help="Most queries, and passages that are drawn."),
    ] = 100,
    least_recall: Annotated[
        float, typer.Option("--min-recall", min=0, max=1, help="Smallest recall@10 that is right.")
    ] = _LEAST_RECALL,
    as_json: Json = False,
) -> None:
    """Compare an index's vector search with the exact one (recall@10, latency), and look for what it lacks.
    The exit code is 1 if something is wrong.
    """
    from ingest_pipelines.checking.check import check_index

    from ..models.load import embedder_of
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect

    settings = read_settings()
    texts = [] if queries is None else _read(queries)[:sample]
    with (
        connect(elasticsearch_url, settings, request_timeout_s=BULK_TIMEOUT_S) as client,
        embedder_of(settings, embedder) as model,
        progress(None, f"reading {name}") as bar,
    ):
        found = check_index(
            client,
            name,
            model,
            getattr(model, "tokenizer", None),
            queries=texts,
            sample=sample,
            least_recall=least_recall,
            on_progress=lambda done, total: bar.update(TaskID(0), completed=done, total=total),
        )
    if as_json:
        print_json(found.as_json())
    else:
        print_table(_table(found))
    for note in found.notes:
        stderr.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for problem in found.problems:
        said = f"{problem.what}; remedy: {problem.remedy}"
        stderr.print(f"[bold red]wrong:[/] {escape(said)}", highlight=False, soft_wrap=True)
    if found.problems:
        raise typer.Exit(1)


def _read(path: Path) -> list[str]:
    """Return the queries of a file. Raises SourceError when there are none."""
    if ".jsonl" in path.suffixes:
        texts = [record.get("text") for _, record in read_jsonl(path)]
        found = [text for text in texts if isinstance(text, str) and text.strip()]
    else:
        try:
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"cannot read {path}: {error}", path=str(path)) from error
    if not found:
        raise SourceError(
            f"{path} holds no queries: write one on each line, or JSON lines with a key text", path=str(path)
        )
    return found


def _table(found: IndexCheck) -> Table:
    table = Table(title=escape(f"{found.index} ({found.version})"), title_justify="left", show_header=False)
    recall = "no vectors" if found.recall_at_10 is None else f"{found.recall_at_10:.3f}"
    options = ", ".join(
        f"{key} {value}" if key != "type" else str(value) for key, value in found.index_options.items()
    )
    difference = found.vector_difference
    for label, value in (
        ("documents / passages", f"{found.documents:,} / {found.passages:,}"),
        ("vectors", f"{found.embedder}, {found.dims} dimensions; {options}"),
        ("recall@10", f"{recall} ({found.queries} queries: {found.asked_with})"),
        ("kNN p50 / p95", "" if found.p50_ms is None else f"{found.p50_ms:.1f} / {found.p95_ms:.1f} ms"),
        ("documents without passages", f"{found.without_passages:,}"),
        ("passages without vector / of other length", f"{found.without_vector:,} / {found.other_dims:,}"),
        (
            "embedder's vectors against stored ones",
            "not compared" if difference is None else f"{difference:.1e}",
        ),
        (
            "deleted in segments",
            "not known" if found.deleted is None else f"{found.deleted:.1%} in {found.segments}",
        ),
    ):
        table.add_row(label, escape(value))
    return table

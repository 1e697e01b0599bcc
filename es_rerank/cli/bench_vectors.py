"""``es-rerank bench vectors``: size, recall and latency of Elasticsearch's ways to index vectors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from ..research.bench.machine import machine
from ..research.bench.vector_passages import PASSAGES, QUERIES, VectorPassages, passages_of
from ..research.bench.vectors import Built, WayRow, build, chosen_ways, measure, own_indices
from ..research.evaluation.measures import mean, measures_by_query, run_of
from ..text.chunking import OVERLAP_TOKENS, PASSAGE_TOKENS, Chunker
from .bench_options import Plot, check_plot
from .extras import check_evaluate
from .output import Json, print_json, print_table, progress, stderr

_CAPTION = (
    "disk: the whole index, texts too; memory: the compared vectors and the graph; recall@10: of the 10 "
    "nearest documents, by exact search over the float vectors; times faster: median of the ratio to hnsw "
    "for the same query, with its bootstrap interval"
)
_DRAWN_EVERY = 10
_MB = 1e6


def vectors(
    collections: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of test collections (BEIR layout) with the passages and the queries.",
            show_default=False,
        ),
    ],
    *,
    elasticsearch_url: Annotated[
        str | None,
        typer.Option(
            help="Elasticsearch that gets the bench's indices; ELASTICSEARCH_URL is ignored here.",
            show_default="a node of its own",
        ),
    ] = None,
    passages: Annotated[int, typer.Option(min=10, help="How many distinct passages are indexed.")] = PASSAGES,
    queries: Annotated[int, typer.Option(min=1, help="Queries from each collection.")] = QUERIES,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Type of index_options; give it once for each.", show_default="all"),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Embedder: bundled name, exported folder or Hub id; without it, ES_RERANK_EMBEDDER."
        ),
    ] = None,
    passage_tokens: Annotated[
        int, typer.Option(help="Longest passage, in tokens of the embedder.")
    ] = PASSAGE_TOKENS,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder for passages and vectors; a later run of the same ones embeds nothing.",
            show_default="none is kept",
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Measure size, recall@10 and latency of Elasticsearch's ways to index vectors: the same passages in an
    index for each, searches interleaved.
    """
    from ingest_pipelines.mapping import IndexRecipe, index_body
    from ingest_pipelines.vectors import written_for

    from ..models.load import embedder_of
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect, found_or_started

    check_evaluate("the bench")
    check_plot(plot)
    ways = chosen_ways(types or [])
    settings = read_settings()
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="es-rerank-bench-")))
        with embedder_of(settings, embedder) as model, progress(passages, "embedding") as bar:
            chunker = Chunker(
                model.tokenizer, size=passage_tokens, overlap=min(OVERLAP_TOKENS, passage_tokens // 2)
            )
            corpus = passages_of(
                folder,
                collections,
                model,
                chunker,
                passages=passages,
                queries=queries,
                on_progress=lambda done: bar.update(TaskID(0), completed=done),
            )
            recipe = IndexRecipe(model.name, model.dims, chunker.size, chunker.overlap)
        elasticsearch = found_or_started(elasticsearch_url, settings)
        client = stack.enter_context(connect(elasticsearch.url, settings, request_timeout_s=BULK_TIMEOUT_S))
        name_of, encode = stack.enter_context(own_indices(client)), written_for(client)
        built: dict[str, Built] = {}
        for kind in dict.fromkeys(way.type for way in ways):
            body = index_body(recipe)
            body["mappings"]["properties"]["passages"]["properties"]["vector"]["index_options"] = {
                "type": kind
            }
            with progress(len(corpus.vectors), f"indexing {kind}") as bar:
                built[kind] = build(
                    client,
                    name_of(kind),
                    body,
                    corpus,
                    encode,
                    lambda done, bar=bar: bar.update(TaskID(0), completed=done),  # type: ignore[misc]
                )
        load = os.getloadavg()
        rows = _measured(client, built, ways, corpus)
    about = machine(elasticsearch.version)
    if plot is not None:
        plot.write_text(_picture(rows, len(corpus.vectors)), encoding="utf-8")
    extent = {
        "passages": len(corpus.vectors),
        "dims": recipe.dims,
        "queries": len(corpus.queries),
        "embedder": recipe.embedder,
        "load": [round(value, 2) for value in (*load, *os.getloadavg())],
    }
    if as_json:
        print_json({"machine": about, **extent, "ways": [row.as_json() for row in rows]})
    else:
        print_table(_table(rows, about, extent))
    if not elasticsearch.found:
        stderr.print("the node keeps running; stop it with: es-rerank down", highlight=False)


def _measured(
    client: Any,  # noqa: ANN401 the elasticsearch client, which is imported late
    built: Mapping[str, Built],
    ways: Sequence[Any],
    corpus: VectorPassages,
) -> list[WayRow]:
    with progress(len(corpus.queries), "warming up", by_itself=False) as bar:

        def show(done: int) -> None:
            if done % _DRAWN_EVERY == 0:
                bar.update(
                    TaskID(0), completed=done, description="timing" if done else "warming up", refresh=True
                )

        return measure(client, built, ways, corpus, _ndcg, show)


def _ndcg(qrels: Sequence[Mapping[str, int]], found: Sequence[Sequence[str]]) -> float | None:
    """Return the mean nDCG@10 of the queries with judgements, None without any."""
    judged = {str(number): dict(grades) for number, grades in enumerate(qrels) if grades}
    run = {name: run_of(found[int(name)]) for name in judged}
    return mean(measures_by_query(judged, run).values()).ndcg_at_10 if judged else None


def _table(rows: Sequence[WayRow], about: Mapping[str, str | int], extent: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{extent['passages']:,} passages of {extent['dims']} dimensions, {extent['queries']} queries; "
        f"{about['cpu']}, {about['cores']} cores, Elasticsearch {about['elasticsearch']}",
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("index_options", no_wrap=True)
    for name in (
        "disk MB",
        "memory MB",
        "index s",
        "merge s",
        "recall@10",
        "nDCG@10",
        "p50 ms",
        "p95 ms",
        "times faster",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.way.name,
            f"{row.built.disk / _MB:.0f}",
            f"{row.built.memory / _MB:.0f}",
            f"{row.built.index_s:.0f}",
            f"{row.built.merge_s:.0f}",
            f"{row.recall:.3f}",
            "" if row.ndcg is None else f"{row.ndcg:.3f}",
            f"{row.spread.p50:.1f}",
            f"{row.spread.p95:.1f}",
            ""
            if row.faster is None
            else f"{row.faster.median:.2f} ({row.faster.low:.2f} to {row.faster.high:.2f})",
        )
    return table


def _picture(rows: Sequence[WayRow], passages: int) -> str:
    """Return an SVG of the latencies: a bar to the median, a line to the 95th percentile."""
    from ..research.plots.bars import BLUE, GREY, Bar, chart

    bars = [
        Bar(
            f"{row.way.name} (recall {row.recall:.3f})",
            row.spread.p50,
            row.spread.p50,
            row.spread.p95,
            GREY if row.faster is None else BLUE,
        )
        for row in rows
    ]
    return chart(f"milliseconds of a search over {passages:,} passages, median and 95th percentile", bars)

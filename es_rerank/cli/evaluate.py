"""``es-rerank evaluate``: what reranking is worth on a collection with judgements."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from elasticsearch import Elasticsearch
from rich.progress import TaskID
from rich.table import Table

from ingest_pipelines import Ingest

from ..client import RerankClient
from ..collection import Document, find_file, read_corpus
from ..errors import IndexMismatchError, IngestError
from ..evaluation.experiment import Result, Setup, experiment
from ..evaluation.measures import Measures
from ..evaluation.topics import Topics, read_topics, the_split
from ..models.bi_encoder import BiEncoder
from ..models.load import embedder_of, reranker_of
from ..retrievers.tree import FirstStage
from ..settings import read_settings
from ..text.chunking import Chunker
from .connection import connect
from .output import ElasticsearchUrl, Json, print_json, progress, stderr, stdout

BULK_TIMEOUT_S = 120.0
"""A bulk request of long documents may wait for vectors to be woven into the graph."""

_ROWS = ("first stage", "cross-encoder alone", "shipped default")


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Collection in BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; plain or .gz.", show_default=False)
    ],
    split: Annotated[str | None, typer.Option(help="Whose judgements to use.", show_default="the only one")] = None,
    first_stage: Annotated[FirstStage, typer.Option(help="What recalls the candidates.")] = "knn",
    window: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many first-stage hits are reranked.", show_default="50")] = None,
    reranker: Annotated[str | None, typer.Option(help="Bundled name, exported folder or Hub id.", show_default="the bundled one")] = None,
    embedder: Annotated[str | None, typer.Option(help="Bundled name, exported folder or Hub id.", show_default="the bundled one")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many queries, drawn by a hash of their id.", show_default="all")] = None,
    field: Annotated[list[str] | None, typer.Option(help="Field whose text is reranked; several are joined.", show_default="title and nearest passage")] = None,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Index a collection (what is indexed already is skipped) and measure first stage and reranked order side by side."""
    settings = read_settings()
    topics = read_topics(folder, the_split(folder, split), limit=limit)
    client = connect(elasticsearch_url, settings, request_timeout_s=BULK_TIMEOUT_S)
    with (
        client,
        reranker_of(settings, reranker) as cross_encoder,
        embedder_of(settings, embedder) as bi_encoder,
    ):
        index = index_name(folder, bi_encoder.name)
        indexed(client, index, folder, bi_encoder, topics.documents)
        setup = Setup(index, first_stage, window or settings.window, tuple(field or ()))
        result = measured(RerankClient(client, reranker=cross_encoder, embedder=bi_encoder, timeout_s=None), topics, setup)
    show(result, as_json=as_json)


def index_name(folder: Path, embedder: str) -> str:
    """Return the alias of a collection's own index: another corpus, or another embedder, gets another name."""
    digest = hashlib.sha256(embedder.encode())
    with find_file(folder, "corpus.jsonl").open("rb") as corpus:
        while block := corpus.read(1 << 20):
            digest.update(block)
    slug = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:60]
    return f"es-rerank-evaluate-{slug}-{digest.hexdigest()[:10]}"


def indexed(client: Elasticsearch, index: str, folder: Path, embedder: BiEncoder, documents: int) -> None:
    """Bring an index of a command's own to hold exactly a collection, from where an earlier run left it.

    An index of ours that was made by another recipe, or that holds other documents too, is built anew. Raises
    IngestError when documents failed: a part of a collection is not the collection.
    """
    with suppress(IndexMismatchError):
        _ingested(client, index, folder, embedder, documents)
        if client.count(index=index)["count"] == documents:
            return
    _ingested(client, index, folder, embedder, documents, rebuild=True)


def _ingested(client: Elasticsearch, index: str, folder: Path, embedder: BiEncoder, documents: int, *, rebuild: bool = False) -> None:
    """Index titles and texts, with a bar on stderr; metadata is left out, since nothing here searches it."""
    ingest = Ingest(client, embedder, chunker=Chunker(embedder.tokenizer))
    corpus = (Document(document.id, document.title, document.text, {}) for document in read_corpus(folder))
    with progress(documents, f"indexing into {index}") as bar:
        report = ingest.run(index, corpus, rebuild=rebuild, on_progress=lambda so_far: bar.update(TaskID(0), completed=so_far.documents + so_far.skipped))
    if report.failed:
        raise IngestError(f"{report.failed} of {documents} documents were not indexed; they stand with their reasons in {report.rejects}", failed=report.failed)


def measured(client: RerankClient, topics: Topics, setup: Setup) -> Result:
    """Run an experiment with a bar on stderr."""
    with progress(len(topics.queries), f"searching, window {setup.window}") as bar:
        return experiment(client, topics, setup, on_progress=lambda done: bar.update(TaskID(0), completed=done))


def show(result: Result, *, as_json: bool = False) -> None:
    """Print a result as JSON, or as a table with what the difference means."""
    if as_json:
        print_json(result.as_json())
        return
    stdout.print(table_of(result))
    stdout.print(verdict(result), highlight=False, soft_wrap=True)
    if result.skipped_queries:
        stderr.print(f"{result.skipped_queries} judged queries have no relevant document and were left out", highlight=False)


def table_of(result: Result) -> Table:
    """Return the three runs, one row each."""
    title = f"{result.collection}, {result.split}: {result.queries} queries, {result.recalled_by}, window {result.window}, {result.model}"
    table = Table("", title=title, title_justify="left")
    for name in Measures.model_fields.values():
        table.add_column(str(name.alias), justify="right")
    table.add_column("difference", justify="right")
    for label, means in zip(_ROWS, (result.first_stage, result.cross_encoder, result.reranked), strict=True):
        change = means.ndcg_at_10 - result.first_stage.ndcg_at_10
        table.add_row(
            label, *(f"{value:.4f}" for value in (means.ndcg_at_10, means.rr_at_10, means.recall_at_100)), f"{change:+.4f}" if label != _ROWS[0] else ""
        )
    return table


def verdict(result: Result) -> str:
    """Return the paired comparison of first stage and shipped default in one line."""
    change = result.difference
    chance = "too few queries for a test" if change.p_value is None else f"p = {change.p_value:.2g} (paired t-test, two-sided)"
    speed = "" if result.pairs_per_second is None else f"; {result.pairs_per_second:.0f} pairs/s"
    return f"nDCG@10 {change.ndcg_at_10:+.4f}: {chance}; {change.wins} queries better, {change.losses} worse, {change.ties} equal{speed}"

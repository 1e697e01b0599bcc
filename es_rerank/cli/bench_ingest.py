"""``es-rerank bench ingest``: how fast documents are cut and embedded, beside other embedders."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.table import Table

from ..collection import Document
from ..engine.processor import cores
from ..errors import ModelError, SourceError
from ..models import room_of
from ..models.load import load_embedder
from ..research.bench.ingest import INGEST_ROUNDS, EmbeddingSystem, IngestRow, embedding_systems, measure
from ..research.bench.machine import machine
from ..research.bench.peers.environment import default_environments
from ..research.evaluation.packaged import packaged
from ..settings import BUNDLED_EMBEDDER, read_settings
from ..text.chunking import Chunker
from ..text.documents import cut_document
from .bench_options import Threads, steps
from .extras import check_evaluate
from .output import Json, print_json, print_table, stderr, stdout

_INTO = "es-rerank, into Elasticsearch"


def ingest(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of documents.", show_default="the packaged collection"),
    ] = None,
    documents: Annotated[
        int, typer.Option(min=100, max=100_000, help="Documents that are embedded, the first ones.")
    ] = 2_000,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000, help="How often every system embeds all passages.")
    ] = INGEST_ROUNDS,
    threads: Threads = 0,
    into: Annotated[
        str | None,
        typer.Option(
            "--elasticsearch-url",
            help="Elasticsearch that the whole ingest writes into, an index that is deleted afterwards; "
            "without it, the whole ingest is not measured.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the peers' environments are kept.", show_default="~/.cache/es-rerank/bench"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare how fast passages are cut and embedded by this ingest, and embedded by SentenceTransformer and
    fastembed: same weights and texts, each system in its own environment and process, rounds interleaved.
    """
    from ingest_pipelines import read_sources

    check_evaluate("the bench")
    used = threads or cores()
    items = islice(read_sources(sources or [packaged()]), documents)
    found = [item for item in items if isinstance(item, Document)]
    if not found:
        raise SourceError("the sources hold no document")
    texts = [(document.title, [document.text]) for document in found]
    passages = _cut(found)
    with tempfile.TemporaryDirectory(prefix="es-rerank-bench-") as name, _whole(into, found, used) as others:
        systems, max_length = _systems(Path(name))
        with steps("embedding", len(systems) + rounds * (len(systems) + len(others))) as step:
            rows = measure(
                systems,
                texts,
                [("", passages)],
                others,
                rounds=rounds,
                threads=used,
                max_length=max_length,
                scratch=Path(name),
                cache=cache or default_environments(),
                on_step=step,
            )
    about = {"machine": {**machine(), "threads": used}, "documents": len(found), "passages": len(passages)}
    if as_json:
        print_json({**about, "rounds": rounds, "systems": [row.as_json() for row in rows]})
    else:
        _show(rows, f"{len(passages)} passages, {rounds} rounds; {machine()['cpu']}, {used} threads")
    if rows[0].reason is not None:
        raise ModelError(f"this ingest itself could not be measured: {rows[0].reason}")


def _cut(found: list[Document]) -> list[str]:
    """Return the texts that are embedded for the passages of all documents."""
    with load_embedder(BUNDLED_EMBEDDER) as model:
        chunker, room = Chunker(model.tokenizer), room_of(model)
        return [
            text
            for document in found
            for text in cut_document(
                document.title, document.text, chunker, room, format=document.format
            ).embedded()
        ]


def _systems(scratch: Path) -> tuple[list[EmbeddingSystem], int]:
    from ..export import ExportOptions, export_model
    from ..research.bench.weights import bundled_embedder_weights, flat_folder

    torch, plain = bundled_embedder_weights(scratch / "torch"), scratch / "plain"
    with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
        manifest = export_model(
            str(torch),
            plain,
            ExportOptions(kind="bi-encoder", plain=True),
            say=lambda text: stderr.print(text, highlight=False),
        )
    flat = flat_folder(torch, plain / manifest.variant("fp32"), scratch / "flat")
    flat_int8 = flat_folder(torch, plain / manifest.variant("int8"), scratch / "flat-int8")
    return embedding_systems(BUNDLED_EMBEDDER, torch, flat, flat_int8), manifest.max_length


@contextmanager
def _whole(url: str | None, found: list[Document], threads: int) -> Iterator[dict[str, Callable[[], float]]]:
    """Yield what ingests the documents into Elasticsearch and returns its seconds, if there is an address."""
    from ingest_pipelines import Ingest

    from .connection import BULK_TIMEOUT_S, connect

    if url is None:
        with nullcontext():
            yield {}
        return
    client = connect(url, read_settings(), request_timeout_s=BULK_TIMEOUT_S)
    with client, load_embedder(BUNDLED_EMBEDDER, threads=threads) as model:

        def whole() -> float:
            index = f"es-rerank-bench-{uuid4().hex[:12]}"
            began = time.perf_counter()
            try:
                Ingest(client, model, chunker=Chunker(model.tokenizer)).run(index, found)
                return time.perf_counter() - began
            finally:
                client.options(ignore_status=404).indices.delete(index=f"{index}-000001")

        yield {_INTO: whole}


def _show(rows: list[IngestRow], title: str) -> None:
    shown = Table("", "batch", "passages/s", "min-max", "es-rerank is faster by", title=title, box=None)
    for row in rows:
        if not row.seconds:
            continue
        median, low, high = row.rates()
        ahead = f"{row.ahead.median:.2f} ({row.ahead.low:.2f}-{row.ahead.high:.2f})" if row.ahead else ""
        label = f"{row.name} {row.precision}"
        shown.add_row(label, str(row.batch or ""), f"{median:.1f}", f"{low:.0f}-{high:.0f}", ahead)
    print_table(shown)
    for row in rows:
        if row.reason is not None:
            stdout.print(
                f"not measured: {row.name} {row.version}: {row.reason}", highlight=False, markup=False
            )

"""Keeps an index that holds exactly one collection in BEIR layout, for the commands that measure quality."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from elasticsearch import Elasticsearch

from es_rerank.collection import Document, find_file, read_corpus
from es_rerank.errors import IndexMismatchError, IngestError
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker

from .patience import Patience
from .pipeline import Ingest

OnProgress = Callable[[int], None]
"""Receives how many documents are in the index already."""


def collection_alias(folder: Path, embedder: str) -> str:
    """Return the alias of a collection's index: another corpus or another embedder gets another name.

    Raises SourceError when the folder has no corpus.
    """
    digest = hashlib.sha256(embedder.encode())
    with find_file(folder, "corpus.jsonl").open("rb") as corpus:
        while block := corpus.read(1 << 20):
            digest.update(block)
    slug = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:60]
    return f"es-rerank-evaluate-{slug}-{digest.hexdigest()[:10]}"


def index_collection(
    client: Elasticsearch,
    index: str,
    folder: Path,
    embedder: Embedder,
    chunker: Chunker,
    documents: int,
    on_progress: OnProgress,
) -> None:
    """Make an index hold exactly the ``documents`` of one collection, continuing from an earlier run.

    The index is built anew when it was made with other settings, or when it holds other documents too. Titles
    and texts are indexed; metadata is left out, because nothing here searches it. Raises IngestError when a
    document failed: nDCG@10 over a part of a collection cannot be compared.
    """
    # Float vectors in a graph, so that results can be compared with those of earlier versions of es-rerank.
    ingest = Ingest(client, embedder, chunker=chunker, index_options="hnsw")
    with suppress(IndexMismatchError):
        _ingested(ingest, index, folder, documents, on_progress, rebuild=False)
        if Patience().whole(lambda: client.count(index=index))["count"] == documents:
            return
    _ingested(ingest, index, folder, documents, on_progress, rebuild=True)


def _ingested(
    ingest: Ingest, index: str, folder: Path, documents: int, on_progress: OnProgress, *, rebuild: bool
) -> None:
    corpus = (Document(document.id, document.title, document.text, {}) for document in read_corpus(folder))
    report = ingest.run(
        index,
        corpus,
        rebuild=rebuild,
        on_progress=lambda so_far: on_progress(so_far.documents + so_far.skipped),
    )
    if report.failed:
        raise IngestError(
            f"{report.failed} of {documents} documents were not indexed; each is listed with its reason in "
            f"{report.rejects}",
            failed=report.failed,
        )

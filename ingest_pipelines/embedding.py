"""Cuts and embeds documents: in an ingest, or without an index, to measure it or to write elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from es_rerank.collection import Document
from es_rerank.models import Embedder, room_of
from es_rerank.text.chunking import Chunker

from .flow import Flow, Step
from .mapping import IndexRecipe
from .rejects import Reject
from .stages import IngestBatch, cut, embed, ingest_batches

BATCHES_AT_ONCE = 6
"""How many full batches of text are in memory at most: one that is read, one in each stage."""


def cutting_and_embedding(
    embedder: Embedder, chunker: Chunker, given_up: Callable[[], bool]
) -> list[Step[IngestBatch]]:
    """Return the two steps. ``given_up``: whether the flow that they are a part of is to end."""
    room = room_of(embedder)
    return [
        Step("cut", lambda batch: cut(batch, chunker, room)),
        Step(
            "embed",
            lambda batch: embed(batch, embedder, given_up),
            workers=getattr(embedder, "calls_at_once", 1),
            last_begun=True,
        ),
    ]


def embedded_batches(
    items: Iterable[Document | Reject],
    embedder: Embedder,
    chunker: Chunker,
    *,
    documents: int = 100,
    characters: int = 200_000,
) -> Iterator[IngestBatch]:
    """Yield the documents in batches, cut into passages (``cut``) with their ``vectors``.

    ``documents`` and ``characters`` are those of ``ingest_batches``.
    """
    recipe = IndexRecipe(embedder.name, embedder.dims, chunker.size, chunker.overlap)
    flow = Flow(
        ingest_batches(items, recipe, documents=documents, characters=characters),
        cutting_and_embedding(embedder, chunker, lambda: flow.finishing),
        weight=IngestBatch.characters,
        most_weight=BATCHES_AT_ONCE * characters,
    )
    with flow:
        yield from flow

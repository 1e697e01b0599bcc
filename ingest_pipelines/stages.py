"""The stages of an ingest, as generators: make batches, skip unchanged documents, cut and embed passages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from es_rerank.collection import Document
from es_rerank.models import Embedder, room_of
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import CutDocument, cut_document
from es_rerank.types import FloatArray

from .bulk import TOO_LARGE
from .mapping import METADATA, UNINDEXED, IndexRecipe, content_hash
from .metadata import split_blank_keys
from .patience import Patience
from .rejects import Reject, rejected
from .vectors import EncodeVector

_TEXT_CHARACTERS = 10_000_000
"""Most characters of one document's text. The text is stored twice, whole and as passages, each with a
vector: a longer one gives a request over Elasticsearch's default limit of 100 MB."""

_ID_BYTES = 512
"""Elasticsearch's limit for an id in bytes. A longer id makes it refuse the whole bulk request."""


@dataclass(slots=True)
class IngestBatch:
    """Some documents that pass through the stages together.

    ``documents`` holds the documents to index, by id, and ``hashes`` their content hashes. ``again`` holds
    the ids that an earlier batch of the same run also had. The last stage fills ``cut``, the documents cut
    into passages, and ``sources``, the JSON objects to index, both by id. ``rejects`` are documents that
    cannot be indexed. ``skipped`` and ``duplicates`` are counts as in ``IngestReport``.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    cut: dict[str, CutDocument] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    skipped: int = 0
    duplicates: int = 0


class InFlight:
    """The ids of documents that were read but may not be in the index yet. It is shared between threads."""

    def __init__(self) -> None:
        self._ids: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, ids: Iterable[str]) -> None:
        """Add the ids of documents that were read and will be indexed."""
        with self._lock:
            self._ids.update(iter(ids))  # without iter(), a Counter would add the values of a mapping

    def leave(self, ids: Iterable[str]) -> None:
        """Remove the ids of documents that are now indexed or have failed."""
        with self._lock:
            self._ids -= Counter(iter(ids))

    def among(self, ids: Iterable[str]) -> set[str]:
        """Return those of ``ids`` that were added and not yet removed."""
        with self._lock:
            return {identifier for identifier in ids if self._ids[identifier]}


def ingest_batches(
    items: Iterable[Document | Reject], recipe: IndexRecipe, *, documents: int, characters: int
) -> Iterator[IngestBatch]:
    """Yield the items in batches.

    A batch ends after ``documents`` items, or earlier when it holds ``characters`` characters of text. If
    several documents of a batch have the same id, the last one is kept. A document that Elasticsearch cannot
    store becomes a reject.
    """
    batch, size = IngestBatch(), 0
    for item in items:
        _add(batch, item, recipe)
        size += len(item.text) if isinstance(item, Document) else 0
        if len(batch.documents) + len(batch.rejects) >= documents or size >= characters:
            yield batch
            batch, size = IngestBatch(), 0
    yield batch


def _add(batch: IngestBatch, item: Document | Reject, recipe: IndexRecipe) -> None:
    reject = item if isinstance(item, Reject) else _fault(item)
    if isinstance(item, Document) and reject is None:
        try:
            fingerprint = content_hash(item, recipe)
        except (TypeError, ValueError, RecursionError) as error:
            reject = rejected(item, f"its content cannot be written as JSON in UTF-8: {error}")
        else:
            batch.duplicates += item.id in batch.documents
            batch.documents[item.id] = item
            batch.hashes[item.id] = fingerprint
    if reject is not None:
        batch.rejects.append(reject)


def _fault(document: Document) -> Reject | None:
    size = len(document.id.encode("utf-8", "replace"))
    if not 0 < size <= _ID_BYTES:
        return rejected(document, f"its id has {size} bytes; Elasticsearch takes 1 to {_ID_BYTES}")
    if len(document.text) > _TEXT_CHARACTERS:
        return rejected(
            document,
            f"its text has {len(document.text)} characters, at most {_TEXT_CHARACTERS} are indexed as one "
            "document; split it",
        )
    return None


def skip_unchanged(
    incoming: Iterable[IngestBatch],
    client: Elasticsearch,
    index: str,
    patience: Patience,
    stamp: str,
    in_flight: InFlight,
) -> Iterator[IngestBatch]:
    """Yield the batches without the documents that the index already holds with the same hash.

    ``stamp`` is the ``@timestamp`` of this run. A stored document with this timestamp was written by this
    run, so a new document with the same id is a duplicate. In this way duplicates are found without keeping
    all ids in memory.
    """
    for batch in incoming:
        # This comes before the look-up: a document that is not in flight any more is in the index, and is
        # found there.
        not_yet_written = in_flight.among(batch.documents)
        stored = _stored(client, index, list(batch.documents), patience)
        for identifier in list(batch.documents):
            stored_hash, stored_stamp = stored.get(identifier, (None, None))
            seen_before = identifier in not_yet_written or stored_stamp == stamp
            if identifier not in not_yet_written and stored_hash == batch.hashes[identifier]:
                del batch.documents[identifier]
                batch.duplicates += seen_before
                batch.skipped += not seen_before
            elif seen_before:
                batch.again.add(identifier)
        in_flight.enter(batch.documents)
        yield batch


def _stored(
    client: Elasticsearch, index: str, ids: list[str], patience: Patience
) -> dict[str, tuple[str | None, str | None]]:
    """Return id to (content hash, timestamp) of the documents in the index, searchable or not yet."""
    if not ids:
        return {}
    wanted = ["content_hash", "@timestamp"]
    try:
        answer = patience.call(lambda: client.mget(index=index, ids=ids, source_includes=wanted))
    except ApiError as error:
        if error.status_code != TOO_LARGE or len(ids) == 1:
            raise
        half = len(ids) // 2
        return {
            **_stored(client, index, ids[:half], patience),
            **_stored(client, index, ids[half:], patience),
        }
    sources = {hit["_id"]: hit["_source"] for hit in answer["docs"] if hit.get("found")}
    return {
        identifier: (source.get("content_hash"), source.get("@timestamp"))
        for identifier, source in sources.items()
    }


def embedded(
    incoming: Iterable[IngestBatch], chunker: Chunker, embedder: Embedder, encode: EncodeVector, stamp: str
) -> Iterator[IngestBatch]:
    """Yield the batches with their passages and the JSON objects to index.

    All passages of a batch are embedded in one call. ``encode`` turns a vector into its JSON value. ``stamp``
    becomes the ``@timestamp`` of the documents.
    """
    room = room_of(embedder)
    for batch in incoming:
        batch.cut = {
            identifier: cut_document(document.title, document.text, chunker, room, format=document.format)
            for identifier, document in batch.documents.items()
        }
        vectors = map(encode, _vectors(batch, embedder))
        batch.sources = {
            identifier: _source(document, batch, vectors, stamp)
            for identifier, document in batch.documents.items()
        }
        yield batch


def _vectors(batch: IngestBatch, embedder: Embedder) -> Iterator[FloatArray]:
    """Return the vectors of all passages of the batch, in order."""
    texts = [text for document in batch.cut.values() for text in document.embedded()]
    return iter(embedder.embed(texts, purpose="passage")) if texts else iter(())


def _source(
    document: Document, batch: IngestBatch, vectors: Iterator[str | list[float]], stamp: str
) -> dict[str, Any]:
    passages = [
        {
            "text": passage.text,
            "vector": next(vectors),
            "start": passage.start,
            "end": passage.end,
            **({"heading": passage.heading} if passage.heading else {}),
        }
        for passage in batch.cut[document.id].passages
    ]
    metadata, unindexed = split_blank_keys(document.metadata)
    return {
        "title": document.title,
        "text": document.text,
        "passages": passages,
        METADATA: metadata,
        **({UNINDEXED: unindexed} if unindexed else {}),
        "@timestamp": stamp,
        "content_hash": batch.hashes[document.id],
    }

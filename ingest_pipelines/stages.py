"""The stages of an ingest: make batches, take out unchanged documents, cut, embed, make JSON to index.

``ingest_batches`` makes the batches. Every other stage is a function from a batch to the same batch with more
in it, and keeps nothing between two batches, so a batch may be handed to another process between stages.
``target.Target`` has the last two: it maps metadata and writes. ``without_unchanged`` knows of documents that
are read and not yet written by ``InFlight``, which one process holds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from elasticsearch import ApiError, Elasticsearch

from es_rerank.collection import Document, DocumentFormat
from es_rerank.errors import ModelError, OverloadError, RemoteModelError
from es_rerank.models import Embedder, HostedEmbedder
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import CutDocument, cut_document
from es_rerank.types import FloatArray

from .bulk import TOO_LARGE
from .mapping import METADATA, UNINDEXED, IndexRecipe, hashed
from .metadata import split_blank_keys
from .patience import Patience, listed
from .reading.files import MOST_CHARACTERS
from .rejects import Reject, rejected
from .vectors import EncodeVector

_ID_BYTES = 512
"""Elasticsearch's limit for an id in bytes. A longer id makes it refuse the whole bulk request."""


Misfits = tuple[list[tuple[str, str]], list[tuple[str, str]]]
"""(field, reason) of values of metadata in a field of another kind, and of those without a field."""

_UNIT_ERROR = 1e-3
"""How far Elasticsearch lets the square of a vector's length be from 1 with the similarity ``dot_product``
(``EPS`` of its ``DenseVectorFieldMapper``)."""

EMBEDDED_AT_ONCE = 512
"""Most passages of one call of an embedder: some seconds of work for a model on a CPU."""


@dataclass(slots=True)
class IngestBatch:
    """Some documents that pass through the stages together. It can be pickled between any two of them.

    ``documents`` holds the documents to index, by id, and ``hashes`` their content hashes. ``again`` holds
    the ids that an earlier batch of the same run also had. ``rejects`` are documents that cannot be indexed.
    ``skipped`` and ``duplicates`` are counts as in ``IngestReport``. Each stage adds what the next one needs:

    ``cut`` (by ``cut``): the documents cut into passages, by id.
    ``vectors`` (by ``embed``, removed by ``as_sources``): of all passages in order, float32, (n, dims).
    ``sources`` (by ``as_sources``): the JSON objects to index, by id.
    ``unfit`` (by ``Target.map``): by id, what ``MetadataFields.unfit`` says of a document, if anything.
    ``answers`` (by ``Target.write``): what Elasticsearch answered for each document, by id. ``embed`` answers
    for a document that the embedder refuses.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    cut: dict[str, CutDocument] = field(default_factory=dict)
    vectors: FloatArray | None = None
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    unfit: dict[str, Misfits] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    skipped: int = 0
    duplicates: int = 0

    def characters(self) -> int:
        """Return how many characters it holds: titles, texts, metadata, and records that are rejects."""
        return sum(map(_size_of, self.documents.values())) + sum(map(_size_of, self.rejects))


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

    A batch ends after ``documents`` items, or earlier when they have ``characters`` characters. If
    several documents of a batch have the same id, the last one is kept. A document that Elasticsearch cannot
    store becomes a reject.
    """
    batch, size = IngestBatch(), 0
    for item in items:
        _add(batch, item, recipe)
        size += _size_of(item)
        if len(batch.documents) + len(batch.rejects) >= documents or size >= characters:
            yield batch
            batch, size = IngestBatch(), 0
    yield batch


def _add(batch: IngestBatch, item: Document | Reject, recipe: IndexRecipe) -> None:
    reject = item if isinstance(item, Reject) else _fault(item)
    if isinstance(item, Document) and reject is None:
        try:
            item, fingerprint = hashed(item, recipe)
        except (TypeError, ValueError, RecursionError) as error:
            reject = rejected(item, f"its content cannot be written as JSON in UTF-8: {error}")
        else:
            batch.duplicates += item.id in batch.documents
            batch.documents[item.id] = item
            batch.hashes[item.id] = fingerprint
    if reject is not None:
        batch.rejects.append(reject)


_OTHER = 8
"""Characters that a number is counted with."""

_MOST_LOOKED_AT = 1_000_000
"""Most values of one document of which the size is looked at: one may hold itself."""


def _size_of(item: Document | Reject) -> int:
    """Return about how many characters an item has as JSON."""
    left: list[Any] = [item.document] if isinstance(item, Reject) else [item.title, item.text, item.metadata]
    size = seen = 0
    while left and seen < _MOST_LOOKED_AT:
        value, seen = left.pop(), seen + 1
        if isinstance(value, Mapping):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
        else:
            size += len(value) if isinstance(value, str) else _OTHER
    return size


_KINDS = (("id", str), ("title", str), ("text", str), ("metadata", dict))


def _fault(document: Document) -> Reject | None:
    for name, kind in _KINDS:
        if not isinstance(value := getattr(document, name), kind):
            return rejected(document, f'its "{name}" must be a {kind.__name__}, found {type(value).__name__}')
    if document.format not in get_args(DocumentFormat):
        return rejected(document, f'its "format" must be text or markdown, found {document.format!r:.100}')
    try:
        size = len(document.id.encode())
    except UnicodeEncodeError as error:
        return rejected(document, f"its id cannot be written in UTF-8: {error}")
    if not 0 < size <= _ID_BYTES:
        return rejected(document, f"its id has {size} bytes; Elasticsearch takes 1 to {_ID_BYTES}")
    for name in ("title", "text"):
        if (size := len(getattr(document, name))) > MOST_CHARACTERS:
            return rejected(
                document,
                f"its {name} has {size} characters, at most {MOST_CHARACTERS} are indexed as one document; "
                "split it",
            )
    return None


def without_unchanged(
    batch: IngestBatch,
    client: Elasticsearch,
    indices: Sequence[str],
    patience: Patience,
    stamps: Collection[str],
    in_flight: InFlight,
    *,
    attempt: str | None = None,
) -> IngestBatch:
    """Take out the documents that the index, the last of ``indices``, already holds with the same hash.

    The others are those that this run wrote into before (see ``target.Target.versions``).

    ``stamps`` are what this run wrote as ``@timestamp``. A stored document with one of them was written by
    this run, so a new document with the same id is a duplicate. In this way duplicates are found without
    keeping all ids in memory.

    ``attempt``: another ``@timestamp``. Stored documents with it are of this very batch, which is worked on
    again because a worker died: they are written again, so that they count as what they are.
    """
    # This comes before the look-up: a document that is not in flight any more is in the index, and is found
    # there.
    not_yet_written = in_flight.among(batch.documents)
    stored = [_stored(client, index, list(batch.documents), patience) for index in indices]
    for identifier in list(batch.documents):
        stored_hash, stored_at = stored[-1].get(identifier, (None, None))
        if attempt is not None and stored_at == attempt:
            continue
        seen_before = identifier in not_yet_written or any(
            each.get(identifier, (None, None))[1] in stamps for each in stored
        )
        if identifier not in not_yet_written and stored_hash == batch.hashes[identifier]:
            del batch.documents[identifier]
            batch.duplicates += seen_before
            batch.skipped += not seen_before
        elif seen_before:
            batch.again.add(identifier)
    in_flight.enter(batch.documents)
    return batch


def _stored(
    client: Elasticsearch, index: str, ids: list[str], patience: Patience
) -> dict[str, tuple[str | None, str | None]]:
    """Return id to (content hash, timestamp) of the documents in the index, searchable or not yet."""
    if not ids:
        return {}
    wanted = ["content_hash", "@timestamp"]
    try:
        answer = patience.whole(
            lambda: listed(client.mget(index=index, ids=ids, source_includes=wanted), "docs", len(ids))
        )
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


def cut(batch: IngestBatch, chunker: Chunker, room: int | None) -> IngestBatch:
    """Cut the documents into passages. ``room``: how many tokens the embedder reads, None if unknown."""
    batch.cut = {
        identifier: cut_document(document.title, document.text, chunker, room, format=document.format)
        for identifier, document in batch.documents.items()
    }
    return batch


def embed(
    batch: IngestBatch, embedder: Embedder, given_up: Callable[[], bool] = lambda: False
) -> IngestBatch | None:
    """Embed the passages, at most ``EMBEDDED_AT_ONCE`` in one call; None if ``given_up`` says so before a
    further call, or while a service that is busy or down is waited for.
    """
    texts = [text for document in batch.cut.values() for text in document.embedded()]
    vectors = np.empty((len(texts), embedder.dims), dtype=np.float32)
    refused: dict[int, tuple[str, str]] = {}
    for start in range(0, len(texts), EMBEDDED_AT_ONCE):
        if start and given_up():
            return None
        some = texts[start : start + EMBEDDED_AT_ONCE]
        why: dict[int, str] = {}
        if isinstance(embedder, HostedEmbedder):
            accepted = _accepted(embedder, some, given_up)
            if accepted is None:
                return None
            made, why = accepted
        else:
            made = embedder.embed(some, purpose="passage")
        _check_shape(made, len(some), embedder)
        vectors[start : start + len(some)] = made
        refused |= {
            start + place: ("the embedder gives {} a vector", reason) for place, reason in _not_units(made)
        }
        refused |= {start + place: ("the embedder refuses {}:", reason) for place, reason in why.items()}
    batch.vectors = vectors
    if refused:
        _leave_out(batch, refused)
    return batch


def _check_shape(vectors: FloatArray, texts: int, embedder: Embedder) -> None:
    """Raise ModelError unless there is a vector for each text."""
    if (shape := np.shape(vectors)) != (texts, embedder.dims):
        raise ModelError(
            f"embedder {embedder.name} returned an array of the shape {shape} for {texts} texts, and not "
            f"{(texts, embedder.dims)}; its method embed must return one vector for each text"
        )


def _not_units(vectors: FloatArray) -> Iterator[tuple[int, str]]:
    """Yield the places of vectors that Elasticsearch does not take, and what is wrong with them."""
    lengths = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1)
    for place in np.flatnonzero(~(np.abs(lengths**2 - 1) <= _UNIT_ERROR)):
        yield int(place), f"of the length {lengths[place]:.3g}, and not 1; use another embedder"


def _accepted(
    embedder: HostedEmbedder, texts: list[str], given_up: Callable[[], bool]
) -> tuple[FloatArray, dict[int, str]] | None:
    """Return what ``embed_accepted`` returns. An error of the service says how to go on."""
    try:
        return embedder.embed_accepted(texts, given_up)
    except (OverloadError, RemoteModelError) as error:
        error.message += (
            "; what is indexed stays, and the same run goes on where this one ended (a rebuild begins again)"
        )
        error.args = (error.message,)
        raise


def _leave_out(batch: IngestBatch, refused: Mapping[int, tuple[str, str]]) -> None:
    """Take out the documents with a passage that has no vector. ``refused``: by place, what the embedder did
    to the passage ``{}``, and why.
    """
    kept = np.ones(0 if batch.vectors is None else len(batch.vectors), dtype=np.bool_)
    start = 0
    for identifier, document in list(batch.cut.items()):
        end = start + len(document.passages)
        places = [place for place in range(start, end) if place in refused]
        if places:
            kept[start:end] = False
            del batch.cut[identifier]
            what, why = refused[places[0]]
            reason = f"{what.format(f'passage {places[0] - start + 1} of {end - start}')} {why}"
            batch.answers[identifier] = {"status": None, "error": reason}
        start = end
    batch.vectors = None if batch.vectors is None else batch.vectors[kept]


def as_sources(batch: IngestBatch, encode: EncodeVector, stamp: str) -> IngestBatch:
    """Make the JSON objects to index. ``encode`` turns a vector into its JSON value, and ``stamp`` becomes
    the ``@timestamp``.
    """
    vectors = iter(() if batch.vectors is None else map(encode, batch.vectors))
    batch.sources = {
        identifier: _source(batch.documents[identifier], batch, vectors, stamp) for identifier in batch.cut
    }
    batch.vectors = None
    return batch


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
        **({"format": document.format} if document.format != "text" else {}),
        "passages": passages,
        METADATA: metadata,
        **({UNINDEXED: unindexed} if unindexed else {}),
        "@timestamp": stamp,
        "content_hash": batch.hashes[document.id],
    }

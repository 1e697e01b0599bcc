"""The stages of an ingest, as generators: batch, leave out what is unchanged, make passages and vectors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import Elasticsearch

from es_rerank.collection import Document
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker
from es_rerank.types import FloatArray, Passage

from .mapping import Recipe, content_hash
from .rejects import Reject, rejected
from .vectors import Written

_ID_BYTES = 512
"""Elasticsearch's limit for an id; over it the whole bulk request is refused, not the one document."""


@dataclass(slots=True)
class Batch:
    """Some documents on their way through the stages.

    ``documents`` are to be indexed, by id, with their ``hashes``; those in ``again`` replace one of this same run.
    ``passages`` and ``actions`` are what the last stage makes of them.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    passages: dict[str, list[Passage]] = field(default_factory=dict)
    actions: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    skipped: int = 0
    duplicates: int = 0


class InFlight:
    """The ids of documents that are on their way but perhaps not yet in the index. Shared between threads."""

    def __init__(self) -> None:
        self._ids: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, ids: Iterable[str]) -> None:
        """Note that documents with these ids are on their way."""
        with self._lock:
            self._ids.update(iter(ids))  # of a mapping, a Counter would count the values

    def leave(self, ids: Iterable[str]) -> None:
        """Note that they have arrived, or have failed."""
        with self._lock:
            self._ids -= Counter(iter(ids))

    def among(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are on their way."""
        with self._lock:
            return {identifier for identifier in ids if self._ids[identifier]}


def batches(
    items: Iterable[Document | Reject], recipe: Recipe, *, documents: int, characters: int
) -> Iterator[Batch]:
    """Yield batches of at most ``documents`` documents, each closed once it holds ``characters`` characters of text.

    Of documents with one id in a batch the last stays. A document that cannot be stored is a reject.
    """
    batch, size = Batch(), 0
    for item in items:
        _add(batch, item, recipe)
        size += len(item.text) if isinstance(item, Document) else 0
        if len(batch.documents) + len(batch.rejects) >= documents or size >= characters:
            yield batch
            batch, size = Batch(), 0
    yield batch


def _add(batch: Batch, item: Document | Reject, recipe: Recipe) -> None:
    reject = item if isinstance(item, Reject) else _fault(item)
    if isinstance(item, Document) and reject is None:
        try:
            fingerprint = content_hash(item, recipe)
        except (TypeError, ValueError) as error:
            reject = rejected(item, f"its content cannot be written as JSON in UTF-8: {error}")
        else:
            batch.duplicates += item.id in batch.documents
            batch.documents[item.id] = item
            batch.hashes[item.id] = fingerprint
    if reject is not None:
        batch.rejects.append(reject)


def _fault(document: Document) -> Reject | None:
    size = len(document.id.encode("utf-8", "replace"))
    if 0 < size <= _ID_BYTES:
        return None
    return rejected(document, f"its id has {size} bytes; Elasticsearch takes 1 to {_ID_BYTES}")


def skip_unchanged(
    incoming: Iterable[Batch], client: Elasticsearch, index: str, stamp: str, in_flight: InFlight
) -> Iterator[Batch]:
    """Yield the batches without documents that the index already holds with the same hash.

    ``stamp`` is the ``@timestamp`` of this run: a stored document that bears it was written by this run, so that its
    id has come before. That tells duplicates without keeping every id.
    """
    for batch in incoming:
        on_their_way = in_flight.among(
            batch.documents
        )  # asked first: what has left by now is seen by the look-up
        stored = _stored(client, index, list(batch.documents))
        for identifier in list(batch.documents):
            known_hash, known_stamp = stored.get(identifier, (None, None))
            before = identifier in on_their_way or known_stamp == stamp
            if identifier not in on_their_way and known_hash == batch.hashes[identifier]:
                del batch.documents[identifier]
                batch.duplicates += before
                batch.skipped += not before
            elif before:
                batch.again.add(identifier)
        in_flight.enter(batch.documents)
        yield batch


def _stored(client: Elasticsearch, index: str, ids: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """Return hash and timestamp of those ids that the index holds, searchable yet or not."""
    if not ids:
        return {}
    answer = client.mget(index=index, ids=ids, source_includes=["content_hash", "@timestamp"])
    sources = {hit["_id"]: hit["_source"] for hit in answer["docs"] if hit.get("found")}
    return {
        identifier: (source.get("content_hash"), source.get("@timestamp"))
        for identifier, source in sources.items()
    }


def embedded(
    incoming: Iterable[Batch], chunker: Chunker, embedder: Embedder, written: Written, stamp: str
) -> Iterator[Batch]:
    """Yield the batches with their passages and index actions; all passages of a batch are embedded in one call."""
    for batch in incoming:
        batch.passages = {
            identifier: passages_of(document, chunker) for identifier, document in batch.documents.items()
        }
        vectors = map(written, _vectors(batch, embedder))
        batch.actions = [_action(document, batch, vectors, stamp) for document in batch.documents.values()]
        yield batch


def passages_of(document: Document, chunker: Chunker) -> list[Passage]:
    """Return the passages of the text; of an empty text the title, at (0, 0) since it is no stretch of the text."""
    if document.text.strip():
        return chunker.chunk(document.text)
    return [Passage(document.title, 0, 0)] if document.title.strip() else []


def _vectors(batch: Batch, embedder: Embedder) -> Iterator[FloatArray]:
    """Return the vectors of all passages of the batch, in order.

    A passage is embedded under its document's title, which often names what the passage only refers to.
    """
    texts: list[str] = []
    for identifier, passages in batch.passages.items():
        title = batch.documents[identifier].title.strip()
        texts += [
            f"{title}\n{passage.text}" if title and passage.end else passage.text for passage in passages
        ]
    return iter(embedder.embed(texts, purpose="passage")) if texts else iter(())


def _action(
    document: Document, batch: Batch, vectors: Iterator[str | list[float]], stamp: str
) -> dict[str, Any]:
    passages = [
        {"text": text, "vector": next(vectors), "start": start, "end": end}
        for text, start, end in batch.passages[document.id]
    ]
    return {
        "_id": document.id,
        "_source": {
            "title": document.title,
            "text": document.text,
            "passages": passages,
            "metadata": document.metadata,
            "@timestamp": stamp,
            "content_hash": batch.hashes[document.id],
        },
    }

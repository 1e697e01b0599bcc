"""Real passages with their vectors, for the bench of vector options; kept in a folder, so that a second run
embeds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...collection import Document, Qrels, read_corpus, read_qrels, read_queries, splits
from ...errors import SourceError
from ...models import Embedder, room_of
from ...text.chunking import Chunker
from ...text.documents import CutDocument, cut_document
from ...types import FloatArray, Passage

PASSAGES = 100_000
QUERIES = 50
"""Default number of queries from each collection."""

_TEXTS_AT_ONCE = 2_000
_DOCUMENTS, _VECTORS, _QUERIES, _QUERY_VECTORS = (
    "documents.jsonl",
    "vectors.npy",
    "queries.jsonl",
    "queries.npy",
)


class Cut(NamedTuple):
    """A document's id, title, text and passages."""

    id: str
    title: str
    text: str
    passages: list[Passage]


@dataclass(frozen=True, slots=True)
class VectorPassages:
    """Documents with distinct passages, and queries.

    ``vectors``: those of the passages, in the order of the documents, float32, (passages, dims), length 1;
    they are read from the disk as they are needed. ``queries``: float32, (queries, dims), length 1.
    ``qrels``: for each query, in the same order, document id to grade; empty where nothing is judged.
    """

    folder: Path
    vectors: FloatArray
    queries: FloatArray
    qrels: list[dict[str, int]]

    def documents(self) -> Iterator[Cut]:
        """Yield the documents, one at a time."""
        with (self.folder / _DOCUMENTS).open(encoding="utf-8") as lines:
            for line in lines:
                name, title, text, passages = json.loads(line)
                yield Cut(name, title, text, [Passage(*passage) for passage in passages])


def passages_of(
    folder: Path,
    collections: Sequence[Path],
    embedder: Embedder,
    chunker: Chunker,
    *,
    passages: int = PASSAGES,
    queries: int = QUERIES,
    on_progress: Callable[[int], None] = lambda _: None,
) -> VectorPassages:
    """Return at least ``passages`` distinct passages of the collections, and ``queries`` queries of each.

    The collections are read in their order, up to the document with which there are enough passages. A
    document with a passage that was read before is left out. The queries are those with judgements, in the
    order of the hash of their text; without judgements, any. What ``folder`` holds already is used if it was
    made of the same. ``on_progress`` receives the number of embedded passages. Raises SourceError when the
    collections have fewer passages.
    """
    made_of = json.dumps(
        {
            "collections": [str(collection.resolve()) for collection in collections],
            "embedder": embedder.name,
            "chunking": [chunker.size, chunker.overlap],
            "passages": passages,
            "queries": queries,
        }
    )
    record = folder / "made_of.json"
    if not record.is_file() or record.read_text(encoding="utf-8") != made_of:
        folder.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        cuts = _distinct(_cut(collections, chunker, room_of(embedder)), passages)
        _write_documents(folder, cuts, embedder, passages, on_progress)
        _write_queries(folder, collections, embedder, queries)
        record.write_text(made_of, encoding="utf-8")
    with (folder / _QUERIES).open(encoding="utf-8") as lines:
        qrels = [json.loads(line)["qrels"] for line in lines]
    return VectorPassages(
        folder, np.load(folder / _VECTORS, mmap_mode="r"), np.load(folder / _QUERY_VECTORS), qrels
    )


def _cut(
    collections: Sequence[Path], chunker: Chunker, room: int | None
) -> Iterator[tuple[Document, CutDocument]]:
    for collection in collections:
        for document in read_corpus(collection):
            named = document._replace(id=f"{collection.name}/{document.id}")
            yield named, cut_document(document.title, document.text, chunker, room)


def _distinct(
    documents: Iterable[tuple[Document, CutDocument]], passages: int
) -> Iterator[tuple[Document, CutDocument]]:
    """Yield documents until ``passages`` is reached, without those of which a passage was seen before."""
    seen: set[bytes] = set()
    for document, cut in documents:
        digests = {hashlib.blake2b(text.encode(), digest_size=12).digest() for text in cut.embedded()}
        if digests and len(digests) == len(cut.passages) and not digests & seen:
            seen |= digests
            yield document, cut
            if len(seen) >= passages:
                return
    raise SourceError(
        f"these collections have {len(seen)} distinct passages, fewer than {passages}; name more "
        "collections, or take --passages down"
    )


def _write_documents(
    folder: Path,
    cuts: Iterable[tuple[Document, CutDocument]],
    embedder: Embedder,
    passages: int,
    on_progress: Callable[[int], None],
) -> None:
    texts: list[str] = []
    embedded: list[FloatArray] = []
    done = 0

    def embed() -> None:
        nonlocal done
        embedded.append(embedder.embed(texts, purpose="passage"))
        done += len(texts)
        texts.clear()
        on_progress(min(done, passages))

    with (folder / _DOCUMENTS).open("w", encoding="utf-8") as lines:
        for document, cut in cuts:
            cut_at = [(passage.text, passage.start, passage.end) for passage in cut.passages]
            line: list[Any] = [document.id, document.title, document.text, cut_at]
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            texts += cut.embedded()
            if len(texts) >= _TEXTS_AT_ONCE:
                embed()
    if texts:
        embed()
    np.save(folder / _VECTORS, np.concatenate(embedded))


def _write_queries(folder: Path, collections: Sequence[Path], embedder: Embedder, most: int) -> None:
    texts: list[str] = []
    with (folder / _QUERIES).open("w", encoding="utf-8") as lines:
        for collection in collections:
            queries, qrels = read_queries(collection), _all_qrels(collection)
            names = [name for name in qrels if name in queries] or list(queries)
            names.sort(key=lambda name: hashlib.sha256(queries[name].encode()).digest())
            for name in names[:most]:
                judged = {
                    f"{collection.name}/{document}": grade for document, grade in qrels.get(name, {}).items()
                }
                lines.write(json.dumps({"text": queries[name], "qrels": judged}, ensure_ascii=False) + "\n")
                texts.append(queries[name])
    np.save(folder / _QUERY_VECTORS, embedder.embed(texts, purpose="query"))


def _all_qrels(collection: Path) -> Qrels:
    """Return the judgements of the split ``test`` if there is one, else those of all splits."""
    names = splits(collection)
    merged: Qrels = {}
    for split in ["test"] if "test" in names else names:
        for query, grades in read_qrels(collection, split).items():
            merged.setdefault(query, {}).update(grades)
    return merged

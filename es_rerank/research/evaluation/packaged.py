"""The collection inside the package, and how it was drawn: answer sentences of SelQA that no model was
trained on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ...collection import Document, Qrels, read_corpus, read_qrels, read_queries
from ...errors import SourceError

PACKAGED_NAME = "selqa"
SPLIT = "test"
_TRAINED_ON = "dev"
"""The other split of SelQA; the bundled cross-encoder was trained on it (``training.recipes``)."""

QUESTIONS = 300
OTHERS = 3_000
"""Number of sentences of other questions, so that the first stage has something to search in."""


class Drawn(NamedTuple):
    """The number of questions, documents, judgements and relevant judgements that were drawn."""

    questions: int
    documents: int
    judgements: int
    relevant: int


def packaged() -> Path:
    """Return the folder of the packaged collection, in BEIR layout."""
    return Path(str(files(__package__) / PACKAGED_NAME))


def by_hash(ids: Iterable[str]) -> list[str]:
    """Return ids in the order of their SHA-256. This draw is the same everywhere and favours no document."""
    return sorted(ids, key=lambda identifier: hashlib.sha256(identifier.encode()).digest())


def draw(source: Path, out: Path, *, questions: int = QUESTIONS, others: int = OTHERS) -> Drawn:
    """Draw the packaged collection from a BEIR folder of SelQA with the splits ``dev`` and ``test``; write it
    to ``out``.

    The questions are the first of ``test``, by hash, that have an answer and share no judged sentence with
    ``dev``. All sentences that are judged for them are added, and ``others`` sentences that are judged for
    other questions of ``test``. No text that is judged in ``dev`` is taken, under whatever id. Raises
    SourceError for a source that cannot be read, or that judges a document that its corpus does not have.
    """
    corpus = {document.id: document for document in read_corpus(source)}
    trained = {
        _normalized_text(_document(corpus, name, source)) for name in _judged(read_qrels(source, _TRAINED_ON))
    }
    test = read_qrels(source, SPLIT)
    unseen = {
        name for name in _judged(test) if _normalized_text(_document(corpus, name, source)) not in trained
    }
    eligible = [
        query for query, judged in test.items() if max(judged.values()) > 0 and unseen.issuperset(judged)
    ]
    qrels = {query: test[query] for query in by_hash(eligible)[:questions]}
    kept = _judged(qrels) | _sentences_of_other_questions(corpus, unseen, _judged(qrels), others)
    return _write(
        out, [document for document in corpus.values() if document.id in kept], read_queries(source), qrels
    )


def _judged(qrels: Qrels) -> set[str]:
    return {document for judged in qrels.values() for document in judged}


def _document(corpus: dict[str, Document], name: str, source: Path) -> Document:
    if name not in corpus:
        raise SourceError(f"{source} judges document {name!r}, which is not in its corpus", path=str(source))
    return corpus[name]


def _normalized_text(document: Document) -> str:
    """Return the text of a document without case and spacing; two documents with the same result read the
    same.
    """
    return " ".join(document.text.casefold().split())


def _sentences_of_other_questions(
    corpus: dict[str, Document], unseen: set[str], judged: set[str], number: int
) -> set[str]:
    """Return sentences with other texts than the judged ones.

    A copy of an answer has no judgement of its own, so it would count as wrong.
    """
    texts = {_normalized_text(corpus[name]) for name in judged}
    return set(
        by_hash(name for name in unseen - judged if _normalized_text(corpus[name]) not in texts)[:number]
    )


def _write(out: Path, documents: list[Document], queries: dict[str, str], qrels: Qrels) -> Drawn:
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    _write_jsonl(
        out / "corpus.jsonl.gz",
        ({"_id": document.id, "title": document.title, "text": document.text} for document in documents),
    )
    _write_jsonl(out / "queries.jsonl.gz", ({"_id": query, "text": queries[query]} for query in qrels))
    rows = [
        f"{query}\t{document}\t{grade}"
        for query, judged in qrels.items()
        for document, grade in judged.items()
    ]
    (out / "qrels" / f"{SPLIT}.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *rows, ""]), encoding="utf-8"
    )
    relevant = sum(grade > 0 for judged in qrels.values() for grade in judged.values())
    return Drawn(len(qrels), len(documents), len(rows), relevant)


def _write_jsonl(path: Path, records: Iterable[dict[str, str]]) -> None:
    """Write records to a gzipped file without name and time, so the same records make the same file."""
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

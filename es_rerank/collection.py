"""Reads test collections in BEIR layout.

The files are ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``. Each may be gzipped.
Layout: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, NoReturn, cast

from .errors import SourceError

Qrels = dict[str, dict[str, int]]
"""Relevance judgements: query id to document id to grade, a whole number."""


DocumentFormat = Literal["text", "markdown"]
"""What the text of a document is written in. It decides how the text is cut into passages."""


class Document(NamedTuple):
    """A document of a collection. ``metadata`` holds all other keys of its line in the corpus file.

    ``format`` says how its text is cut into passages (see ``text.documents.cut_document``).
    """

    id: str
    title: str
    text: str
    metadata: dict[str, Any]
    format: DocumentFormat = "text"


RECORD_SHAPE = (
    'A line is one JSON object: {"id": "a1", "title": "A title", "text": "The text.", "year": 2024}. "text" '
    'must be there; "title" and "id" (or "_id") may be left out; all other fields are metadata.'
)
"""The shape of a document in JSON lines, in the words of the help, of errors and of docs/documents.md."""


def find_file(folder: Path, name: str) -> Path:
    """Return the path ``folder/name``, or ``folder/name.gz`` when only that exists.

    Raises SourceError when neither file exists.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise SourceError(
        f"{folder} holds neither {name} nor {name}.gz; a collection needs one of these files",
        path=str(folder / name),
    )


def is_collection(folder: Path) -> bool:
    """Return whether ``folder`` holds a corpus in BEIR layout."""
    return any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) of a plain or gzipped file.

    Only one line is in memory at a time. Raises SourceError when the path is missing or is not a file, and
    when a gzipped file is broken or incomplete.
    """
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (OSError, EOFError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        raise SourceError(
            f"cannot read {path}{where}: {_cause(error)}", path=str(path), line=number or None
        ) from error


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, JSON object) for every line that is not blank.

    Raises SourceError with the line number when the file cannot be read or a line is not a JSON object.
    """
    for number, line in read_lines(path):
        if line.strip():
            yield number, parse_object(line, path, number)


def parse_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Return the JSON object that one line holds. ``path`` and ``number`` are for the error message.

    Raises SourceError with the line number when the line is not UTF-8, not a JSON object, or holds NaN or
    Infinity.
    """
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path}, line {number}: not JSON ({error})", path=str(path), line=number
        ) from error
    if not isinstance(value, dict):
        raise SourceError(
            f"{path}, line {number}: a JSON object is expected, found {type(value).__name__}",
            path=str(path),
            line=number,
        )
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def as_document(record: dict[str, Any], path: Path, line: int) -> Document:
    """Return the document that a corpus record describes. ``path`` and ``line`` are for the error message.

    The id is the value of ``_id`` or ``id``: a non-empty string or a whole number. Raises SourceError when
    the id is missing, ``title`` or ``text`` is not a string, or ``metadata`` is not an object. A list of
    strings as ``text`` is joined by blank lines. A field that stands in ``metadata`` too has the value there.
    """
    other_fields = dict(record)
    identifier = other_fields.pop("_id", None)
    if identifier is None:
        identifier = other_fields.pop("id", None)
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        raise SourceError(
            f'{path}, line {line}: "_id" must be a non-empty string or a number, found {identifier!r}',
            path=str(path),
            line=line,
        )
    title, text = other_fields.pop("title", None) or "", other_fields.pop("text", None)
    if isinstance(text, list) and text and all(isinstance(part, str) for part in text):
        text = "\n\n".join(part for part in text if part.strip())
    if not isinstance(text, str) or not isinstance(title, str):
        raise SourceError(
            f'{path}, line {line}: "text" must be a string, and so must "title" when it is given',
            path=str(path),
            line=line,
        )
    nested = other_fields.pop("metadata", None)
    if nested is not None and not isinstance(nested, dict):
        raise SourceError(
            f'{path}, line {line}: "metadata" must be an object, found {type(nested).__name__}',
            path=str(path),
            line=line,
        )
    return Document(str(identifier), title, text, {**other_fields, **(nested or {})})


def read_corpus(folder: Path) -> Iterator[Document]:
    """Yield the documents of a collection folder, one at a time.

    Raises SourceError when the corpus file is missing or a line of it is not a document.
    """
    path = find_file(folder, "corpus.jsonl")
    for line, record in read_jsonl(path):
        yield as_document(record, path, line)


def read_queries(folder: Path) -> dict[str, str]:
    """Return the queries of a collection folder: query id to query text.

    Raises SourceError when the file of queries is missing or a line of it is not a query.
    """
    path = find_file(folder, "queries.jsonl")
    queries: dict[str, str] = {}
    for line, record in read_jsonl(path):
        identifier, text = record.get("_id"), record.get("text")
        if not isinstance(identifier, (str, int)) or not isinstance(text, str):
            raise SourceError(
                f'{path}, line {line}: a query needs "_id" and "text"', path=str(path), line=line
            )
        queries[str(identifier)] = text
    return queries


def splits(folder: Path) -> list[str]:
    """Return the names of the splits for which the collection has judgements, sorted."""
    names = (path.name.removesuffix(".gz") for path in (folder / "qrels").glob("*.tsv*"))
    return sorted({name.removesuffix(".tsv") for name in names})


def read_qrels(folder: Path, split: str) -> Qrels:
    """Return the judgements of one split. The header line, if there is one, is skipped.

    Raises SourceError when the split is missing or a line is malformed. For a missing split the message lists
    the splits that exist.
    """
    if split not in splits(folder):
        known = ", ".join(splits(folder)) or "none"
        raise SourceError(
            f"{folder} has no split {split!r}; splits with judgements: {known}", path=str(folder / "qrels")
        )
    path = find_file(folder / "qrels", f"{split}.tsv")
    qrels: Qrels = {}
    for number, line in read_lines(path):
        judgement = _judgement(line)
        if judgement:
            query, document, grade = judgement
            qrels.setdefault(query, {})[document] = grade
        elif number > 1 and line.strip():
            raise SourceError(
                f"{path}, line {number}: expected query-id, corpus-id and a whole number as grade, "
                "separated by tabs",
                path=str(path),
                line=number,
            )
    return qrels


def _judgement(line: bytes) -> tuple[str, str, int] | None:
    try:
        query, document, grade = line.decode("utf-8").rstrip("\r\n").split("\t")
        return query, document, int(grade)
    except ValueError:
        return None


def held_out(name: str) -> bool:
    """Return whether a query belongs to the tenth of all queries that is kept for evaluation.

    ``name`` is the query's id or another text that identifies the query. The rule: the first 8 bytes of the
    SHA-256 of ``name``, as a number modulo 10, are 0.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10 == 0

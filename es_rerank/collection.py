"""Test collections in BEIR layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``, plain or gzipped.

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
from typing import IO, Any, NamedTuple, NoReturn, cast

from .errors import SourceError

Qrels = dict[str, dict[str, int]]
"""Query id to document id to grade."""


class Document(NamedTuple):
    """A document of a collection. ``metadata`` holds every further key of its line."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]


def find_file(folder: Path, name: str) -> Path:
    """Return ``folder/name`` or ``folder/name.gz``.

    Raises SourceError when neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise SourceError(
        f"{folder} holds neither {name} nor {name}.gz; a collection needs one of them",
        path=str(folder / name),
    )


def is_collection(folder: Path) -> bool:
    """Whether ``folder`` holds a corpus in BEIR layout."""
    return any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) of a plain or gzipped file, one line in memory at a time.

    Raises SourceError when the file is missing, is not a file, or is a gzip that is broken or cut short.
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
    """Yield (line number from 1, object) for every line that is not blank.

    Raises SourceError, with the line number, for a file that cannot be read and for a line that is not a JSON object.
    """
    for number, line in read_lines(path):
        if line.strip():
            yield number, parse_object(line, path, number)


def parse_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Return the JSON object of one line, which is UTF-8 and holds neither NaN nor Infinity.

    Raises SourceError, with the line number, when it is anything else.
    """
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse)
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


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def as_document(record: dict[str, Any], path: Path, line: int) -> Document:
    """Turn a corpus record into a document.

    The id is ``_id`` or ``id``, a string or a number. Raises SourceError when there is no id, or ``title`` or
    ``text`` is not a string.
    """
    rest = dict(record)
    identifier = rest.pop("_id", None)
    if identifier is None:
        identifier = rest.pop("id", None)
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        raise SourceError(
            f'{path}, line {line}: "_id" must be a non-empty string or a number, found {identifier!r}',
            path=str(path),
            line=line,
        )
    title, text = rest.pop("title", None) or "", rest.pop("text", None)
    if not isinstance(text, str) or not isinstance(title, str):
        raise SourceError(
            f'{path}, line {line}: "text" (and "title", where given) must be a string',
            path=str(path),
            line=line,
        )
    nested = rest.pop("metadata", None)
    if nested is not None and not isinstance(nested, dict):
        raise SourceError(
            f'{path}, line {line}: "metadata" must be an object, found {type(nested).__name__}',
            path=str(path),
            line=line,
        )
    return Document(str(identifier), title, text, {**rest, **(nested or {})})


def read_corpus(folder: Path) -> Iterator[Document]:
    """Yield the documents of a collection folder, one at a time."""
    path = find_file(folder, "corpus.jsonl")
    for line, record in read_jsonl(path):
        yield as_document(record, path, line)


def read_queries(folder: Path) -> dict[str, str]:
    """Return query id to query text."""
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
    """Return the names of the splits that the collection has judgements for."""
    names = (path.name.removesuffix(".gz") for path in (folder / "qrels").glob("*.tsv*"))
    return sorted({name.removesuffix(".tsv") for name in names})


def read_qrels(folder: Path, split: str) -> Qrels:
    """Return the judgements of one split, a header line skipped.

    Raises SourceError when the split is missing (its message lists those that exist) or a line is malformed.
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
                f"{path}, line {number}: expected query-id, corpus-id and a whole number as grade, separated by tabs",
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
    """Whether a query belongs to the tenth that is kept for evaluation: SHA-256 of its id, or of what else names it, modulo 10 is 0."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10 == 0

"""Documents from files: JSONL (plain or gzipped), BEIR folders, and the rejects file of an earlier run.

A record's id is ``_id`` or ``id``; ``title`` and ``text`` are strings; every further key, and the keys of a
``metadata`` object, become metadata. A record without an id gets one that is derived from its content: reading it
again gives the same id, but once its content changes it is another document, and the earlier one stays in the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from es_rerank.collection import Document, as_document, find_file, parse_object, read_lines
from es_rerank.errors import SourceError

from .rejects import Reject, is_reject

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def source_files(sources: Sequence[Path]) -> list[Path]:
    """Return the file of every source; a folder's is its corpus.

    Raises SourceError for a source that is missing, is a folder without a corpus, or is not JSONL by its name.
    """
    return [_source_file(source) for source in sources]


def _source_file(source: Path) -> Path:
    if source.is_dir():
        return find_file(source, "corpus.jsonl")
    if not source.is_file():
        raise SourceError(
            f"{source} does not exist; a source is a JSONL file or a folder that holds corpus.jsonl or corpus.jsonl.gz",
            path=str(source),
        )
    if not source.name.endswith(SUFFIXES):
        raise SourceError(
            f"{source} is not read: its name ends in none of {', '.join(SUFFIXES)}; turn it into JSONL first",
            path=str(source),
        )
    return source


def read_sources(sources: Sequence[Path]) -> Iterator[Document | Reject]:
    """Yield the documents of all sources, one line in memory at a time; a line that holds none is a Reject.

    Raises SourceError at once for a source that cannot be read at all (see ``source_files``), and on the way for a
    file that turns out to be damaged.
    """
    files = source_files(sources)
    return (item for path in files for item in _read_file(path))


def _read_file(path: Path) -> Iterator[Document | Reject]:
    for number, line in read_lines(path):
        if line.strip():
            yield _read_line(line, path, number)


def _read_line(line: bytes, path: Path, number: int) -> Document | Reject:
    record: dict[str, Any] | str = line.decode("utf-8", "replace").rstrip("\r\n")
    try:
        record = parse_object(line, path, number)
        if is_reject(record):
            record = record["document"]
            record = (
                record
                if isinstance(record, dict)
                else parse_object(str(record).encode("utf-8", "replace"), path, number)
            )
        return as_document(_identified(record), path, number)
    except SourceError as error:
        return Reject(error.message, record, _id_of(record), str(path), number)


def _identified(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with an id, derived from its content where it has none."""
    if _id_of(record) is not None:
        return record
    content = json.dumps(record, sort_keys=True)
    return {**record, "_id": hashlib.sha256(content.encode()).hexdigest()[:32]}


def _id_of(record: dict[str, Any] | str) -> str | None:
    if isinstance(record, str):
        return None
    identifier = record.get("_id", record.get("id"))
    return None if identifier is None else str(identifier)

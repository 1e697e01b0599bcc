"""Reads documents from files: JSONL (plain or gzipped), BEIR folders, and the rejects file of an earlier run.

The id of a record is its ``_id`` or ``id``. ``title`` and ``text`` are strings. All other keys, and the keys
of a ``metadata`` object, become metadata. A record without an id gets an id that is computed from its
content. The same record then always gets the same id. When its content changes, it gets another id, and the
earlier document stays in the index.
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
    """Return the file to read for each source. For a folder that is its corpus file.

    Raises SourceError for a source that does not exist, for a folder without a corpus, and for a file whose
    name does not end in one of ``SUFFIXES``.
    """
    return [_source_file(source) for source in sources]


def _source_file(source: Path) -> Path:
    if source.is_dir():
        return find_file(source, "corpus.jsonl")
    if not source.is_file():
        raise SourceError(
            f"{source} does not exist; "
            "a source is a JSONL file or a folder that holds corpus.jsonl or corpus.jsonl.gz",
            path=str(source),
        )
    if not source.name.endswith(SUFFIXES):
        raise SourceError(
            f"{source} cannot be read: its name ends in none of {', '.join(SUFFIXES)}; "
            "convert it to JSONL first",
            path=str(source),
        )
    return source


def read_sources(sources: Sequence[Path]) -> Iterator[Document | Reject]:
    """Return an iterator over the documents of all sources. A line that holds no document gives a Reject.

    Only one line is in memory at a time. Raises SourceError at once for a source that cannot be read at all
    (see ``source_files``). The iterator raises SourceError when it meets a damaged file.
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
    """Return the record with an id. A record without one gets an id that is computed from its content."""
    if _id_of(record) is not None:
        return record
    content = json.dumps(record, sort_keys=True)
    return {**record, "_id": hashlib.sha256(content.encode()).hexdigest()[:32]}


def _id_of(record: dict[str, Any] | str) -> str | None:
    if isinstance(record, str):
        return None
    identifier = record.get("_id", record.get("id"))
    return None if identifier is None else str(identifier)

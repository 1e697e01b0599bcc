"""Reads JSON lines, plain or gzipped, and the rejects file of an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from es_rerank.collection import Document, as_document, parse_object, read_lines
from es_rerank.errors import SourceError

from ..rejects import Reject, is_reject
from .files import FoundFile


def read_json_lines(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of each line. A line that holds no document gives a Reject."""
    for number, line in read_lines(file.path):
        if line.strip():
            yield _read_line(line, file.path, number)


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

"""Reads JSON files as a stream: an array of objects, one object, or an object with one list of objects.

The standard library parses each record, so a record is read as in JSON lines: ijson gives decimal numbers,
reads a lone surrogate as "?", and names no line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from es_rerank.collection import RECORD_SHAPE, Document
from es_rerank.errors import SourceError

from ..rejects import Reject
from .encodings import decoded, encoding_of
from .fields import Fields, plan_of
from .files import FoundFile
from .json_lines import read_json_lines
from .json_stream import JsonStream, Value
from .records import document_of, record_reject

_BEGIN = 1 << 20
"""Characters of a file in which JSON lines are looked for."""


def read_json(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of each record of a JSON file.

    A record that is no document gives a Reject. Raises SourceError where the file is not JSON: what stands
    before the fault was yielded then.
    """
    encoding = encoding_of(file)
    listed = _Shape(file, encoding)
    if listed.of_lines:
        yield from read_json_lines(replace(file, encoding=encoding))
        return
    empty = True
    with file.open() as stream, decoded(file, stream, encoding) as text:
        for number, value in enumerate(_values(JsonStream(text, file), listed.name), 1):
            empty = False
            item = _item(value, file)
            if isinstance(item, Reject):  # a whole file may be one line
                item = item._replace(reason=f"{item.reason} (record {number} of the file)")
            yield item
    if empty:
        raise file.fault(f"it holds no records. {RECORD_SHAPE}")


def _item(value: Value, file: FoundFile) -> Document | Reject:
    record: dict[str, Any] | str = value.text
    try:
        if value.fault:
            raise file.fault(value.fault, value.line)
        if not isinstance(value.value, dict):
            raise file.fault(f"a JSON object is expected, found {type(value.value).__name__}", value.line)
        record = value.value
        return document_of(record, file, value.line)
    except SourceError as error:
        return record_reject(error, record, file)


def _values(stream: JsonStream, listed: str | None) -> Iterator[Value]:
    """Yield the records: the elements of the array, those of the list ``listed``, or each object."""
    if stream.peek() == "[":
        yield from stream.elements()
        stream.end()
    elif listed is None:
        while stream.peek():
            yield stream.value()
    else:
        for name in stream.names():
            if name == listed and stream.peek() == "[":
                yield from stream.elements()
            else:
                stream.value()
        stream.end()


class _Shape:
    """What a JSON file holds. An object is looked through, one value at a time.

    ``name`` is the field whose list holds the records, None where the objects themselves are the records.
    ``of_lines`` is whether the file holds JSON lines although its name ends in ``.json``.
    """

    def __init__(self, file: FoundFile, encoding: str) -> None:
        self.name: str | None = None
        with file.open() as stream, decoded(file, stream, encoding) as text:
            self.of_lines = _are_lines(text.read(_BEGIN))
        if not self.of_lines:
            with file.open() as stream, decoded(file, stream, encoding) as text:
                self._look(JsonStream(text, file), file)

    def _look(self, stream: JsonStream, file: FoundFile) -> None:
        begin, first = stream.peek(), stream.line
        if begin == "[":
            return
        if begin != "{":
            raise file.fault(f"it is {'no JSON object or array' if begin else 'empty'}. {RECORD_SHAPE}")
        names: list[str] = []
        lists: list[str] = []
        for name in stream.names():
            objects = False
            if stream.peek() == "[":
                for element in stream.elements():
                    objects |= isinstance(element.value, dict)
            else:
                stream.value()
            (lists if objects else names).append(name)
        line = stream.line
        if stream.peek():
            self.of_lines = line == first
        elif not _is_record(names, lists, file.fields) and lists:
            self._choose(dict.fromkeys(lists), names, file)

    def _choose(self, lists: dict[str, None], names: list[str], file: FoundFile) -> None:
        if len(lists) > 1:
            raise file.fault(
                f"it has several lists of objects, {', '.join(lists)}; keep one, or make JSON lines of each"
            )
        (self.name,) = lists
        if names:
            file.tell(f'reads the objects of "{self.name}"; the fields beside it are left out')


def _are_lines(begin: str) -> bool:
    """Return whether the beginning of a file shows JSON lines, of which the first may be broken.

    Within one JSON value, no line that begins an object follows a line that does not go on.
    """
    for before, line in pairwise(filter(None, map(str.strip, begin.split("\n")))):
        if before.endswith(("[", "{", ",", ":")):
            return False
        if line.startswith("{") and _is_object(line):
            return True
    return False


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_record(names: list[str], lists: list[str], fields: Fields) -> bool:
    """Return whether an object with these fields is itself a document."""
    if fields.text:
        return any(
            text == name or text.startswith(f"{name}.") for name in (*names, *lists) for text in fields.text
        )
    return not isinstance(plan_of(names, fields), str)

"""Reads JSON lines, plain or gzipped, and the rejects file of an earlier run."""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, AnyStr, NamedTuple, cast

from es_rerank.collection import RECORD_SHAPE, Document, DocumentFormat, parse_object
from es_rerank.errors import SourceError

from ..rejects import Reject, is_reject
from .encodings import decoded, encoding_of_mark
from .files import MOST_RECORD, TABLES, FoundFile, kind_of
from .records import document_of, document_of_row, record_reject, usual_document

_CHUNK = 1 << 20

_SHOWN = 1_000
"""Characters of a line that is too long in its reject."""

_REJECTS = re.compile(r".+\.rejects(-\d+)?\.jsonl", re.IGNORECASE | re.DOTALL)


def read_json_lines(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of each line. A line that holds no document gives a Reject.

    Raises SourceError for a file without any line.
    """
    return cast("Iterator[Document | Reject]", _read(file, follow=False))


def is_rejects_file(name: str) -> bool:
    """Return whether a file has the name that a rejects file gets: ``INDEX.rejects.jsonl``."""
    return _REJECTS.fullmatch(name) is not None


def read_rejects(file: FoundFile) -> Iterator[Document | Reject | FoundFile]:
    """Yield what ``read_json_lines`` yields, and each file that was a reject as a whole, to be read again."""
    return _read(file, follow=True)


def _read(file: FoundFile, *, follow: bool) -> Iterator[Document | Reject | FoundFile]:
    empty = True
    # A rejects file is in ASCII, whatever the files that it names are encoded in.
    for line in _placed_lines(replace(file, encoding=None) if follow else file):
        if line.size > MOST_RECORD:
            yield _too_long(line, file)
        elif line.content.strip():
            yield _read_line(line, file, follow=follow)
        else:
            continue
        empty = False
    if empty:
        raise file.fault(f"it is empty. {RECORD_SHAPE}")


class _Line(NamedTuple):
    """A line in UTF-8. Of one that is longer than ``MOST_RECORD``, ``content`` is the beginning."""

    number: int
    content: bytes
    size: int


def _placed_lines(file: FoundFile) -> Iterator[_Line]:
    """Yield the lines. Where a file is damaged, the error says from which line on."""
    number = 0
    try:
        for line in _lines(file):
            number = line.number
            yield line
    except (OSError, EOFError, zlib.error) as error:
        if not number:
            raise
        raise file.fault(f"from here on it cannot be read: {error}", number + 1) from error


def _lines(file: FoundFile) -> Iterator[_Line]:
    with file.open() as stream:
        begin = cast("io.BufferedReader", stream).peek(4)[:4]
        encoding = file.encoding or encoding_of_mark(begin) or "utf-8"
        if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
            for number, line, size in _split(stream):
                yield _Line(number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, size)
            return
        with decoded(file, stream, encoding) as text:
            for number, part, size in _split(text):
                yield _Line(number, part.encode("utf-8", "surrogatepass"), size)


def _split(stream: IO[AnyStr]) -> Iterator[tuple[int, AnyStr, int]]:
    """Yield (number from 1, line, size). Of a line over ``MOST_RECORD`` only the beginning is kept."""
    number = 0
    while line := stream.readline(MOST_RECORD + 1):
        number += 1
        size, more = len(line), line
        if size > MOST_RECORD:
            line = line[:_SHOWN]
            while more and more[-1:] not in ("\n", b"\n"):
                more = stream.readline(_CHUNK)
                size += len(more)
        del more
        yield number, line, size


def _too_long(line: _Line, file: FoundFile) -> Reject:
    fault = file.fault(
        f"the line has {line.size} bytes, at most {MOST_RECORD} are read; only its beginning is kept here: "
        "split it in the file that was read",
        line.number,
    )
    return record_reject(fault, line.content.decode("utf-8", "replace") + " …", file)


def _read_line(line: _Line, file: FoundFile, *, follow: bool) -> Document | Reject | FoundFile:
    record: dict[str, Any] | str = line.content.decode("utf-8", "replace").rstrip("\r\n")
    try:
        record = parse_object(line.content, file.shown, line.number)
        of_record = not follow and set(file.fields.text) & set(Reject._fields)
        if of_record or not is_reject(record):
            return document_of(record, file, line.number)
        reject, said = record, record["document"]
        if said is None:
            return _file_again(reject, file, line.number, follow=follow)
        if not isinstance(said, dict | str):
            raise file.fault(
                f'"document" must be an object or a text, found {type(said).__name__}', line.number
            )
        record = said
        if isinstance(record, str):
            content = record.encode("utf-8", "replace")
            record = parse_object(content, file.shown, line.number)
            if is_reject(record):  # a line of a rejects file that was none, and is corrected
                return _read_line(line._replace(content=content), file, follow=follow)
        return _corrected(record, reject["file"], file, line.number)
    except SourceError as error:
        return record_reject(error, record, file)


def _corrected(record: dict[str, Any], source: Any, file: FoundFile, line: int) -> Document:  # noqa: ANN401
    """Return the document of a line of a rejects file. ``source``: the file that its record was read from."""
    if source is None:  # a document that was read, but that Elasticsearch refused
        document = usual_document(_without_format(record), file, line)
        return document._replace(format=_format_of(record))
    if isinstance(source, str) and kind_of(source) in TABLES:
        return document_of_row(record, file, line)
    return document_of(record, file, line)


def _without_format(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "format"}


def _format_of(record: dict[str, Any]) -> DocumentFormat:
    return "markdown" if record.get("format") == "markdown" else "text"


def _file_again(reject: dict[str, Any], file: FoundFile, line: int, *, follow: bool) -> Reject | FoundFile:
    """Return the file that a line of a rejects file names.

    Only in a file that has the name of one: a file of documents from elsewhere must not choose which files of
    this machine are read.
    """
    path, name = reject["file"], reject["id"]
    if (
        isinstance(path, str)
        and isinstance(name, str)
        and "\0" not in path
        and Path(path).is_absolute()
        and follow
    ):
        return file.at(Path(path), name)
    fault = file.fault(
        f"the line names the file {path}, which could not be read; give it as a source. A line that names a "
        "file is followed only where the name of its own file ends in .rejects.jsonl",
        line,
    )
    return Reject(fault.message, None, name, path, reject["line"])

"""Reads tables of values that a comma, semicolon or tab separates: CSV and TSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from es_rerank.collection import Document
from es_rerank.errors import SourceError

from ..rejects import Reject
from .encodings import decoded, encoding_of
from .fields import Plan, plan_of
from .files import MOST_CHARACTERS, FoundFile
from .records import planned_document, record_reject, takes_other_id

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
"""The line by which Excel is told the delimiter; Excel writes it too."""

_MOST_ROW = 2 * MOST_CHARACTERS
"""Most characters of a row: the longest text, and as many of other values."""

_QUOTED = re.compile(r'"(?:[^"]|"")*"')

_LINE = 1 << 20
"""Most characters of a header line that are searched for the delimiter."""


def read_table(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of each row. The first row names the columns.

    A row that cannot be read gives a Reject of the file that says the line. Raises SourceError for a table
    without rows, and for one of whose columns none is the text.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MOST_CHARACTERS))
    encoding = encoding_of(file)
    plain = file.suffix == ".tsv" and _has_plain_quotes(file, encoding)
    if plain:
        file.tell("quotes are read as plain characters, as no value of several lines is closed by one")
    with file.open() as stream, decoded(file, stream, encoding) as text:
        yield from _documents(text, file, plain=plain)


class _NoPlainRowError(Exception):
    """A line is no row if quotes are plain characters."""


def _has_plain_quotes(file: FoundFile, encoding: str) -> bool:
    """Return whether quotes are plain characters in a table of tabs, as in the dumps of databases.

    It is so if each line has as many tabs as the first one, and the table cannot be read otherwise.
    """

    def lines(stream: io.TextIOWrapper) -> Iterator[str]:
        tabs = 0
        while line := stream.readline(_MOST_ROW):
            if line.strip():
                tabs = tabs or line.count("\t")
                if line.count("\t") != tabs or not tabs or line[0] == "\t":
                    raise _NoPlainRowError
            yield line

    with file.open() as stream, decoded(file, stream, encoding) as text:
        seen = lines(text)
        try:
            with suppress(csv.Error):
                deque(csv.reader(seen, delimiter="\t", strict=True), maxlen=0)
                return False
            deque(seen, maxlen=0)
        except _NoPlainRowError:
            return False
    return True


def _plain_row(line: str) -> list[str]:
    """Return the values of a line in which quotes are plain characters, unless they are around a value."""
    values = line.rstrip("\r\n").split("\t")
    return [value[1:-1].replace('""', '"') if _QUOTED.fullmatch(value) else value for value in values]


def _documents(stream: io.TextIOWrapper, file: FoundFile, *, plain: bool) -> Iterator[Document | Reject]:
    rows = _rows(stream, file, plain=plain)
    header = next((row for row in rows if not isinstance(row, Reject)), None)
    if header is None:
        raise file.fault("it is empty")
    names = _names(header[1], file)
    plan = plan_of(names, file.fields, guess=True)
    if isinstance(plan, str):
        raise file.fault(
            f"{plan}. The first row must name the columns, as in id,title,text; if not, add one",
            header[0],
        )
    if plan.guessed:
        file.tell(plan.told())
    missing = [name for name in (plan.id,) if name not in (None, *names)]
    if missing or not set(plan.text) & set(names):
        raise file.fault(
            f"its columns are {', '.join(names)[:1000]}; none of them is {(missing or plan.text)[0]}",
            header[0],
        )
    empty = True
    for row in rows:
        empty = False
        yield row if isinstance(row, Reject) else _document(row[1], names, plan, file, row[0])
    if empty:
        raise file.fault("it has a row with the names of columns, and no other row")


def _document(row: list[str], names: list[str], plan: Plan, file: FoundFile, line: int) -> Document | Reject:
    while len(row) > len(names) and not row[-1]:
        row.pop()
    if len(row) != len(names):
        return file.reject(
            f"the row has {len(row)} values, the first row {len(names)}; a value that holds the delimiter "
            "or a line feed stands in quotes",
            line,
        )
    values = dict(zip(names, row, strict=True))
    if takes_other_id({name: value for name, value in values.items() if value}, plan, file.fields):
        plan = plan._replace(id="id")
    roles = {*plan.text, plan.title, plan.id}
    record = {
        name: value if name in roles else _typed(value)
        for name, value in values.items()
        if value or name in plan.text
    }
    try:
        return planned_document(record, plan, file, line)
    except SourceError as error:
        reject = record_reject(error, values | record, file)  # with its empty columns, to be filled in
        return reject if plan.id is None else reject._replace(id=record.get(plan.id))


def _names(header: list[str], file: FoundFile) -> list[str]:
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise file.fault(
            f"several columns have the name {', '.join(twice)[:1000]}; give each a name of its own", 1
        )
    return names


def _rows(
    stream: io.TextIOWrapper, file: FoundFile, *, plain: bool
) -> Iterator[tuple[int, list[str]] | Reject]:
    """Yield (number of its first line, values) of each row that is not blank."""
    begin = stream.readline(_LINE)
    told = _SEPARATOR_LINE.fullmatch(begin)
    delimiter = told.group(1) if told else "\t" if file.suffix in (".tsv", ".tab") else _delimiter(begin)
    lines = _Lines(stream, file, "" if told else begin)
    lines.number += bool(told)
    reader: Iterator[list[str]] = (
        map(_plain_row, lines) if plain else csv.reader(lines, delimiter=delimiter, strict=True)
    )
    while True:
        first, lines.size, lines.quotes = lines.number + 1, 0, 0
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "field limit" in str(error):
                lines.end_row()
            reason = (
                "a carriage return stands in a value without quotes"
                if "new-line" in str(error)
                else str(error)
            )
            yield file.reject(f"lines {first} to {lines.number} are no row ({reason})", first)
            continue
        except SourceError as error:
            lines.end_row()
            yield file.rejected(error)
            continue
        if row is None:
            return
        if delimiter == "\t" and _holds_rows(row):
            yield file.reject(
                f"lines {first} to {lines.number} are one row, as a quote holds them together, but look like "
                "several; a quote that begins a value and belongs to its text is written three times, and "
                "one more stands at the end of the value",
                first,
            )
            continue
        if row and (len(row) > 1 or row[0].strip()):
            yield first, row


class _Lines:
    """The lines of a table, which are counted.

    If the first one ends in a line feed, a carriage return ends none: it stands within a value.
    """

    def __init__(self, stream: io.TextIOWrapper, file: FoundFile, begin: str) -> None:
        self._stream = stream
        self._file = file
        self._begin = begin
        self._ends = "\n" if begin.endswith("\n") else "\r\n"
        self.number = 0
        self.size = 0
        self.quotes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._begin = self._begin or self._stream.readline(_MOST_ROW), ""
        if not line:
            raise StopIteration
        self.number += 1
        self.size += len(line)
        self.quotes += line.count('"')
        while line[-1] not in self._ends and (more := self._stream.readline(_MOST_ROW)):
            self.size += len(more)
            self.quotes += more.count('"')
            line = more if self.size > _MOST_ROW else line + more
        if self.size > _MOST_ROW:
            raise self._file.fault(f"the row has more than {_MOST_ROW} characters; split it", self.number)
        return line

    def end_row(self) -> None:
        """Pass over the lines that quotes join to those of this row."""
        with suppress(StopIteration):
            while self.quotes % 2:
                self.size = 0
                with suppress(SourceError):
                    next(self)


def _holds_rows(row: list[str]) -> bool:
    """Return whether a value holds lines with as many tabs as a row has: quotes may be plain text."""
    tabs = len(row) - 1
    return tabs > 0 and any(
        "\n" in value and any(line.count("\t") == tabs for line in value.split("\n")[1:]) for value in row
    )


def _delimiter(begin: str) -> str:
    outside = re.sub(r'"[^"]*"?', "", begin)
    return max(_DELIMITERS, key=outside.count)


def _typed(value: str) -> Any:  # noqa: ANN401 a text or a number
    """Return a number where the text is exactly how it is written, so that nothing is lost; else the text."""
    if _NUMBER.fullmatch(value) is None:
        return value
    number = float(value) if "." in value else int(value)
    return number if str(number) == value and math.isfinite(number) else value

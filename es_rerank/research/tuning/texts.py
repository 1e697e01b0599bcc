"""Reads tables and lines of a file of judgements, in whatever encoding and with whatever separator."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...collection import read_lines
from ...errors import SourceError

SEPARATORS = (",", ";", "\t", "|")
"""What may stand between the fields of a table."""

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a text in UTF-16 begins, as Excel writes it."""


def text_of(path: Path) -> str:
    """Return the whole text of a plain or gzipped file in UTF-8, with or without a byte order mark, or in
    UTF-16 with one.

    Raises SourceError when the file cannot be read or is in another encoding.
    """
    content = b"".join(line for _, line in read_lines(path))
    encoding = "utf-16" if content.startswith(_MARKS) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SourceError(
            f"{path}, line {line}: the text is not in {encoding.removesuffix('-sig').upper()} "
            f"({error.reason}); save the file as UTF-8",
            path=str(path),
            line=line,
        ) from error


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) without the line ends. Only line feeds end a line: a query may hold
    the other characters that Unicode ends lines with.
    """
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.rstrip("\r")


def first_line(text: str) -> str:
    """Return the first line that is not blank, "" when there is none."""
    return next((line for _, line in lines_of(text) if line.strip()), "")


def separator_of(text: str, columns: Sequence[Sequence[str]]) -> str | None:
    """Return the separator by which the first line has all ``columns``; None when there is none.

    A column is named by the spellings of its header.
    """
    first = first_line(text)
    for separator in SEPARATORS:
        names = _header(next(csv.reader([first], delimiter=separator), []))
        if all(any(name in names for name in column) for column in columns):
            return separator
    return None


def table(text: str, separator: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (line number from 1, row) for each row of a table with a header, by the names of its columns.

    Names are in lower case, with underscores for spaces. Empty lines are skipped. A field may be quoted and
    then hold separators and line ends. Raises SourceError for a row with more or fewer fields than the header
    and for a quote that does not end.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    try:
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            if not names:
                names = _header(row)
            elif len(row) != len(names):
                raise SourceError(
                    f"{path}, line {rows.line_num}: {len(row)} fields where the header has {len(names)}; put "
                    f"quotes around a field that holds {separator!r}",
                    path=str(path),
                    line=rows.line_num,
                )
            else:
                yield rows.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {rows.line_num}: this is no table with the separator {separator!r}: {error}",
            path=str(path),
            line=rows.line_num,
        ) from error


def _header(row: Sequence[str]) -> list[str]:
    return ["_".join(name.strip().casefold().split()) for name in row]

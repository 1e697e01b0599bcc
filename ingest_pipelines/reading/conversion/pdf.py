"""Converts PDF files page by page: text in reading order, tables with lines as Markdown tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, BinaryIO, cast

import pdfplumber
from pdfminer.layout import LTCurve, LTFigure, LTLine, LTRect, LTTextBox, LTTextLine
from pdfminer.pdfdocument import PDFPasswordIncorrect
from pdfplumber.page import Page
from pdfplumber.table import Table

from .cleaning import clean, joined_cjk_lines, joined_words, markdown_table, only_meant, own_title
from .converted import MOST_CHARACTERS, Converted, OnPage, UnreadableError
from .paragraphs import LineDistances

_MOST_EDGES = 5_000
"""A page with more lines is a drawing or a map. The time for finding tables grows with the square."""

_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?")


def convert_pdf(stream: BinaryIO, on_page: OnPage) -> Converted:
    """Return the text of all pages.

    Raises UnreadableError for a file that is protected or broken, and for one without text.
    """
    try:
        pdf = pdfplumber.open(cast("BufferedReader", stream), laparams={"all_texts": True})
    except Exception as error:  # pdfminer raises errors of many kinds
        raise UnreadableError(_why(error)) from error
    texts: list[str] = []
    distances = LineDistances()
    size = 0
    blank: list[int] = []
    try:
        pages = pdf.pages
    except Exception as error:
        raise UnreadableError(_why(error)) from error
    for number, page in enumerate(pages, 1):
        on_page(number)
        try:
            text = _page_text(page, distances)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            raise UnreadableError(f"page {number} cannot be read: {_why(error)}") from error
        page.close()
        size += len(text)
        if size > MOST_CHARACTERS:
            raise UnreadableError(
                f"its text has more than {MOST_CHARACTERS} characters at page {number}; split it"
            )
        if text.strip():
            texts.append(text)
        else:
            blank.append(number)
    if not texts:
        count = len(pages)
        raise UnreadableError(
            f"none of its {count} page{'' if count == 1 else 's'} holds text, only images or nothing, as in "
            "a scan; recognise its text first (OCR)"
        )
    metadata = _metadata(pdf.metadata) | {"pages": len(pages)}
    notes = []
    if blank:
        metadata["pages_without_text"] = blank
        notes.append("some pages hold no text; metadata.pages_without_text lists them")
    title = str(pdf.metadata.get("Title") or "")
    text = only_meant(joined_cjk_lines(joined_words(clean("\n\n".join(texts)))))
    return Converted(text, own_title(title), metadata, notes)


def _page_text(page: Page, distances: LineDistances) -> str:
    """Return the text boxes of a page in the order that pdfminer reads them, with tables in their places."""
    tables = _tables(page)
    written: set[int] = set()
    parts: list[str] = []
    boxes = list(_boxes(page.layout))
    distances.add(boxes)
    above = None
    for box in boxes:
        middle = ((box.x0 + box.x1) / 2, float(page.height) - (box.y0 + box.y1) / 2)
        inside = next((at for at, (table, _) in enumerate(tables) if _holds(table, *middle)), None)
        if inside is None:
            text = box.get_text().strip()
            if above is not None and distances.go_on(above, box):
                parts[-1] += f"\n{text}"
            else:
                parts.append(text)
        elif inside not in written:
            written.add(inside)
            parts.append(tables[inside][1])
        above = box if inside is None else None
    parts += [text for at, (_, text) in enumerate(tables) if at not in written]
    return "\n\n".join(part for part in parts if part)


def _boxes(layout: Any) -> Iterator[Any]:  # noqa: ANN401 pdfminer's containers have no common type
    for element in layout:
        if isinstance(element, LTTextBox | LTTextLine):
            yield element
        elif isinstance(element, LTFigure):
            yield from _boxes(element)


def _tables(page: Page) -> list[tuple[Table, str]]:
    """Return the tables of a page whose cells have lines around them, each with its Markdown."""
    # A look at pdfminer's objects first: pdfplumber copies each character before it looks for lines.
    drawn = Counter(type(element) for element in page.layout)
    if not 4 <= drawn[LTRect] * 4 + drawn[LTLine] + drawn[LTCurve] <= _MOST_EDGES:
        return []
    found = []
    for table in page.find_tables():
        rows = [[cell or "" for cell in row] for row in table.extract()]
        if len(rows) > 1 and len(rows[0]) > 1 and any(any(row) for row in rows):
            found.append((table, markdown_table(rows)))
    return found


def _holds(table: Table, x: float, y: float) -> bool:
    left, top, right, bottom = table.bbox
    return bool(left <= x <= right and top <= y <= bottom)


def _metadata(info: dict[str, Any]) -> dict[str, Any]:
    said = {
        "author": info.get("Author"),
        "subject": info.get("Subject"),
        "keywords": info.get("Keywords"),
        "created": _iso(info.get("CreationDate")),
        "modified": _iso(info.get("ModDate")),
    }
    return {key: text for key, value in said.items() if isinstance(value, str) and (text := clean(value))}


def _iso(value: object) -> str | None:
    """Return a date of a PDF, as ``D:20240131120000+08'00'``, in ISO 8601."""
    match = _DATE.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, zulu, offset, offset_minutes = match.groups()
    date = f"{year}-{month or '01'}-{day or '01'}"
    if hour is None:
        return date
    zone = "Z" if zulu else f"{offset}:{offset_minutes or '00'}" if offset else ""
    return f"{date}T{hour}:{minute}:{second or '00'}{zone}"


def _why(error: BaseException) -> str:
    cause = error
    while cause.args and isinstance(cause.args[0], BaseException):  # pdfplumber wraps pdfminer's errors so
        cause = cause.args[0]
    if isinstance(cause, PDFPasswordIncorrect):
        return "it is protected by a password; save a copy without one"
    return f"not a PDF that can be read ({type(cause).__name__}: {cause})"

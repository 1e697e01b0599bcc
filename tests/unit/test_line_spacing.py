"""The paragraphs of a PDF, whatever the spacing of its lines."""

from __future__ import annotations

import io

import own_files
import pytest

from ingest_pipelines.reading.conversion.pdf import convert_pdf

FIRST = [
    "The supplier delivers the goods after the order is re-",
    "ceived by letter.",
    "The buyer may withdraw.",
]
SECOND = ["When the delivery is late,", "the penalty is one percent", "for each week."]


def page(spacing: int, between: int) -> bytes:
    """Return a page of two paragraphs. ``spacing`` and ``between``: the distances of lines, in points."""
    lines, y = [], 780
    for number, line in enumerate([*FIRST, *SECOND]):
        y -= between if number == len(FIRST) else spacing
        lines.append(own_files.pdf_lines([line], y=y))
    return b"".join(lines)


@pytest.mark.parametrize(("spacing", "between"), [(13, 22), (17, 37), (19, 39), (25, 45)])
def test_a_paragraph_is_one_with_any_line_spacing(spacing: int, between: int) -> None:
    content = own_files.pdf([page(spacing, between)])
    text = convert_pdf(io.BytesIO(content), lambda _page: None).text
    assert text.split("\n\n") == [
        "The supplier delivers the goods after the order is received by letter.\nThe buyer may withdraw.",
        "\n".join(SECOND),
    ]


def test_columns_and_single_lines_far_apart_stay_apart() -> None:
    columns = own_files.pdf_lines(FIRST, x=40) + own_files.pdf_lines(SECOND, x=400)
    assert "re-\n\nceived" not in (
        text := convert_pdf(io.BytesIO(own_files.pdf([columns])), lambda _page: None).text
    )
    assert "withdraw.\n\nWhen" in text
    apart = b"".join(own_files.pdf_lines([line], y=780 - 40 * number) for number, line in enumerate(SECOND))
    text = convert_pdf(io.BytesIO(own_files.pdf([apart])), lambda _page: None).text
    assert text.split("\n\n") == SECOND

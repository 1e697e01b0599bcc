"""What becomes of the text of a converted file: its words, its headings and its title."""

from __future__ import annotations

from pathlib import Path

import own_files
import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from es_rerank.collection import Document
from ingest_pipelines import Reject
from ingest_pipelines.reading.conversion.cleaning import own_title
from ingest_pipelines.reading.converted import read_converted
from ingest_pipelines.reading.files import FoundFile


def one(path: Path, content: bytes) -> Document | Reject:
    path.write_bytes(content)
    (item,) = read_converted(FoundFile(path, path.name))
    return item


BLOCKS = """
address aside blockquote details dialog div fieldset figcaption figure footer form header hgroup label legend
li main menu optgroup option output p section select summary button article
"""


def test_blocks_of_a_page_do_not_run_together(tmp_path: Path) -> None:
    page = "".join(f"<{name}>alpha</{name}><{name}>beta</{name}>" for name in BLOCKS.split())
    document = one(tmp_path / "a.html", page.encode())
    assert isinstance(document, Document)
    words = [word for word in document.text.split() if word.isalpha()]
    assert words == ["alpha", "beta"] * len(BLOCKS.split())


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.html", b"<p># no</p><p>Total<br>----</p><h2># yes</h2>", "\\# no\n\nTotal\n\\----\n\n## # yes"),
        ("a.html", b"<pre>a\n```\n# b</pre><hr><p>~~~</p>", "````\na\n```\n# b\n````\n\n---\n\n\\~~~"),
        ("a.docx", own_files.docx(own_files.paragraph("# apt update")), "\\# apt update"),
        ("a.pdf", own_files.pdf([own_files.pdf_lines(["# install", "Total", "-----"])]), None),
    ],
)
def test_a_line_that_a_file_does_not_make_a_heading_is_none(
    tmp_path: Path, name: str, content: bytes, text: str | None
) -> None:
    document = one(tmp_path / name, content)
    assert isinstance(document, Document)
    assert document.text == text or "\\# install\nTotal\n\\-----" in document.text
    assert document.title == "a"


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Node.js", True),
        ("Guide 2.10", True),
        ("report.docx", False),
        ("Untitled Document", False),
        ("PowerPoint Presentation", False),
        ("PowerPoint-Präsentation", False),
        ("Microsoft Word - a", False),
    ],
)
def test_a_title_that_a_program_wrote_is_none(title: str, kept: bool) -> None:
    assert bool(own_title(f" {title}\n")) is kept


def test_a_byte_that_an_encoding_lacks_does_not_change_the_encoding(tmp_path: Path) -> None:
    page = b'<meta charset="iso-8859-1">caf\xe9 \x9d na\xefve \x93hi\x9d'
    document = one(tmp_path / "a.html", page)
    assert isinstance(document, Document)
    assert document.text == "café na\u00efve \u201chi".replace("é ", "é  ")


def test_what_a_style_hides_is_left_out_except_the_whole_page(tmp_path: Path) -> None:
    page = b'<body style="display:none"><p style="color: red; visibility : Hidden">secret</p><p>seen</p>'
    document = one(tmp_path / "a.html", page)
    assert isinstance(document, Document)
    assert document.text == "seen"


def test_the_text_of_a_simple_field_of_a_docx_is_read(tmp_path: Path) -> None:
    field = (
        '<w:p><w:r><w:t xml:space="preserve">Table </w:t></w:r><w:fldSimple w:instr=" IF 1 > 0 ">'
        '<w:r><w:t>7</w:t></w:r></w:fldSimple><w:fldSimple w:instr="X"/></w:p>'
    )
    document = one(tmp_path / "a.docx", own_files.docx(field))
    assert isinstance(document, Document)
    assert document.text == "Table 7"


def test_only_titles_of_slides_are_headings(tmp_path: Path) -> None:
    content = own_files.pptx(
        "条约", [["Year", "国家"], ["1997", "日本"]], "# of units\n```\n-----", "PowerPoint wrote it."
    )
    document = one(tmp_path / "a.pptx", content)
    assert isinstance(document, Document)
    assert [line for line in document.text.split("\n") if line.startswith("#")] == [
        "# 条约",
        "### Notes:",
        "# Second",
    ]
    assert document.text.endswith("# Second\n\\# of units\n\\```\n\\-----")


def test_a_chart_ends_before_the_next_text(tmp_path: Path) -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East", "West"]
    data.add_series("2024", (1, None))  # type: ignore[no-untyped-call]
    data.add_series("2025", (None, None))  # type: ignore[no-untyped-call]
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 10, 10, data)
    slide.shapes.add_textbox(0, 20, 10, 10).text_frame.text = "after"
    deck.save(str(tmp_path / "made"))
    document = one(tmp_path / "a.pptx", (tmp_path / "made").read_bytes())
    assert isinstance(document, Document)
    assert document.text.endswith("| West |  |  |\n\nafter")

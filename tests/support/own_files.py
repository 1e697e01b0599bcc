"""Makes small files of the kinds that people have: PDF, DOCX and PPTX."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Rows = Sequence[Sequence[str]]

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_STYLES = (
    f'<w:styles {_WORD}><w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
    "</w:styles>"
)

_PIXEL = (
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0500f0003860180"
    "5a347d6b0000000049454e44ae426082"
)
"""A picture of one pixel, as PNG."""


def pdf(pages: Sequence[bytes], info: Mapping[str, str] | None = None) -> bytes:
    """Return a PDF of these pages (see ``pdf_lines``), in Helvetica and a Chinese font that is only named."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>"
        % (len(pages), b" ".join(b"%d 0 R" % (7 + 2 * at) for at in range(len(pages)))),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        (
            b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/DW 1000"
            b"/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)/Supplement 2>>>>"
        ),
        b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H/DescendantFonts[4 0 R]>>",
    ]
    for at, page in enumerate(pages):
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(page), page))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R/F2 5 0 R>>>>>>" % (6 + 2 * at)
        )
    said = "".join(f"/{key}({value})" for key, value in (info or {}).items())
    objects.append(f"<<{said}>>".encode())
    content, places = b"%PDF-1.7\n", []
    for number, written in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, written)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return content + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R/Info %d 0 R>>\n"
        b"startxref\n%d\n%%%%EOF" % (len(objects) + 1, table, len(objects) + 1, len(objects), len(content))
    )


def pdf_lines(lines: Sequence[str], x: int = 72, y: int = 780) -> bytes:
    """Return lines of text on a page of a PDF; those that are not Latin in the Chinese font."""
    shown = b"".join(_shown(line) + b" Tj T*\n" for line in lines)
    return b"BT %d %d Td 14 TL\n%sET\n" % (x, y, shown)


def _shown(line: str) -> bytes:
    try:
        latin = line.encode("cp1252")
    except UnicodeEncodeError:
        return b"/F2 11 Tf <%s>" % line.encode("utf-16-be").hex().encode()
    return b"/F1 11 Tf (%s)" % latin.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def pdf_table(rows: Rows, x: int = 72, y: int = 400) -> bytes:
    """Return a table with lines on a page of a PDF."""
    width, height = 100, 20
    right, bottom = x + width * len(rows[0]), y - height * len(rows)
    across = [f"{x} {y - height * at} m {right} {y - height * at} l S" for at in range(len(rows) + 1)]
    down = [f"{x + width * at} {y} m {x + width * at} {bottom} l S" for at in range(len(rows[0]) + 1)]
    cells = [
        pdf_lines([cell], x + width * column + 4, y - height * row - 14)
        for row, line in enumerate(rows)
        for column, cell in enumerate(line)
    ]
    return "\n".join(["0.5 w", *across, *down, ""]).encode() + b"".join(cells)


def paragraph(text: str, style: str | None = None) -> str:
    """Return a paragraph of a DOCX file. ``H1`` is the style of a heading."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def table(rows: Rows) -> str:
    """Return a table of a DOCX file."""
    lines = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{line}</w:tr>' for line in lines)}</w:tbl>"


def docx(
    body: str, *, title: str = "", author: str = "", parts: Mapping[str, str | bytes] | None = None
) -> bytes:
    """Return a DOCX file with this body in its XML."""
    core = (
        f'<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
        f"<dc:title>{title}</dc:title><dc:creator>{author}</dc:creator>"
        "<dcterms:created>2024-01-31T12:00:00Z</dcterms:created></cp:coreProperties>"
    )
    document = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{document}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "docProps/core.xml": core,
        "word/document.xml": f"<w:document {_WORD}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": _STYLES,
        **(parts or {}),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return archive.getvalue()


def pptx(title: str, rows: Rows, points: str, notes: str) -> bytes:
    """Return a PPTX file of two slides: a title with a table and notes, and a title with a text."""
    from pptx import Presentation  # noqa: PLC0415 only few tests need the library
    from pptx.util import Inches  # noqa: PLC0415

    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[5])
    first.shapes.title.text = title
    cells = first.shapes.add_table(len(rows), len(rows[0]), Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, line in enumerate(rows):
        for column, cell in enumerate(line):
            cells.cell(row, column).text = cell
    image = io.BytesIO(bytes.fromhex(_PIXEL))
    picture = first.shapes.add_picture(image, Inches(1), Inches(5))
    picture._element.nvPicPr.cNvPr.set("descr", "A [map]")  # noqa: SLF001 the library has no other way
    first.notes_slide.notes_text_frame.text = notes
    second = deck.slides.add_slide(deck.slide_layouts[1])
    second.shapes.title.text, second.placeholders[1].text = "Second", points
    deck.core_properties.title, deck.core_properties.author = title, "Ada"
    made = io.BytesIO()
    deck.save(made)
    return made.getvalue()

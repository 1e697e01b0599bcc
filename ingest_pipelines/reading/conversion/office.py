"""Converts DOCX files by mammoth, and PPTX files by markitdown. Neither opens another file or an address."""

from __future__ import annotations

import io
import re
import zipfile
from typing import IO, Any, BinaryIO, cast

import mammoth
import pptx
from bs4 import BeautifulSoup
from lxml import etree
from markitdown import StreamInfo
from markitdown.converter_utils.docx.pre_process import pre_process_docx
from markitdown.converters import PptxConverter

from .cleaning import MEANT, clean, markdown_table, only_meant, own_title
from .converted import Converted, UnreadableError
from .web import markdown_of

MOST_UNPACKED = 256 * 1024 * 1024
"""Most bytes of XML that a file may unpack to."""

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_OF_MARKITDOWN = ("### Notes:", "### Chart")
"""Headings that markitdown writes."""
_SIMPLE_FIELD = re.compile(rb"""</?w:fldSimple(?:[^>"']|"[^"]*"|'[^']*')*>""")
"""Stands around the text of a field, such as the number of a caption. mammoth leaves out what is in it."""
_SLIDE = re.compile(r"^<!-- Slide number: \d+ -->$", re.MULTILINE)
_TABLE_AFTER_TEXT = re.compile(r"^([^|\n].*)\n(?=\|)", re.MULTILINE)

_NAMES = {
    "title": "{http://purl.org/dc/elements/1.1/}title",
    "author": "{http://purl.org/dc/elements/1.1/}creator",
    "subject": "{http://purl.org/dc/elements/1.1/}subject",
    "description": "{http://purl.org/dc/elements/1.1/}description",
    "language": "{http://purl.org/dc/elements/1.1/}language",
    "keywords": "{http://schemas.openxmlformats.org/package/2006/metadata/core-properties}keywords",
    "created": "{http://purl.org/dc/terms/}created",
    "modified": "{http://purl.org/dc/terms/}modified",
}


def convert_office(stream: IO[bytes], suffix: str) -> Converted:
    """Return the text of a DOCX or PPTX file.

    Raises UnreadableError for a file that is protected, broken or too large when unpacked, and for one
    without text.
    """
    try:
        slim = _without_media(stream)
        said = _core_properties(slim)
        slim.seek(0)
        text = _docx(slim) if suffix == ".docx" else _pptx(slim)
    except (UnreadableError, MemoryError, RecursionError):
        raise
    except Exception as error:  # the libraries raise errors of many kinds for broken files
        name = suffix[1:].upper()
        raise UnreadableError(
            f"not a {name} file that can be read ({type(error).__name__}: {error})"
        ) from error
    if not text.strip():
        raise UnreadableError("it holds no text")
    return Converted(text, own_title(said.pop("title", "")), said)


def _docx(archive: IO[bytes]) -> str:
    """Return the text of a DOCX file; markitdown's first step writes its formulas as LaTeX."""
    html = mammoth.convert_to_html(pre_process_docx(cast("BinaryIO", archive)), external_file_access=False)
    return markdown_of(BeautifulSoup(html.value, "lxml"))


class _Pptx(PptxConverter):
    """Writes ``|`` in the cells of tables as Markdown has it, and of a picture only its description."""

    def _convert_table_to_markdown(self, table: Any, **_: Any) -> str:  # noqa: ANN401 of python-pptx
        return markdown_table([[cell.text for cell in row.cells] for row in table.rows]) + "\n"

    def _convert_chart_to_markdown(self, chart: Any, **_: Any) -> str:  # noqa: ANN401 of python-pptx
        table = str(super()._convert_chart_to_markdown(chart))  # type: ignore[no-untyped-call]
        return table.replace("| None |", "|  |").replace("| None |", "|  |") + "\n\n"

    def _convert_picture_to_markdown(self, shape: Any, **_: Any) -> str:  # noqa: ANN401 of python-pptx
        described = shape._element.xpath(".//p:cNvPr/@descr")  # noqa: SLF001 as markitdown does
        return "\n" + " ".join(" ".join(described).split()) + "\n"


def _pptx(archive: IO[bytes]) -> str:
    converter: Any = _Pptx
    converted = converter().convert(archive, StreamInfo(extension=".pptx"))
    archive.seek(0)
    titles = [slide.shapes.title for slide in pptx.Presentation(cast("BinaryIO", archive)).slides]
    headings = {clean(f"# {title.text.lstrip()}").split("\n")[0] for title in titles if title is not None}
    text = clean(_SLIDE.sub("", converted.markdown).replace(MEANT, ""))
    meant = "\n".join(
        f"{MEANT}{line}" if line in headings or line.startswith(_OF_MARKITDOWN) else line
        for line in text.split("\n")
    )
    return _TABLE_AFTER_TEXT.sub(r"\1\n\n", only_meant(meant))


def _without_media(stream: IO[bytes]) -> io.BytesIO:
    """Return the archive with empty pictures, films and fonts, which give no text.

    The sizes are those of the archive's directory; Python unpacks no more than they say.
    """
    if stream.read(len(_OLE)) == _OLE:
        raise UnreadableError(
            "it is protected by a password, or in the format of Office before 2007; save it as DOCX or PPTX "
            "without a password"
        )
    slim = io.BytesIO()
    with zipfile.ZipFile(stream) as archive, zipfile.ZipFile(slim, "w") as copy:
        parts = [part for part in archive.infolist() if part.filename.endswith((".xml", ".rels"))]
        if (size := sum(part.file_size for part in parts)) > MOST_UNPACKED:
            raise UnreadableError(
                f"it unpacks to {size >> 20} MB of XML; at most {MOST_UNPACKED >> 20} MB are read; split it"
            )
        texts = {part.filename for part in parts}
        for part in archive.infolist():
            content = archive.read(part) if part.filename in texts else b""
            copy.writestr(part.filename, _SIMPLE_FIELD.sub(b"", content))
    slim.seek(0)
    return slim


def _core_properties(slim: IO[bytes]) -> dict[str, Any]:
    """Return what ``docProps/core.xml`` says: title, author, dates. An unreadable one says nothing."""
    with zipfile.ZipFile(slim) as archive:
        try:
            content = archive.read("docProps/core.xml")
            root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
        except (KeyError, etree.XMLSyntaxError):
            return {}
    found = {key: clean(root.findtext(name) or "").strip() for key, name in _NAMES.items()}
    return {key: value for key, value in found.items() if value}

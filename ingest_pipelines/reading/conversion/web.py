"""Converts HTML by Beautiful Soup and markdownify, as markitdown does, without what is no text."""

from __future__ import annotations

import codecs
import re
from typing import IO, Any
from urllib.parse import urlsplit

import markdownify
from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from bs4.element import CData, PreformattedString
from charset_normalizer import from_bytes

from ..encodings import is_broken_utf8
from .cleaning import MEANT, clean, only_meant, own_title
from .converted import Converted, UnreadableError

_NOISE = (
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "svg",
    "canvas",
    "iframe",
    "object",
    "embed",
    "audio",
    "video",
    "title",
    "meta",
    "link",
)
_UNSEEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_TICKS = re.compile(r"^\s*(```+)", re.MULTILINE)
_HIDDEN = "[hidden], [role=navigation], [aria-hidden=true]"

_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
}
"""What browsers read under these names, as the Encoding Standard of the WHATWG says."""

_META = {
    "author": ("author", "article:author", "dc.creator"),
    "description": ("description", "og:description", "dc.description"),
    "keywords": ("keywords",),
    "created": ("article:published_time", "date", "dc.date", "dcterms.created", "datepublished"),
    "modified": ("article:modified_time", "last-modified", "dcterms.modified", "datemodified"),
}


class _Markdown(markdownify.MarkdownConverter):
    """Keeps the addresses of links that begin with http, and the descriptions of images."""

    def convert_a(self, element: Tag, text: str, parent_tags: set[str]) -> str:
        if _absolute(str(element.get("href") or "")):
            return str(super().convert_a(element, text, parent_tags))  # type: ignore[misc]  # it has no types
        return text

    def convert_hN(self, n: int, el: Tag, text: str, parent_tags: set[str]) -> str:  # noqa: N802
        return str(super().convert_hN(n, el, text, parent_tags)).replace("\n#", f"\n{MEANT}#", 1)  # type: ignore[misc]

    def convert_pre(self, element: Tag, text: str, parent_tags: set[str]) -> str:  # noqa: ARG002
        fence = "`" * (max(map(len, _TICKS.findall(text)), default=2) + 1)
        text = text.strip("\n")
        return f"\n\n{MEANT}{fence}\n{text}\n{MEANT}{fence}\n\n" if text else ""

    def convert_td(self, element: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(element, _in_cell(text), parent_tags))  # type: ignore[misc]

    def convert_th(self, element: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(element, _in_cell(text), parent_tags))  # type: ignore[misc]

    def convert_img(self, element: Tag, text: str, parent_tags: set[str]) -> str:  # noqa: ARG002
        return " ".join(str(element.get("alt") or "").split())


def _block(converter: _Markdown, element: Tag, text: str, parent_tags: set[str]) -> str:
    return str(converter.convert_div(element, text, parent_tags))  # type: ignore[attr-defined]  # it has no types


def _word(converter: _Markdown, element: Tag, text: str, parent_tags: set[str]) -> str:  # noqa: ARG001
    return f" {text.strip()} " if text.strip() else ""


_BLOCKS = """
address aside details dialog fieldset figure footer form header hgroup legend main menu optgroup search select
summary
"""
_WORDS = "button label option output"
for _tag in _BLOCKS.split():
    setattr(_Markdown, f"convert_{_tag}", _block)
for _tag in _WORDS.split():
    setattr(_Markdown, f"convert_{_tag}", _word)


def _in_cell(text: str) -> str:
    """Return the text of a cell without what would end the cell or its row."""
    return text.strip().replace("|", "\\|")


def _absolute(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:
        return False


def convert_html(stream: IO[bytes], encoding: str | None = None) -> Converted:
    """Return the text of a page without its scripts, navigation and images.

    ``encoding`` is the one that the caller named. Raises UnreadableError for a page without text.
    """
    page, notes = _decoded(stream.read(), encoding)
    soup = BeautifulSoup(page.replace("\0", "").replace(MEANT, ""), "lxml")
    title = own_title(soup.title.get_text(" ", strip=True)) if soup.title else ""
    metadata = _metadata(soup)
    for noise in soup.find_all(_NOISE):
        noise.decompose()
    for noise in soup.select(_HIDDEN):
        noise.decompose()
    for styled in soup.select("body [style]"):
        if not styled.decomposed and _UNSEEN.search(str(styled["style"])):
            styled.decompose()
    for string in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        if not isinstance(string, CData):  # comments, and what stands in <? ?> and <! >
            string.extract()
    text = markdown_of(soup)
    if not text.strip():
        raise UnreadableError("it holds no text; a page that a script fills in the browser holds none itself")
    return Converted(text, title, metadata, notes)


def markdown_of(soup: BeautifulSoup) -> str:
    """Return HTML as clean Markdown. Punctuation is not escaped: searches would find the parts of words."""
    markdown = _Markdown(
        heading_style=markdownify.ATX,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        table_infer_header=True,
    ).convert_soup(soup.body or soup)
    return only_meant(clean(str(markdown)))


def _decoded(content: bytes, encoding: str | None) -> tuple[str, list[str]]:
    """Return the page as text, and what to tell of it.

    Its encoding is that of the byte order mark, or the caller's, or what the page says, or UTF-8, or guessed.
    Raises UnreadableError when none fits.
    """
    content, marked = EncodingDetector.strip_byte_order_mark(content)
    declared = EncodingDetector.find_declared_encoding(content, is_html=True, search_entire_document=False)
    said = marked or encoding or (_wider(declared) if declared else None)
    for name in (said,) if encoding else (said, "utf-8"):
        try:
            if name:
                return content.decode(name), []
        except UnicodeDecodeError:
            continue
    if said in _WITH_GAPS and not encoding:
        return content.decode(said, "es_rerank.controls"), []
    best = None if encoding or is_broken_utf8(content) else from_bytes(content).best()
    if best is None:
        raise UnreadableError(
            f"it holds bytes that are not {said or 'UTF-8'}; save it as UTF-8, or name its --encoding"
        )
    return str(best), [f"read as {best.encoding}, which is guessed; --encoding names another"]


_WITH_GAPS = ("cp1252", "cp1254", "cp874")
"""Encodings in which some bytes are no character. Browsers read them as control characters."""


def _as_controls(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("es_rerank.controls", _as_controls)


def _wider(name: str) -> str | None:
    """Return the encoding that browsers read under this name, None for a name that is not known."""
    try:
        known = codecs.lookup(name).name
        b"".decode(known)  # base64 and other codecs that give no text
    except LookupError:
        return None
    # A page that says so in ASCII is not in UTF-16.
    return "utf-8" if known.startswith("utf-16") else _WIDER.get(known, known)


def _metadata(soup: BeautifulSoup) -> dict[str, Any]:
    """Return what the page says of itself: language, author, description, keywords, dates."""
    said: dict[str, str] = {}
    for meta in soup.find_all("meta"):
        name = str(meta.get("name") or meta.get("property") or meta.get("itemprop") or "").lower()
        said.setdefault(name, clean(str(meta.get("content") or "")).strip())
    found: dict[str, Any] = {}
    language = soup.html.get("lang") or soup.html.get("xml:lang") if soup.html else None
    if language:
        found["language"] = re.sub(r"\s", "", str(language))
    for key, names in _META.items():
        if value := next((said[name] for name in names if said.get(name)), ""):
            found[key] = value
    return {key: value for key, value in found.items() if value}

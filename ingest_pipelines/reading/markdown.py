"""Reads Markdown with its front matter: YAML between lines of ``---``, TOML between lines of ``+++``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from es_rerank.collection import Document

from ..rejects import Reject
from .encodings import read_text
from .fields import value_at
from .files import FoundFile
from .plain_values import MOST_VALUES, NoMetadataError, chosen_metadata, plain_metadata

MARKDOWN = (".md", ".markdown", ".mdown", ".mkd", ".mdx")
"""Ends of the names of such files."""

_MOST_FRONT_MATTER = 256 * 1024
"""Most characters of front matter."""

_OPENING = re.compile(r"(---|\+\+\+)[ \t]*\n")
_LOOKS_LIKE_A_KEY = {
    "---": re.compile(
        r"""(?:[ \t]*(?:#.*)?\n)*(?:"[^"\n]*"|'[^'\n]*'|[\w./-]+(?: [\w./-]+){0,2})[ ]*:(?:\s|$)"""
    ),
    "+++": re.compile(r"""(?:[ \t]*(?:#.*)?\n)*[ \t]*(?:\[|[^\s=][^=\n]*=)"""),
}
_MOST_DOTS = 1_000
"""Most dots in a line of TOML: for a dotted key, tomllib needs memory with the square of its parts, which is
gigabytes for 80 kB of them."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#[ \t]")
_MOST_TITLE = 1000
"""Most characters of a heading that may be a title."""
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")
_MARKUP = re.compile(r"[*`]+|\{#[^}]*\}$|!?\[([^\]]*)\]\([^)]*\)")
_DATA_URI = re.compile(r"(\]\([ \t]*<?)data:[^)\s>]*|(\b(?:src|href)=[\"'])data:[^\"']*")


class _FrontMatterError(ValueError):
    """Front matter is broken. ``line`` counts from 1 in the file."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def read_markdown(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the document of the file, or the reject that says why there is none.

    The title is ``title`` of the front matter, else the first heading of level 1, which stays in the text
    too, else the file's name. All other front matter becomes metadata. Front matter that cannot be read is a
    reject with its line: as text, its values would be lost to filters without a word. What only looks like
    its first line, a rule at the beginning of a text, is text.
    """
    try:
        values, body = _parted(read_text(file))
        values = plain_metadata(values)
    except _FrontMatterError as error:
        yield file.reject(str(error), error.line)
        return
    except NoMetadataError as error:
        yield file.reject(f"front matter: {error}", 1)
        return
    body = _DATA_URI.sub(r"\1\2", body).strip("\n")
    if not body.strip():
        yield file.reject("it holds front matter, but no text")
        return
    title = _own(values, file.fields.title or "title", file)
    identifier = _own(values, file.fields.id, file) if file.fields.id else ""
    metadata = chosen_metadata(values, file)
    document = file.document(
        body, title=title or first_heading(body) or file.stem, metadata=metadata, format="markdown"
    )
    yield document._replace(id=identifier) if identifier else document


def _own(values: dict[str, Any], name: str, file: FoundFile) -> str:
    """Take a value that is one text or number out of the front matter; empty if there is none."""
    value = value_at(values, name)
    if isinstance(value, bool | dict | list) or value is None or not str(value).strip():
        return ""
    values.pop(name, None)
    file.notes.found.add(name)
    return " ".join(str(value).split())


def _parted(text: str) -> tuple[dict[str, Any], str]:
    """Return the values of the front matter, and the text after it.

    Raises _FrontMatterError when front matter begins but cannot be read.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    opening = _OPENING.match(text)
    if opening is None or not _LOOKS_LIKE_A_KEY[opening[1]].match(text, opening.end()):
        return {}, text
    end = re.compile(r"^(?:---|\.\.\.)[ \t]*$" if opening[1] == "---" else r"^\+\+\+[ \t]*$", re.MULTILINE)
    closing = end.search(text, opening.end())
    if closing is None:
        raise _FrontMatterError(f"front matter begins, but no line of {opening[1]} ends it", 1)
    source = text[opening.end() : closing.start()]
    if len(source) > _MOST_FRONT_MATTER:
        raise _FrontMatterError(
            f"front matter of {len(source)} characters, at most {_MOST_FRONT_MATTER} are read", 1
        )
    values = _yaml(source) if opening[1] == "---" else _toml(source)
    return values, text[closing.end() :]


def _yaml(source: str) -> dict[str, Any]:
    try:
        values = yaml.load(source, _Loader)  # noqa: S506  # nosec B506 a SafeLoader with fewer types
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise _FrontMatterError(
            f"front matter is not YAML: {error.problem or error.context}", line
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _FrontMatterError(f"front matter is not YAML: {error or type(error).__name__}", 2) from error
    if not isinstance(values, dict):
        raise _FrontMatterError("front matter holds no keys with values", 2)
    return values


def _toml(source: str) -> dict[str, Any]:
    for number, text in enumerate(source.split("\n"), 2):
        if text.count(".") > _MOST_DOTS:
            raise _FrontMatterError(f"front matter has a line of more than {_MOST_DOTS} dots", number)
    try:
        return tomllib.loads(source)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) + 1 if place else 2
        raise _FrontMatterError(f"front matter is not TOML: {error}", line) from error


class _Loader(yaml.SafeLoader):
    """Reads plain values as YAML 1.2 does: ``no`` is a text, and ``12:30`` is not 750.

    What mappings take from others (``<<``) is limited: a few lines can stand for billions of values.
    """

    _merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MOST_VALUES} values are merged", node.start_mark
            )


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.removeprefix(_TAG) in ("timestamp", "null", "merge")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


def first_heading(markdown: str) -> str:
    """Return the first heading of level 1 that is not in a block of code, without markup; empty if none."""
    fence = before = ""
    for line in markdown.split("\n"):
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            before = ""
        elif not fence:
            found = before if before and _UNDERLINE.match(line) else ""
            if _ATX.match(line):
                found = line.strip(" \t")[1:].lstrip(" \t")
                if (unclosed := found.rstrip("#")).endswith((" ", "\t")):
                    found = unclosed
            if plain := _plain(found[:_MOST_TITLE]):
                return plain
            before = line if line.strip() and not line.startswith("    ") else ""
    return ""


def _plain(heading: str) -> str:
    return " ".join(_MARKUP.sub(lambda found: found[1] or "", heading).split())

"""Reads Markdown with its front matter: YAML between lines of ``---``, TOML between lines of ``+++``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from es_rerank.collection import Document
from es_rerank.text.markdown import first_heading

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
_DATA_URI = re.compile(
    r"""(\]\([ \t]*<?)data:[^)\s>]*"""
    r"""|(^[ ]{0,3}\[[^\]\n]{1,999}\]:[ \t]*\n?[ \t]*<?)data:[^\s>]*"""
    r"""|(\b(?:src|srcset|href|poster)[ \t\n]{0,9}=[ \t\n]{0,9}|\burl\([ \t]{0,9})"""
    r"""(?:(")data:[^"]*|(')data:[^']*|data:[\w.+-]+/[^\s"'>)]*)"""
    r"""|data:[\w.+/-]*(?:;[\w=.+-]+){0,9};base64,[A-Za-z0-9+/=_%-]{100,}""",
    re.MULTILINE | re.IGNORECASE,
)
"""A picture as data: in a link, in the definition of a link, in HTML and CSS, and long base64 anywhere."""


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
    body = _DATA_URI.sub(lambda found: "".join(filter(None, found.groups())), body).strip("\n")
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
        values = yaml.load(source, _Loader)  # noqa: S506 a SafeLoader with fewer types  # nosec B506
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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # an impossible date: the error of PyYAML itself does not say where
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def _time(_: _Loader, node: yaml.ScalarNode) -> datetime:
    return datetime.fromisoformat(re.sub(r"[ \t]+(?=[-+Z])", "", node.value))


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
_Loader.add_implicit_resolver(
    "!time",
    re.compile(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
        r"(?:[ \t]*(?:Z|[-+][0-9]{2}:?[0-9]{2}))?$"
    ),
    list("0123456789"),
)
"""Times that YAML does not know: without seconds, and with ``+0800`` as Jekyll writes it."""
_Loader.add_constructor("!time", _time)

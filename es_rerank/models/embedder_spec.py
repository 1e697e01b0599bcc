"""Parses the name by which a user asks for an embedder. Everything that such a name means is read here.

A name is one of these:

- the name of a bundled or installed model, a folder, or a Hub id: ``local``
- ``openai:MODEL``: a model of OpenAI's, or of the server at ``ES_RERANK_OPENAI_URL``
- ``cohere:MODEL``: a model that Cohere hosts
- ``remote:URL``: an embedding service, such as another sidecar; its dialect is found by a trial
- ``remote:DIALECT:URL``: one of a dialect of ``dialects.asking_vectors``

The last four take options as an address does: ``openai:text-embedding-3-small?dims=512``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from ..dialects.asking_vectors import VECTORS_BY_NAME
from ..errors import SettingsError
from .spec import WORDS_BEFORE_URL, check_dialect

EmbedderKind = Literal["local", "openai", "cohere", "remote"]

_HOSTED: tuple[EmbedderKind, ...] = ("openai", "cohere", "remote")

_COUNTS = ("dims", "room")
_PREFIXES = ("query_prefix", "passage_prefix")

MOST_INDEXED_DIMS = 4_096
"""Elasticsearch's limit for the dimensions of a ``dense_vector``."""


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """A parsed name of an embedder.

    ``text``: the whole name. ``model``: the name, folder, Hub id, model or address, without the options.
    ``dialect``: the one that the name of a service states. ``dims``: how many dimensions the service is asked
    for. ``room``: how many tokens of a passage the model reads. ``query_prefix`` and ``passage_prefix``: what
    is put before each query and passage. None or "" where the name does not state it.
    """

    text: str
    kind: EmbedderKind
    model: str
    dialect: str | None = None
    dims: int | None = None
    room: int | None = None
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def hosted(self) -> bool:
        """Whether the embedder sends text to another machine."""
        return self.kind != "local"

    def name_with(self, model: str) -> str:
        """Return the name that an index records for ``model``: prefixes are a part of it, because other
        prefixes make other vectors.
        """
        parts = {name: getattr(self, name) for name in _PREFIXES if getattr(self, name)}
        return f"{model}?{urlencode(parts)}" if parts else model


def parse_embedder(name: str | Path) -> EmbedderSpec:
    """Return what the name of an embedder means.

    Raises SettingsError for a name of a service that states nothing behind the colon, a dialect that there is
    not, or an option without a value that it takes.
    """
    text = str(name)
    prefix, colon, rest = text.partition(":")
    kind = next((kind for kind in _HOSTED if colon and kind == prefix), None)
    if kind is None:
        return EmbedderSpec(text, "local", text)
    dialect: str | None = None
    if kind == "remote" and (stated := WORDS_BEFORE_URL.match(rest)) is not None:
        dialect, scale = stated.groups()
        check_dialect(stated[0], dialect, VECTORS_BY_NAME)
        if scale is not None:
            raise SettingsError(f"remote: takes no scale for vectors; write remote:{dialect}:URL")
        rest = rest[stated.end() :]
    model, options = _options(rest, kind)
    if not model:
        raise SettingsError(
            f"{kind}: names nothing behind the colon; write openai:MODEL, cohere:MODEL or remote:URL"
        )
    dims, room = (_count(key, options.get(key), kind) for key in _COUNTS)
    if dims is not None and dims > MOST_INDEXED_DIMS:
        raise SettingsError(f"?dims= is over {MOST_INDEXED_DIMS}, the most that Elasticsearch indexes")
    query_prefix, passage_prefix = (options.get(key, "") for key in _PREFIXES)
    return EmbedderSpec(text, kind, model, dialect, dims, room, query_prefix, passage_prefix)


def _options(rest: str, kind: EmbedderKind) -> tuple[str, dict[str, str]]:
    """Return what stands before the options, and the options; other parameters of an address stay in it."""
    before, sign, query = rest.partition("?")
    if not sign:
        return rest, {}
    known = (*_COUNTS, *_PREFIXES)
    pairs = parse_qsl(query, keep_blank_values=True)
    options = {key: value for key, value in pairs if key in known}
    others = [(key, value) for key, value in pairs if key not in known]
    if kind != "remote" and others:
        raise SettingsError(
            f"{kind}: takes no option {others[0][0]}; the options are {', '.join(known)}, as in "
            f"{kind}:MODEL?dims=512"
        )
    if not options:
        return rest, {}
    return (f"{before}?{urlencode(others)}" if others else before), options


def _count(key: str, value: str | None, kind: EmbedderKind) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0):
        raise SettingsError(f"{kind}: takes ?{key}= with a whole number over 0, found {value[:40]!r}")
    return int(value)

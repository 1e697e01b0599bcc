"""In which format a caller is told of an error, by the path that it asks: one table of every path that has a
format of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from . import tei, weaviate
from .failures import Failure
from .table import DIALECTS
from .vectors import BY_PATH, openai_error


class Spoken(Protocol):
    """A format of errors."""

    @property
    def error(self) -> Callable[[str, Failure, int], dict[str, Any]]:
        """Return the body of an error, from its message, its row in the table of errors and its status."""

    @property
    def tei_status(self) -> bool:
        """Whether the status of an error is TEI's."""


class _OfAbout(NamedTuple):
    """The format of a path that tells about the sidecar."""

    error: Callable[[str, Failure, int], dict[str, Any]]
    tei_status: bool = False


_ABOUT = {
    "/info": _OfAbout(tei.error, tei_status=True),
    "/health": _OfAbout(tei.error, tei_status=True),
    "/v1/models": _OfAbout(openai_error),
    "/weaviate/.well-known/ready": _OfAbout(weaviate.error),
    "/weaviate/meta": _OfAbout(weaviate.error),
}
_OWN: dict[str, Spoken] = {
    **{path: dialect for dialect in DIALECTS for path in dialect.own_paths},
    **BY_PATH,
    **_ABOUT,
}
_ONE_MODEL = "/v1/models/"
_SLASHES = re.compile("/+")


def with_single_slashes(path: str) -> str:
    """Return a path without empty parts, and without slashes at the end.

    Clients put their path behind an address, which a user may have ended with a slash: ``//rerank``.
    """
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _known(path: str) -> str:
    path = with_single_slashes(path)
    return "/v1/models" if path.startswith(_ONE_MODEL) else path


def methods_of(path: str) -> tuple[str, ...]:
    """Return the methods that are served at a path with a format of its own."""
    known = _known(path)
    if known not in _ABOUT:
        return ("POST",)
    return ("GET",) if is_index(known, "HEAD") else ("GET", "HEAD")


def is_index(path: str, method: str) -> bool:
    """Whether Elasticsearch is asked if it has an index: ``HEAD`` of a single name."""
    return method == "HEAD" and path.count("/") == 1


def spoken_at(path: str, method: str) -> Spoken | None:
    """Return the format of requests to a path; None for that of Elasticsearch.

    ``/`` is TEI's for ``POST`` alone: with other methods it is Elasticsearch's own path.
    """
    path = _known(path)
    if path == "/" and method != "POST":
        return None
    return _OWN.get(path)


_MEANT = {
    "rerank": "/v1/rerank",
    "reranking": "/v1/reranking",
    "ranking": "/v1/ranking",
    "score": "/v1/score",
    "embeddings": "/v1/embeddings",
    "embedding": "/v1/embeddings",
    "embed": "/embed",
    "models": "/v1/models",
    "info": "/info",
    "health": "/health",
}
_VERSION = re.compile(r"v\d+")
_WORDS = frozenset(
    {*_MEANT, *(name for path in _OWN for name in path.split("/")), "api", "inference", "jina", "openai"}
)
"""Names of paths that tell nothing of an index or a document."""
_MOST_NAMES = 8
"""How many names of a path are shown at most, from its end."""


class Meant(NamedTuple):
    """What a request to a path that is not served may have been meant for: the path, the format of its
    errors, and the status of the answer.
    """

    path: str
    format: Spoken
    status: int


def meant_by(path: str, method: str) -> Meant | None:
    """Return what a client of another server wants at a path that is not served, such as ``/api/rerank``.

    The last name of the path tells, versions behind it aside. None for a path that may be one of
    Elasticsearch: its own names begin with ``_``. The status is 404, which such a client tells its user as a
    wrong address: many clients try 5xx again. It is 501 where a client of Elasticsearch may ask for an index,
    by its name alone: it would take 404 for the answer that there is no such index.
    """
    names = with_single_slashes(path).lower().strip("/").split("/")
    if any(name.startswith(("_", "%5f")) for name in names):
        return None
    status = 404 if len(names) > 1 or method == "POST" else 501
    while len(names) > 1 and _VERSION.fullmatch(names[-1]):
        names.pop()
    usual = _MEANT.get(names[-1])
    if usual is None:
        return None
    if usual == "/embed" and any(map(_VERSION.fullmatch, names)):
        usual = "/v1/embed"  # Cohere's, TEI's has no version
    ends = ("/" + "/".join(names[start:]) for start in range(len(names) - 1))
    found = next((end for end in ends if end in _OWN), usual)
    return Meant(found, _OWN[found], status)


def shape_of_wrong(path: str, method: str) -> str | None:
    """Return the shape of a path that ``meant_by`` takes for a wrong address of a model's client, else None.

    Words of such addresses and versions stay: ``/v3/rerank``. Each other name becomes ``*``, since it may be
    that of an index: ``/*/rerank``.
    """
    meant = meant_by(path, method)
    if meant is None or meant.status != 404:
        return None
    names = with_single_slashes(path).lower().strip("/").split("/")[-_MOST_NAMES:]
    known = (name if name in _WORDS or re.fullmatch(r"v\d{1,2}", name) else "*" for name in names)
    return "/" + "/".join(known)

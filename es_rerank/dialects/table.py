"""The formats in which the sidecar can be asked for scores, as one table, and how a request finds its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import infinity, nvidia, pairs, results, tei, weaviate
from .failures import Failure
from .reading import check_one_of
from .request import Asked, Scored

_OF_TEI = ("/rerank",)
_OF_NVIDIA_TOO = ("/reranking", "/v1/reranking")
_OF_COHERE = ("/v1/rerank", "/v2/rerank", *_OF_NVIDIA_TOO)

OF_BOTH = "/"
"""The path where TEI does what its model can: it gives scores or vectors."""


class Dialect(NamedTuple):
    """A format of requests, answers and errors.

    ``own_paths``: where a request is in this format unless its keys say otherwise. ``more_paths``: where it
    is in this format if it holds ``key``. ``read``: returns what a request asks for. ``write``: returns the
    answer; it gets the version that the path names. ``error``: returns the body of an error, from its
    message, its row in the table of errors and its status. ``tei_status``: whether the status of an error is
    TEI's.
    """

    name: str
    own_paths: tuple[str, ...]
    more_paths: tuple[str, ...]
    key: str | None
    read: Callable[[Mapping[str, Any]], Asked]
    write: Callable[[Asked, Scored, str], Any]
    error: Callable[[str, Failure, int], dict[str, Any]]
    tei_status: bool = False


DIALECTS = (
    Dialect("tei", _OF_TEI, (*_OF_COHERE, OF_BOTH), "texts", tei.read, tei.write, tei.error, tei_status=True),
    Dialect("results", _OF_COHERE, _OF_TEI, "documents", results.read, results.write, results.error),
    Dialect("score", ("/score", "/v1/score"), (), None, pairs.read, pairs.write, results.error),
    Dialect("nvidia", ("/v1/ranking",), _OF_NVIDIA_TOO, "passages", nvidia.read, nvidia.write, results.error),
    Dialect("infinity", ("/infinity/rerank",), (), None, infinity.read, infinity.write, infinity.error),
    Dialect("weaviate", ("/weaviate/rerank",), (), None, weaviate.read, weaviate.write, weaviate.error),
)
"""Every format. Only keys that a request cannot do without tell them apart, so that a request with fewer
optional keys is in the same format."""

_TEXTS = ("texts", "documents", "passages", "inputs", "text_2", "data_2")
"""The keys that hold the texts in one of these formats, and TEI's for texts to embed."""

PATHS = tuple(path for dialect in DIALECTS for path in dialect.own_paths)
"""Every path that a format has."""


def dialect_on(path: str) -> Dialect | None:
    """Return the format of requests to ``path`` whose keys are not known; None for a path of no format."""
    return next((dialect for dialect in DIALECTS if path in dialect.own_paths), None)


def dialect_of(path: str, body: Mapping[str, Any]) -> Dialect:
    """Return the format of a request to one of ``PATHS``. A key whose value is null counts as left out.

    Raises AmbiguousRequestError when the request holds the texts of two formats, on any path: one of them
    would be left out.
    """
    check_one_of(body, _TEXTS)
    spoken = [dialect for dialect in DIALECTS if path in (*dialect.own_paths, *dialect.more_paths)]
    found = next((each for each in spoken if each.key is not None and body.get(each.key) is not None), None)
    return found or next((each for each in spoken if path in each.own_paths), spoken[0])


def asks_for_scores(path: str, body: Mapping[str, Any]) -> bool:
    """Whether a request to a path for vectors asks for scores: to ``OF_BOTH``, with what TEI's rerank
    requests hold.
    """
    texts, query, vectors = (body.get(key) is not None for key in ("texts", "query", "inputs"))
    return path == OF_BOTH and (texts or (query and not vectors))


def version_of(path: str) -> str:
    """Return the version that a path names, 1 where it names none."""
    return "2" if path.startswith("/v2/") else "1"

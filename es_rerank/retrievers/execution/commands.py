"""The commands that the steps of a search yield, and the context in which a search runs. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from elasticsearch import ApiError, TransportError

from ...defaults import PluginUse
from ...errors import RequestError
from ...observation import Stage
from ...text.strategies import ChunkingSettings
from ...types import Candidate, FirstStageScores
from ..planning.index_schema import IndexSchema
from ..response.answer import SearchStats
from .leaf_failures import Place
from .plugin_info import PluginCache
from .product import VersionCheck
from .served import ServedModels

T = TypeVar("T")


LOOK: Stage = "mapping"
"""The stage of the requests that find out what the indices of a search are."""


@dataclass(frozen=True, slots=True)
class EsRequest:
    """One request to Elasticsearch. Its result is the body of the answer.

    ``stage`` is its name in the statistics. If ``body`` is a list, each item is sent as one line of JSON.
    ``lines``: whether ``body`` is the bytes of such lines.
    ``places``: for searches of the first stage, the places of their leaves in the tree.
    """

    stage: Stage
    method: str
    path: str
    body: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    lines: bool = False

    @property
    def has_lines(self) -> bool:
        """Whether the body is lines of JSON, each a text of its own."""
        return self.lines or isinstance(self.body, list)


MakeRequest = Callable[[Stage, dict[str, Any]], EsRequest]
"""A function from the stage (see ``EsRequest``) and the body of a search to its request."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A search that Elasticsearch runs as a whole. The arguments are those of ``Elasticsearch.search``.

    ``bounded``: whether it ends at the deadline of the search. A search in which es-rerank has no part has
    the client's own request timeout.
    """

    arguments: dict[str, Any]
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class FindPlugin:
    """Asks what is known about the plugin of Elasticsearch. Fresh knowledge comes from the cache.

    ``again``: ask Elasticsearch all the same.
    """

    again: bool = False


@dataclass(frozen=True, slots=True)
class FindVersion:
    """Asks Elasticsearch for its version. It has no result."""


@dataclass(frozen=True, slots=True)
class SearchInside:
    """A search that Elasticsearch runs as a whole with its plugin. Its result is the response.

    It is sent once: an error of the plugin or of its sidecar is not tried again.
    """

    path: str
    body: dict[str, Any] | bytes
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EmbedQuery:
    """Asks for the query vector of a text. ``model`` is the name of an embedder."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class ScoreTexts:
    """Asks for the scores of texts. ``model`` is the ``inference_id`` of a reranker.

    ``whole``: the scores are of use only if all texts have one. ``first_stage``: what is known of the window,
    for a reranker that makes use of it.
    """

    query: str
    texts: list[str]
    model: str
    whole: bool = False
    first_stage: FirstStageScores | None = None


@dataclass(frozen=True, slots=True)
class AdmitTexts:
    """Asks to admit the cutting and the scoring of texts as one. It has no result.

    ``texts``: what will be scored, about. ``most_parts``: how many parts are scored of one that is too long,
    None for all. ``whole`` is that of the ``ScoreTexts`` that follows, which ends the admission.
    """

    query: str
    texts: Sequence[str]
    model: str
    most_parts: int | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class SplitLongTexts:
    """Asks to cut whole texts that are too long for the reranker ``model`` into parts. The result is
    candidates.
    """

    query: str
    candidates: Sequence[Candidate]
    model: str


@dataclass(frozen=True, slots=True)
class ChunkTexts:
    """Asks for the chunks of each text that are nearest to a query, at most ``size`` for each text."""

    query: str
    texts: Sequence[str]
    chunking: ChunkingSettings
    size: int


Command = (
    EsRequest
    | Forward
    | FindPlugin
    | FindVersion
    | SearchInside
    | EmbedQuery
    | AdmitTexts
    | SplitLongTexts
    | ChunkTexts
    | ScoreTexts
)
Steps = Generator[Command, Any, T]


@dataclass(slots=True)
class Context:
    """Everything outside the request that a search needs.

    ``index``: the index expression. ``parameters``: the query parameters. ``deadline``: absolute, in seconds
    of ``time.monotonic()``. ``elasticsearch_runs``: the parts of a tree that Elasticsearch runs itself.
    ``plugin``: when the search runs inside Elasticsearch. ``plugins``: what is known about its plugin.
    ``version``: whether its version was asked for. ``default_reranker``: the reranker of the plugin's sidecar
    that runs where the tree names none, if it is known.
    ``schema``: what this search has read of its indices. ``moved``: whether it runs again because they
    changed meanwhile. ``opened``: the id of the point in time that the search has opened and not closed yet.
    If the steps fail, the code that runs them closes it. ``admission``: the work that was admitted as one.
    """

    index: str | None
    parameters: dict[str, Any]
    served: ServedModels
    stats: SearchStats
    deadline: float | None = None
    elasticsearch_runs: Collection[str] = ()
    plugin: PluginUse = "never"
    plugins: PluginCache = field(default_factory=PluginCache)
    version: VersionCheck = field(default_factory=VersionCheck)
    default_reranker: str | None = None
    schema: IndexSchema | None = None
    moved: bool = False
    opened: str | None = None
    admission: ExitStack = field(default_factory=ExitStack)

    def remaining_s(self) -> float | None:
        """Return the timeout for a request: the seconds until the deadline, at least 0.05; None without a
        deadline.
        """
        return None if self.deadline is None else max(0.05, self.deadline - time.monotonic())

    @property
    def path(self) -> str:
        """Return the index expression as the first segment of a URL path. Raises RequestError as
        ``index_path`` does.
        """
        return index_path(self.index) if self.index else ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def index_path(expression: str) -> str:
    """Return the URL path of an index expression, such as ``/a,b*``. It is always one segment of a path.

    Raises RequestError for names that Elasticsearch does not accept: ``.`` and ``..``, which HTTP clients
    resolve as folders, and names that begin with ``_`` (except ``_all``), which belong to other endpoints.
    """
    if not _is_utf8(expression):
        raise RequestError("Invalid index name: it holds half a surrogate pair, which no index name can hold")
    for name in expression.split(","):
        if name in {".", ".."}:
            raise RequestError(f"Invalid index name [{name}], must not be '.' or '..'")
        if name.startswith("_") and name != "_all":
            raise RequestError(f"Invalid index name [{name}], must not start with '_'")
    return f"/{quote(expression, safe=',*')}"


def closing(pit: str) -> EsRequest:
    """Return the request that closes a point in time."""
    return EsRequest("point_in_time", "DELETE", "/_pit", {"id": pit})


def closed(context: Context) -> Steps[None]:
    """Close the point in time that the search opened, if it opened one.

    If closing fails, the search does not: Elasticsearch closes it after ``KEEP_ALIVE``.
    """
    pit, context.opened = context.opened, None
    if pit is not None:
        try:
            yield closing(pit)
        except (ApiError, TransportError):
            return

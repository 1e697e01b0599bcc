"""What a search may want done, and where it runs: the words between the steps and whoever does them. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from ...errors import RequestError, UnknownModelError
from ...models import Embedder, Reranker
from ...text.strategies import Strategy
from ...types import Candidate
from ..grammar.tree import DEFAULT_INFERENCE_ID
from ..planning.index_schema import IndexSchema
from ..response.answer import SearchStats

T = TypeVar("T")

_MAPPING_SECONDS = 60.0
"""How long a mapping is believed; a new field or model behind an alias is seen after that."""


@dataclass(frozen=True, slots=True)
class EsRequest:
    """One request to Elasticsearch; ``stage`` names it in the statistics. A list as ``body`` goes as one line per item."""

    stage: str
    method: str
    path: str
    body: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forward:
    """A search that Elasticsearch runs whole; the arguments are those of ``Elasticsearch.search``."""

    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadMapping:
    """The schema of the indices that an expression names; from the cache, where it is fresh."""

    index: str


@dataclass(frozen=True, slots=True)
class EmbedQuery:
    """A query vector."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreTexts:
    """Scores of texts, by the model that an inference id names."""

    query: str
    texts: list[str]
    model: str


@dataclass(frozen=True, slots=True)
class SplitLongTexts:
    """Candidates with the whole texts that are too long for a model cut into parts."""

    query: str
    candidates: Sequence[Candidate]
    model: str


@dataclass(frozen=True, slots=True)
class ChunkTexts:
    """Of each text those chunks that are nearest to a query, ``size`` at most."""

    query: str
    texts: Sequence[str]
    chunking: Strategy
    size: int


Command = EsRequest | Forward | ReadMapping | EmbedQuery | SplitLongTexts | ChunkTexts | ScoreTexts
Steps = Generator[Command, Any, T]


@dataclass(frozen=True, slots=True)
class Served:
    """The models at hand: rerankers by inference id, the first being the default, and the embedder of queries."""

    rerankers: Mapping[str, Reranker]
    embedder: Embedder | None = None

    def reranker(self, inference_id: str) -> Reranker:
        """Return a served model; Elastic's default id means the first.

        Raises UnknownModelError, listing what is served, for any other.
        """
        if inference_id in self.rerankers:
            return self.rerankers[inference_id]
        if inference_id == DEFAULT_INFERENCE_ID and self.rerankers:
            return next(iter(self.rerankers.values()))
        known = ", ".join(self.rerankers) or "none"
        raise UnknownModelError(
            f"inference endpoint [{inference_id}] is not served here; served rerankers: {known}",
            name=inference_id,
        )

    def embedder_for(self, model: str | None) -> Embedder:
        """Return the embedder of queries.

        Raises UnknownModelError when another model is named, RequestError when there is none.
        """
        if self.embedder is None:
            raise RequestError(
                "[query_vector_builder] needs an embedder and none is configured; give [query_vector] yourself or configure an embedder"
            )
        if model not in (None, self.embedder.name):
            raise UnknownModelError(
                f"embedding model [{model}] is not served here; served: {self.embedder.name}",
                name=model or "",
            )
        return self.embedder


class MappingCache:
    """Facts of indices, believed for a minute; owned by a client, never shared between credentials."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._schemas: dict[str, tuple[float, IndexSchema]] = {}

    def get(self, index: str) -> IndexSchema | None:
        """Return a schema that is still fresh."""
        found = self._schemas.get(index)
        return found[1] if found and self._clock() < found[0] else None

    def put(self, schema: IndexSchema) -> IndexSchema:
        """Keep a schema and return it."""
        self._schemas[schema.index] = (self._clock() + _MAPPING_SECONDS, schema)
        return schema


@dataclass(slots=True)
class Context:
    """Where a search runs: index expression, query parameters, models, deadline (monotonic), what Elasticsearch runs.

    ``opened`` is the point in time that the search opened and has not closed yet: whoever runs the steps closes it when
    they fail.
    """

    index: str | None
    parameters: dict[str, Any]
    served: Served
    mappings: MappingCache
    stats: SearchStats
    deadline: float | None = None
    elasticsearch_runs: Collection[str] = ()
    opened: str | None = None

    def remaining_s(self) -> float | None:
        """Return the seconds that the deadline leaves to a request; None without a deadline."""
        return None if self.deadline is None else max(0.05, self.deadline - time.monotonic())

    @property
    def path(self) -> str:
        """Return the index expression as the beginning of a path. Raises what ``index_path`` raises."""
        return index_path(self.index) if self.index else ""


def index_path(expression: str) -> str:
    """Return the path of an index expression, ``/a,b*``: one segment, whatever characters it holds.

    Raises RequestError for what Elasticsearch takes for no index: ``.`` and ``..``, which HTTP clients resolve as
    folders, and names that begin with ``_``, under which its other paths are (``_all`` apart).
    """
    for name in expression.split(","):
        if name in {".", ".."}:
            raise RequestError(f"Invalid index name [{name}], must not be '.' or '..'")
        if name.startswith("_") and name != "_all":
            raise RequestError(f"Invalid index name [{name}], must not start with '_'")
    return f"/{quote(expression, safe=',*<>')}"


def closing(pit: str) -> EsRequest:
    """Return the request that closes a point in time."""
    return EsRequest("point_in_time", "DELETE", "/_pit", {"id": pit})

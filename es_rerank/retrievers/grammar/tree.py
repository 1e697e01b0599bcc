"""The retriever tree as Elastic's documentation defines it, as pydantic models.

Grammar, defaults and limits: https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers and the builders
that it describes (elastic/elasticsearch, ``*RetrieverBuilder``). Faults are worded as Elasticsearch 9.5 words them, with
the position in the tree where it gives a line and column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ...types import Aggregation
from .parameters import whole_number

DEFAULT_INFERENCE_ID = ".rerank-v1-elasticsearch"
"""Elastic's own default for ``inference_id``; here an alias of the served default model."""

DEFAULT_RANK_WINDOW_SIZE = 10
"""Elastic's default for ``rank_window_size`` (RankBuilder.DEFAULT_RANK_WINDOW_SIZE)."""

DEFAULT_RANK_CONSTANT = 60
"""Elastic's default for ``rank_constant`` (RRFRetrieverBuilder.DEFAULT_RANK_CONSTANT)."""

DEFAULT_RESCORE_WINDOW = 10
"""Elastic's default for a rescorer's ``window_size`` (RescorerBuilder.DEFAULT_WINDOW_SIZE)."""

OURS = frozenset({"rrf", "linear", "text_similarity_reranker", "pinned"})
"""Retrievers that are run here unless the setting ``elasticsearch_runs`` names them."""

NATIVE_ONLY = frozenset({"rule", "diversify"})
"""Retrievers that only Elasticsearch can run, with everything under them."""

VECTOR_BUILDER = "query_vector_builder"
"""Made here as well, unless ``elasticsearch_runs`` names it."""


def _as_list(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else [value]


Query = dict[str, Any]
Filters = Annotated[tuple[Query, ...], BeforeValidator(_as_list)]
Normalizer = Literal["none", "minmax", "l2_norm"]


class Grammar(BaseModel):
    """Frozen; unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Node(Grammar):
    """What every retriever may carry."""

    kind: ClassVar[str]

    filter: Filters = ()
    min_score: float | None = None
    name: str | None = Field(default=None, alias="_name")


class Standard(Node):
    """A traditional query; also the carrier of ``sort``, ``collapse`` and ``terminate_after``."""

    kind = "standard"

    query: Query | None = None
    sort: Any = None
    search_after: list[Any] | None = None
    terminate_after: int | None = None
    collapse: Query | None = None


class TextEmbedding(Grammar):
    """The text of which our embedder makes the query vector; ``model_id`` names a served embedder."""

    kind: ClassVar[str] = "text_embedding"

    model_text: str
    model_id: str | None = None


class Knn(Node):
    """Approximate nearest neighbours of a vector, over a top-level field or one of nested passages.

    ``num_candidates`` left out is Elasticsearch's to choose: min(1.5 * k, 10 000). ``query_vector_builder`` is kept as
    it came.
    """

    kind = "knn"

    field: str
    k: int
    num_candidates: int | None = None
    query_vector: list[float] | str | None = None
    query_vector_builder: Query | None = None
    similarity: float | None = None
    rescore_vector: Query | None = None
    visit_percentage: float | None = None

    @property
    def builder(self) -> TextEmbedding | None:
        """Return the text of which our embedder makes the vector; None where the vector is given or made elsewhere."""
        wanted = (self.query_vector_builder or {}).get("text_embedding")
        return None if wanted is None else TextEmbedding.model_validate(wanted)


class ChunkRescorer(Grammar):
    """Read only the ``size`` chunks of a document that are nearest to the query.

    ``chunking_settings`` cut a text that is not stored as passages: an object as the inference API takes it.
    """

    kind: ClassVar[str] = "chunk_rescorer"

    size: int = 1
    chunking_settings: Query | None = None


class Compound(Node):
    """A retriever over other retrievers. ``window`` is how many documents it hands on."""

    window_key: ClassVar[str] = "rank_window_size"

    @property
    def window(self) -> int:
        """Return how many documents this retriever hands on at most."""
        raise NotImplementedError

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the retrievers right below, in order."""
        raise NotImplementedError


class _Windowed(Compound):
    rank_window_size: int = DEFAULT_RANK_WINDOW_SIZE

    @property
    def window(self) -> int:
        """Return ``rank_window_size``."""
        return self.rank_window_size


class Weighted(NamedTuple):
    """A child of a fusion: ``weight`` multiplies its share, ``normalizer`` (linear only) is None where none is written."""

    retriever: Retriever
    weight: float = 1.0
    normalizer: Normalizer | None = None


class _Fusion(_Windowed):
    retrievers: tuple[Weighted, ...] = ()
    query: str | None = None
    fields: tuple[str, ...] = ()

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the retrievers right below, in order."""
        return tuple(child.retriever for child in self.retrievers)


class Rrf(_Fusion):
    """Reciprocal rank fusion of its children, or of the lexical and semantic fields that ``query`` is sent to."""

    kind = "rrf"

    rank_constant: int = DEFAULT_RANK_CONSTANT


class Linear(_Fusion):
    """Weighted sum of its children's scores, each normalised."""

    kind = "linear"

    normalizer: Normalizer | None = None


class Pinned(_Windowed):
    """Named documents first, in the order written, then what the child finds."""

    kind = "pinned"

    ids: tuple[str, ...] | None = None
    docs: tuple[Query, ...] | None = None
    retriever: Retriever | None = None

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the retrievers right below, in order."""
        return () if self.retriever is None else (self.retriever,)

    @property
    def pins(self) -> list[tuple[str | None, str]]:
        """Return (index or None, id) of the pinned documents, in order."""
        return [
            *((None, each) for each in self.ids or ()),
            *((doc.get("_index"), doc["_id"]) for doc in self.docs or ()),
        ]


class Rescorer(Compound):
    """Elasticsearch's query rescorers over what the child finds."""

    kind = "rescorer"
    window_key = "window_size"

    retriever: Retriever
    rescore: Annotated[tuple[Query, ...], BeforeValidator(_as_list)]

    @property
    def window(self) -> int:
        """Return the smallest window of its rescorers, as RescorerRetrieverBuilder does."""
        return min(int(each.get("window_size", DEFAULT_RESCORE_WINDOW)) for each in self.rescore)

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the retrievers right below, in order."""
        return (self.retriever,)


class TextSimilarityReranker(_Windowed):
    """Reorder the first ``rank_window_size`` hits of a child by a model that reads query and text together.

    ``field`` may be a list (our extension): the texts are joined, one line each. ``min_score`` is compared with the
    probability 0..1 that becomes ``_score``. ``aggregation`` (our extension) says how a document's passages make its
    score: "max", "first", "mean" or {"top_k_mean": k}.
    """

    kind = "text_similarity_reranker"

    retriever: Retriever
    inference_text: str
    field: Annotated[tuple[str, ...], BeforeValidator(_as_list)]
    inference_id: str = DEFAULT_INFERENCE_ID
    allow_rerank_failures: bool = False
    chunk_rescorer: ChunkRescorer | None = None
    aggregation: Aggregation = Aggregation()

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the retrievers right below, in order."""
        return (self.retriever,)


class Native(Grammar):
    """A subtree that Elasticsearch runs whole, kept as it came: ``body`` is the content of the retriever ``kind``."""

    kind: str
    body: Query
    children: tuple[Retriever, ...] = ()

    @property
    def window(self) -> int | None:
        """Return the window that the subtree's root names, None where it names none."""
        size = self.body.get("rank_window_size")
        number = whole_number(size) if isinstance(size, str) else size
        return number if isinstance(number, int) and number >= 0 else None

    @property
    def name(self) -> str | None:
        """Return its ``_name``."""
        name = self.body.get("_name")
        return name if isinstance(name, str) else None

    @property
    def min_score(self) -> float | None:
        """Return its ``min_score``, which Elasticsearch applies."""
        return self.body.get("min_score")


Leaf = Standard | Knn | Native
Retriever = Standard | Knn | Native | Rrf | Linear | Pinned | Rescorer | TextSimilarityReranker
KINDS: dict[str, type[Standard | Knn | Rrf | Linear | Pinned | Rescorer | TextSimilarityReranker]] = {
    each.kind: each for each in (Standard, Knn, Rrf, Linear, Pinned, Rescorer, TextSimilarityReranker)
}
ALL_KINDS = (*KINDS, *sorted(NATIVE_ONLY))

for _model in (Rrf, Linear, Pinned, Rescorer, TextSimilarityReranker, Native):
    _model.model_rebuild()


def nodes_of(node: Retriever) -> Iterator[Retriever]:
    """Yield a node and everything below it that is run here or asked of Elasticsearch, depth first."""
    yield node
    if isinstance(node, Compound):
        for child in node.children:
            yield from nodes_of(child)


def needs_us(body: Any, elasticsearch_runs: Collection[str] = ()) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a ``retriever`` object has a part that a Basic-licence Elasticsearch refuses and we run.

    Looks at retrievers only, never into queries, so a document field of the same name does not count.
    """
    return composes(body, elasticsearch_runs) or any(True for _ in builders(body, elasticsearch_runs))


def composes(body: Any, elasticsearch_runs: Collection[str] = ()) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a fusion, a reranker or a pinned retriever that is run here stands in the tree."""
    return any(kind in OURS and kind not in elasticsearch_runs for kind, _ in written(body))


def builders(body: Any, elasticsearch_runs: Collection[str] = ()) -> Iterator[dict[str, Any]]:  # noqa: ANN401 any JSON value may arrive
    """Yield the contents of the knn retrievers whose query vector is made here."""
    if VECTOR_BUILDER in elasticsearch_runs:
        return
    for _, content in written(body):
        builder = content.get(VECTOR_BUILDER)
        if isinstance(builder, Mapping) and "text_embedding" in builder:
            yield content


def written(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 any JSON value may arrive
    """Yield (kind, content) of every retriever that a body writes, whatever its shape, depth first."""
    if not isinstance(body, dict):
        return
    for kind, content in body.items():
        if isinstance(content, dict):
            yield kind, content
            for key in ("retriever", "retrievers"):
                children = content.get(key)
                for child in children if isinstance(children, list) else [children]:
                    yield from written(child.get("retriever", child) if isinstance(child, dict) else child)


FirstStage = Literal["knn", "bm25", "hybrid"]

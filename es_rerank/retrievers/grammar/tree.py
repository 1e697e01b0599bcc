"""The retriever tree that Elastic's documentation defines, as pydantic models.

Grammar, defaults and limits are those of
https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers and were observed on Elasticsearch
9.5. Errors use the words of Elasticsearch 9.5. They give the position in the tree where Elasticsearch gives a
line and a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ...types import Aggregation
from .scalars import NotTakenError, as_integer

DEFAULT_INFERENCE_ID = ".rerank-v1-elasticsearch"
"""Elastic's default for ``inference_id``. In es-rerank it names the default reranker."""

DEFAULT_RANK_WINDOW_SIZE = 10
"""Elastic's default for ``rank_window_size`` (retrievers documentation, see above)."""

DEFAULT_RANK_CONSTANT = 60
"""Elastic's default for ``rank_constant`` (retrievers documentation, see above)."""

DEFAULT_RESCORE_WINDOW = 10
"""Elastic's default for the ``window_size`` of a rescorer; observed on Elasticsearch 9.5."""

MAX_CANDIDATES = 10_000
"""Largest ``num_candidates`` that Elasticsearch accepts; observed on Elasticsearch 9.5."""

RETRIEVERS_RUN_HERE = frozenset({"rrf", "linear", "text_similarity_reranker", "pinned"})
"""Kinds of retriever that es-rerank runs unless the setting ``elasticsearch_runs`` names them."""

PLUGIN_KINDS = frozenset({"es_rrf", "es_linear", "es_rerank"})
"""Kinds of retriever that the plugin es-rerank adds to Elasticsearch."""

NATIVE_ONLY = frozenset({"rule", "diversify"}) | PLUGIN_KINDS
"""Kinds of retriever that only Elasticsearch can run, together with everything below them in the tree."""

VECTOR_BUILDER = "query_vector_builder"
"""Key in a kNN that asks for a query vector. es-rerank computes it unless ``elasticsearch_runs`` names this
key."""


def _as_list(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else [value]


Query = dict[str, Any]
Filters = Annotated[tuple[Query, ...], BeforeValidator(_as_list)]
Normalizer = Literal["none", "minmax", "l2_norm"]


class Grammar(BaseModel):
    """Base of all models here: instances cannot be changed, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RetrieverNode(Grammar):
    """Base of the retrievers, with the fields that every retriever may have."""

    kind: ClassVar[str]

    filter: Filters = ()
    min_score: float | None = None
    name: str | None = Field(default=None, alias="_name")

    @property
    def has_minimum(self) -> bool:
        """Whether the retriever leaves out documents below a score."""
        return self.min_score is not None


class Standard(RetrieverNode):
    """A retriever that runs an ordinary query. Optional: ``sort``, ``collapse``, ``terminate_after``."""

    kind = "standard"

    query: Query | None = None
    sort: Any = None
    search_after: list[Any] | None = None
    terminate_after: int | None = None
    collapse: Query | None = None


class TextEmbedding(Grammar):
    """The text from which a served embedder computes the query vector. ``model_id`` names the embedder."""

    kind: ClassVar[str] = "text_embedding"

    model_text: str
    model_id: str | None = None


class Knn(RetrieverNode):
    """A retriever that finds the approximate nearest neighbours of a vector (kNN).

    ``field`` is a dense_vector field of the document or of its nested passages. Without ``num_candidates``
    Elasticsearch chooses min(1.5 * k, 10 000). ``query_vector_builder`` is stored unchanged.
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
        """Return the text from which the query vector is computed, or None without a ``text_embedding``."""
        wanted = (self.query_vector_builder or {}).get("text_embedding")
        return None if wanted is None else TextEmbedding.model_validate(wanted)


class ChunkRescorer(Grammar):
    """Limits the reranker to the ``size`` chunks of a document that are nearest to the query.

    ``chunking_settings`` says how to cut a text that is not stored as passages. It has the form that
    Elasticsearch's inference API defines.
    """

    kind: ClassVar[str] = "chunk_rescorer"

    size: int = 1
    chunking_settings: Query | None = None


class Compound(RetrieverNode):
    """A retriever that combines or reorders the documents of other retrievers, its children."""

    window_key: ClassVar[str] = "rank_window_size"

    @property
    def window(self) -> int:
        """Return the largest number of documents that this retriever returns to its parent."""
        raise NotImplementedError

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the direct children, in the order of the tree."""
        raise NotImplementedError


class _Windowed(Compound):
    rank_window_size: int = DEFAULT_RANK_WINDOW_SIZE

    @property
    def window(self) -> int:
        """Return ``rank_window_size``."""
        return self.rank_window_size


class Weighted(NamedTuple):
    """A child of ``rrf`` or ``linear``.

    ``weight`` multiplies what the child adds to a score. ``normalizer`` (only for ``linear``) is None if not
    given.
    """

    retriever: Retriever
    weight: float = 1.0
    normalizer: Normalizer | None = None


class _Fusion(_Windowed):
    retrievers: tuple[Weighted, ...] = ()
    query: str | None = None
    fields: tuple[str, ...] = ()

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the direct children, in the order of the tree."""
        return tuple(child.retriever for child in self.retrievers)


class Rrf(_Fusion):
    """Reciprocal rank fusion of the children, or of searches for ``query`` in ``fields``."""

    kind = "rrf"

    rank_constant: int = DEFAULT_RANK_CONSTANT


class Linear(_Fusion):
    """Weighted sum of the children's normalised scores."""

    kind = "linear"

    normalizer: Normalizer | None = None


class Pinned(_Windowed):
    """The documents named in ``ids`` or ``docs``, in that order, followed by the documents of the child."""

    kind = "pinned"

    ids: tuple[str, ...] | None = None
    docs: tuple[Query, ...] | None = None
    retriever: Retriever | None = None

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the direct children, in the order of the tree."""
        return () if self.retriever is None else (self.retriever,)

    @property
    def pins(self) -> list[tuple[str | None, str]]:
        """Return (index or None, id) of the pinned documents, in order."""
        return [
            *((None, document_id) for document_id in self.ids or ()),
            *((doc.get("_index"), doc["_id"]) for doc in self.docs or ()),
        ]


class Rescorer(Compound):
    """Elasticsearch's query rescorers, applied to the documents of the child."""

    kind = "rescorer"
    window_key = "window_size"

    retriever: Retriever
    rescore: Annotated[tuple[Query, ...], BeforeValidator(_as_list)]

    @property
    def window(self) -> int:
        """Return the smallest ``window_size`` of the rescorers (observed on Elasticsearch 9.5)."""
        return min(int(rescorer.get("window_size", DEFAULT_RESCORE_WINDOW)) for rescorer in self.rescore)

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the direct children, in the order of the tree."""
        return (self.retriever,)


class TextSimilarityReranker(_Windowed):
    """Reorders the first ``rank_window_size`` hits of the child with a cross-encoder.

    ``field`` may be a list (an extension of es-rerank): the texts are joined, one line for each field.
    ``_score`` is the probability of the pair (0..1), the same whatever else is in the window, and
    ``min_score`` is compared with it. ``aggregation`` (an extension of es-rerank) says how the scores of the
    passages become the score of the document: "max", "first", "mean" or {"top_k_mean": k}. ``blend`` (an
    extension): whether the first stage's scores have a part in ``_score``. ``min_probability`` (an extension)
    is compared with the probability of the pair, with ``blend`` and without.
    """

    kind = "text_similarity_reranker"

    retriever: Retriever
    inference_text: str
    field: Annotated[tuple[str, ...], BeforeValidator(_as_list)]
    inference_id: str = DEFAULT_INFERENCE_ID
    allow_rerank_failures: bool = False
    chunk_rescorer: ChunkRescorer | None = None
    aggregation: Aggregation = Aggregation()
    blend: bool = False
    min_probability: float | None = None

    @property
    def has_minimum(self) -> bool:
        """Whether the retriever leaves out documents below a score or a probability."""
        return super().has_minimum or self.min_probability is not None

    @property
    def children(self) -> tuple[Retriever, ...]:
        """Return the direct children, in the order of the tree."""
        return (self.retriever,)


class Native(Grammar):
    """A subtree that Elasticsearch runs as a whole.

    ``kind`` is the kind of its root. ``body`` is the content of the root, unchanged.
    """

    kind: str
    body: Query
    children: tuple[Retriever, ...] = ()

    @property
    def window(self) -> int | None:
        """Return the ``rank_window_size`` in the root of the subtree, or None if there is no valid one."""
        try:
            size = as_integer(self.body.get("rank_window_size"))
        except NotTakenError:
            return None
        return size if size >= 0 else None

    @property
    def name(self) -> str | None:
        """Return the ``_name`` in the root of the subtree, or None."""
        name = self.body.get("_name")
        return name if isinstance(name, str) else None

    @property
    def min_score(self) -> float | None:
        """Return the ``min_score`` in the root of the subtree, or None. Elasticsearch applies it."""
        return self.body.get("min_score")

    @property
    def has_minimum(self) -> bool:
        """Whether the root of the subtree leaves out documents below a score."""
        return self.min_score is not None


Leaf = Standard | Knn | Native
Retriever = Standard | Knn | Native | Rrf | Linear | Pinned | Rescorer | TextSimilarityReranker
KINDS: dict[str, type[Standard | Knn | Rrf | Linear | Pinned | Rescorer | TextSimilarityReranker]] = {
    model.kind: model for model in (Standard, Knn, Rrf, Linear, Pinned, Rescorer, TextSimilarityReranker)
}
ALL_KINDS = (*KINDS, *sorted(NATIVE_ONLY - PLUGIN_KINDS))
"""Kinds of retriever in Elastic's documentation; error messages suggest these."""


for _model in (Rrf, Linear, Pinned, Rescorer, TextSimilarityReranker, Native):
    _model.model_rebuild()


def nodes_of(node: Retriever) -> Iterator[Retriever]:
    """Yield a node and all nodes below it, depth first, but not the children inside a Native subtree."""
    waiting = [node]
    while waiting:
        below = waiting.pop()
        yield below
        if isinstance(below, Compound):
            waiting.extend(reversed(below.children))


FirstStage = Literal["knn", "bm25", "hybrid"]

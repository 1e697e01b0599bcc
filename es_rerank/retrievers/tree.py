"""The retriever tree as Elastic's documentation defines it, as pydantic models.

Grammar and defaults: https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..errors import RetrieverParsingError

DEFAULT_INFERENCE_ID = ".rerank-v1-elasticsearch"
"""Elastic's own default for ``inference_id``; here an alias of the served default model."""

DEFAULT_RANK_WINDOW_SIZE = 10
"""Elastic's default for ``rank_window_size``."""


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Query = dict[str, Any]
Filters = Annotated[tuple[Query, ...], BeforeValidator(_as_list)]


class _Grammar(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Leaf(_Grammar):
    """What every retriever may carry."""

    filter: Filters = ()
    min_score: float | None = None
    name: str | None = Field(default=None, alias="_name")


class Standard(_Leaf):
    """A traditional query; also the carrier of ``sort``, ``collapse`` and ``terminate_after``."""

    query: Query | None = None
    sort: Any = None
    search_after: list[Any] | None = None
    terminate_after: int | None = None
    collapse: dict[str, Any] | None = None


class TextEmbedding(_Grammar):
    """The text of which our embedder makes the query vector; ``model_id`` names a served embedder."""

    model_text: str
    model_id: str | None = None


class QueryVectorBuilder(_Grammar):
    """How a query vector is made; ``text_embedding`` is the one kind that the documentation knows."""

    text_embedding: TextEmbedding


class Knn(_Leaf):
    """Approximate nearest neighbours of a vector, over a top-level field or one of nested passages."""

    field: str
    k: Annotated[int, Field(ge=1)]
    num_candidates: Annotated[int, Field(ge=1, le=10_000)]
    query_vector: list[float] | str | None = None
    query_vector_builder: QueryVectorBuilder | None = None
    similarity: float | None = None
    rescore_vector: dict[str, Any] | None = None
    visit_percentage: float | None = None


class ChunkRescorer(_Grammar):
    """Read only the ``size`` passages of a document that are nearest to the query."""

    size: Annotated[int, Field(ge=1)] = 1
    chunking_settings: dict[str, Any] | None = None


class TextSimilarityReranker(_Leaf):
    """Reorder the first ``rank_window_size`` hits of a child by a model that reads query and text together.

    ``field`` may be a list (our extension): the texts are joined, one line each. ``min_score`` is compared with the
    probability 0..1 that becomes ``_score``.
    """

    retriever: Retriever
    field: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
    inference_text: Annotated[str, Field(min_length=1)]
    inference_id: str = DEFAULT_INFERENCE_ID
    rank_window_size: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_RANK_WINDOW_SIZE
    allow_rerank_failures: bool = False
    chunk_rescorer: ChunkRescorer | None = None


class Native(_Grammar):
    """A retriever that only Elasticsearch runs, kept as it came."""

    kind: str
    body: dict[str, Any]


Retriever = Standard | Knn | TextSimilarityReranker | Native

_KINDS: dict[str, type[Standard | Knn | TextSimilarityReranker]] = {
    "standard": Standard,
    "knn": Knn,
    "text_similarity_reranker": TextSimilarityReranker,
}
_CHILDREN = ("retriever", "retrievers")


def parse(body: Any, path: str = "retriever") -> Retriever:  # noqa: ANN401 any JSON value may arrive
    """Return the tree of a ``retriever`` object.

    Raises RetrieverParsingError, with the position in the tree, for a wrong shape, an unknown key or a value out of
    range. Kinds of retriever that are not ours are kept as ``Native``.
    """
    if not isinstance(body, dict) or len(body) != 1:
        found = f"found [{', '.join(body)}]" if isinstance(body, dict) else f"found {type(body).__name__}"
        raise RetrieverParsingError(f"[{path}] expected an object with exactly one retriever, {found}", path=path)
    kind, content = next(iter(body.items()))
    path = f"{path}.{kind}"
    if not isinstance(content, dict):
        raise RetrieverParsingError(f"[{path}] expected an object, found {type(content).__name__}", path=path)
    if kind not in _KINDS:
        return Native(kind=kind, body=content)
    return _validated(kind, content, path)


def _validated(kind: str, content: dict[str, Any], path: str) -> Retriever:
    fields = dict(content)
    if kind == "text_similarity_reranker" and "retriever" in fields:
        fields["retriever"] = parse(fields["retriever"], f"{path}.retriever")
    try:
        node = _KINDS[kind].model_validate(fields)
    except ValidationError as error:
        raise _parsing_error(kind, path, error) from error
    if isinstance(node, Knn) and (node.query_vector is None) == (node.query_vector_builder is None):
        raise RetrieverParsingError(f"[{path}] requires exactly one of [query_vector] and [query_vector_builder]", path=path)
    if isinstance(node, Knn) and node.k > node.num_candidates:
        raise RetrieverParsingError(f"[{path}] [num_candidates] cannot be less than [k], found [{node.num_candidates}] < [{node.k}]", path=path)
    return node


def _parsing_error(kind: str, path: str, error: ValidationError) -> RetrieverParsingError:
    """Word pydantic's first fault as Elasticsearch words its own."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        message = f"[{kind}] unknown field [{where}]"
    elif fault["type"] == "missing":
        message = f"[{kind}] required [{where}]"
    else:
        message = f"[{kind}] failed to parse field [{where}]: {fault['msg'].lower()}, found {fault['input']!r}"
    return RetrieverParsingError(f"{message} at [{path}]", path=f"{path}.{where}")


def needs_us(body: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a ``retriever`` object has a part that a Basic-licence Elasticsearch refuses and we run.

    Looks at retrievers only, never into queries, so a document field of the same name does not count.
    """
    return reranks(body) or any(True for _ in builders(body))


def reranks(body: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a reranker stands in the tree."""
    return any(kind == "text_similarity_reranker" for kind, _ in _nodes(body))


def builders(body: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 any JSON value may arrive
    """Yield the contents of the retrievers that ask for their query vector to be made."""
    return (content for _, content in _nodes(body) if "query_vector_builder" in content)


def _nodes(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    if not isinstance(body, dict):
        return
    for kind, content in body.items():
        if isinstance(content, dict):
            yield kind, content
            for key in _CHILDREN:
                children = content.get(key)
                for child in children if isinstance(children, list) else [children]:
                    yield from _nodes(child.get("retriever", child) if isinstance(child, dict) else child)


TextSimilarityReranker.model_rebuild()

FirstStage = Literal["knn", "bm25"]

"""Looks through the retriever tree of a body before it is parsed: any JSON value may stand there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ...defaults import MAX_LEVELS, MAX_RETRIEVERS
from ...errors import TooLargeError
from .faults import illegal_argument
from .tree import RETRIEVERS_RUN_HERE, VECTOR_BUILDER, Knn, Rrf


def tree_of(body: Mapping[str, Any]) -> Any:  # noqa: ANN401 any JSON value may stand there
    """Return the ``retriever`` object of a ``_search`` body, None without one.

    A body that fuses by ``rank`` has the tree that ``rank.with_retriever`` makes of it, here without a check
    of its parts. Raises RetrieverParsingError when it has a ``retriever`` too.
    """
    rank, tree = body.get("rank"), body.get("retriever")
    if not isinstance(rank, Mapping) or Rrf.kind not in rank:
        return tree
    if tree is not None:
        raise illegal_argument("Cannot specify both [rank] and [retriever].", "rank")
    queries = [body["query"]] if "query" in body else []
    queries += [entry.get("query") for entry in _listed(body.get("sub_searches")) if isinstance(entry, dict)]
    children = [{"standard": {"query": query}} for query in queries]
    children += [{Knn.kind: knn} for knn in _listed(body.get(Knn.kind))]
    return {Rrf.kind: {"retrievers": children}}


def needs_es_rerank(body: Any, elasticsearch_runs: Collection[str] = ()) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether a ``retriever`` object has a part that es-rerank must run.

    Elasticsearch refuses such a part on a Basic licence. Only retrievers are examined, not the queries inside
    them, so a document field called ``rrf`` does not count.
    """
    return has_retriever_run_here(body, elasticsearch_runs) or any(
        True for _ in text_embedding_leaves(body, elasticsearch_runs)
    )


def has_retriever_run_here(body: Any, elasticsearch_runs: Collection[str] = ()) -> bool:  # noqa: ANN401
    """Whether the tree holds one of ``RETRIEVERS_RUN_HERE`` that ``elasticsearch_runs`` does not name."""
    return any(
        kind in RETRIEVERS_RUN_HERE and kind not in elasticsearch_runs for kind, _ in retrievers_in(body)
    )


def text_embedding_leaves(body: Any, elasticsearch_runs: Collection[str] = ()) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the content of each kNN retriever whose query vector es-rerank computes."""
    if VECTOR_BUILDER in elasticsearch_runs:
        return
    for kind, content in retrievers_in(body):
        builder = content.get(VECTOR_BUILDER) if kind == Knn.kind else None
        if isinstance(builder, Mapping) and "text_embedding" in builder:
            yield content


def retrievers_in(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    """Yield (kind, content) of every retriever in a body, depth first. It skips parts that are not valid."""
    for kind, content, _ in _retrievers(body):
        yield kind, content


def _retrievers(body: Any) -> Iterator[tuple[str, dict[str, Any], int]]:  # noqa: ANN401
    """Yield (kind, content, level) of every retriever; the root has the level 1."""
    waiting = [(kind, content, 1) for kind, content in _entries([{"retriever": body}])]
    while waiting:
        kind, content, level = waiting.pop()
        yield kind, content, level
        children = [child for key in ("retriever", "retrievers") for child in _listed(content.get(key))]
        waiting.extend((kind, content, level + 1) for kind, content in _entries(children))


def _listed(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _entries(bodies: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (kind, content) of retrievers that stand side by side, the last one first.

    Each is a retriever or an object that holds one and its weight.
    """
    inner = [body.get("retriever", body) for body in bodies if isinstance(body, dict)]
    found = [entry for body in inner if isinstance(body, dict) for entry in body.items()]
    return [(kind, content) for kind, content in reversed(found) if isinstance(content, dict)]


def size_of(body: Any) -> int:  # noqa: ANN401 any JSON value may arrive
    """Return how many retrievers a ``retriever`` object holds.

    Raises TooLargeError when they are more than ``MAX_RETRIEVERS``, or when more than ``MAX_LEVELS`` of them
    stand above one another.
    """
    count = 0
    for _, _, level in _retrievers(body):
        count += 1
        if level > MAX_LEVELS:
            raise TooLargeError(
                f"the tree has over {MAX_LEVELS} levels of retrievers; put fewer above one another"
            )
        if count > MAX_RETRIEVERS:
            raise TooLargeError(
                f"the tree has over {MAX_RETRIEVERS} retrievers; each is a search of its own: send fewer"
            )
    return count

"""What is wrong with an index that was checked, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .check import IndexCheck

SAME = 1e-3
"""Largest 1 - cosine of two vectors of one text by the same model: int8 on other CPUs rounds otherwise."""

_MANY_DELETED = 0.2
"""Share of deleted documents from which Elasticsearch's own merges do not keep it
(``index.merge.policy.deletes_pct_allowed``)."""

_VENDORS = {("openai", "https://api.openai.com"), ("cohere", "https://api.cohere.com")}
"""Services that an embedder's name has without an address, each with its format."""

_OF_ANY_DIMS = ("-3-", "-v4")
"""Parts of the names of models that can be asked for fewer dimensions than they have: text-embedding-3-small,
embed-v4.0. Others refuse that."""

_MANY_SEGMENTS = 30
"""A kNN search visits the graph of every segment."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do."""

    what: str
    remedy: str


def _given(check: IndexCheck, service: object) -> str:
    """Return the options by which a command gets the embedder of an index."""
    dialect = service.get("dialect") if isinstance(service, Mapping) else None
    if not isinstance(service, Mapping) or not isinstance(dialect, str) or not dialect:
        return f"--embedder {check.embedder} or ES_RERANK_EMBEDDER={check.embedder}"
    model, _, prefixes = check.embedder.partition("?")
    origin = service.get("origin")
    if (dialect, origin) in _VENDORS:
        options = (
            [f"dims={check.dims}", prefixes] if any(kind in model for kind in _OF_ANY_DIMS) else [prefixes]
        )
        return f"--embedder '{_joined(f'{dialect}:{model}', options)}'"
    named = [] if dialect in ("es-rerank", "tei") else [f"model={model}"]  # these two tell their model
    address = _joined(f"remote:{dialect}:{origin}", [*named, prefixes])
    return f"--embedder '{address}', with the path of the service if it has one"


def _joined(name: str, options: Sequence[str]) -> str:
    given = "&".join(option for option in options if option)
    return f"{name}?{given}" if given else name


def problems_of(
    check: IndexCheck,
    *,
    loaded: tuple[str, int],
    mapped_dims: int | None,
    service: object,
    names: Sequence[str],
    least_recall: float,
) -> Iterator[Problem]:
    """Yield what is wrong.

    ``loaded``: name and dimensions of the embedder that was loaded. ``mapped_dims``: those of the mapping.
    ``service``: what ``_meta`` records of the service that made the vectors, None for none. ``names``: ids of
    documents without passages.
    """
    again = f"es-rerank ingest {check.index} SOURCE"
    name, dims = loaded
    if (name, dims) != (check.embedder, check.dims):
        yield Problem(
            f"the vectors are by {check.embedder} ({check.dims} dimensions), and {name} ({dims}) is loaded: "
            "searches with it are refused",
            f"use {_given(check, service)}; or, for vectors of {name}: {again} --rebuild",
        )
    elif check.vector_difference is not None and check.vector_difference > SAME:
        yield Problem(
            f"{name} makes other vectors now than those that are stored (1 - cosine up to "
            f"{check.vector_difference:.4f})",
            f"the model of this name has changed: use the one that the index was made with, or {again} "
            "--rebuild",
        )
    if mapped_dims != check.dims:
        yield Problem(
            f"the mapping has {mapped_dims} dimensions, and _meta says {check.dims}", f"{again} --rebuild"
        )
    if check.without_passages:
        yield Problem(
            f"{check.without_passages} documents have text and no passages, so kNN does not find them: "
            f"{', '.join(names)}{' ...' if check.without_passages > len(names) else ''}",
            f"something else wrote them; index them with: {again}",
        )
    for number, what in ((check.without_vector, "no vector"), (check.other_dims, "a vector of other length")):
        if number:
            yield Problem(
                f"{number} passages have {what}, so kNN does not find them",
                f"something else wrote them; {again} --rebuild",
            )
    if check.recall_at_10 is not None and check.recall_at_10 < least_recall:
        yield Problem(
            f"recall@10 is {check.recall_at_10:.3f}, less than {least_recall:g}: the search misses documents "
            "that are nearer",
            "search with more num_candidates or rescore_vector, or choose other index options: "
            f"{again} --rebuild --index-options hnsw",
        )


def notes_on(check: IndexCheck) -> Iterator[str]:
    """Yield what could be better and is not wrong."""
    if not check.documents:
        yield "the index is empty"
    merge = f"POST {check.version}/_forcemerge"
    if check.deleted is None or check.segments is None:
        yield "deleted documents and segments are not known: that needs the privilege monitor of the index"
        return
    if check.deleted >= _MANY_DELETED:
        yield (
            f"{check.deleted:.0%} of what the segments hold is deleted, and searches pass over it: a merge "
            f"would help ({merge}?only_expunge_deletes=true)"
        )
    if check.segments > _MANY_SEGMENTS:
        yield (
            f"{check.segments} segments, each with a graph of its own: if little is written from now on, a "
            f"merge would help ({merge}?max_num_segments=1)"
        )

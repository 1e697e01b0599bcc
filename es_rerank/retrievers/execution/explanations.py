"""The step that asks how the leaves scored the hits that the answer explains. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ...types import DocumentKey
from ..planning.document_sets import documents_query
from ..planning.leaves import LeafSearch
from ..ranking.ranked_node import RankedNode, first_stage
from .commands import Steps

LeafRequest = tuple[LeafSearch, dict[str, Any]]
"""A search of the first stage and its body."""

AskAll = Callable[[Sequence[LeafRequest]], Steps[list[dict[str, Any]]]]
"""A function from searches of leaves to the steps that return their answers."""

_SHOWN = ("_explanation", "_shard", "_node")


def explain_leaves(
    root: RankedNode, leaves: Sequence[LeafRequest], keys: Collection[DocumentKey], ask_all: AskAll
) -> Steps[None]:
    """Ask the leaves to explain these documents, and store what they say in the candidates' hits.

    To explain a hit takes longer than to find it. So the first stage, whose windows are larger than a page,
    explains nothing. ``leaves`` are the searches of the first stage, in order.
    """
    wanted = []
    for (search, body), window in zip(leaves, first_stage(root), strict=True):
        found = {candidate.key: candidate for candidate in window if candidate.key in keys}
        if found:
            only = {"explain": True, "post_filter": documents_query(found.values()), "size": len(found)}
            wanted.append(((search, body | only), found))
    if not wanted:
        return
    answers = yield from ask_all([request for request, _ in wanted])
    for answer, (_, found) in zip(answers, wanted, strict=True):
        for hit in answer["hits"]["hits"]:
            candidate = found.get((hit["_index"], hit["_id"], hit.get("_routing")))
            if candidate is not None:
                candidate.hit.update({name: hit[name] for name in _SHOWN if name in hit})

"""Refuses a search before Elasticsearch is asked, when its reranker could not begin in time."""

from __future__ import annotations

from typing import Any

from ...retrievers.grammar.tree import TextSimilarityReranker
from ..service import Service


def check_backlog(service: Service, tree: Any, wanted_s: float | None) -> None:  # noqa: ANN401 not yet read
    """Raise OverloadError if the work that waits outlasts the deadline of a search that wants ``wanted_s``.

    Only a search that ends with a reranker and accepts no other order is refused here. What its own window
    costs is known later, when Elasticsearch has found it.
    """
    content = tree.get(TextSimilarityReranker.kind) if isinstance(tree, dict) else None
    if service.pool is None or not isinstance(content, dict) or content.get("allow_rerank_failures") is True:
        return
    service.pool.check(service.deadline(wanted_s))

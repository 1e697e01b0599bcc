"""The result of a tree: the documents of each retriever in its order, with explanations. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...types import Candidate, DocumentKey
from ..grammar.scalars import written
from ..grammar.tree import Compound, Linear, Pinned, Retriever, Rrf, TextSimilarityReranker
from .rerank import Reranked


@dataclass(frozen=True, slots=True)
class RankedNode:
    """A retriever and the documents that it returned, best first.

    ``window``: the documents, with the score and rank that this retriever gave them. ``children``: the
    results of its children, in the order of the tree. ``normalised``: for a linear retriever, the normalised
    scores of each child by document. ``pinned``: the documents that were pinned. ``reranked``: for a
    reranker, its result for each document.
    """

    node: Retriever
    window: tuple[Candidate, ...]
    children: tuple[RankedNode, ...] = ()
    normalised: tuple[Mapping[DocumentKey, float], ...] = ()
    pinned: frozenset[DocumentKey] = frozenset()
    reranked: Mapping[DocumentKey, Reranked] = field(default_factory=dict)
    _by_key: dict[DocumentKey, Candidate] = field(default_factory=dict, init=False, repr=False, compare=False)

    def candidate(self, key: DocumentKey) -> Candidate | None:
        """Return the document with the score and rank of this retriever, or None if it did not return it."""
        if not self._by_key:
            self._by_key.update({candidate.key: candidate for candidate in reversed(self.window)})
        return self._by_key.get(key)


def everything(root: RankedNode) -> Iterator[RankedNode]:
    """Yield a retriever and all retrievers below it, the root first, depth first."""
    yield root
    for child in root.children:
        yield from everything(child)


def first_stage(root: RankedNode) -> Iterator[tuple[Candidate, ...]]:
    """Yield the documents of each search of the first stage, in the order of ``leaves.leaf_searches``."""
    if isinstance(root.node, Pinned):
        yield tuple(candidate for candidate in root.window if candidate.key in root.pinned)
    if not isinstance(root.node, Compound):
        yield root.window
    for child in root.children:
        yield from first_stage(child)


def details(root: RankedNode) -> dict[DocumentKey, Reranked]:
    """Return for each document of the root what the reranker nearest to the root says of it.

    A reranker says nothing of a document that a retriever between it and the root left out, by its window or
    its ``min_score``, and that another leaf brought.
    """
    if not any(ranked.reranked for ranked in everything(root)):
        return {}
    found = {candidate.key: _reranked(root, candidate.key) for candidate in root.window}
    return {key: reranked for key, reranked in found.items() if reranked is not None}


def _reranked(ranked: RankedNode, key: DocumentKey) -> Reranked | None:
    if ranked.candidate(key) is None:
        return None
    if key in ranked.reranked:
        return ranked.reranked[key]
    below = (_reranked(child, key) for child in ranked.children)
    return next((reranked for reranked in below if reranked is not None), None)


def has_minimum(root: RankedNode) -> bool:
    """Whether any retriever of the tree leaves out documents below a score.

    Totals then count only the window, as Elasticsearch documents.
    """
    return any(ranked.node.has_minimum for ranked in everything(root))


def explanation(root: RankedNode, key: DocumentKey) -> dict[str, Any]:
    """Return the explanation of a document's score, with one level for each retriever.

    The descriptions are those of Elasticsearch's ``explain`` (observed on 9.5).
    """
    candidate = root.candidate(key)
    if candidate is None:
        return _line(0.0, f"doc not found in top {len(root.window)} rank docs", [])
    node = root.node
    if isinstance(node, TextSimilarityReranker):
        return _reranker(root, node, candidate)
    if isinstance(node, (Rrf, Linear)):
        return _rrf(root, node, candidate) if isinstance(node, Rrf) else _linear(root, node, candidate)
    if not isinstance(node, Compound):
        return candidate.hit.get("_explanation") or _line(candidate.score, "score of the first stage", [])
    below = [explanation(child, key) for child in root.children if child.candidate(key)]
    if candidate.key in root.pinned:
        return _line(candidate.score, "Pinned document, original explanation:", below)
    return _line(
        candidate.rank,
        f"doc [{candidate.id}] with an original score of [{json_score(candidate.score)}] is at rank "
        f"[{candidate.rank}] from the following source queries.",
        below,
    )


def _rrf(root: RankedNode, node: Rrf, candidate: Candidate) -> dict[str, Any]:
    in_children = [child.candidate(candidate.key) for child in root.children]
    lines = []
    for i, (child, inner) in enumerate(zip(root.children, in_children, strict=True)):
        where = f"at index [{i}]{_alias(child)}"
        if inner is None:
            lines.append(_line(0.0, f"rrf score: [0], result not found in query {where}", []))
            continue
        weight = node.retrievers[i].weight
        share = np.float32(1.0) / np.float32(inner.rank + node.rank_constant)
        formula = f"1 / ({inner.rank} + {node.rank_constant})"
        lines.append(
            _line(
                inner.rank,
                f"rrf score: [{json_score(np.float32(weight) * share)}], for rank [{inner.rank}] in query "
                f"{where} computed as [{formula if weight == 1 else f'{json_score(weight)} * {formula}'}], "
                "for matching query with score",
                [explanation(child, candidate.key)],
            )
        )
    ranks = ", ".join(str(inner.rank if inner else 0) for inner in in_children)
    return _line(
        candidate.score,
        f"rrf score: [{json_score(candidate.score)}] computed for initial ranks [{ranks}] with rankConstant: "
        f"[{node.rank_constant}] as sum of [1 / (rank + rankConstant)] for each query",
        lines,
    )


def _linear(root: RankedNode, node: Linear, candidate: Candidate) -> dict[str, Any]:
    weights = [child.weight for child in node.retrievers]
    scores = [root.normalised[i].get(candidate.key, 0.0) for i in range(len(root.children))]
    lines = []
    for i, (child, score) in enumerate(zip(root.children, scores, strict=True)):
        where = f"at index [{i}]{_alias(child)}"
        if not score > 0:
            lines.append(_line(0.0, f"weighted score: [0], result not found in query {where}", []))
            continue
        weighted = np.float32(weights[i]) * np.float32(score)
        normalizer = node.retrievers[i].normalizer or node.normalizer or "none"
        lines.append(
            _line(
                weighted,
                f"weighted score: [{json_score(weighted)}] in query {where} computed as "
                f"[{json_score(weights[i])} * {json_score(score)}] using score normalizer "
                f"[{normalizer}] for original matching query with score:",
                [explanation(child, candidate.key)],
            )
        )
    return _line(
        candidate.score,
        f"weighted linear combination score: [{json_score(candidate.score)}] computed for normalized scores "
        f"[{', '.join(str(json_score(score)) for score in scores)}] and weights "
        f"[{', '.join(str(json_score(weight)) for weight in weights)}] as sum of "
        "(weight[i] * score[i]) for each query.",
        lines,
    )


def _reranker(root: RankedNode, node: TextSimilarityReranker, candidate: Candidate) -> dict[str, Any]:
    (child,) = root.children
    chunks = (
        f"and rescoring considering only top [{node.chunk_rescorer.size}] best chunks"
        if node.chunk_rescorer
        else ""
    )
    return _line(
        candidate.score,
        f"text_similarity_reranker match using inference endpoint: [{node.inference_id}] on document field: "
        f"[{', '.join(node.field)}] matching on source query {_alias(child).strip()}{chunks}",
        [explanation(child, candidate.key)],
    )


def _alias(child: RankedNode) -> str:
    return f" [{child.node.name}]" if child.node.name else ""


def _line(value: float | np.float32, description: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "value": value if isinstance(value, int) else json_score(value),
        "description": description,
        "details": lines,
    }


def json_score(score: float | np.float32) -> float | str | None:
    """Return a score as Elasticsearch prints a float32, or None for NaN (no score).

    It prints the shortest decimal number that is rounded to the same float32, and an infinity as a text.
    """
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in Elasticsearch
        value = np.float32(score)
    return None if np.isnan(value) else written(float(str(value)))

"""Computes the windows of linear and pinned retrievers, and applies ``min_score``. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...types import Candidate
from ..grammar.tree import (
    Linear,
    Pinned,
)
from .fusion import linear, normalised, pinned_scores, renumbered
from .ranked_node import RankedNode


def at_least(window: Sequence[Candidate], least: float | None) -> tuple[Candidate, ...]:
    """Return the documents whose score is at least ``least``, compared as float32.

    Documents without a score (NaN) are kept.
    """
    if least is None:
        return tuple(window)
    return tuple(
        candidate
        for candidate in window
        if np.isnan(candidate.score) or np.float32(candidate.score) >= np.float32(least)
    )


def linear_over(node: Linear, children: tuple[RankedNode, ...]) -> RankedNode:
    """Return the ranking of a linear retriever: the weighted sum of the normalised scores of its children."""
    normalizers = [child.normalizer or node.normalizer or "none" for child in node.retrievers]
    window = linear(
        [child.window for child in children],
        [child.weight for child in node.retrievers],
        normalizers,
        node.window,
    )
    scores = tuple(
        dict(
            zip(
                [candidate.key for candidate in child.window],
                normalised([candidate.score for candidate in child.window], normalizer).tolist(),
                strict=True,
            )
        )
        for child, normalizer in zip(children, normalizers, strict=True)
    )
    return RankedNode(node, tuple(renumbered(at_least(window, node.min_score))), children, normalised=scores)


def with_pins(node: Pinned, existing: Sequence[Candidate], children: tuple[RankedNode, ...]) -> RankedNode:
    """Return the ranking of a pinned retriever: the pinned documents that exist, then the documents of the
    child.

    Each pinned document gets the score of its place in the list of the request.
    """
    scores = pinned_scores(len(node.pins))
    pinned = [
        replace(candidate, score=score)
        for (index, name), score in zip(node.pins, scores, strict=True)
        for candidate in existing
        if candidate.id == name and index in (None, candidate.index)
    ]
    keys = frozenset(candidate.key for candidate in pinned)
    others = [candidate for child in children for candidate in child.window if candidate.key not in keys]
    window = renumbered(at_least([*pinned, *others][: node.window], node.min_score))
    return RankedNode(node, tuple(window), children, pinned=keys)

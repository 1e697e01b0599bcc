"""Windows of the compound retrievers that combine the lists of others: linear, pinned, and what min_score leaves. Pure."""

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
    """Return the documents whose score reaches ``least``, compared as float32; one without a score is kept."""
    if least is None:
        return tuple(window)
    return tuple(
        candidate
        for candidate in window
        if np.isnan(candidate.score) or np.float32(candidate.score) >= np.float32(least)
    )


def combined(node: Linear, children: tuple[RankedNode, ...]) -> RankedNode:
    """Return a linear retriever over its children: the sum of their scores, each normalised and weighted."""
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
                normalised([c.score for c in child.window], how).tolist(),
                strict=True,
            )
        )
        for child, how in zip(children, normalizers, strict=True)
    )
    return RankedNode(node, tuple(renumbered(at_least(window, node.min_score))), children, normalised=scores)


def with_pins(node: Pinned, existing: Sequence[Candidate], children: tuple[RankedNode, ...]) -> RankedNode:
    """Put the pinned documents that exist first, each with the score of its place in the list, the others after them."""
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

"""What the model is trained on: a query, its passages, and what is known of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..types import FloatArray
from .passages import Passages, with_title
from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query and its passages. ``labels``: 1 or 0, or all -1 when only the teacher knows. ``teacher``: its logits."""

    query: str
    passages: list[str]
    labels: list[int]
    teacher: list[float]


def teacher_logits(similarity: FloatArray, bm25: FloatArray, recipe: Recipe) -> list[float]:
    """Return what bi-encoder and BM25 together say of the passages of one list.

    BM25's scores are standardised within the list and then spread as the bi-encoder's logits are, so that
    ``bm25_weight`` is the ratio of the two whatever the query: a convex combination of standardised scores beats either
    (https://arxiv.org/abs/2210.11934).
    """
    logits = recipe.distil_scale * similarity
    if bm25.std() > 0:
        logits = logits + recipe.bm25_weight * logits.std() * (bm25 - bm25.mean()) / bm25.std()
    return [round(float(logit), 4) for logit in logits]


def shown(passages: Passages, number: int, title_share: float, chance: random.Random) -> str:
    """Return a passage as the model reads it: with its title, or without."""
    return with_title(passages.titles[number] if chance.random() < title_share else "", passages.texts[number])

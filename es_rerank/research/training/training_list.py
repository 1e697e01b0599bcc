"""What the model is trained on: a query, its passages, and what is known of them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...collection import held_out
from ...errors import SourceError
from ...models import Reranker
from ...scores import as_logits, standardise
from ...types import FloatArray
from .recipe import Recipe

DEVELOPMENT_LISTS = 240

WORK, LISTS = "work", "lists.jsonl"
"""Folder within that of a training run where it keeps what it can be resumed from, and the file of its lists in there."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query and its passages. ``labels``: 1 or 0, or all -1 when only the teacher knows. ``teacher``: its logits.

    ``made``: the query is of our own making, so that others much like it may be trained on: no list to watch training by.
    """

    query: str
    passages: list[str]
    labels: list[int]
    teacher: list[float]
    made: bool = False


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


def mark_of(recipe: Recipe, base: str, data: Path) -> str:
    """Return the first line of a file of lists: what of the recipe they depend on, the digest of the base that made them, and of which folder."""
    return json.dumps({"recipe": json.loads(recipe.of_lists()), "base": base, "data": str(data.resolve())})


def is_of(mark: str, recipe: Recipe) -> bool:
    """Whether lists under this mark are those of a recipe, whichever base made them."""
    try:
        return bool(json.loads(mark)["recipe"] == json.loads(recipe.of_lists()))
    except (ValueError, LookupError, TypeError):
        return False


def read_lists(path: Path) -> tuple[str, list[TrainingList]]:
    """Return what the lists of a run's ``lists.jsonl`` were made by, and the lists. Raises SourceError for another file."""
    try:
        with path.open(encoding="utf-8") as lines:
            mark = next(lines, "").rstrip("\n")
            return mark, [TrainingList(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"{path} is not a training run's lists.jsonl: {error}", path=str(path)) from error


def split_development(
    lists: Sequence[TrainingList], recipe: Recipe
) -> tuple[list[TrainingList], list[TrainingList]]:
    """Return the labelled lists that are kept out of training, to watch it and to calibrate, and all others, each in their order.

    Raises SourceError where there are so few that none would be left to learn from.
    """
    labelled = [number for number, item in enumerate(lists) if item.labels[0] >= 0 and not item.made]
    if len(labelled) < 2 * DEVELOPMENT_LISTS:
        raise SourceError(
            f"the recipe gave {len(labelled)} labelled lists; {2 * DEVELOPMENT_LISTS} are needed, {DEVELOPMENT_LISTS} of them to watch by"
        )
    kept = set(random.Random(recipe.seed).sample(labelled, DEVELOPMENT_LISTS))
    return [lists[number] for number in sorted(kept)], [
        item for number, item in enumerate(lists) if number not in kept
    ]


def queue(others: Sequence[TrainingList], recipe: Recipe) -> list[TrainingList]:
    """Return, of the lists that are not for development, those of a run in the order of its first epoch."""
    return [item for item in others[recipe.first_list :] if not (recipe.spare_tenth and held_out(item.query))]


def learned_from(lists: Sequence[TrainingList], recipe: Recipe) -> list[TrainingList]:
    """Return the lists that a run reached, those of the run before it included."""
    _, others = split_development(lists, recipe)
    return [*others[: recipe.first_list], *queue(others, recipe)[: recipe.steps * recipe.lists_per_step]]


def add_teacher(lists: Sequence[TrainingList], reranker: Reranker, recipe: Recipe) -> list[TrainingList]:
    """Return lists whose teacher a reranker has joined: the sum of both, standardised over the list, as far apart as the teacher's logits were.

    A cross-encoder and its first stage together are better than either, and hence the cheapest teacher that is better
    than a cross-encoder (self-distillation, https://arxiv.org/abs/1805.04770).
    """
    return [
        replace(item, teacher=_joined(item, as_logits(reranker.score(item.query, item.passages)), recipe))
        for item in lists
    ]


def _joined(item: TrainingList, logits: FloatArray, recipe: Recipe) -> list[float]:
    both = recipe.reranker_weight * standardise(logits.tolist()) + standardise(item.teacher)
    return [round(float(value), 4) for value in np.std(item.teacher) * standardise(both.tolist())]

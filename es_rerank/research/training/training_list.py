"""Training lists: a query, its passages, and what is known about them."""

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
"""Folder inside a training run's folder with the files to resume from, and the file of the lists in it."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query and its passages.

    ``labels`` are 1 or 0, or all -1 when only the teacher judges the passages. ``teacher`` has the teacher's
    logits. ``made``: the query was generated. Other generated queries can be almost the same, so such a list
    is never a development list. ``asked`` is the query as its collection writes it, where ``query`` is in
    another script, else empty.
    """

    query: str
    passages: list[str]
    labels: list[int]
    teacher: list[float]
    made: bool = False
    asked: str = ""

    @property
    def query_of_collection(self) -> str:
        """The query as its collection writes it. What is held out is decided by it, whatever the script."""
        return self.asked or self.query


def teacher_logits(similarity: FloatArray, bm25: FloatArray, recipe: Recipe) -> list[float]:
    """Return the logits of the teacher, all bi-encoders and BM25 together, for the passages of one list.

    ``similarity`` has the cosines of each bi-encoder, float32, (embedders, n). Several bi-encoders count as
    one: the mean of their standardised cosines, with the spread of the first one's logits. BM25's scores are
    standardised within the list and then scaled to the spread of these logits. So ``bm25_weight`` is the
    ratio of the two for every query. A convex combination of standardised scores is better than each part
    (https://arxiv.org/abs/2210.11934).
    """
    logits = recipe.distil_scale * similarity[0]
    if len(similarity) > 1:
        joined = np.mean([standardise(row.tolist()) for row in similarity], axis=0)
        logits = logits.mean() + logits.std() * standardise(joined.tolist())
    if bm25.std() > 0:
        logits = logits + recipe.bm25_weight * logits.std() * (bm25 - bm25.mean()) / bm25.std()
    return [round(float(logit), 4) for logit in logits]


def mark_of(recipe: Recipe, base: str, data: Path) -> str:
    """Return the first line of a file of lists.

    It states what the lists were made from: fields of the recipe, the digest ``base`` of the base model, and
    the data folder. Lists of a recipe with embedders of its own do not depend on the base model, so several
    base models can share them.
    """
    made_from: dict[str, object] = {"recipe": json.loads(recipe.of_lists())}
    if not recipe.embedders:
        made_from["base"] = base
    return json.dumps({**made_from, "data": str(data.resolve())})


def differences(mark: str, other: str) -> list[str]:
    """Return what differs between the marks of two files of lists: fields of the recipe, base, data.

    For a text that is no mark, this is the first line itself.
    """
    try:
        one, two = ({**made_from.pop("recipe"), **made_from} for made_from in map(json.loads, (mark, other)))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ["the first line"]
    return [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]


def is_of(mark: str, recipe: Recipe) -> bool:
    """Return whether lists with this mark belong to a recipe, for any base model."""
    try:
        return bool(json.loads(mark)["recipe"] == json.loads(recipe.of_lists()))
    except (ValueError, LookupError, TypeError):
        return False


def read_lists(path: Path) -> tuple[str, list[TrainingList]]:
    """Return the mark and the lists of a run's ``lists.jsonl``. Raises SourceError for another file."""
    try:
        with path.open(encoding="utf-8") as lines:
            mark = next(lines, "").rstrip("\n")
            return mark, [TrainingList(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"{path} is not a training run's lists.jsonl: {error}", path=str(path)) from error


def split_development(
    lists: Sequence[TrainingList], recipe: Recipe
) -> tuple[list[TrainingList], list[TrainingList]]:
    """Return the development lists and all other lists, each in their order.

    Development lists are labelled. They are not trained on, but used to watch the training and to calibrate.
    Raises SourceError when too few lists would be left to train on.
    """
    labelled = [number for number, item in enumerate(lists) if item.labels[0] >= 0 and not item.made]
    if len(labelled) < 2 * DEVELOPMENT_LISTS:
        raise SourceError(
            f"the recipe gave {len(labelled)} labelled lists; {2 * DEVELOPMENT_LISTS} are needed, "
            f"{DEVELOPMENT_LISTS} of them as development lists"
        )
    kept = set(random.Random(recipe.seed).sample(labelled, DEVELOPMENT_LISTS))
    development = [lists[number] for number in sorted(kept)]
    return development, [item for number, item in enumerate(lists) if number not in kept]


def queue(others: Sequence[TrainingList], recipe: Recipe) -> list[TrainingList]:
    """Return the lists that a run trains on, in the order of its first epoch. ``others`` has no development
    lists.
    """
    return [
        item
        for item in others[recipe.first_list :]
        if not (recipe.spare_tenth and held_out(item.query_of_collection))
    ]


def learned_from(lists: Sequence[TrainingList], recipe: Recipe) -> list[TrainingList]:
    """Return the lists that a run was trained on, including those of the run before it."""
    _, others = split_development(lists, recipe)
    return [*others[: recipe.first_list], *queue(others, recipe)[: recipe.steps * recipe.lists_per_step]]


def add_teacher(lists: Sequence[TrainingList], reranker: Reranker, recipe: Recipe) -> list[TrainingList]:
    """Return the lists with a reranker as a second teacher.

    The new logits are the weighted sum of both teachers' standardised logits, standardised and then scaled to
    the spread of the old logits. A cross-encoder together with its first stage is better than each of them,
    so it is the cheapest teacher that is better than a cross-encoder (self-distillation,
    https://arxiv.org/abs/1805.04770).
    """
    return [
        replace(item, teacher=_joined(item, as_logits(reranker.score(item.query, item.passages)), recipe))
        for item in lists
    ]


def _joined(item: TrainingList, logits: FloatArray, recipe: Recipe) -> list[float]:
    both = recipe.reranker_weight * standardise(logits.tolist()) + standardise(item.teacher)
    return [round(float(value), 4) for value in np.std(item.teacher) * standardise(both.tolist())]

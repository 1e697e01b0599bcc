"""Training lists of statements that differ in a word of time: who likes something now, and who used to like
it.

A bi-encoder hardly sees the difference: multilingual-e5-small gave cosines of 0.928 and 0.926 for the pair
that was the reason for this module. A cross-encoder can learn it. The statements are made from
``contrasts.json``. The tests use other things than the training (``tests/support/now_and_before.py``).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .passages import Embed, similarities
from .recipe import Recipe
from .training_list import TrainingList, teacher_logits


class _Statements(NamedTuple):
    """The parts of statements in one language.

    ``now`` states that a thing is liked, ``before`` that it was liked. ``asked_now`` and ``asked_before`` are
    the queries for them.
    """

    things: list[str]
    now: list[str]
    before: list[str]
    asked_now: list[str]
    asked_before: list[str]


def contrasts(recipe: Recipe, embedders: Sequence[Embed]) -> list[TrainingList]:
    """Return ``recipe.contrasts`` lists, each with one positive.

    The positive states the time that the query asks for. The negatives state the other time, or another
    thing.
    """
    chance = random.Random(f"{recipe.seed}:contrasts")
    languages = [
        _Statements(**statements)
        for statements in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    ]
    return [_contrast(chance.choice(languages), chance, recipe, embedders) for _ in range(recipe.contrasts)]


def _contrast(
    language: _Statements, chance: random.Random, recipe: Recipe, embedders: Sequence[Embed]
) -> TrainingList:
    thing, *others = chance.sample(language.things, recipe.list_size)
    asked, right, wrong = chance.choice(
        (
            (language.asked_now, language.now, language.before),
            (language.asked_before, language.before, language.now),
        )
    )
    query = chance.choice(asked).format(thing)
    other_time = [statement.format(thing) for statement in chance.sample(wrong, recipe.list_size // 2)]
    other_thing = [chance.choice(right).format(other) for other in others]
    passages = [chance.choice(right).format(thing), *other_time, *other_thing][: recipe.list_size]
    asked_vectors = [embed([query], query=True) for embed in embedders]
    similarity = similarities(asked_vectors, [embed(passages) for embed in embedders])[0]
    nothing = np.zeros(len(passages), dtype=np.float32)
    return TrainingList(
        query,
        passages,
        [1] + [0] * (len(passages) - 1),
        teacher_logits(similarity, nothing, recipe),
        made=True,
    )

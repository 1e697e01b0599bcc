"""Training lists of statements that differ in a word of time: who likes something now, and who used to.

A bi-encoder hardly tells them apart (cosines 0.928 and 0.926 of multilingual-e5-small for the pair that gave rise to
this); a cross-encoder can, where it has been shown that the difference matters. The statements are made of ``contrasts.json``;
the pairs that such a model is tested with are made of other things (``tests/now_and_before.py``).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .passages import Embed
from .recipe import Recipe
from .training_list import TrainingList, teacher_logits


class _Statements(NamedTuple):
    """In one language, things, and what is said of one: that it is liked now, that it was liked once, what asks for either."""

    things: list[str]
    now: list[str]
    before: list[str]
    asked_now: list[str]
    asked_before: list[str]


def contrasts(recipe: Recipe, embed: Embed) -> list[TrainingList]:
    """Return ``recipe.contrasts`` lists: one statement of the time that is asked for, the others of the other time or of another thing."""
    chance = random.Random(f"{recipe.seed}:contrasts")
    languages = [
        _Statements(**each)
        for each in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    ]
    return [_contrast(chance.choice(languages), chance, recipe, embed) for _ in range(recipe.contrasts)]


def _contrast(language: _Statements, chance: random.Random, recipe: Recipe, embed: Embed) -> TrainingList:
    thing, *others = chance.sample(language.things, recipe.list_size)
    asked, right, wrong = chance.choice(
        (
            (language.asked_now, language.now, language.before),
            (language.asked_before, language.before, language.now),
        )
    )
    query = chance.choice(asked).format(thing)
    other_time = [each.format(thing) for each in chance.sample(wrong, recipe.list_size // 2)]
    other_thing = [chance.choice(right).format(other) for other in others]
    passages = [chance.choice(right).format(thing), *other_time, *other_thing][: recipe.list_size]
    similarity = embed(passages) @ embed([query], query=True)[0]
    nothing = np.zeros(len(passages), dtype=np.float32)
    return TrainingList(
        query,
        passages,
        [1] + [0] * (len(passages) - 1),
        teacher_logits(similarity, nothing, recipe),
        made=True,
    )

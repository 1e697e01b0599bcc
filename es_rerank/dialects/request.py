"""What a rerank request asks for and what it gets, in no client's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A rerank request.

    ``queries``: one for all texts, or one for each text. ``texts``: what the model reads. ``documents``: the
    same as the caller sent them, strings or objects. ``model``: the name that the caller wants, None without
    a wish. ``top_n``: how many of the best are returned, None for all. ``raw_scores``: whether logits are
    wanted instead of probabilities. ``with_texts``: whether the texts are wanted back, None if the caller
    does not say. ``whole``: whether a text longer than the model's window is an error. ``ignored``: the keys
    of the request that have no effect.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    documents: tuple[Any, ...]
    model: str | None = None
    top_n: int | None = None
    raw_scores: bool = False
    with_texts: bool | None = None
    whole: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of a rerank request.

    ``values``: one score for each text, in the order of the texts. ``order``: the positions of the texts that
    are returned, best first. ``model``: the name of the model that scored. ``tokens``: those that the models
    of this process read for the request.
    """

    values: Sequence[float]
    order: Sequence[int]
    model: str
    tokens: int = 0

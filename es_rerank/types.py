"""The words of the read path: passages, candidates and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Scale = Literal["logit", "probability"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Passage(NamedTuple):
    """A stretch of a text: ``text`` is the source text from character ``start`` to character ``end``."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A first-stage hit on its way through the reranker.

    ``rank`` counts from 1. ``texts`` are the passages that the reranker reads for this hit, ``offsets`` their
    character positions in the document where they are known. ``hit`` is Elasticsearch's hit, unchanged.
    """

    index: str
    id: str
    score: float
    rank: int
    texts: tuple[str, ...] = ()
    offsets: tuple[tuple[int, int] | None, ...] = ()
    hit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a reranker says of n passages, in the order in which they were given.

    ``values``: float32, (n,), finite wherever ``done``. ``scale``: ``"logit"`` (any real) or ``"probability"`` (0..1).
    ``done``: bool, (n,), false where the deadline came first. ``truncated``: bool, (n,), true where the pair was cut
    to the model's window. ``cached``: bool, (n,), true where the score was not computed for this call.
    """

    values: FloatArray
    scale: Scale
    done: BoolArray
    truncated: BoolArray
    cached: BoolArray

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, values: npt.ArrayLike, scale: Scale = "logit") -> Scores:
        """Return complete scores: everything done, nothing truncated, nothing cached."""
        array = np.asarray(values, dtype=np.float32)
        none = np.zeros(len(array), dtype=np.bool_)
        return cls(array, scale, done=~none, truncated=none, cached=none.copy())

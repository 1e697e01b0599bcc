"""The words of the read path: passages, candidates and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Scale = Literal["logit", "probability"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


DocumentKey = tuple[str, str, str | None]
"""Index, id and routing: within one index two shards may hold the same id under different routings."""


class Passage(NamedTuple):
    """A stretch of a text: ``text`` is the source text from character ``start`` to character ``end``."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A first-stage hit on its way through the reranker.

    ``score`` and ``rank`` (from 1) are the first stage's. ``passages`` are what the reranker reads for this hit; their
    offsets are characters in the document, (0, 0) where none are known. ``whole`` is true where the one passage is a
    field's whole text. ``context`` is read before each passage (a title, say). ``capped`` is true where the document has more passages than were taken.
    ``routing`` is the document's own, where it has one; ``shard_doc`` Elasticsearch's position of it, where a point in
    time gave one, which decides between equal scores. ``hit`` is Elasticsearch's hit, unchanged.
    """

    index: str
    id: str
    score: float
    rank: int
    context: str = ""
    passages: tuple[Passage, ...] = ()
    whole: bool = False
    capped: bool = False
    routing: str | None = None
    shard_doc: int | None = None
    hit: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> DocumentKey:
        """Return what tells the document from all others: index, id and routing."""
        return self.index, self.id, self.routing

    def texts(self) -> list[str]:
        """Return what the model reads: one text per passage, at least one (it may be empty)."""
        if not self.passages:
            return [self.context]
        return [
            f"{self.context}\n{passage.text}" if self.context else passage.text for passage in self.passages
        ]


class Aggregation(NamedTuple):
    """How the logits of a document's passages become the document's: the ``k`` best count for ``top_k_mean``.

    max, first and mean are MaxP, FirstP and SumP over the number of passages (Dai and Callan 2019, arXiv 1905.09217).
    Means are of logits, so that a calibration, which is linear in the logit, may come before or after.
    """

    kind: Literal["max", "first", "mean", "top_k_mean"] = "max"
    k: int = 1


class Calibration(NamedTuple):
    """Turns a model's logit into the log-odds of relevance.

    log-odds = ``logit`` * (model's logit) + ``first_stage`` * (spread of the window's logits) * (first-stage score,
    standardised over the window) + ``intercept``. The spread, a standard deviation, lets the first stage weigh the same
    in every window: where the model finds all passages alike, so does the first stage not outvote what little it says.
    Learned on training splits only, kept in the model's manifest.
    """

    logit: float = 1.0
    first_stage: float = 0.0
    intercept: float = 0.0


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

"""The types of a reranking search: passages, candidates, scores, aggregation and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Scale = Literal["logit", "probability"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


DocumentKey = tuple[str, str, str | None]
"""Identifies a document: index, id and routing.

The routing is needed because two shards of one index may hold the same id under different routings."""


class Passage(NamedTuple):
    """A part of a source text: ``text`` goes from character ``start`` to character ``end`` (exclusive).

    ``heading``: the headings of the source text that it stands below, and the header row of the table that it
    is a later part of; "" if none. They are read before the text.
    """

    text: str
    start: int
    end: int
    heading: str = ""

    @property
    def read(self) -> str:
        """The text with what is read before it."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit of the first stage that the reranker is to score.

    ``score`` and ``rank`` (from 1) come from the first stage. ``passages`` are the texts that the reranker
    scores for this hit. Their offsets are characters of the document, (0, 0) where the offsets are not known.
    ``whole`` is true where the only passage is the whole text of a field. ``context``, for example a title,
    is put before each passage; ``context_cut`` is true where only its beginning is. ``capped`` is true where
    the document has more passages than ``passages`` holds. ``routing`` is the document's routing, None where
    it has none. ``shard_doc`` is the document's position in Elasticsearch, which decides between equal
    scores; None unless the search uses a point in time. ``hit`` is Elasticsearch's hit, unchanged.
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
    context_cut: bool = False

    @property
    def key(self) -> DocumentKey:
        """The index, id and routing, which together identify the document."""
        return self.index, self.id, self.routing

    @property
    def has_text(self) -> bool:
        """Whether there is anything to read: a text that is more than blanks."""
        return any(text.strip() for text in self.texts())

    def texts(self) -> list[str]:
        """Return the texts to score: one per passage, with the context and its heading before it.

        A candidate without passages has one text, the context, which may be empty.
        """
        if not self.passages:
            return [self.context]
        return [
            f"{self.context}\n{passage.read}" if self.context else passage.read for passage in self.passages
        ]


class Aggregation(NamedTuple):
    """How the logit of a document is computed from the logits of its passages.

    ``max``, ``first`` and ``mean`` are MaxP, FirstP, and SumP divided by the number of passages (Dai and
    Callan 2019, arXiv 1905.09217). ``top_k_mean`` is the mean of the ``k`` best logits. Means are taken of
    logits: a calibration is linear in the logit, so it gives the same result before and after the mean.
    """

    kind: Literal["max", "first", "mean", "top_k_mean"] = "max"
    k: int = 1


FirstStageKind = Literal["dense", "bm25", "hybrid"]
"""What a first stage's scores are made of: vectors, terms, or several lists together."""


class Blend(NamedTuple):
    """Coefficients that turn a model's logit and a first-stage score together into log-odds of relevance.

    log-odds = ``logit`` * (model's logit) + ``first_stage`` * (standard deviation of the logits in the
    window) * (first-stage score, standardised over the window) + ``intercept``. The standard deviation gives
    the first stage the same weight against the model in every window: where the model's logits are close
    together, the first stage's part is small too and does not outweigh them.

    ``least_agreement``: the smallest Pearson correlation, -1..1, of a window's logits and first-stage scores
    with which the model may change the order; None where it always may. A window below it is left alone: it
    keeps the order of the first stage, with log-odds = ``alone_first_stage`` * (standardised first-stage
    score) + ``alone_intercept``. ``alone_first_stage`` is not negative.
    """

    logit: float
    first_stage: float
    intercept: float
    least_agreement: float | None = None
    alone_first_stage: float = 0.0
    alone_intercept: float = 0.0


_NO_BLENDS: Mapping[str, Blend] = {}
_COMMON_KIND: FirstStageKind = "dense"


class Calibration(NamedTuple):
    """Coefficients that turn a model's logit into log-odds of relevance, of the pair alone and blended.

    Of the pair alone: log-odds = ``pair_logit`` * (model's logit) + ``pair_intercept``. They do not depend on
    what else is in the window. Both are None where they were not fitted: the logit counts as it is.

    ``blends`` has the coefficients together with the first stage, by key: the kind of the first stage, such
    as "dense", or kind and name of the embedder, such as "dense:all-MiniLM-L6-v2". The name is that of the
    embedder's manifest, which an index records. All are fitted on training splits only. The model's manifest
    holds them.
    """

    pair_logit: float | None = None
    pair_intercept: float | None = None
    blends: Mapping[str, Blend] = _NO_BLENDS

    @classmethod
    def of_one(
        cls,
        logit: float,
        first_stage: float,
        intercept: float,
        pair_logit: float | None = None,
        pair_intercept: float | None = None,
    ) -> Self:
        """Return the calibration with one blend for every first stage, as earlier releases had it.

        Where nothing was fitted for the pair alone, it has the coefficients of a blend in which the first
        stage has no part.
        """
        if (pair_logit is None or pair_intercept is None) and first_stage == 0:
            pair_logit, pair_intercept = logit, intercept
        return cls(pair_logit, pair_intercept, {_COMMON_KIND: Blend(logit, first_stage, intercept)})

    @property
    def pair(self) -> tuple[float, float]:
        """Return the factor and the intercept for a pair alone: (1, 0) where they were not fitted."""
        if self.pair_logit is not None and self.pair_intercept is not None:
            return self.pair_logit, self.pair_intercept
        return 1.0, 0.0

    def blend_key(self, kind: FirstStageKind | None, embedder: str | None = None) -> str | None:
        """Return the key of the blend for windows of a first stage, None if there is no blend.

        The first of these that ``blends`` has: kind and embedder, the kind, "dense". ``kind`` and
        ``embedder`` are None where they are not known.
        """
        keys = [] if kind is None else [f"{kind}:{embedder}"] * (embedder is not None) + [str(kind)]
        return next((key for key in (*keys, _COMMON_KIND) if key in self.blends), None)

    def blend(self, kind: FirstStageKind | None, embedder: str | None = None) -> Blend | None:
        """Return the blend for windows of a first stage, None if there is none; see ``blend_key``."""
        key = self.blend_key(kind, embedder)
        return None if key is None else self.blends[key]


class FirstStageScores(NamedTuple):
    """What a search knows of a window before a reranker reads it, in first-stage order.

    ``scores``: the first stage's score of each document; NaN where it has none. ``counts``: how many
    consecutive texts belong to each document, at least one. ``blend``: how logit and first-stage score
    together become what the documents are sorted by, None where the logit alone decides.
    """

    scores: tuple[float, ...]
    counts: tuple[int, ...]
    blend: Blend | None = None

    @classmethod
    def unknown(cls, number: int) -> Self:
        """Return the window of ``number`` texts, each a document, of which the first stage says nothing."""
        return cls((0.0,) * number, (1,) * number)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores that a reranker gives to n passages, in the order of the passages.

    ``values``: float32, (n,), finite wherever ``done`` is true. ``scale``: ``"logit"`` (any real number) or
    ``"probability"`` (0..1). ``done``: bool, (n,), false where the deadline passed before the passage was
    scored. ``truncated``: bool, (n,), true where the pair was cut to the model's maximum length. ``cached``:
    bool, (n,), true where the score comes from a cache and was not computed for this call. ``estimated``:
    bool, (n,), true where the model has not read the passage, and the score is what a cheaper model lets
    expect of it; None where there is no such passage. What is estimated is ranked after what was read.
    """

    values: FloatArray
    scale: Scale
    done: BoolArray
    truncated: BoolArray
    cached: BoolArray
    estimated: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, values: npt.ArrayLike, scale: Scale = "logit") -> Scores:
        """Return scores for ``values``, (n,), that are all done, not truncated and not cached."""
        array = np.asarray(values, dtype=np.float32)
        none = np.zeros(len(array), dtype=np.bool_)
        return cls(array, scale, done=~none, truncated=none, cached=none.copy())

"""Tunes a reranker's blends and its calibration to one index, and judges the result on queries kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...errors import SourceError
from ...models.contracts import BlendRecord, CalibrationRecord, PairRecord
from ...retrievers.grammar.tree import FirstStage
from ...retrievers.planning.first_stage import KIND_OF
from ...scores import pair_log_odds
from ...types import Blend, Calibration, FloatArray
from ..logistic_line import Line
from .fitting import fit_order, fit_pair, log_odds, with_probabilities
from .judgements import kept_for_verdict
from .verdict import LEAST_QUERIES, Judged, Ratings, calibration_error, judged, squared_errors
from .windows import Window

Choice = Literal["order", "probabilities", "as shipped"]
"""What is taken of a tuned blend: all of it; its probabilities in the shipped order; nothing."""


class StageVerdict(BaseModel):
    """The verdict on the blend of one first stage, over the kept queries.

    ``key`` is the blend's key in the manifest. ``first_stage_alone`` is the mean nDCG@10 of the first stage.
    ``ndcg`` compares the shipped order with the tuned one. ``probabilities`` compares the mean squared errors
    (Brier) of the shipped probabilities with those of the blend that is taken, or would be; None without a
    known label. ``error_before`` and ``error_after`` are their expected calibration errors. ``learned_from``
    counts the windows with a relevant document that the blend was fitted to, ``queries`` the kept ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_stage: FirstStage
    key: str
    learned_from: int
    queries: int
    first_stage_alone: float
    ndcg: Judged
    probabilities: Judged | None
    error_before: float | None
    error_after: float | None
    choice: Choice
    blend: BlendRecord


class PairVerdict(BaseModel):
    """The verdict on the probabilities of pairs alone; the fields are those of ``StageVerdict``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probabilities: Judged | None
    error_before: float | None
    error_after: float | None
    choice: Choice
    pair: PairRecord


class Tuned(BaseModel):
    """What tuning found. ``better``: something of it is better than what was shipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: list[StageVerdict]
    pair: PairVerdict

    @property
    def better(self) -> bool:
        """Whether any part is better by its own test."""
        parts = [self.pair.probabilities]
        for stage in self.stages:
            parts += [stage.ndcg, stage.probabilities]
        return any(part is not None and part.outcome == "better" for part in parts)

    def as_json(self) -> dict[str, Any]:
        """Return the verdicts as JSON values, with the keys that the command line documents."""
        return self.model_dump(mode="json")

    def record(self, shipped: CalibrationRecord | None, *, anyway: bool = False) -> CalibrationRecord:
        """Return the calibration that is written: of each part the tuned one where it is better, else the
        shipped one. ``anyway`` takes every tuned part.

        A kind of first stage that is not tuned keeps its blend, also where a search would have looked it up
        under the key of another one.
        """
        start = shipped or CalibrationRecord()
        blends = {stage.key: stage.blend for stage in self.stages if anyway or stage.choice != "as shipped"}
        pair = self.pair.pair if anyway or self.pair.choice != "as shipped" else start.pair
        if not blends:
            return CalibrationRecord(pair=pair, blends=start.blends)
        known = start.coefficients()
        as_before = {
            kind: _of_pair(known) if (key := known.blend_key(kind)) is None else start.blends[key]
            for kind in KIND_OF.values()
        }
        return CalibrationRecord(pair=pair, blends={**as_before, **start.blends, **blends})


def _of_pair(calibration: Calibration) -> BlendRecord:
    """Return the blend that gives what a search gives where a model has none: the pair's probability."""
    logit, intercept = calibration.pair
    return BlendRecord(logit=logit, first_stage=0.0, intercept=intercept)


def check_queries(queries: Sequence[str], seed: int) -> None:
    """Check that both halves of the queries are large enough. Raises SourceError with what is needed."""
    kept = sum(kept_for_verdict(query, seed) for query in queries)
    if min(kept, len(queries) - kept) < LEAST_QUERIES:
        raise SourceError(
            f"{len(queries)} queries have a relevant document in the index: {len(queries) - kept} to learn "
            f"from and {kept} for the verdict. Each half needs at least {LEAST_QUERIES}, because with fewer "
            f"a test cannot tell a change from chance; judge about {4 * LEAST_QUERIES} queries or more"
        )


def tuned(
    windows: Mapping[FirstStage, Sequence[Window]],
    ratings: Ratings,
    shipped: Calibration | None,
    *,
    embedder: str | None,
    seed: int,
    anyway: bool = False,
    before: Mapping[FirstStage, Sequence[Window]] | None = None,
    versions: int = 1,
) -> Tuned:
    """Return the tuned blend of each first stage and the tuned pair, each with its verdict.

    ``embedder`` is the name of the embedder of the index (``retrievers.planning.first_stage.origin``), None
    if it is not known. With ``anyway`` the tuned order of every blend is taken. ``before`` has the same
    windows with the logits of the shipped weights, where ``windows`` are of other ones. ``versions`` counts
    the models that the kept half compares with the shipped one; the level is divided by it too. Raises
    SourceError when a first stage finds too few relevant documents.
    """
    calibration, start, tests = shipped or Calibration(), before or windows, len(windows) * versions
    stages = [
        _stage(name, own, start[name], ratings, calibration, embedder, seed, tests, anyway=anyway)
        for name, own in windows.items()
    ]
    pair = _pair(_pairs(windows), _pairs(start), ratings, calibration, seed, tests + versions)
    return Tuned(stages=stages, pair=pair)


def _stage(
    name: FirstStage,
    windows: Sequence[Window],
    start: Sequence[Window],
    ratings: Ratings,
    calibration: Calibration,
    embedder: str | None,
    seed: int,
    tests: int,
    *,
    anyway: bool,
) -> StageVerdict:
    kind = KIND_OF[name]
    recorded = None if kind == "bm25" else embedder
    before = calibration.blend(kind, recorded) or _of_pair(calibration).coefficients()
    learned, kept = _halves(windows, ratings, seed)
    if len(learned) < LEAST_QUERIES:
        raise SourceError(
            f"the first stage {name} finds a relevant document for only {len(learned)} of the queries to "
            f"learn from, and {LEAST_QUERIES} are needed; enlarge --window, judge more queries, or leave "
            "this --first-stage out"
        )
    after = fit_order(learned, before, ratings.ndcg, ratings.labels)
    _, kept_before = _halves(start, ratings, seed)
    odds_before = log_odds(kept_before, before)
    order = judged(ratings.ndcg(kept, odds_before), ratings.ndcg(kept, log_odds(kept, after)), tests=tests)
    ordered = anyway or order.outcome == "better"
    taken = after if ordered else with_probabilities(learned, before, ratings.labels)
    odds_after = log_odds(kept, taken)
    brier = _brier(kept, odds_before, odds_after, ratings, tests + 1)
    sure = brier is not None and brier.outcome == "better"
    error = calibration_error(kept, odds_after, ratings.labels)
    return StageVerdict(
        first_stage=name,
        key=kind if recorded is None else f"{kind}:{recorded}",
        learned_from=len(learned),
        queries=len(kept),
        first_stage_alone=float(ratings.ndcg(kept, [window.first_stage for window in kept]).mean()),
        ndcg=order,
        probabilities=brier,
        error_before=calibration_error(kept, odds_before, ratings.labels),
        error_after=error,
        choice="order" if ordered else "probabilities" if sure else "as shipped",
        blend=BlendRecord(**taken._asdict(), error=error),
    )


def _pair(
    windows: Sequence[Window],
    start: Sequence[Window],
    ratings: Ratings,
    calibration: Calibration,
    seed: int,
    tests: int,
) -> PairVerdict:
    learned, kept = _halves(windows, ratings, seed)
    _, kept_before = _halves(start, ratings, seed)
    line: Line = fit_pair(learned, ratings.labels)
    after = Calibration(line.slope, line.intercept)
    odds_before = [pair_log_odds(window.logits, calibration) for window in kept_before]
    odds_after = [pair_log_odds(window.logits, after) for window in kept]
    brier = _brier(kept, odds_before, odds_after, ratings, tests)
    error = calibration_error(kept, odds_after, ratings.labels)
    return PairVerdict(
        probabilities=brier,
        error_before=calibration_error(kept, odds_before, ratings.labels),
        error_after=error,
        choice="probabilities" if brier is not None and brier.outcome == "better" else "as shipped",
        pair=PairRecord(logit=line.slope, intercept=line.intercept, error=error),
    )


def _brier(
    kept: Sequence[Window],
    before: Sequence[FloatArray],
    after: Sequence[FloatArray],
    ratings: Ratings,
    tests: int,
) -> Judged | None:
    errors = [squared_errors(kept, odds, ratings.labels) for odds in (before, after)]
    return judged(errors[0], errors[1], tests=tests, least_is_best=True) if len(errors[0]) else None


def _halves(windows: Sequence[Window], ratings: Ratings, seed: int) -> tuple[list[Window], list[Window]]:
    """Return the windows to learn from, which have a relevant document, and all that are kept."""
    kept = [window for window in windows if kept_for_verdict(window.query, seed)]
    others = [window for window in windows if not kept_for_verdict(window.query, seed)]
    return [window for window in others if (ratings.labels(window) == 1).any()], kept


def _pairs(windows: Mapping[FirstStage, Sequence[Window]]) -> list[Window]:
    """Return one window for each query with all pairs that any first stage found, each once."""
    joined = []
    for found in zip(*windows.values(), strict=True):
        places = {name: (own, place) for own in reversed(found) for place, name in enumerate(own.documents)}
        values = [
            (own.logits[place], own.first_stage[place], own.ratings[place]) for own, place in places.values()
        ]
        logits, first_stage, ratings = np.asarray(values, dtype=np.float32).reshape(-1, 3).T
        joined.append(Window(found[0].query, tuple(places), logits, first_stage, ratings))
    return joined


def share_text(blend: Blend | BlendRecord) -> str:
    """Return the first stage's share in a blend's order as a person reads it, such as ``40 %``."""
    both = blend.logit + blend.first_stage
    return f"{100 * blend.first_stage / both:.0f} %" if both else "-"

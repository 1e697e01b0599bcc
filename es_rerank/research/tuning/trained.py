"""The verdict on a model that was trained, beside the one whose blends alone were fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ...models.contracts import CalibrationRecord
from ...retrievers.grammar.tree import FirstStage
from ...types import Blend
from .fitting import fit_order, log_odds
from .judgements import is_fitted_on, is_trained_on
from .tuning import Tuned
from .verdict import Ratings
from .windows import Window

VERSIONS = 2
"""Models that the kept half compares with the shipped one: the fitted and the trained one. Each test has its
share of the level."""

Weights = Literal["shipped", "trained"]


class Trained(BaseModel):
    """What a training found.

    ``lists``, ``passages`` and ``steps``: how much was read. ``trained_on`` and ``fitted_on`` count the
    queries of both parts of the half that is learned from. ``chosen_by``: mean nDCG@10 over the queries of
    the second part and all first stages, with a blend that is fitted to them, of the shipped and of the
    trained weights. ``verdict``: the trained model against the shipped one, on the kept half.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lists: int
    passages: int
    steps: int
    seconds: int
    trained_on: int
    fitted_on: int
    chosen_by: dict[Weights, float]
    verdict: Tuned

    @property
    def better(self) -> bool:
        """Whether the trained model orders better over a first stage, and worse over none.

        All first stages share the weights, so a harm of one cannot be left out.
        """
        outcomes = {stage.ndcg.outcome for stage in self.verdict.stages}
        return "better" in outcomes and "worse" not in outcomes

    def record(self, shipped: CalibrationRecord | None) -> CalibrationRecord:
        """Return the calibration of the trained model: everything that was fitted.

        A blend that was not fitted stays, without its error, which was measured with other weights.
        """
        start = shipped or CalibrationRecord()
        without = {key: blend.model_copy(update={"error": None}) for key, blend in start.blends.items()}
        pair = None if start.pair is None else start.pair.model_copy(update={"error": None})
        return self.verdict.record(CalibrationRecord(pair=pair, blends=without), anyway=True)


def left_to_fit(windows: Mapping[FirstStage, Sequence[Window]], seed: int) -> dict[FirstStage, list[Window]]:
    """Return the windows of the queries that were not trained on: to fit to, and to judge by."""
    return {
        name: [window for window in own if not is_trained_on(window.query, seed)]
        for name, own in windows.items()
    }


def chosen_by(
    windows: Mapping[FirstStage, Sequence[Window]],
    ratings: Ratings,
    shipped: Mapping[FirstStage, Blend | None],
    seed: int,
) -> float:
    """Return the mean nDCG@10 of the learned queries that were not trained on, each first stage with a blend
    that is fitted to these queries.

    Both weights are fitted to the same queries, so both figures are too high by the same cause, and the kept
    half takes no part.
    """
    means = []
    for name, own in windows.items():
        part = [
            window
            for window in own
            if is_fitted_on(window.query, seed) and (ratings.labels(window) == 1).any()
        ]
        blend = fit_order(part, shipped[name], ratings.ndcg, ratings.labels)
        means.append(float(ratings.ndcg(part, log_odds(part, blend)).mean()))
    return sum(means) / len(means)


def weights_taken(fitted: Tuned, trained: Trained | None, *, anyway: bool = False) -> Weights:
    """Return whose weights are written, if anything is.

    The trained ones are taken only if they are better by their own test. Where the fitted order is better
    too, the learned queries that were not trained on say which is taken (``chosen_by``); the kept half is not
    asked again. With ``anyway``, the trained weights are taken unless only the fitted ones are better.
    """
    if trained is None:
        return "shipped"
    if not trained.better:
        return "trained" if anyway and not fitted.better else "shipped"
    ordered = any(stage.ndcg.outcome == "better" for stage in fitted.stages)
    prefers = trained.chosen_by["trained"] > trained.chosen_by["shipped"]
    return "trained" if prefers or not ordered else "shipped"

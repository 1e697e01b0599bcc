"""Fits the calibration: a probability from the model's logit and the first stage's score together.

log-odds = a * logit + b * spread of the window's logits * standardised first-stage score + c

The coefficients are fitted by logistic regression. The data are whole first-stage windows, so the prior is
that of a search. Their queries are from the training splits, but the model was not trained on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import ir_measures
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from ...collection import read_corpus
from ...errors import SourceError
from ...models import Embedder, Reranker
from ...retrievers.ranking.rerank import calibrated
from ...scores import logistic, pair_log_odds, standardise
from ...text.chunking import Chunker
from ...types import Blend, Calibration, FirstStageKind, FloatArray
from ..reliability import reliability
from .queries import draw_queries
from .recipe import LabelledCollection, Recipe

CALIBRATION_WINDOW = 50
QUERIES_PER_SOURCE = 150

WEIGHTS = (0.2, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Weights of the first stage, relative to the logits' spread, whose orders are compared in every calibration.
"""


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """One query's first-stage window: the model's logits, the standardised first-stage scores, and the
    labels.

    All are float32, (n,). A label is 1, 0, or NaN when a judged pool does not judge the document.
    """

    collection: str
    logits: FloatArray
    first_stage: FloatArray
    labels: FloatArray


class Windows:
    """The first-stage windows of one collection. The search is exact and needs no index."""

    def __init__(
        self,
        source: LabelledCollection,
        folder: Path,
        reranker: Reranker,
        embedder: Embedder,
        chunker: Chunker,
    ) -> None:
        self._source, self._reranker, self._embedder = source, reranker, embedder
        self._texts: list[str] = []
        self._owner: list[str] = []
        for document in read_corpus(folder / source.collection):
            for passage in chunker.chunk(document.text):
                self._texts.append(f"{document.title}\n{passage.text}" if document.title else passage.text)
                self._owner.append(document.id)
        self._vectors = embedder.embed(self._texts)

    def window(self, query: str, grades: dict[str, int]) -> LabelledWindow | None:
        """Return the window of a query; None when it has no relevant document, because nothing can be learned
        from it.
        """
        similarity = self._vectors @ self._embedder.embed([query], purpose="query")[0]
        best: dict[str, int] = {}
        for number in np.argsort(-similarity, kind="stable"):
            best.setdefault(self._owner[number], int(number))
            if len(best) == CALIBRATION_WINDOW:
                break
        pooled = self._source.kind == "pool"
        labels = [
            float(grades[owner] > 0) if owner in grades else float("nan") if pooled else 0.0 for owner in best
        ]
        if 1.0 not in labels:
            return None
        scores = self._reranker.score(query, [self._texts[number] for number in best.values()])
        # Elasticsearch's score of a cosine is (1 + cosine) / 2. Standardised, it is the same as the cosine.
        first_stage = standardise([float(similarity[number]) for number in best.values()])
        return LabelledWindow(
            self._source.collection, scores.values, first_stage, np.asarray(labels, dtype=np.float32)
        )


KIND: FirstStageKind = "dense"
"""The windows are those of an embedder."""


def fit_blend(windows: Sequence[LabelledWindow], weight: float | None = None) -> Blend:
    """Return the coefficients of a logistic regression over all judged candidates. Every window has the same
    weight.

    ``weight`` fixes b / a, the weight of the first stage relative to the logit; None fits it too.
    """
    known = [~np.isnan(window.labels) for window in windows]
    features = np.concatenate([_features(window)[k] for window, k in zip(windows, known, strict=True)])
    joined = np.eye(3) if weight is None else np.array([[1.0, 0.0], [weight, 0.0], [0.0, 1.0]])
    labels = np.concatenate([w.labels[k] for w, k in zip(windows, known, strict=True)]).astype(np.float64)
    weights = np.concatenate([np.full(int(k.sum()), 1.0 / k.sum()) for k in known])

    def loss(coefficients: FloatArray) -> tuple[float, Any]:
        z = features @ joined @ coefficients
        value = float((weights * (np.logaddexp(0.0, z) - labels * z)).sum())
        return value, joined.T @ features.T @ (
            weights * (1.0 / (1.0 + np.exp(-np.clip(z, -500, 500))) - labels)
        )

    solution = joined @ minimize(loss, np.zeros(joined.shape[1]), jac=True, method="BFGS").x
    return Blend(*(round(float(x), 4) for x in solution))


def _features(window: LabelledWindow) -> npt.NDArray[np.float64]:
    """Return the features that the coefficients multiply, (n, 3), as in ``types.Blend``."""
    logits = window.logits.astype(np.float64)
    return np.stack([logits, logits.std() * window.first_stage, np.ones(len(logits))], axis=1)


def with_pair(windows: Sequence[LabelledWindow], blend: Blend) -> Calibration:
    """Return the calibration with coefficients for a pair alone, fitted to the same labels."""
    alone = fit_blend(windows, weight=0.0)
    return Calibration(alone.logit, alone.intercept, {KIND: blend})


def pair_from_blend(windows: Sequence[LabelledWindow], blend: Blend) -> Calibration:
    """Return the calibration with coefficients for a pair alone, fitted to the probabilities of the blend.

    No labels are needed: the pair's probability is what the blend's is on average over the first-stage scores
    of the windows.
    """
    targets = [
        replace(window, labels=logistic(calibrated(window.logits, window.first_stage.tolist(), blend)))
        for window in windows
    ]
    return with_pair(targets, blend)


class Errors(NamedTuple):
    """Expected calibration errors, 0..1: of the blended probabilities, and of those of the pairs alone."""

    blend: float
    pair: float


def errors(
    windows: Sequence[LabelledWindow], fit: Callable[[Sequence[LabelledWindow]], Calibration]
) -> Errors:
    """Return the calibration errors of ``fit``, measured on windows that it did not see.

    Each half of the windows gets its probabilities from the coefficients that are fitted to the other half.
    A calibration from one window alone is measured on this window.
    """
    blended: list[tuple[float, bool]] = []
    alone: list[tuple[float, bool]] = []
    for measured, learned in ((windows[::2], windows[1::2]), (windows[1::2], windows[::2])):
        coefficients = fit(learned or measured)
        for window in measured:
            known = ~np.isnan(window.labels)
            relevant = (window.labels[known] > 0.5).tolist()
            joined = calibrated(window.logits, window.first_stage.tolist(), coefficients.blend(KIND))
            blended += zip(logistic(joined)[known].tolist(), relevant, strict=True)
            pairs = logistic(pair_log_odds(window.logits, coefficients))
            alone += zip(pairs[known].tolist(), relevant, strict=True)
    return Errors(_error(blended), _error(alone))


def _error(seen: Sequence[tuple[float, bool]]) -> float:
    measured = reliability(seen)
    assert measured is not None  # noqa: S101 every window has a relevant document
    return round(measured.expected_error, 4)


class Quality(TypedDict):
    """nDCG@10 within the windows of one collection, in three orders: first stage, cross-encoder, and both
    together.

    ``by_weight`` has the value for each of ``WEIGHTS``.
    """

    queries: int
    first_stage: float
    cross_encoder: float
    calibrated: float
    by_weight: dict[str, float]


def quality(windows: Sequence[LabelledWindow], blend: Blend | None) -> dict[str, Quality]:
    """Return the quality of each order, by collection."""
    table: dict[str, Quality] = {}
    for name in sorted({window.collection for window in windows}):
        here = [window for window in windows if window.collection == name]
        table[name] = Quality(
            queries=len(here),
            first_stage=_ndcg(here, [w.first_stage for w in here]),
            cross_encoder=_ndcg(here, [w.logits for w in here]),
            calibrated=_joined_ndcg(here, blend),
            by_weight={f"{weight:g}": _joined_ndcg(here, Blend(1.0, weight, 0.0)) for weight in WEIGHTS},
        )
    return table


def _joined_ndcg(windows: Sequence[LabelledWindow], blend: Blend | None) -> float:
    """Return the mean nDCG@10 of the windows, ordered by logit and first stage together."""
    return _ndcg(windows, [calibrated(w.logits, w.first_stage.tolist(), blend) for w in windows])


def _ndcg(windows: Sequence[LabelledWindow], values: Sequence[FloatArray]) -> float:
    """Return the mean nDCG@10 of the windows, ordered by ``values``. Documents that are not judged count as
    not relevant.
    """
    qrels = {
        str(i): {str(j): int(label) for j, label in enumerate(np.nan_to_num(w.labels))}
        for i, w in enumerate(windows)
    }
    run = {str(i): {str(j): float(value) for j, value in enumerate(row)} for i, row in enumerate(values)}
    return round(
        float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]), 4
    )


def calibrate(
    recipe: Recipe,
    data: Path,
    trained: set[str],
    reranker: Reranker,
    embedder: Embedder,
    chunker: Chunker,
    *,
    collections: Sequence[str],
    weight: float | None = None,
    blend: Blend | None = None,
    say: Callable[[str], None],
) -> tuple[Calibration, Errors, dict[str, Quality]]:
    """Fit the calibration of an exported cross-encoder; return it with its calibration errors (``errors``),
    and its quality on the same windows.

    ``trained`` has the texts of the queries that the model was trained on; they are left out. ``weight`` is
    as in ``fit_blend``. With ``blend`` only the pair's coefficients are fitted, to the probabilities of
    this blend (``pair_from_blend``). Raises SourceError when no query is left.
    """
    windows: list[LabelledWindow] = []
    for source in (source for source in recipe.sources if source.collection in collections):
        texts, qrels = draw_queries(source.model_copy(update={"queries": 1_000_000}), data, recipe.seed)
        chosen = [query for query, text in texts.items() if text not in trained][:QUERIES_PER_SOURCE]
        searched = Windows(source, data, reranker, embedder, chunker)
        searched_windows = [
            window for query in chosen if (window := searched.window(texts[query], qrels[query])) is not None
        ]
        say(f"{source.collection}: {len(searched_windows)} windows of {len(chosen)} queries not trained on")
        windows += searched_windows
    if not windows:
        raise SourceError(
            f"no query of {', '.join(collections)} was kept out of training; calibrate with other "
            "collections",
            path=str(data),
        )

    def fit(to: Sequence[LabelledWindow]) -> Calibration:
        return with_pair(to, fit_blend(to, weight)) if blend is None else pair_from_blend(to, blend)

    coefficients = fit(windows)
    return coefficients, errors(windows, fit), quality(windows, coefficients.blend(KIND))

"""Learning how a model's logit and the first stage's score together become a probability.

log-odds = a * logit + b * spread of the window's logits * standardised first-stage score + c, fitted by logistic
regression over whole first-stage windows (so that the prior is that of a search) of queries from the training splits that
the model was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import ir_measures
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from ...collection import read_corpus
from ...errors import SourceError
from ...models import Embedder, Reranker
from ...retrievers.ranking.rerank import calibrated
from ...scores import standardise
from ...text.chunking import Chunker
from ...types import Calibration, FloatArray
from .queries import draw_queries
from .recipe import Recipe, Source

WINDOW = 50
QUERIES_PER_SOURCE = 150

WEIGHTS = (0.2, 0.4, 0.5, 0.65, 0.8, 1.0)
"""What the first stage may weigh beside the logits' spread: the orders that are compared whichever is learned or chosen."""


@dataclass(frozen=True, slots=True)
class Window:
    """One query's first-stage window: the model's logits, the standardised first-stage scores, and what is known.

    All float32, (n,); ``labels`` is 1, 0, or NaN where a judged pool says nothing of the document.
    """

    collection: str
    logits: FloatArray
    first_stage: FloatArray
    labels: FloatArray


class Windows:
    """The first-stage windows of one collection, searched exactly (no index is needed)."""

    def __init__(
        self, source: Source, folder: Path, reranker: Reranker, embedder: Embedder, chunker: Chunker
    ) -> None:
        self._source, self._reranker, self._embedder = source, reranker, embedder
        self._texts: list[str] = []
        self._owner: list[str] = []
        for document in read_corpus(folder / source.collection):
            for passage in chunker.chunk(document.text):
                self._texts.append(f"{document.title}\n{passage.text}" if document.title else passage.text)
                self._owner.append(document.id)
        self._vectors = embedder.embed(self._texts)

    def window(self, query: str, grades: dict[str, int]) -> Window | None:
        """Return the window of a query; None where no relevant document is in it, for it would teach nothing."""
        similarity = self._vectors @ self._embedder.embed([query], purpose="query")[0]
        best: dict[str, int] = {}
        for number in np.argsort(-similarity, kind="stable"):
            best.setdefault(self._owner[number], int(number))
            if len(best) == WINDOW:
                break
        pooled = self._source.kind == "pool"
        labels = [
            float(grades[owner] > 0) if owner in grades else float("nan") if pooled else 0.0 for owner in best
        ]
        if 1.0 not in labels:
            return None
        scores = self._reranker.score(query, [self._texts[number] for number in best.values()])
        # Elasticsearch's score of a cosine is (1 + cosine) / 2; standardised, it is the cosine's.
        first_stage = standardise([float(similarity[number]) for number in best.values()])
        return Window(
            self._source.collection, scores.values, first_stage, np.asarray(labels, dtype=np.float32)
        )


def fit(windows: Sequence[Window], weight: float | None = None) -> Calibration:
    """Return the coefficients of a logistic regression over all judged candidates, each window weighing the same.

    ``weight``: what the first stage weighs beside the logit, b / a, where it is not to be learned too.
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

    found = joined @ minimize(loss, np.zeros(joined.shape[1]), jac=True, method="BFGS").x
    return Calibration(*(round(float(x), 4) for x in found))


def _features(window: Window) -> npt.NDArray[np.float64]:
    """Return what the coefficients multiply, (n, 3): as in ``types.Calibration``."""
    logits = window.logits.astype(np.float64)
    return np.stack([logits, logits.std() * window.first_stage, np.ones(len(logits))], axis=1)


class Quality(TypedDict):
    """nDCG@10 within the windows of one collection, in the order of the first stage, the cross-encoder and both; ``by_weight``: of ``WEIGHTS``."""

    queries: int
    first_stage: float
    cross_encoder: float
    calibrated: float
    by_weight: dict[str, float]


def quality(windows: Sequence[Window], calibration: Calibration) -> dict[str, Quality]:
    """Return what each order is worth, per collection."""
    table: dict[str, Quality] = {}
    for name in sorted({window.collection for window in windows}):
        here = [window for window in windows if window.collection == name]
        table[name] = Quality(
            queries=len(here),
            first_stage=_ndcg(here, [w.first_stage for w in here]),
            cross_encoder=_ndcg(here, [w.logits for w in here]),
            calibrated=_joined_ndcg(here, calibration),
            by_weight={
                f"{weight:g}": _joined_ndcg(here, Calibration(1.0, weight, 0.0)) for weight in WEIGHTS
            },
        )
    return table


def _joined_ndcg(windows: Sequence[Window], calibration: Calibration) -> float:
    """Return mean nDCG@10 of the windows ordered by logit and first stage together."""
    return _ndcg(windows, [calibrated(w.logits, w.first_stage.tolist(), calibration) for w in windows])


def _ndcg(windows: Sequence[Window], values: Sequence[FloatArray]) -> float:
    """Return mean nDCG@10 of the windows ordered by values; what is not judged counts as not relevant."""
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
    say: Callable[[str], None],
) -> tuple[Calibration, dict[str, Quality]]:
    """Learn the calibration of an exported cross-encoder and return it with what it does on the development windows.

    ``trained`` are the texts of the queries that the model was trained on: they are left out. ``weight`` as for ``fit``.
    Raises SourceError when nothing is left.
    """
    windows: list[Window] = []
    for source in (source for source in recipe.sources if source.collection in collections):
        texts, qrels = draw_queries(source.model_copy(update={"queries": 1_000_000}), data, recipe.seed)
        chosen = [query for query, text in texts.items() if text not in trained][:QUERIES_PER_SOURCE]
        searched = Windows(source, data, reranker, embedder, chunker)
        found = [
            window for query in chosen if (window := searched.window(texts[query], qrels[query])) is not None
        ]
        say(f"{source.collection}: {len(found)} windows of {len(chosen)} queries that were not trained on")
        windows += found
    if not windows:
        raise SourceError(
            f"no query of {', '.join(collections)} was kept out of training; calibrate with other collections",
            path=str(data),
        )
    coefficients = fit(windows, weight)
    return coefficients, quality(windows, coefficients)

"""Learns the two calibrations of a cross-encoder: of a pair alone, and blended with each kind of first stage.

The data are whole first-stage windows, so that the share of relevant hits is that of a search. Their queries
are from the training splits, but the model was not trained on them. All figures are of collections that were
left out when the coefficients that are judged on them were fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, TypedDict

import numpy as np

from ...collection import Qrels
from ...errors import SourceError
from ...models import LoadedEmbedder, Reranker, identity_of
from ...models.contracts import CalibrationRecord
from ...retrievers.ranking.rerank import is_left_alone
from ...scores import logistic
from ...types import Blend, Calibration, FirstStageKind, FloatArray
from ..logistic_line import Doubles, Line
from ..reliability import reliability
from .calibration_fit import (
    JudgedWindow,
    Order,
    choose,
    fit_blend,
    fit_pair,
    gains,
    ndcg,
)
from .calibration_kept import FoundQueries, KeptWindows
from .calibration_windows import CALIBRATION_WINDOW, FirstStage, Searched, drawn_documents
from .queries import draw_queries
from .recipe import LabelledCollection, Recipe

QUERIES_PER_COLLECTION = 120
DOCUMENTS_PER_COLLECTION = 4_000

_FEWEST_COLLECTIONS = 3
"""A blend for one embedder is not learned from fewer: of two, a fit has chosen a weight of 3 by chance."""


class Plan(NamedTuple):
    """What windows are made of: at most so many queries and documents of each collection, and which first
    stages.
    """

    collections: Sequence[str]
    kinds: Sequence[FirstStageKind]
    queries: int = QUERIES_PER_COLLECTION
    documents: int = DOCUMENTS_PER_COLLECTION


class Row(TypedDict):
    """What one first stage is worth on one collection; nDCG@10 is that within the windows.

    ``blended`` is the order that ``by`` gives, the key of a blend that was fitted without the collection.
    The errors are the expected calibration errors, 0..1, of the blended probabilities and of those of the
    pairs alone. ``left_alone`` is the share of windows that keep the first stage's order.
    """

    first_stage: str
    collection: str
    queries: int
    by: str
    first_stage_ndcg: float
    cross_encoder_ndcg: float
    blended_ndcg: float
    blend_error: float
    pair_error: float
    left_alone: float


class Learned(NamedTuple):
    """The calibration to write, with its errors, and the figures of every first stage and collection."""

    record: CalibrationRecord
    rows: list[Row]
    orders: dict[str, Order]


def judged_windows(
    recipe: Recipe,
    data: Path,
    fresh: Callable[[str], bool],
    reranker: Reranker,
    identity: str,
    embedders: Sequence[LoadedEmbedder],
    plan: Plan,
    kept: KeptWindows,
    say: Callable[[str], None],
) -> list[JudgedWindow]:
    """Return the windows of the queries of a recipe's collections that the model was not trained on.

    ``fresh`` says so of a query's text. ``identity`` names the reranker's weights for ``kept``. Raises
    SourceError when no query is left.
    """
    windows: list[JudgedWindow] = []
    for source in (source for source in recipe.sources if source.collection in plan.collections):
        texts, qrels = draw_queries(source.model_copy(update={"queries": 1_000_000}), data, recipe.seed)
        chosen = {query: text for query, text in texts.items() if fresh(text)}
        chosen = {query: chosen[query] for query in list(chosen)[: plan.queries]}
        if not chosen:
            say(f"{source.collection}: no query was kept out of training")
            continue
        made_by = {
            "source": source.model_dump(mode="json"),
            "seed": recipe.seed,
            "drawn": list(chosen),
            "documents": plan.documents,
            "window": CALIBRATION_WINDOW,
            "kinds": list(plan.kinds),
            "embedders": [[embedder.name, identity_of(embedder)] for embedder in embedders],
        }
        made = partial(_found, source, data, chosen, qrels, embedders, plan, recipe.seed, made_by)
        found, searched_before = kept.first_stages(source.collection, made_by, made)
        logits, scored_before = kept.logits(source.collection, found, reranker, identity)
        windows += _windows(source, found, logits)
        say(
            f"{source.collection}: {len(found.found)} of {found.drawn} queries not trained on have a relevant"
            f" hit; {found.documents:,} of {found.of:,} documents searched"
            + (" (kept)" if searched_before else "")
            + f"; {sum(map(len, logits)):,} pairs scored"
            + (" (kept)" if scored_before else "")
        )
    if not windows:
        raise SourceError(
            f"no query of {', '.join(plan.collections)} was kept out of training; calibrate with other "
            "collections",
            path=str(data),
        )
    return windows


def _found(
    source: LabelledCollection,
    data: Path,
    chosen: Mapping[str, str],
    qrels: Qrels,
    embedders: Sequence[LoadedEmbedder],
    plan: Plan,
    seed: int,
    made_by: dict[str, Any],
) -> FoundQueries:
    """Return the windows of the ``chosen`` queries, id to text, of one collection."""
    documents, of = drawn_documents(source, data, qrels, list(chosen), plan.documents, seed)
    searched = Searched(documents, embedders, plan.kinds)
    pooled = source.kind == "pool"
    found = (searched.found(query, text, qrels[query], pooled=pooled) for query, text in chosen.items())
    return FoundQueries(
        made_by=made_by,
        documents=len(documents),
        of=of,
        drawn=len(chosen),
        found=[query for query in found if query is not None],
    )


def _windows(
    source: LabelledCollection, found: FoundQueries, logits: Sequence[FloatArray]
) -> Iterator[JudgedWindow]:
    for query, values in zip(found.found, logits, strict=True):
        for window in query.windows:
            yield JudgedWindow(
                source.collection,
                query.id,
                FirstStage(window.kind, window.embedder).key,
                values[window.places],
                np.asarray(window.scores, dtype=np.float32),
                np.asarray([np.nan if label is None else label for label in window.labels], dtype=np.float32),
                sparse=source.kind != "pool",
            )


def learn(windows: Sequence[JudgedWindow], weight: float | None = None) -> Learned:
    """Return the calibration that the windows teach, with figures of collections that were left out.

    Each collection is left out in turn, and judged by what the others teach; a single collection is judged by
    halves. An embedder gets a blend of its own only if this is clearly better than the blend of its kind
    (``_is_clearly_better``). ``weight`` fixes the weight of the first stage, relative to the spread of the
    logits.
    """
    pairs = [(judged, fit_pair(taught)) for judged, taught in _folds(windows)]
    pair_of = {id(window): line for judged, line in pairs for window in judged}
    rows: list[Row] = []
    blends: dict[str, tuple[Blend, float]] = {}
    orders: dict[str, Order] = {}

    def fitted(to: Sequence[JudgedWindow], gained: Doubles) -> tuple[Blend, Order]:
        order = choose(to, gained) if weight is None else Order(weight, None)
        return fit_blend(to, order), order

    def judged_by(key: str, of: Sequence[JudgedWindow], gained: Doubles) -> list[Row]:
        places = {id(window): place for place, window in enumerate(of)}
        blend_of: dict[int, Blend] = {}
        for judged, taught in _folds(of):
            blend, _ = fitted(taught, gained[[places[id(window)] for window in taught]])
            blend_of |= dict.fromkeys(map(id, judged), blend)
        return _rows(key, of, blend_of, pair_of)

    for kind in dict.fromkeys(window.stage.partition(":")[0] for window in windows):
        of_kind = [window for window in windows if window.stage.partition(":")[0] == kind]
        gained = gains(of_kind)
        common = judged_by(kind, of_kind, gained)
        blend, orders[kind] = fitted(of_kind, gained)
        blends[kind] = blend, fmean(row["blend_error"] for row in common)
        stages = list(dict.fromkeys(window.stage for window in of_kind))
        for stage in stages:
            by_kind = [row for row in common if row["first_stage"] == stage]
            mine = np.asarray([window.stage == stage for window in of_kind])
            own = [window for window in of_kind if window.stage == stage]
            by_own = judged_by(stage, own, gained[mine]) if len(stages) > 1 and weight is None else []
            if _is_clearly_better(by_own, by_kind):
                blend, orders[stage] = fitted(own, gained[mine])
                blends[stage] = blend, fmean(row["blend_error"] for row in by_own)
                rows += by_own
            else:
                rows += by_kind
    line = fit_pair(windows)
    record = CalibrationRecord.of(
        Calibration(
            round(line.slope, 4), round(line.intercept, 4), {key: blend for key, (blend, _) in blends.items()}
        )
    ).model_dump()
    record["pair"]["error"] = round(fmean(row["pair_error"] for row in rows), 4)
    for key, (_, error) in blends.items():
        record["blends"][key]["error"] = round(error, 4)
    return Learned(CalibrationRecord.model_validate(record), rows, orders)


def _folds(
    windows: Sequence[JudgedWindow],
) -> list[tuple[list[JudgedWindow], list[JudgedWindow]]]:
    """Return (judged, taught) windows: each collection and all others, or the halves of a single one.

    The windows of a query stay together. A single query is judged by what it teaches itself.
    """
    parts = {window.collection for window in windows}
    of = {id(window): window.collection for window in windows}
    if len(parts) == 1:
        queries = list(dict.fromkeys(window.query for window in windows))
        of = {id(window): str(queries.index(window.query) % 2) for window in windows}
        parts = set(of.values())
    split = [
        ([w for w in windows if of[id(w)] == part], [w for w in windows if of[id(w)] != part])
        for part in sorted(parts)
    ]
    return [(judged, taught or judged) for judged, taught in split]


def _rows(
    by: str, windows: Sequence[JudgedWindow], blend_of: Mapping[int, Blend], pair_of: Mapping[int, Line]
) -> list[Row]:
    """Return the figures of each first stage and collection in ``windows``.

    ``blend_of`` and ``pair_of`` have the coefficients for each window, by its ``id()``.
    """
    rows: list[Row] = []
    for stage, name in dict.fromkeys((window.stage, window.collection) for window in windows):
        here = [window for window in windows if (window.stage, window.collection) == (stage, name)]
        blended = [window.log_odds(blend_of[id(window)]) for window in here]
        alone = [pair_of[id(window)].of(window.logits) for window in here]
        left_alone = [is_left_alone(w.logits, w.scores.tolist(), blend_of[id(w)]) for w in here]
        rows.append(
            Row(
                first_stage=stage,
                collection=name,
                queries=len(here),
                by=by,
                first_stage_ndcg=_mean([ndcg(w, w.scores) for w in here]),
                cross_encoder_ndcg=_mean([ndcg(w, w.logits) for w in here]),
                blended_ndcg=_mean([ndcg(w, values) for w, values in zip(here, blended, strict=True)]),
                blend_error=_error(here, blended),
                pair_error=_error(here, alone),
                left_alone=_mean([float(alone) for alone in left_alone]),
            )
        )
    return rows


def _error(windows: Sequence[JudgedWindow], log_odds: Sequence[FloatArray]) -> float:
    """Return the expected calibration error of the probabilities of all hits whose label is known."""
    seen: list[tuple[float, bool]] = []
    for window, values in zip(windows, log_odds, strict=True):
        known = ~np.isnan(window.labels)
        seen += zip(logistic(values)[known].tolist(), (window.labels[known] > 0.5).tolist(), strict=True)
    measured = reliability(seen)
    assert measured is not None  # noqa: S101 every window has a relevant document
    return round(measured.expected_error, 4)


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 4)


def _is_clearly_better(own: Sequence[Row], common: Sequence[Row]) -> bool:
    """Return whether ``own`` has more nDCG@10 than ``common`` by more than one standard error, over at least
    three collections that were left out.
    """
    than = {row["collection"]: row["blended_ndcg"] for row in common}
    more = [row["blended_ndcg"] - than[row["collection"]] for row in own]
    return len(more) >= _FEWEST_COLLECTIONS and fmean(more) > stdev(more) / len(more) ** 0.5

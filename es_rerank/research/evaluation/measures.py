"""Quality measures of a run, as trec_eval defines them, and the test whether one run beats another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ...collection import Qrels

Run = dict[str, dict[str, float]]
"""Query id to document id to score; a higher score is a better rank."""

_ROUNDING = 1e-9
"""Two nDCG values that differ by less are equal: the difference is rounding."""


class Measures(BaseModel):
    """nDCG@10 (graded, linear gain), RR@10 and recall@100, each 0..1, of one query or as the mean over
    queries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    ndcg_at_10: float = Field(alias="ndcg@10")
    rr_at_10: float = Field(alias="rr@10")
    recall_at_100: float = Field(alias="recall@100")


class Difference(BaseModel):
    """Difference of two runs on the same queries: mean nDCG@10, and a paired t-test.

    ``p_value`` is two-sided; None for fewer than two queries. ``wins`` counts the queries that got better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    ndcg_at_10: float = Field(alias="ndcg@10")
    p_value: float | None
    wins: int
    losses: int
    ties: int


def run_of(order: Sequence[str]) -> dict[str, float]:
    """Return an order as scores without ties.

    trec_eval would sort ties by document id and so change the order.
    """
    return {document: float(len(order) - position) for position, document in enumerate(order)}


def measures_by_query(qrels: Qrels, run: Run) -> dict[str, Measures]:
    """Return the measures of every query of ``qrels``. A query without hits gets zeros.

    A document without a judgement counts as not relevant. ir-measures (https://ir-measur.es) computes the
    values with trec_eval.
    """
    import ir_measures  # noqa: PLC0415 imports pytrec_eval, which no other command needs

    wanted = {
        "ndcg@10": ir_measures.nDCG @ 10,
        "rr@10": ir_measures.RR @ 10,
        "recall@100": ir_measures.R @ 100,
    }
    names = {measure: name for name, measure in wanted.items()}
    values: dict[str, dict[str, Any]] = {query: dict.fromkeys(wanted, 0.0) for query in qrels}
    for metric in ir_measures.iter_calc(list(names), qrels, run):
        values[metric.query_id][names[metric.measure]] = metric.value
    return {query: Measures.model_validate(of_query) for query, of_query in values.items()}


def mean(measures: Iterable[Measures]) -> Measures:
    """Return the mean over queries. There must be at least one."""
    listed = list(measures)
    names = ("ndcg_at_10", "rr_at_10", "recall_at_100")
    return Measures(**{name: fmean(getattr(of_query, name) for of_query in listed) for name in names})


def compared(before: Mapping[str, Measures], after: Mapping[str, Measures]) -> Difference:
    """Return the change of nDCG@10 between two runs over the same queries. There must be at least one."""
    return difference([after[query].ndcg_at_10 - before[query].ndcg_at_10 for query in before])


def difference(changes: Sequence[float]) -> Difference:
    """Return the mean of changes of nDCG@10 and their test. ``changes`` has one value for each query, at
    least one.
    """
    differences = np.asarray(changes, dtype=np.float64)
    wins, losses = int((differences > _ROUNDING).sum()), int((differences < -_ROUNDING).sum())
    return Difference(
        ndcg_at_10=float(differences.mean()),
        p_value=_p_value(differences),
        wins=wins,
        losses=losses,
        ties=len(differences) - wins - losses,
    )


def _p_value(differences: npt.NDArray[np.float64]) -> float | None:
    if len(differences) < 2:
        return None
    if (
        np.ptp(differences) < _ROUNDING
    ):  # t is 0/0 when nothing changed, and infinite when all changes are equal
        return 1.0 if abs(differences[0]) < _ROUNDING else 0.0
    from scipy import stats  # noqa: PLC0415 takes a second to import, which no other command should pay

    # The paired test is the one-sample test of the differences.
    return float(stats.ttest_1samp(differences, 0.0).pvalue)

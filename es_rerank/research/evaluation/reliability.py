"""Whether probabilities mean what they say: of the documents given a probability of 0.7, are seven of ten relevant?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...collection import Qrels

BINS = 10


class Bin(BaseModel):
    """Documents with a probability from ``low`` to below ``high``: how many, their mean probability, the share that is relevant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    documents: int
    probability: float
    relevant: float


class Reliability(BaseModel):
    """A reliability diagram as numbers: the bins that hold documents, and the expected calibration error over all of them.

    ``expected_error``, 0..1, is the mean distance of probability and share of relevant documents, each bin weighing as
    many documents as it holds (Guo et al. 2017, arXiv 1706.04599; ten bins of equal width).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    expected_error: float
    bins: list[Bin]


def says_what_is_irrelevant(qrels: Qrels) -> bool:
    """Whether a split judges documents as not relevant: then one without a judgement is unknown, else it is taken as not relevant."""
    return any(grade <= 0 for judged in qrels.values() for grade in judged.values())


def with_relevance(
    probabilities: dict[str, float], grades: dict[str, int], *, known: bool
) -> list[tuple[float, bool]]:
    """Return, for one query, the probability of each document and whether it is relevant; with ``known``, of judged documents alone."""
    return [
        (probability, grades.get(name, 0) > 0)
        for name, probability in probabilities.items()
        if name in grades or not known
    ]


def reliability(seen: Sequence[tuple[float, bool]]) -> Reliability | None:
    """Return the reliability of probabilities, each with whether its document is relevant; None where there is none."""
    if not seen:
        return None
    probabilities = np.asarray([probability for probability, _ in seen], dtype=np.float64)
    relevant = np.asarray([is_relevant for _, is_relevant in seen], dtype=np.float64)
    places = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    bins = []
    for place in range(BINS):
        here = places == place
        if here.any():
            bins.append(
                Bin(
                    low=place / BINS,
                    high=(place + 1) / BINS,
                    documents=int(here.sum()),
                    probability=float(probabilities[here].mean()),
                    relevant=float(relevant[here].mean()),
                )
            )
    error = sum(each.documents * abs(each.probability - each.relevant) for each in bins) / len(seen)
    return Reliability(documents=len(seen), expected_error=error, bins=bins)

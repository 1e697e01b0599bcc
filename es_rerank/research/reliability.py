"""Reliability of probabilities: of the documents with a probability of 0.7, are seven of ten relevant?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..collection import Qrels

BINS = 10


class Bin(BaseModel):
    """Documents with a probability from ``low`` to below ``high``.

    ``probability`` is their mean probability, ``relevant`` the share of them that is relevant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    documents: int
    probability: float
    relevant: float


class Reliability(BaseModel):
    """A reliability diagram as numbers: the bins that have documents, and the expected calibration error over
    all bins.

    ``expected_error``, 0..1, is the mean distance between a bin's probability and its share of relevant
    documents, weighted by the bin's number of documents (Guo et al. 2017, arXiv 1706.04599; ten bins of equal
    width).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    expected_error: float
    bins: list[Bin]


def says_what_is_irrelevant(qrels: Qrels) -> bool:
    """Return whether a split judges some documents as not relevant.

    In such a split a document without a judgement is unknown; in another split it counts as not relevant.
    """
    return any(grade <= 0 for judged in qrels.values() for grade in judged.values())


def with_relevance(
    probabilities: dict[str, float], grades: dict[str, int], *, known: bool
) -> list[tuple[float, bool]]:
    """Return the probability and the relevance of each document of one query.

    With ``known``, only judged documents are returned.
    """
    return [
        (probability, grades.get(name, 0) > 0)
        for name, probability in probabilities.items()
        if name in grades or not known
    ]


def reliability(seen: Sequence[tuple[float, bool]]) -> Reliability | None:
    """Return the reliability of probabilities; None when there are none.

    Each probability comes with the relevance of its document.
    """
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
    error = sum(part.documents * abs(part.probability - part.relevant) for part in bins) / len(seen)
    return Reliability(documents=len(seen), expected_error=error, bins=bins)

"""Judgements of documents: how repeated, blank and impossible ones are counted, and the two halves."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

HIGHEST_RATING = 10.0
"""The default of the highest rating: the largest of the scales that Quepid offers (binary, 0..3, 1..10)."""

RELEVANT_FROM = 1.0
"""The default of the least rating of a relevant document: every grade above 0."""

SEED = 13
"""The default seed of the draw of the halves."""


class Judgement(NamedTuple):
    """One row of judgements.

    ``query`` is the query's text, or its id as long as the text is not known. ``rating`` is None where nobody
    rated the document.
    """

    query: str
    document: str
    rating: float | None


SAID: Mapping[str, str] = {
    "rows": "rows of judgements read",
    "without_rating": "without a rating, and left out",
    "without_query_or_document": "without a query or a document, and left out",
    "out_of_range": "with a rating out of range, and left out",
    "repeated": "that repeat another row, and are counted once",
    "averaged": "with another rating for the same query and document; the mean of the ratings counts",
    "queries_without_text": "queries without a text, which are left out",
    "clicks": "clicks read",
    "clicks_not_shown": "clicks on documents that the log does not show for their query, and left out",
    "repeated_clicks": "repeated clicks on one document in one search, counted once",
    "searches": "searches in the log",
    "searches_without_hits": "searches without a list of hits and without impressions, which are left out",
    "unreadable_events": "events of other actions, which are not read",
    "seldom_shown": "query and document shown too seldom to judge, and left out",
    "little_evidence": "query and document with too few clicks to judge, and left out",
    "not_in_index": "judged documents that are not in the index, and left out",
    "queries_without_relevant": "queries without a relevant document in the index, which are left out",
}
"""What each count of ``Judgements.counts`` counts, in the words of the output."""


@dataclass(frozen=True, slots=True)
class Judgements:
    """Ratings by query text and document id, and what was counted on the way (``SAID`` has the keys).

    A rating is a finite number of at least 0. A document without a rating is unknown.
    """

    ratings: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int] = field(default_factory=dict)


def joined(
    rows: Iterable[Judgement],
    *,
    highest: float = HIGHEST_RATING,
    negative_is_zero: bool = False,
    counts: Mapping[str, int] | None = None,
) -> Judgements:
    """Return the ratings of all rows. Their order has no influence.

    A query's text has single spaces between its words. A rating below 0 or above ``highest`` is left out and
    counted; with ``negative_is_zero`` a rating below 0 is 0, as trec_eval reads it. Where rows of one query
    and document differ, their mean counts. ``counts`` are what the reader has counted already.
    """
    counted = Counter(counts or {})
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        counted["rows"] += 1
        query, document = " ".join(row.query.split()), row.document.strip()
        if not query or not document:
            counted["without_query_or_document"] += 1
        elif row.rating is None:
            counted["without_rating"] += 1
        else:
            rating = max(row.rating, 0.0) if negative_is_zero else row.rating
            if not 0 <= rating <= highest:
                counted["out_of_range"] += 1
            else:
                found.setdefault((query, document), []).append(rating)
    ratings: dict[str, dict[str, float]] = {}
    for (query, document), given in sorted(found.items()):
        counted["averaged" if len(set(given)) > 1 else "repeated"] += len(given) - 1
        # math.fsum: the mean does not depend on the order of the rows.
        ratings.setdefault(query, {})[document] = math.fsum(given) / len(given)
    return Judgements(ratings, {name: count for name, count in counted.items() if count})


def kept_for_verdict(query: str, seed: int) -> bool:
    """Return whether a query belongs to the half that is kept for the verdict.

    The rule: the first 8 bytes of the SHA-256 of the seed, a line feed and the query's text, as a number, are
    odd. Upper case and white space do not count, so that spellings of one query stay in one half. A query
    stays in its half when others are added.
    """
    return int.from_bytes(_digest(query, seed)[:8], "big") % 2 == 1


def is_trained_on(query: str, seed: int) -> bool:
    """Return whether a training may read a query: two thirds of the half that is learned from.

    Weights know the queries that they were trained on, so blends and probabilities of a trained model are
    fitted to the other third. The rule: the query is not kept, and the second 8 bytes of the same digest are
    no multiple of 3.
    """
    return not kept_for_verdict(query, seed) and int.from_bytes(_digest(query, seed)[8:16], "big") % 3 != 0


def is_fitted_on(query: str, seed: int) -> bool:
    """Return whether a trained model's blends and probabilities are fitted to a query: the other third."""
    return not (kept_for_verdict(query, seed) or is_trained_on(query, seed))


def _digest(query: str, seed: int) -> bytes:
    text = f"{seed}\n{' '.join(query.casefold().split())}"
    return hashlib.sha256(text.encode()).digest()


def says_what_is_irrelevant(judgements: Judgements, relevant_from: float) -> bool:
    """Return whether some judged documents are not relevant. Then a document without a rating is unknown."""
    return any(rating < relevant_from for rated in judgements.ratings.values() for rating in rated.values())

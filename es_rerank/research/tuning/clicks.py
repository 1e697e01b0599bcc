"""Turns clicks into ratings: clicks over expected clicks (COEC), which takes the position's part away.

Zhang and Jones 2007, "Comparing click logs and editorial labels for training query rewriting" (Query Log
Analysis Workshop, WWW 2007); Chapelle and Zhang 2009, "A dynamic Bayesian network click model for web search
ranking" (WWW 2009), section 6, compare it with others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .judgements import Judgements

LEAST_SHOWN = 10
"""The default of how often a document must have been shown for a query before the pair is judged."""

LEAST_CLICKS = 2
"""Clicks by which a document can be judged relevant: a single one may be a slip."""

LEAST_EXPECTED = 1.0
"""Expected clicks without which a document is not judged irrelevant: nobody may have looked at it."""

GRADES = ((2.0, 2.0), (1.0, 1.0))
"""(least COEC, rating): a document that is clicked twice as often as the others at its positions is rated 2,
one that is clicked as often as they are 1, and another one 0."""


_ROUNDING = 1e-9
"""A sum of shares that is less than this part of it below a number is this number."""


class Shown(NamedTuple):
    """A document that a search showed: the query's text, the document's id, and the position from 1."""

    query: str
    document: str
    position: int


@dataclass(frozen=True, slots=True)
class ClickLog:
    """How often each document was shown and clicked, by query and position.

    A document is clicked at most as often as it was shown. ``counts`` has what was counted at reading.
    """

    shown: Counter[Shown] = field(default_factory=Counter)
    clicked: Counter[Shown] = field(default_factory=Counter)
    counts: Mapping[str, int] = field(default_factory=dict)


def click_rates(log: ClickLog) -> dict[int, float]:
    """Return the share of the documents shown at each position that were clicked, 0..1, over all queries."""
    shown: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    for place, times in log.shown.items():
        shown[place.position] += times
    for place, times in log.clicked.items():
        clicked[place.position] += times
    return {position: clicked[position] / times for position, times in sorted(shown.items())}


def ratings_of(log: ClickLog, *, least_shown: int = LEAST_SHOWN) -> Judgements:
    """Return ratings 0, 1 and 2 of documents by their clicks over expected clicks.

    The expected clicks of a document are the sum of the click rates of the positions where it was shown: what
    an average document would have got there. ``GRADES`` says which rating a quotient gives. A pair that was
    shown less than ``least_shown`` times is not judged. A document is relevant with at least ``LEAST_CLICKS``
    clicks; it is irrelevant where at least ``LEAST_EXPECTED`` clicks were expected. No other one is judged.
    """
    rates = click_rates(log)
    times: Counter[tuple[str, str]] = Counter()
    clicks: Counter[tuple[str, str]] = Counter()
    expected: defaultdict[tuple[str, str], float] = defaultdict(float)
    for place, number in sorted(log.shown.items()):
        pair = place.query, place.document
        times[pair] += number
        clicks[pair] += log.clicked[place]
        expected[pair] += number * rates[place.position]
    counted = Counter(log.counts)
    ratings: dict[str, dict[str, float]] = {}
    for pair, number in times.items():
        if number < least_shown:
            counted["seldom_shown"] += 1
            continue
        rating = _rating(clicks[pair], expected[pair])
        if rating is None:
            counted["little_evidence"] += 1
        else:
            ratings.setdefault(pair[0], {})[pair[1]] = rating
    return Judgements(ratings, {name: count for name, count in counted.items() if count})


def _rating(clicks: int, expected: float) -> float | None:
    expected -= _ROUNDING * expected
    if clicks >= expected:
        if clicks < LEAST_CLICKS:
            return None
        return next(rating for least, rating in GRADES if clicks >= least * expected)
    return 0.0 if expected >= LEAST_EXPECTED * (1 - _ROUNDING) else None

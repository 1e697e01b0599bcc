"""Builds queries that give known documents their scores. Pure functions, no I/O.

A query of one clause for each document is refused for a large window: Elasticsearch limits the clauses of a
query. So scores are written in digits, and each digit is one clause for all documents that have it.
Elasticsearch adds the clauses of a document in double precision, so the sum is exactly the score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...errors import InvalidSearchError
from ...types import Candidate
from ..grammar.tree import Query
from .document_sets import any_of, documents_query

_FEW_SCORES = 64
"""Most different scores that get a clause each. Up to this number, that is not slower than digits."""

_DIGIT_BITS = 4
"""Bits of one digit. A float32 has 24 bits, so up to seven digits. 10,000 places need 60 clauses, 10,000
probabilities about 180."""

LEAST = float(np.float32(2.0**-149))
"""The least positive float32."""

_MOST = float(np.finfo(np.float32).max)


def scored_documents_query(candidates: Sequence[Candidate], scores: Sequence[float]) -> Query:
    """Return a query that matches exactly these documents and gives each its score, as float32.

    Raises InvalidSearchError as ``check_score`` does.
    """
    groups: dict[tuple[str, int], list[tuple[Candidate, float]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for candidate, score in zip(candidates, scores, strict=True):
        check_score(score)
        # Below, a clause names ids alone. So an id occurs once in a group.
        place = seen[candidate.index, candidate.id] = seen.get((candidate.index, candidate.id), -1) + 1
        groups.setdefault((candidate.index, place), []).append((candidate, float(np.float32(score))))
    return any_of([_of_group(index, pairs) for (index, _), pairs in groups.items()])


def check_score(score: float) -> None:
    """Check that Elasticsearch computes with a score. Raises InvalidSearchError, which says what to do, when
    the score is below 0 or above the largest float32.
    """
    if score < 0:
        fault = (
            f"RankDoc scores must be positive values. Missing a normalization step? Found [{score}]; "
            "Elasticsearch refuses it too, alone and with the plugin es-rerank"
        )
        raise InvalidSearchError.of([fault])
    if score > _MOST:
        fault = (
            f"a score is [{score}], and a request cannot give Elasticsearch such a score; "
            "use smaller weights, or the plugin es-rerank, which ranks inside Elasticsearch"
        )
        raise InvalidSearchError.of([fault])


def positive(scores: Sequence[float]) -> list[float]:
    """Return the scores of a window, best first, so that each is above 0, as Elasticsearch's are there.

    A document without a score (NaN) and one whose score is 0 get one of the least numbers above 0, in the
    order of the window. ``place_of`` finds the document again.
    """
    return [
        score if score > len(scores) * LEAST or score < 0 else (len(scores) - place) * LEAST
        for place, score in enumerate(scores)
    ]


def place_of(score: float, count: int) -> int | None:
    """Return the position, from 0, of the document that a score of ``positive`` stands for. None for a score
    that is the document's own. ``count`` is the size of the window.
    """
    return count - round(score / LEAST) if 0 < score <= count * LEAST else None


def _of_group(index: str, pairs: Sequence[tuple[Candidate, float]]) -> Query:
    """Return the query for documents of one index, of which no two have the same id."""
    exact = any(candidate.routing is not None or not score for candidate, score in pairs)
    which = documents_query([candidate for candidate, _ in pairs]) if exact else {"term": {"_index": index}}
    should = [
        {"constant_score": {"filter": {"ids": {"values": ids}}, "boost": boost}}
        for boost, ids in _summands([(candidate.id, score) for candidate, score in pairs]).items()
    ]
    return {"bool": {"filter": [which], "should": should, **({} if exact else {"minimum_should_match": 1})}}


def _summands(scores: Sequence[tuple[str, float]]) -> dict[float, list[str]]:
    """Return the ids by number, so that for each id the sum of its numbers is its score."""
    ids: dict[float, list[str]] = {}
    for name, score in scores:
        if score:
            ids.setdefault(score, []).append(name)
    if len(ids) <= _FEW_SCORES:
        return ids
    digits: dict[float, list[str]] = {}
    for score, names in ids.items():
        for digit in _digits(score):
            digits.setdefault(digit, []).extend(names)
    return digits


def _digits(score: float) -> list[float]:
    """Return the digits of a positive float32 as numbers that add up to it. Their places are multiples of
    ``_DIGIT_BITS`` bits, so that many scores share them.
    """
    fraction, exponent = math.frexp(score)
    bits, exponent = int(fraction * 2**24), exponent - 24
    bits, exponent = bits << exponent % _DIGIT_BITS, exponent - exponent % _DIGIT_BITS
    digits = []
    while bits:
        bits, digit = divmod(bits, 2**_DIGIT_BITS)
        if digit:
            digits.append(math.ldexp(digit, exponent))
        exponent += _DIGIT_BITS
    return digits

"""Elasticsearch's "did you mean": suggests known words that are spelled like an unknown word. Pure, no I/O.

Two words are close when 1 - (Levenshtein distance / length of the longer word) is over 0.5; observed on
Elasticsearch 9.5.
"""

from __future__ import annotations

from collections.abc import Iterable

_CLOSE = 0.5


def close_to(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words whose spelling is close to ``word``, the closest first.

    A known word that is at most half as long, or at least twice as long, cannot be close. It is not compared,
    so a very long ``word`` costs little time.
    """
    similarities = {
        candidate: _similarity(word, candidate)
        for candidate in known
        if max(len(word), len(candidate)) < 2 * min(len(word), len(candidate))
    }
    close = [candidate for candidate, similarity in similarities.items() if similarity > _CLOSE]
    return sorted(close, key=lambda candidate: (-similarities[candidate], candidate))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " did you mean [x]?" or " did you mean any of [x, y]?", or "" if no known word is close."""
    close = close_to(word, known)
    if not close:
        return ""
    return (
        f" did you mean [{close[0]}]?" if len(close) == 1 else f" did you mean any of [{', '.join(close)}]?"
    )


def _similarity(left: str, right: str) -> float:
    return 1 - _levenshtein(left, right) / max(len(left), len(right))


def _levenshtein(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]

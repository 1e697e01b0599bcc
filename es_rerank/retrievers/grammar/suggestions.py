"""Elasticsearch's "did you mean": the known words that are close to one that it does not know. Pure.

Observed answers of Elasticsearch 9.5: a word is close when 1 - (Levenshtein distance / length of the longer word) is over 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable

_CLOSE = 0.5


def close_to(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words that are close to ``word``, the closest first.

    A known word that is half as long, or twice as long, cannot be close. It is not compared, so that a long ``word``
    costs no more than its length.
    """
    nearness = {
        each: _nearness(word, each)
        for each in known
        if max(len(word), len(each)) < 2 * min(len(word), len(each))
    }
    return sorted(
        (each for each, value in nearness.items() if value > _CLOSE), key=lambda each: (-nearness[each], each)
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " did you mean [x]?" or " did you mean any of [x, y]?"; nothing where no known word is close."""
    close = close_to(word, known)
    if not close:
        return ""
    return (
        f" did you mean [{close[0]}]?" if len(close) == 1 else f" did you mean any of [{', '.join(close)}]?"
    )


def _nearness(left: str, right: str) -> float:
    return 1 - _levenshtein(left, right) / max(len(left), len(right))


def _levenshtein(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]

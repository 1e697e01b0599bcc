"""What a window costs on this machine: milliseconds by candidates and tokens, as far as a budget of time lets them be measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import SettingsError
from ...models.manifest import Precision

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CANDIDATES = (10, 20, 50, 100, 200)
TOKENS = (32, 64, 128, 256, 512)
"""Lengths of what the model reads, in tokens: query, passage and special tokens together."""

ROUNDS = 5
BUDGET_S = 900.0
"""After which no further cell is begun; two cores of 2024 take a third of it for one precision of a six-layer model."""

THREADS_CANDIDATES = 100
"""Candidates, of ``LINE_TOKENS`` tokens, that are scored with every number of threads."""

EMBEDDED = 50
"""Passages of each length that the embedder reads."""

LINE_TOKENS, LINE_CANDIDATES = 64, 20
"""Where the two lines through the table lie: cost against candidates at so many tokens, against tokens at so many candidates."""

Length = Callable[[str], int]
"""From a passage to how many tokens the model reads of it, whatever stands beside it included."""

Run = Callable[[Sequence[str]], object]
"""Has a model read passages."""


class Fit(NamedTuple):
    """Least squares: the line, and the share of the variance that it explains (R²), 1 where all lies on it."""

    slope: float
    intercept: float
    r2: float

    def as_json(self) -> dict[str, float]:
        """Return the line, rounded."""
        return {
            "slope": float(f"{self.slope:.4g}"),
            "intercept": float(f"{self.intercept:.4g}"),
            "r2": round(self.r2, 5),
        }


def fit(points: Sequence[tuple[float, float]]) -> Fit | None:
    """Return the straight line through points (x, y); None for less than three different x, through which any line goes."""
    if len({x for x, _ in points}) < 3:
        return None
    across, up = np.asarray(points, dtype=np.float64).T
    slope, intercept = np.polyfit(across, up, 1)
    left, whole = float(((up - slope * across - intercept) ** 2).sum()), float(((up - up.mean()) ** 2).sum())
    return Fit(float(slope), float(intercept), 1 - left / whole if whole else 1.0)


class Timing(NamedTuple):
    """Median, least and most of the rounds, in milliseconds."""

    ms: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cell:
    """So many candidates of so many tokens each, in one precision. ``timing`` is None where it was not measured."""

    precision: Precision
    candidates: int
    tokens: int
    timing: Timing | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the cell, null where it was not measured."""
        times = zip(("ms", "min_ms", "max_ms"), self.timing or (None, None, None), strict=True)
        rounded = {name: None if value is None else round(value, 3) for name, value in times}
        return {"precision": self.precision, "candidates": self.candidates, "tokens": self.tokens, **rounded}


class Speed(NamedTuple):
    """How many pairs or passages a second, median, least and most over the rounds, ``at`` so many threads or tokens."""

    precision: Precision
    at: int
    per_second: float
    low: float
    high: float

    @classmethod
    def of(cls, precision: Precision, at: int, number: int, timing: Timing) -> Speed:
        """Return the speed at which ``number`` passages were read."""
        return cls(precision, at, *(number * 1000 / ms for ms in (timing.ms, timing.high, timing.low)))

    def as_json(self, at: str, what: str) -> dict[str, Any]:
        """Return the speed of ``what`` by the names that it and its place go by."""
        return {
            "precision": self.precision,
            at: self.at,
            f"{what}_per_second": round(self.per_second, 1),
            "min": round(self.low, 1),
            "max": round(self.high, 1),
        }


class Budget:
    """Time that may be used, in seconds of ``clock``, from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    @property
    def left(self) -> bool:
        """Whether something more may be begun."""
        return self._clock() < self._end


def timed(run: Run, passages: Sequence[str], rounds: int) -> Timing:
    """Return what a run over the passages takes, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        run(passages)
        times.append((time.perf_counter() - began) * 1000)
    return Timing(float(np.median(times[1:])), min(times[1:]), max(times[1:]))


def cheapest_first(longest: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return (candidates, tokens) of the cells on the two lines, and of all others, the cheapest first; none of more tokens than ``longest``."""
    cells = [(candidates, tokens) for candidates in CANDIDATES for tokens in TOKENS if tokens <= longest]
    cells.sort(key=lambda cell: cell[0] * cell[1])
    lines = [cell for cell in cells if cell[0] == LINE_CANDIDATES or cell[1] == LINE_TOKENS]
    return lines, [cell for cell in cells if cell not in lines]


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads whose speed is measured: doubling from 1, and the most there are."""
    return sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})


def passages_of(
    texts: Sequence[str], tokenizer: Tokenizer, length: Length, tokens: int, number: int = max(CANDIDATES)
) -> list[str]:
    """Return so many different passages, each of which the model reads as exactly ``tokens`` tokens.

    Each begins with another of the ``texts`` and goes on with those that follow it, cut where the tokenizer ends a token.
    Raises SettingsError where the texts do not give as many.
    """
    found: dict[str, None] = {}
    for start in range(len(texts)):
        cut = _cut(chain(texts[start:], texts[:start]), tokenizer, length, tokens)
        if cut is not None:
            found[cut] = None
        if len(found) == number:
            return list(found)
    raise SettingsError(
        f"the collection gives {len(found)} passages that are read as {tokens} tokens, fewer than {number}; give a larger one with --data"
    )


def _cut(following: Iterator[str], tokenizer: Tokenizer, length: Length, tokens: int) -> str | None:
    """Return the beginning of texts that is read as ``tokens`` tokens; None where no cut gives exactly as many."""
    room, text = tokens - length(""), ""
    for each in following:
        text = f"{text} {each}" if text else each
        ends = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
        if len(ends) >= room > 0:
            cut = text[: ends[room - 1]]
            return cut if length(cut) == tokens else None
    return None

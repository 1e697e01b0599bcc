"""Cost of a window on this machine: milliseconds by candidates and tokens, within a time budget."""

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

CANDIDATE_COUNTS = (10, 20, 50, 100, 200)
TOKENS = (32, 64, 128, 256, 512)
"""Lengths of the model's input in tokens: query, passage and special tokens together."""

COST_ROUNDS = 5
BUDGET_S = 900.0
"""No cell is started after this time. Two cores of 2024 need a third of it for one precision of a six-layer
model.
"""

THREADS_CANDIDATES = 100
"""Number of candidates, of ``LINE_TOKENS`` tokens each, that are scored with every number of threads."""

EMBEDDED = 50
"""Number of passages of each length that the embedding model reads."""

LINE_TOKENS, LINE_CANDIDATES = 64, 20
"""Position of the two lines in the table.

One line is the cost against candidates at this number of tokens, the other the cost against tokens at this
number of candidates.
"""

Length = Callable[[str], int]
"""A function from a passage to the number of tokens that the model reads for it, query and special tokens
included.
"""

ReadPassages = Callable[[Sequence[str]], object]
"""A function that makes a model read passages."""


class Fit(NamedTuple):
    """A straight line by least squares, and the share of the variance that it explains (R², 1 when all points
    are on it).
    """

    slope: float
    intercept: float
    r2: float

    def as_json(self) -> dict[str, float]:
        """Return the line with rounded numbers."""
        return {
            "slope": float(f"{self.slope:.4g}"),
            "intercept": float(f"{self.intercept:.4g}"),
            "r2": round(self.r2, 5),
        }


def fit_line(points: Sequence[tuple[float, float]]) -> Fit | None:
    """Return the straight line through points (x, y); None for fewer than three different x.

    Through two points a line always fits.
    """
    if len({x for x, _ in points}) < 3:
        return None
    across, up = np.asarray(points, dtype=np.float64).T
    slope, intercept = np.polyfit(across, up, 1)
    left, whole = float(((up - slope * across - intercept) ** 2).sum()), float(((up - up.mean()) ** 2).sum())
    return Fit(float(slope), float(intercept), 1 - left / whole if whole else 1.0)


class Timing(NamedTuple):
    """Median, minimum and maximum over the rounds, in milliseconds."""

    ms: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: ``candidates`` texts of ``tokens`` tokens each, in one precision.

    ``timing`` is None when the cell was not measured.
    """

    precision: Precision
    candidates: int
    tokens: int
    timing: Timing | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the cell; its times are null when it was not measured."""
        times = zip(("ms", "min_ms", "max_ms"), self.timing or (None, None, None), strict=True)
        rounded = {name: None if value is None else round(value, 3) for name, value in times}
        return {"precision": self.precision, "candidates": self.candidates, "tokens": self.tokens, **rounded}


class Speed(NamedTuple):
    """Pairs or passages per second: median, minimum and maximum over the rounds.

    ``at`` is the number of threads or of tokens that the speed belongs to.
    """

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
        """Return the speed as JSON. ``at`` is the key of the number of threads or tokens; ``what`` names what
        was read.
        """
        return {
            "precision": self.precision,
            at: self.at,
            f"{what}_per_second": round(self.per_second, 1),
            "min": round(self.low, 1),
            "max": round(self.high, 1),
        }


class Budget:
    """A time budget that starts now, in seconds of ``clock``."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    @property
    def left(self) -> bool:
        """Whether there is time to start something."""
        return self._clock() < self._end


def timed(run: ReadPassages, passages: Sequence[str], rounds: int) -> Timing:
    """Return the time of a run over the passages. One run before does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        run(passages)
        times.append((time.perf_counter() - began) * 1000)
    return Timing(float(np.median(times[1:])), min(times[1:]), max(times[1:]))


def cheapest_first(longest: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the cells (candidates, tokens) on the two lines, and all other cells, each list the cheapest
    first.

    Cells with more tokens than ``longest`` are left out.
    """
    cells = [
        (candidates, tokens) for candidates in CANDIDATE_COUNTS for tokens in TOKENS if tokens <= longest
    ]
    cells.sort(key=lambda cell: cell[0] * cell[1])
    lines = [cell for cell in cells if cell[0] == LINE_CANDIDATES or cell[1] == LINE_TOKENS]
    return lines, [cell for cell in cells if cell not in lines]


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads that are measured: powers of two up to ``most``, and ``most``."""
    return sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})


def passages_of_length(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    length: Length,
    tokens: int,
    number: int = max(CANDIDATE_COUNTS),
) -> list[str]:
    """Return ``number`` different passages; the model reads exactly ``tokens`` tokens for each.

    Each passage begins with another of the ``texts`` and continues with the texts that follow. It is cut at
    the end of a token. Raises SettingsError when the texts do not give enough passages.
    """
    passages: dict[str, None] = {}
    for start in range(len(texts)):
        cut = _cut(chain(texts[start:], texts[:start]), tokenizer, length, tokens)
        if cut is not None:
            passages[cut] = None
        if len(passages) == number:
            return list(passages)
    raise SettingsError(
        f"the collection gives {len(passages)} passages that are read as {tokens} tokens, fewer than "
        f"{number}; give a larger one with --data"
    )


def _cut(following: Iterator[str], tokenizer: Tokenizer, length: Length, tokens: int) -> str | None:
    """Return the beginning of the joined texts that is read as ``tokens`` tokens; None when no cut gives that
    number.
    """
    room, text = tokens - length(""), ""
    for following_text in following:
        text = f"{text} {following_text}" if text else following_text
        ends = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
        if len(ends) >= room > 0:
            cut = text[: ends[room - 1]]
            return cut if length(cut) == tokens else None
    return None

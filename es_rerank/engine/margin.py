"""By how much work may take longer than estimated, learned from calls that have ended."""

from __future__ import annotations

_FIRST = 1.25
_LEAST, _MOST = 1.1, 3.0

_IN_TIME = 0.98
"""The share of calls that are to end within the estimate times the factor."""

_STEP = 0.05

_BRIEF_S = 0.05
"""A call that took longer by less than this is no matter of the estimate: threads had to wake up."""


class Margin:
    """The factor by which estimates are multiplied before a call is admitted.

    It follows the 98th percentile of (time that a call took) / (time that was estimated), by stochastic
    approximation (Robbins and Monro 1951): a call above it raises it by 0.98 steps, a call below it lowers it
    by 0.02 steps. So it also follows what no estimate knows: callers who come later and take a share.
    """

    def __init__(self) -> None:
        self.factor = _FIRST
        """1.1 to 3."""

    def learn(self, estimated_s: float = 0.0, took_s: float = 0.0, *, missed: bool = False) -> None:
        """Count a call that has ended, or one that ``missed`` its deadline."""
        above = missed or took_s > self.factor * estimated_s + _BRIEF_S
        self.factor += _STEP * (_IN_TIME if above else _IN_TIME - 1)
        self.factor = min(_MOST, max(_LEAST, self.factor))

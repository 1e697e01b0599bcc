"""By how much work may take longer than estimated, learned from calls that have ended."""

from __future__ import annotations

_FIRST = 1.5
"""The factor before a call has ended. In an overloaded pool many calls are admitted before the first one
ends: with a lower factor many of them would be late."""

_LEAST, _MOST = 1.1, 3.0

_IN_TIME = 0.995
"""The share of calls that are to end within the estimate times the factor. It leaves half of the 1 % that
may be late to what nobody can learn, such as a machine that becomes slower."""

_STEP = 0.1

_BRIEF_S = 0.05
"""A call may take longer by this without an error of the estimate: threads have to wake up."""


class Margin:
    """The factor by which estimates are multiplied before a call is admitted.

    It follows the 99.5th percentile of (time that a call took) / (time that was estimated), by stochastic
    approximation (Robbins and Monro 1951): a call above it raises it by 0.995 steps, a call below it lowers
    it by 0.005 steps. So it also follows what no estimate knows: callers who come later and take a share.
    """

    def __init__(self) -> None:
        self.factor = _FIRST
        """1.1 to 3."""

    def learn(self, estimated_s: float = 0.0, took_s: float = 0.0, *, missed: bool = False) -> None:
        """Count a call that has ended, or one that ``missed`` its deadline."""
        above = missed or took_s > self.factor * estimated_s + _BRIEF_S
        self.factor += _STEP * (_IN_TIME if above else _IN_TIME - 1)
        self.factor = min(_MOST, max(_LEAST, self.factor))

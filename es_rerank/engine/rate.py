"""How many seconds a unit of work takes, learned from the work that was done."""

from __future__ import annotations

_KEPT = 1 - 1 / 50
"""What remains of the weight of an observation with each later one. The mean goes over about fifty of them:
some seconds of runs, so that it follows a slower neighbour."""

_MOST_TIMES = 4.0
"""An observation counts as at most so many times the mean. A machine that was paused for a minute then does
not make all work look impossible."""


_KNOWN = 4
"""So many observations are enough to say that something takes too long. The first one does not count."""


class Rate:
    """The mean of a quantity for each unit of another one, such as seconds for each token.

    It is an exponentially weighted mean, weighted by length: sum(w * seconds) / sum(w * length), where the
    weight w of an observation falls by a fiftieth with each later one (exponential smoothing, Brown 1959).
    The first one is forgotten at the second: it contains what happens once, such as reading the weights of a
    model. ``learn`` is not safe in several threads at once. ``prior`` is the mean before the first
    observation.
    """

    __slots__ = ("_amount", "_length", "_seen", "mean")

    def __init__(self, prior: float = 0.0) -> None:
        self._amount = self._length = 0.0
        self._seen = 0
        self.mean = prior
        """The amount for one unit of length."""

    @property
    def known(self) -> bool:
        """Whether the mean comes from enough observations to refuse work that has nothing before it."""
        return self._seen >= _KNOWN

    def learn(self, length: float, amount: float) -> None:
        """Count an observation: ``amount`` for ``length`` units. Nothing is learned from a length of 0."""
        if length <= 0:
            return
        self._seen += 1
        if self._seen == 2:
            self._amount = self._length = 0.0
        elif self._seen > 2 and self.mean > 0:
            amount = min(amount, _MOST_TIMES * self.mean * length)
        self._amount = _KEPT * self._amount + amount
        self._length = _KEPT * self._length + length
        self.mean = self._amount / self._length

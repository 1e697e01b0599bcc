"""What an idle pool tries, although it seems hopeless: nothing waits, and the estimate may be wrong."""

from __future__ import annotations

from .call import Call

_HOPELESS = 3.0
"""A call is refused at once that would take so many times the time left. The estimate may come from a moment
when the machine was busy: a start beside other starts took four times as long on a machine with two cores."""

_TRIED = 10
"""Each tenth of them is tried all the same, because what is always refused corrects no estimate."""

_ENOUGH = 8
"""What was tried is given up after so many runs of a model that show the same."""


class Trials:
    """Decides what an idle pool tries, and when its runs have shown enough."""

    def __init__(self) -> None:
        self.runs = 0
        """The runs of models that the pool has done."""
        self._hopeless_calls = 0

    def refuses(self, call: Call, now: float) -> bool:
        """Return whether a call is refused that has nothing before it: enough has shown that it is hopeless.

        Before that is known, any call is tried: what it takes is learned from it.
        """
        if not call.whole or call.deadline is None or call.continues or not call.sure:
            return False
        if call.expected_s <= _HOPELESS * (call.deadline - now):
            return False
        self._hopeless_calls += 1
        return self._hopeless_calls % _TRIED > 0

    def is_shown(self, call: Call) -> bool:
        """Return whether what ran since a call was submitted shows what it takes."""
        return call.whole and call.after is None and call.sure and self.runs - call.runs_before >= _ENOUGH

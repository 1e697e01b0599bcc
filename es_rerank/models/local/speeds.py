"""How fast a model is in each precision on this machine, and which precision that makes the better one."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...engine.turns import Seconds
from ..manifest import Precision

TIE = 1.05
"""int8 must be so many times as fast as fp32 to be taken: for less, nobody gives away exact scores."""

_SURE = 1.10
"""When the upper quartile is at most so many times the lower one, a gain on both sides of ``TIE`` is a tie.
When it is more, the machine was too restless to tell."""


class Speeds(BaseModel):
    """What a measurement found.

    ``seconds``: by length in tokens and by precision, the median seconds that a pair or passage takes when
    all threads work. ``gain``: how many times as fast as fp32 int8 is: the lower quartile, the median and the
    upper quartile over the rounds; None for a model with one precision. In a round it is the geometric mean
    over the lengths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: dict[int, dict[Precision, float]] = Field(min_length=1)
    gain: tuple[float, float, float] | None = None

    @model_validator(mode="after")
    def _positive(self) -> Self:
        values = [value for by_precision in self.seconds.values() for value in by_precision.values()]
        low, median, high = self.gain or (1.0, 1.0, 1.0)
        if not values or min(*values, *self.seconds, low) <= 0 or not low <= median <= high:
            raise ValueError("no such speeds")
        return self

    def per_second(self, precision: Precision, tokens: int) -> float:
        """Return how many pairs or passages of ``tokens`` tokens are read in a second."""
        return 1 / self.seconds[tokens][precision]

    @property
    def decided(self) -> Precision | None:
        """The better precision; None when there is only one, or when the measurement does not tell.

        It is int8 when that is clearly faster, else fp32, whose scores are the model's own.
        """
        if self.gain is None:
            return None
        low, _, high = self.gain
        if low > TIE:
            return "int8"
        return "fp32" if high <= TIE or high <= _SURE * low else None


def speeds_of(seconds: Seconds[Precision], side_by_side: int) -> Speeds:
    """Return the speeds from the seconds of turns, each of which read ``side_by_side`` sequences."""
    return Speeds(
        seconds={
            tokens: {
                precision: float(np.median(rounds)) / side_by_side for precision, rounds in of_length.items()
            }
            for tokens, of_length in seconds.items()
        },
        gain=_gain(seconds),
    )


def _gain(seconds: Seconds[Precision]) -> tuple[float, float, float] | None:
    if any({"fp32", "int8"} - set(of_length) for of_length in seconds.values()):
        return None
    logs = [
        np.log(np.asarray(of_length["fp32"]) / np.asarray(of_length["int8"]))
        for of_length in seconds.values()
    ]
    low, median, high = np.exp(np.percentile(np.mean(logs, axis=0), [25, 50, 75])).tolist()
    return low, median, high

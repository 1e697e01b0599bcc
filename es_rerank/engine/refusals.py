"""What a pool says when it refuses a call: which bound it would break, and by how much."""

from __future__ import annotations

from enum import Enum
from math import ceil, floor

from ..errors import OverloadError


class Bound(Enum):
    """The bounds of admission, each with its message.

    ``ALONE``: the call would end after its deadline, although nothing waits.
    ``LATE``: the call would end after its deadline. ``OTHER_LATE``: a call that was admitted would.
    ``TOO_MUCH``: too much work would wait beside a call without a deadline. ``OVER_LIMIT``: too much work of
    one caller would wait.
    """

    ALONE = "this call alone would take {needed} s, and {most} s are left; send less or allow more time"
    LATE = "the work that waits and this call would take {needed} s, and {most} s are left"
    OTHER_LATE = "with this call, one that was admitted before would end in {needed} s, and {most} s are left"
    TOO_MUCH = "{needed} s of work would wait, and at most {most} s may with a call without a deadline"
    OVER_LIMIT = "{needed} s of this caller's work would wait, and at most {most} s may ({limit})"


def refusal(bound: Bound, needed_s: float, most_s: float, limit: str = "") -> OverloadError:
    """Return the error for a call that needs ``needed_s`` seconds where at most ``most_s`` are allowed.

    ``limit`` says where the limit of the caller stands.
    """
    # Rounded away from each other, so that the smaller number also reads as the smaller one.
    needed, most = ceil(round(needed_s * 10, 6)) / 10, floor(round(most_s * 10, 6)) / 10
    told = bound.value.format(needed=needed, most=most, limit=limit)
    if bound is Bound.ALONE:
        return OverloadError(told, retry_after_s=None)
    return OverloadError(f"{told}; try again later", retry_after_s=max(1, ceil(needed_s - most_s)))

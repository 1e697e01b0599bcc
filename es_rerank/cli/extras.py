"""Check for the optional dependencies (extras) of a command, with a message that says how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from ..extras import missing_extra

_EVALUATE = ("ir_measures", "jinja2", "scipy")


def check_evaluate(what: str) -> None:
    """Check that the extra ``evaluate`` is installed, before a command begins its work.

    ``what`` is the subject of the message. Raises MissingExtraError when a library of the extra is missing.
    """
    if missing := [name for name in _EVALUATE if find_spec(name) is None]:
        raise missing_extra(
            f"{what} needs libraries that are not installed: {', '.join(missing)}", "evaluate"
        )

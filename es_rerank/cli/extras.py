"""What commands need beside what serving needs, and how they say that it is not there."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import MissingExtraError

_EVALUATE = ("ir_measures", "jinja2", "scipy")


def check_evaluate(what: str) -> None:
    """Check that the extra ``evaluate`` is installed, before a command begins its work; ``what`` begins the sentence.

    Raises MissingExtraError where one of its libraries is not there.
    """
    if missing := [name for name in _EVALUATE if find_spec(name) is None]:
        raise MissingExtraError(
            f"{what} needs what is not installed: {', '.join(missing)}; install the extra with: "
            "pip install 'es-rerank[evaluate]'",
            extra="evaluate",
        )

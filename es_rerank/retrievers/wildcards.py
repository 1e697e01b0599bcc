"""Elasticsearch's simple patterns, in which ``*`` alone is special (its Regex.simpleMatch). Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_ELSEWHERE_SPECIAL = re.compile(r"[?\[]")
"""Signs that ``fnmatch`` reads as patterns and Elasticsearch does not."""


def matches(text: str, pattern: str) -> bool:
    """Whether a text matches a pattern."""
    return fnmatchcase(text, _ELSEWHERE_SPECIAL.sub(r"[\g<0>]", pattern))

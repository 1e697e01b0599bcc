"""Elasticsearch's simple patterns, in which ``*`` alone is special (its Regex.simpleMatch). Pure."""

from __future__ import annotations


def matches(text: str, pattern: str) -> bool:
    """Whether a text matches a pattern, in time that grows with the longer of the two.

    What stands between two stars is looked for at the first place behind what was found before: where a later one would
    do, so does the first.
    """
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *between, last = others
    place, end = len(first), len(text) - len(last)
    if place > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in between:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True

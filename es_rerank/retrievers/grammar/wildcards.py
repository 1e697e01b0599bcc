"""Elasticsearch's simple patterns: ``*`` stands for any characters, nothing else is special. Pure, no I/O."""

from __future__ import annotations


def matches(text: str, pattern: str) -> bool:
    """Whether a text matches a pattern. The time grows linearly with the longer of the two.

    The text between two stars is searched from the end of the previous match, and its first occurrence is
    taken. This finds every match: if a later occurrence leads to a match, the first occurrence does too.
    """
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *between, last = others
    place, end = len(first), len(text) - len(last)
    if place > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in between:
        start = text.find(part, place, end)
        if start < 0:
            return False
        place = start + len(part)
    return True

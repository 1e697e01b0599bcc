"""Divides a text into pieces that a tokenizer reads as it reads the whole text, so that work can end early.

One call of a tokenizer cannot be ended, and what it returns is copied in one step, in which no other thread
runs. So a long text is read in pieces where the tokens are certainly the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PIECE = 16_384
"""Characters of a piece at least: about 4,000 tokens, whose offsets are copied in about a millisecond."""

_BEFORE_SPACE = re.compile(r"(?<=\S)[ \n]")
"""A place before white space. What follows has its white space with it."""

_SPLITS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
"""Pre-tokenizers after which no token reaches over white space."""

_LOCAL = {
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Strip",
    "StripAccents",
}
"""Normalizers that read what is before a space or a line feed without what follows: neither of both
composes with a character before it (Unicode Standard Annex 15)."""


def token_pieces(tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, str]]:
    """Yield (start, piece): the text in pieces of about ``PIECE`` characters, with the place of each.

    The tokens of the pieces are those of the text, without special tokens. If that is not known of the
    tokenizer, or the rest has no white space, it is one piece.
    """
    start = 0
    if len(text) > PIECE and _splits_at_space(tokenizer):
        while len(text) - start > PIECE and (found := _BEFORE_SPACE.search(text, start + PIECE)):
            yield start, text[start : found.start()]
            start = found.start()
    yield start, text[start:] if start else text


@lru_cache(maxsize=16)
def _splits_at_space(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer reads a text in pieces as it reads the whole."""
    added = tokenizer.get_added_tokens_decoder().values()
    # Such a token would reach from a piece into the next one.
    if any(token.rstrip or re.search(r"\s", token.content) for token in added):
        return False
    normalizers, steps = _steps(tokenizer.normalizer), _steps(tokenizer.pre_tokenizer)
    return (
        bool(steps)
        and steps[0]["type"] in _SPLITS
        and all(step["type"] in _LOCAL or _replaces_within(step) for step in normalizers)
    )


def _replaces_within(step: dict[str, Any]) -> bool:
    """Return whether a step replaces what cannot reach over white space: a string without any, or XLM-R's
    pattern of spaces.
    """
    pattern = step.get("pattern", {})
    string = pattern.get("String")
    return pattern == {"Regex": " {2,}"} or (bool(string) and not re.search(r"\s", string))


def _steps(part: Any) -> list[dict[str, Any]]:  # noqa: ANN401 a class of tokenizers, or None
    """Return the steps of a normalizer or pre-tokenizer, as they stand in a ``tokenizer.json``."""
    if part is None:
        return []
    try:
        waiting = [json.loads(part.__getstate__())]
    except Exception:  # noqa: BLE001 one that is written in Python has no JSON
        return [{"type": "unknown"}]
    steps: list[dict[str, Any]] = []
    while waiting:
        step = waiting.pop(0)
        inner = step.get("normalizers", step.get("pretokenizers"))
        if inner is None:
            steps.append(step)
        else:
            waiting[:0] = inner
    return steps

"""Pairs of two lengths for the bench of architectures: single sentences, and passages near the window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ...errors import SettingsError
from ...models.load import model_folder
from ...models.manifest import TOKENIZER
from ...settings import BUNDLED_RERANKER
from .random_weights import MAX_LENGTH
from .windows import Candidates
from .workers import Lists

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Length = Literal["short", "long"]
LENGTHS: tuple[Length, ...] = ("short", "long")

TYPICAL_TOKENS: dict[Length, int] = {"short": 40, "long": 400}
"""Tokens of a typical pair of each length, for an estimate of the work."""

_LONG_FROM, _LONG_TO = 300, MAX_LENGTH - 12
"""Tokens of a long pair; each has its own goal between them. A word that is cut in two may have more tokens
than it had, and no pair reaches the window.
"""

_CHARACTERS = 16
"""More characters than a token of any language has on average, so that enough of a text is read."""

_A_QUERY: dict[Length, int] = {"short": 50, "long": 20}
"""Passages for one query: a search's default window, and fewer where each takes ten times as long."""

_SEED = 20_260_128


class Timed(NamedTuple):
    """Pairs of one length, with the mean, the smallest and the largest number of tokens of a pair."""

    length: Length
    lists: Lists
    tokens: tuple[float, int, int]

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return sum(len(texts) for _, texts in self.lists)


def timed(candidates: Sequence[Candidates], length: Length, pairs: int) -> Timed:
    """Return ``pairs`` pairs of a length, always the same ones.

    A long passage is candidates of one query, best first, joined until the pair has its number of tokens.
    Raises SettingsError when there are too few candidates.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 the help of a command needs no native library

    tokenizer = Tokenizer.from_file(str(model_folder(BUNDLED_RERANKER) / TOKENIZER))
    draw, lists, left = np.random.default_rng(_SEED), [], pairs
    for asked in candidates:
        number = min(_A_QUERY[length], left, len(asked.texts))
        texts = asked.texts[:number]
        if length == "long":
            goals = draw.integers(_LONG_FROM, _LONG_TO, size=number)
            texts = [_joined(tokenizer, asked, start, int(goal)) for start, goal in enumerate(goals.tolist())]
        if texts:
            lists.append((asked.query, texts))
        left -= number
        if not left:
            counts = [len(tokenizer.encode(query, text).ids) for query, texts in lists for text in texts]
            return Timed(length, lists, (float(np.mean(counts)), min(counts), max(counts)))
    raise SettingsError(
        f"--pairs {pairs} is more than the {pairs - left} pairs that the packaged collection gives; "
        "choose fewer"
    )


def _joined(tokenizer: Tokenizer, asked: Candidates, start: int, goal: int) -> str:
    """Return the texts from ``start`` on, one after the other, cut where the pair has ``goal`` tokens."""
    text = " ".join([*asked.texts[start:], *asked.texts[:start]])
    taken = goal - len(tokenizer.encode(asked.query, "").ids)
    offsets = tokenizer.encode(text[: goal * _CHARACTERS], add_special_tokens=False).offsets[:taken]
    return text[: offsets[-1][1]]

"""Tokenising in bounded pieces, and how many tokens texts will have, estimated before that."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from ...engine.pool import Pool, Rate
from ...text.chunking import OVERLAP_TOKENS
from ...text.pairs import Encoded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PIECE_TEXTS = 32
"""Most texts of a piece: the size of the tokenizer's batches (``text.pairs``)."""

_PIECE_CHARACTERS = 64 * 1024
"""Most characters of a piece of several texts. Between two pieces it is seen whether the caller left. They
take about 20 ms (WordPiece, one thread)."""

_ASCII_RATE, _OTHER_RATE = 0.25, 0.7
"""Tokens for each character before any text was read: four letters of English, less than two of Chinese."""

_SPECIAL = 4
"""Special tokens of a sequence, at most."""


_PADDING_TOKENS = ("[PAD]", "<pad>", "<|padding|>", "<|pad|>", "<|endoftext|>")
"""Padding tokens of BERT, of RoBERTa and T5, of ModernBERT's base vocabulary, and of others."""


def padding_token(tokenizer: Tokenizer) -> int:
    """Return the id of the tokenizer's padding token, 0 when it names none. A mask hides it."""
    known = (tokenizer.token_to_id(token) for token in _PADDING_TOKENS)
    return next((token for token in known if token is not None), 0)


def pieces(texts: Sequence[str]) -> list[list[str]]:
    """Return the texts in order, in pieces. A longer text is a piece of its own."""
    parts: list[list[str]] = []
    size = 0
    for text in texts:
        if not parts or len(parts[-1]) == _PIECE_TEXTS or size + len(text) > _PIECE_CHARACTERS:
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text)
    return parts


def characters(texts: Sequence[str]) -> int:
    """Return how many characters texts have together, at least 1."""
    return sum(map(len, texts)) or 1


class TokenEstimate:
    """Estimates the tokens of sequences from their characters, learned from sequences that were tokenised.

    Texts in ASCII and other texts have rates of their own. A sequence has at most ``most`` tokens, of which
    ``fixed`` belong to no text.
    """

    def __init__(self, most: int, fixed: int = _SPECIAL) -> None:
        self._most, self._fixed = most, fixed
        self._ascii, self._other = Rate(_ASCII_RATE), Rate(_OTHER_RATE)

    def expected(self, beside: str, texts: Sequence[str], most_parts: int | None = 1) -> float:
        """Return the estimated tokens of all texts, each in a sequence with ``beside``.

        Of a text that is too long ``most_parts`` parts are read, None for all, each in a sequence of its own.
        """
        fixed = self._fixed + len(beside) * self._rate(beside).mean
        in_ascii, other, most = self._ascii.mean, self._other.mean, self._most
        lengths = (fixed + len(text) * (in_ascii if text.isascii() else other) for text in texts)
        if most_parts == 1:
            return sum(min(most, length) for length in lengths)
        room = max(most - fixed, 1.0)
        overlap = min(OVERLAP_TOKENS, room // 8)
        # Neighbours share tokens, and each has the other text beside it. The last part counts by its share.
        return sum(
            length
            if length <= most
            else min(
                ((length - fixed) / (room - overlap)) * (fixed + room),
                inf if most_parts is None else most_parts * (fixed + room),
            )
            for length in lengths
        )

    def tokens(self, text: str) -> float:
        """Return the estimated tokens of a text that is cut into several sequences."""
        return len(text) * self._rate(text).mean

    def learn(self, pool: Pool, beside: str, texts: Sequence[str], sequences: Sequence[Encoded]) -> None:
        """Count sequences of ``beside`` and each text. ``pool`` keeps other threads away meanwhile."""
        for in_ascii in (True, False):
            whole = [
                (len(beside) + len(text), len(sequence.ids))
                for text, sequence in zip(texts, sequences, strict=True)
                if text.isascii() is in_ascii and not sequence.truncated
            ]
            if whole:
                length, tokens = (sum(column) for column in zip(*whole, strict=True))
                pool.learn(self._ascii if in_ascii else self._other, length, tokens)

    def _rate(self, text: str) -> Rate:
        return self._ascii if text.isascii() else self._other

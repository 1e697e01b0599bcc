"""Cutting a text into passages of a bounded number of tokens, with character offsets kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..types import Passage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PASSAGE_TOKENS = 160
"""Default passage length in tokens: long enough for a paragraph, short enough that fifty pairs are read in about
half a second on two cores, and the length that the bundled cross-encoder was trained on."""

OVERLAP_TOKENS = 32
"""Default overlap in tokens, so that a sentence cut by one passage's end is whole in the next."""

_SENTENCE_ENDS = frozenset(".!?。！？…\n")


class Chunker:
    """Cuts texts into passages of at most ``size`` tokens, neighbours sharing about ``overlap`` tokens.

    A passage ends at the last sentence end in its second half where there is one, else at a token. Passages lie in
    order, leave no character that is not white space uncovered, and satisfy ``text[start:end] == passage.text``.
    The tokenizer must neither pad nor truncate. Safe to share between threads.
    """

    def __init__(self, tokenizer: Tokenizer, *, size: int = PASSAGE_TOKENS, overlap: int = OVERLAP_TOKENS) -> None:
        if size < 1 or not 0 <= overlap <= size // 2:
            raise SettingsError(
                f"passages of {size} tokens with an overlap of {overlap} cannot be cut; choose a size of at least 1 and an overlap of at most half of it"
            )
        self.size = size
        self.overlap = overlap
        self._tokenizer = tokenizer

    def chunk(self, text: str) -> list[Passage]:
        """Return the passages of ``text``; a text without a visible character has none."""
        if not text.strip():
            return []
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        # Byte-level and accent-stripping tokenizers give several tokens the same span: cut between spans only.
        starts = [start for start, end in dict.fromkeys(offsets) if end > start]
        bounds = self._windows(text, starts)
        # What a tokenizer drops (control characters, say) still belongs to the passage before it.
        edges = [(0 if first == 0 else starts[first], len(text) if last >= len(starts) else starts[last]) for first, last in bounds]
        return [passage for start, end in edges or [(0, len(text))] if (passage := _trimmed(text, start, end)).text]

    def _windows(self, text: str, starts: list[int]) -> list[tuple[int, int]]:
        """Return token windows [first, last) in order; each begins after the one before it and ends after it."""
        windows: list[tuple[int, int]] = []
        first = 0
        while first < len(starts):
            last = first + self.size
            if last < len(starts):
                last = self._sentence_end(text, starts, first, last)
            windows.append((first, last))
            if last >= len(starts):
                break
            first = max(last - self.overlap, first + 1)
        return windows

    def _sentence_end(self, text: str, starts: list[int], first: int, last: int) -> int:
        """Return the last cut in the window's second half that follows a sentence end, else ``last``."""
        for cut in range(last, first + self.size // 2, -1):
            before = text[starts[cut - 1] : starts[cut]]
            if before.rstrip(" \t\r\"')]»”’")[-1:] in _SENTENCE_ENDS and (before[-1:].isspace() or before[-1:] in "。！？…"):
                return cut
        return last


def _trimmed(text: str, start: int, end: int) -> Passage:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return Passage(piece.strip(), start, start + len(piece.strip()))

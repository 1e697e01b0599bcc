"""Cutting a text into passages of a bounded number of tokens, with character offsets kept."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SettingsError
from ..types import Passage
from .boundaries import ends_clause, ends_sentence, inside_character

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PASSAGE_TOKENS = 160
"""Default passage length in tokens: long enough for a paragraph, short enough that fifty pairs are read in about
half a second on two cores, and the length that the bundled cross-encoder was trained on."""

OVERLAP_TOKENS = 32
"""Default overlap in tokens, so that a sentence cut by one passage's end is whole in the next."""


class Chunker:
    """Cuts texts into passages of at most ``size`` tokens, neighbours sharing about ``overlap`` tokens.

    A passage ends at the last sentence end in its second half where there is one, in any script, else behind a clause of a
    script without spaces, else between words where it can, else between two tokens; a token, or one
    character as a reader sees it, that is more than ``size`` tokens is a passage of its own. Passages lie in
    order, leave no character that is not white space uncovered, and satisfy ``text[start:end] == passage.text``.
    The tokenizer must neither pad nor truncate. Safe to share between threads.
    Raises SettingsError when ``size`` is under 1 or ``overlap`` is not between 0 and half of ``size``.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, size: int = PASSAGE_TOKENS, overlap: int = OVERLAP_TOKENS
    ) -> None:
        if size < 1 or not 0 <= overlap <= size // 2:
            raise SettingsError(
                f"passages of {size} tokens with an overlap of {overlap} cannot be cut; choose a size of at least 1 and an overlap of at most half of it"
            )
        self.size = size
        self.overlap = overlap
        self._tokenizer = tokenizer

    def chunk(self, text: str) -> list[Passage]:
        """Return the passages of ``text``; a text of white space has none."""
        if not text.strip():
            return []
        cuts = self._cuts(text)
        # What a tokenizer drops (control characters, say) still belongs to the passage before it.
        spans = ((cuts.chars[first], cuts.chars[last]) for first, last in self._windows(text, cuts))
        return _distinct(_trimmed(text, start, end) for start, end in spans)

    def _cuts(self, text: str) -> _Cuts:
        """Return every place where the text may be cut, its two ends included."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        chars, tokens, words, inside = [0], [0], [True], None
        for number, ((start, end), word) in enumerate(zip(encoding.offsets, encoding.word_ids, strict=True)):
            # Byte-level and normalising tokenizers give several tokens the same span: cut between spans only.
            if start > chars[-1] and end > start and not inside_character(text, start):
                chars.append(start)
                tokens.append(number)
                words.append(word != inside)
            inside = word
        return _Cuts([*chars, len(text)], [*tokens, len(encoding.offsets)], [*words, True])

    def _windows(self, text: str, cuts: _Cuts) -> list[tuple[int, int]]:
        """Return windows [first, last) of cuts, in order; each begins and ends after the one before it."""
        windows: list[tuple[int, int]] = []
        first, end = 0, len(cuts.chars) - 1
        while True:
            last = max(bisect_right(cuts.tokens, cuts.tokens[first] + self.size) - 1, first + 1)
            if last < end:
                last = self._end(text, cuts, first, last)
            windows.append((first, last))
            if last >= end:
                return windows
            first = max(self._overlapping(cuts, last), first + 1)

    def _end(self, text: str, cuts: _Cuts, first: int, last: int) -> int:
        """Return the best cut in the window's second half: after a sentence, else a clause, else before a word, else ``last``."""
        half = bisect_right(cuts.tokens, cuts.tokens[first] + self.size // 2)
        second_half = range(last, max(half, first + 1) - 1, -1)
        for ends in (ends_sentence, ends_clause):
            found = next((cut for cut in second_half if ends(text, cuts.chars[cut])), None)
            if found is not None:
                return found
        return next((cut for cut in second_half if cuts.words[cut]), last)

    def _overlapping(self, cuts: _Cuts, last: int) -> int:
        """Return where the passage after ``last`` begins: at most ``overlap`` tokens before it, at a word where it can."""
        earliest = bisect_left(cuts.tokens, cuts.tokens[last] - self.overlap)
        return next((cut for cut in range(earliest, last + 1) if cuts.words[cut]), earliest)


class _Cuts(NamedTuple):
    """Where a text may be cut: character position, tokens before it, and whether a word begins there."""

    chars: list[int]
    tokens: list[int]
    words: list[bool]


def _distinct(passages: Iterable[Passage]) -> list[Passage]:
    """Return the passages without those that, white space trimmed, lie within a neighbour."""
    kept: list[Passage] = []
    for passage in passages:
        if not passage.text or (kept and passage.end <= kept[-1].end):
            continue
        if kept and passage.start <= kept[-1].start:
            kept.pop()
        kept.append(passage)
    return kept


def _trimmed(text: str, start: int, end: int) -> Passage:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return Passage(piece.strip(), start, start + len(piece.strip()))

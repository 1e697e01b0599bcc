"""Cuts a text into passages of a maximum number of tokens, with character offsets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SettingsError
from ..types import Passage
from .boundaries import ends_clause, ends_sentence, inside_character
from .pairs import surely_fits
from .separators import Checkpoint, never_stop
from .token_pieces import token_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PASSAGE_TOKENS = 160
"""Default passage length in tokens. It holds a paragraph, and the model scores fifty pairs in about half a
second on two cores. The bundled cross-encoder was trained on passages of this length."""

OVERLAP_TOKENS = 32
"""Default overlap in tokens. A sentence that the end of one passage cuts is whole in the next passage."""


class Chunker:
    """Cuts texts into passages of at most ``size`` tokens. Neighbours share about ``overlap`` tokens.

    A passage ends at the last end of a sentence in its second half, in any script. Where there is none, it
    ends after a clause of a script without spaces, else between two words, else between two tokens. A
    character as a reader sees it is never cut: one of more than ``size`` tokens is a passage of its own.

    Passages are in the order of the text and satisfy ``text[start:end] == passage.text``. Every character
    that is not white space is in a passage. The tokenizer must neither pad nor truncate. A Chunker may be
    shared between threads. Raises SettingsError when ``size`` is less than 1, or ``overlap`` is negative or
    more than half of ``size``.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, size: int = PASSAGE_TOKENS, overlap: int = OVERLAP_TOKENS
    ) -> None:
        if size < 1 or not 0 <= overlap <= size // 2:
            raise SettingsError(
                f"passages of {size} tokens with an overlap of {overlap} cannot be cut; "
                "choose a size of at least 1 and an overlap from 0 to half of the size"
            )
        self.size = size
        self.overlap = overlap
        self._tokenizer = tokenizer

    def chunk(self, text: str, checkpoint: Checkpoint = never_stop) -> list[Passage]:
        """Return the passages of ``text``. A text of white space only has none.

        ``checkpoint`` is called often, and ends the work by raising an error.
        """
        if not text.strip():
            return []
        cuts = self._cuts(text, checkpoint)
        # A character that the tokenizer drops, such as a control character, belongs to the passage before it.
        windows = self._windows(text, cuts, checkpoint)
        spans = ((cuts.chars[first], cuts.chars[last]) for first, last in windows)
        return _distinct(_trimmed(text, start, end) for start, end in spans)

    def of_size(self, size: int) -> Chunker:
        """Return a Chunker of passages of at most ``size`` tokens, which share at most half of them."""
        if size == self.size:
            return self
        return Chunker(self._tokenizer, size=size, overlap=min(self.overlap, size // 2))

    def count(self, text: str, checkpoint: Checkpoint = never_stop) -> int:
        """Return how many tokens a text has when it stands alone."""
        return sum(self._counts(text, checkpoint))

    def count_before(self, prefix: str) -> int:
        """Return how many tokens a text has more with this prefix, at most."""
        alone, word = self.count(prefix), self.count("a")
        return max(alone, self.count(f"{prefix}a") - word) if prefix else 0

    def fits(self, text: str, size: int, checkpoint: Checkpoint = never_stop) -> bool:
        """Return whether a text has at most ``size`` tokens when it stands alone."""
        if surely_fits(text, size):
            return True
        return all(total <= size for total in accumulate(self._counts(text, checkpoint)))

    def beginning(self, text: str, size: int, checkpoint: Checkpoint = never_stop) -> str:
        """Return the text, or its first passage of at most ``size`` tokens if it has more."""
        if self.fits(text, size, checkpoint):
            return text
        return self.of_size(size).chunk(text, checkpoint)[0].text

    def _counts(self, text: str, checkpoint: Checkpoint) -> Iterator[int]:
        """Yield the number of tokens of each piece of a text."""
        for _, piece in token_pieces(self._tokenizer, text):
            checkpoint()
            yield len(self._tokenizer.encode_batch_fast([piece], add_special_tokens=False)[0].ids)

    def _cuts(self, text: str, checkpoint: Checkpoint) -> _Cuts:
        """Return all places where the text may be cut, its beginning and its end included."""
        chars, tokens, words, before = [0], [0], [True], 0
        for at, piece in token_pieces(self._tokenizer, text):
            checkpoint()
            encoding = self._tokenizer.encode(piece, add_special_tokens=False)
            offsets, previous_word = encoding.offsets, None
            for number, ((start, end), word) in enumerate(
                zip(offsets, encoding.word_ids, strict=True), before
            ):
                # Byte-level and normalising tokenizers give several tokens the same span: cut between spans
                # only.
                if at + start > chars[-1] and end > start and not inside_character(text, at + start):
                    chars.append(at + start)
                    tokens.append(number)
                    words.append(word != previous_word)
                previous_word = word
            before += len(offsets)
        return _Cuts([*chars, len(text)], [*tokens, before], [*words, True])

    def _windows(self, text: str, cuts: _Cuts, checkpoint: Checkpoint) -> list[tuple[int, int]]:
        """Return the passages as pairs (first, last) of positions in ``cuts``, in the order of the text.

        Each passage begins after the beginning of the passage before it, and ends after the end of that
        passage.
        """
        windows: list[tuple[int, int]] = []
        first, end = 0, len(cuts.chars) - 1
        while True:
            checkpoint()
            last = max(bisect_right(cuts.tokens, cuts.tokens[first] + self.size) - 1, first + 1)
            if last < end:
                last = self._best_end(text, cuts, first, last)
            windows.append((first, last))
            if last >= end:
                return windows
            first = max(self._next_start(cuts, last), first + 1)

    def _best_end(self, text: str, cuts: _Cuts, first: int, last: int) -> int:
        """Return the best cut in the second half of the passage from ``first`` to ``last``.

        That is the last cut after a sentence, else after a clause, else before a word, else ``last``.
        """
        half = bisect_right(cuts.tokens, cuts.tokens[first] + self.size // 2)
        second_half = range(last, max(half, first + 1) - 1, -1)
        for ends in (ends_sentence, ends_clause):
            best = next((cut for cut in second_half if ends(text, cuts.chars[cut])), None)
            if best is not None:
                return best
        return next((cut for cut in second_half if cuts.words[cut]), last)

    def _next_start(self, cuts: _Cuts, last: int) -> int:
        """Return the cut at which the next passage begins: at most ``overlap`` tokens before ``last``.

        It is at the beginning of a word where one lies in these tokens.
        """
        earliest = bisect_left(cuts.tokens, cuts.tokens[last] - self.overlap)
        return next((cut for cut in range(earliest, last + 1) if cuts.words[cut]), earliest)


class _Cuts(NamedTuple):
    """The places where a text may be cut.

    Three lists of the same length: the character position of each place, the number of tokens before it, and
    whether a word begins there.
    """

    chars: list[int]
    tokens: list[int]
    words: list[bool]


def _distinct(passages: Iterable[Passage]) -> list[Passage]:
    """Return the passages without empty ones and without those that lie within a neighbour."""
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

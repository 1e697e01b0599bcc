"""Selects the passages of a prompt: by rank, without repeated text, as many as fit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal, NamedTuple

from .strategies import sentences, words_of

Reason = Literal["duplicate", "merged", "budget", "limit", "empty"]
"""Why a passage has no number of its own.

``duplicate``: another passage contains its text. ``merged``: it overlaps a passage of the same document,
and the two were joined. ``budget``: it does not fit into the budget. ``limit``: the maximum number of
passages is reached. ``empty``: it has no visible character."""


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage of a document that a search returned.

    ``start`` and ``end`` are characters of the document's text, (0, 0) where they are not known. ``context``,
    for example a title, is put before the passage. ``score`` is the score of the hit, None where the hit has
    none. ``heading`` is the headings that it stands below, put between the two; "" if none.
    """

    index: str
    id: str
    text: str
    start: int = 0
    end: int = 0
    context: str = ""
    score: float | None = None
    heading: str = ""

    @property
    def located(self) -> bool:
        """Whether the offsets are known and agree with the length of the text."""
        return self.end > self.start and self.end - self.start == len(self.text)


@dataclass(frozen=True, slots=True)
class NumberedPassage:
    """A passage in a prompt, with its ``number``: 1 is the best. ``cut`` is true where its end is missing."""

    number: int
    passage: RankedPassage
    cut: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A passage without a number of its own.

    ``number`` is the number of the passage that contains its text, None where the prompt does not contain its
    text.
    """

    passage: RankedPassage
    reason: Reason
    number: int | None = None


class _Absorbed(NamedTuple):
    """A passage whose text a taken passage contains. ``rank`` is its rank among all passages, from 0."""

    rank: int
    passage: RankedPassage
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Entry:
    """A taken passage. ``words`` is its text with each run of white space replaced by one space."""

    rank: int
    passage: RankedPassage
    words: str
    absorbed: tuple[_Absorbed, ...] = ()
    cut: bool = False


Fits = Callable[[Sequence[RankedPassage]], bool]
"""Returns whether these passages fit into the prompt together."""


def select(
    passages: Sequence[RankedPassage], fits: Fits, *, most: int | None = None
) -> tuple[list[NumberedPassage], list[LeftOut]]:
    """Return the taken passages, numbered by rank, and all other passages with the reason.

    ``passages`` are in order of rank, the best first. A passage is taken whole if it fits beside the passages
    that are already taken. Otherwise it is left out and the next one is tried. Only the first passage is cut
    if it does not fit: after the last sentence in its second half, else between words, else between
    characters. If no character of it fits, no passage is taken.

    A passage is left out if another passage of any document contains its text (white space is ignored). The
    passage that contains the text gets the better rank of the two. Passages of one document that overlap or
    touch are joined at the better rank, if their offsets and texts agree. ``most`` is the maximum number of
    taken passages, None for no maximum.
    """
    selection = _Selection(fits, most)
    for rank, passage in enumerate(passages):
        selection.offer(rank, passage)
    return selection.numbered()


class _Selection:
    """The passages that are taken so far, in order of rank, and the passages that are left out.

    ``_closed`` is true when the best passage did not fit at all: then no worse passage is taken in its place.
    """

    def __init__(self, fits: Fits, most: int | None) -> None:
        self._fits = fits
        self._most = most
        self._entries: list[_Entry] = []
        self._left_out: list[tuple[int, LeftOut]] = []
        self._closed = False

    def offer(self, rank: int, passage: RankedPassage) -> None:
        """Take a passage, or record why it is left out."""
        words = " ".join(passage.text.split())
        container = next((i for i, entry in enumerate(self._entries) if _within(words, entry.words)), None)
        if not words:
            self._leave_out(rank, passage, "empty")
        elif container is not None:
            entry = self._entries[container]
            self._entries[container] = replace(
                entry, absorbed=(*entry.absorbed, _Absorbed(rank, passage, "duplicate"))
            )
        else:
            self._take_if_it_fits(_Entry(rank, passage, words))

    def numbered(self) -> tuple[list[NumberedPassage], list[LeftOut]]:
        """Return the taken passages with numbers, and the passages that are left out, in order of rank."""
        taken = [
            NumberedPassage(number, entry.passage, entry.cut) for number, entry in enumerate(self._entries, 1)
        ]
        contained = [
            (absorbed.rank, LeftOut(absorbed.passage, absorbed.reason, number))
            for number, entry in enumerate(self._entries, 1)
            for absorbed in entry.absorbed
        ]
        by_rank = sorted([*self._left_out, *contained], key=lambda ranked: ranked[0])
        return taken, [left_out for _, left_out in by_rank]

    def _take_if_it_fits(self, new: _Entry) -> None:
        proposal = _with_new(self._entries, new)
        if self._most is not None and len(proposal) > self._most:
            self._leave_out(new.rank, new.passage, "limit")
        elif not self._closed and self._fits([entry.passage for entry in proposal]):
            self._entries = proposal
        elif not self._closed and not self._entries and (short := _cut(new.passage, self._fits)) is not None:
            self._entries = [replace(new, passage=short, words=" ".join(short.text.split()), cut=True)]
        else:
            self._closed = not self._entries
            self._leave_out(new.rank, new.passage, "budget")

    def _leave_out(self, rank: int, passage: RankedPassage, reason: Reason) -> None:
        self._left_out.append((rank, LeftOut(passage, reason)))


def _with_new(entries: Sequence[_Entry], new: _Entry) -> list[_Entry]:
    """Return the entries with the new one among them.

    The new entry is joined with all entries that it overlaps, and replaces all entries that it contains. It
    stands at the place of the first of these.
    """
    whole, overlapping = new.passage, []
    for entry in entries:
        joined = None if entry.cut else _joined(entry.passage, whole)
        if joined is not None:
            whole = joined
            overlapping.append(entry)
    words = " ".join(whole.text.split()) if overlapping else new.words
    contained = [
        entry
        for entry in entries
        if not entry.cut and entry not in overlapping and _within(entry.words, words)
    ]
    if not overlapping and not contained:
        return [*entries, new]
    keeper, *merged = [*overlapping, new]
    replaced = [*overlapping, *contained]
    absorbed = (
        *(earlier for entry in replaced for earlier in entry.absorbed),
        *(_Absorbed(entry.rank, entry.passage, "merged") for entry in merged),
        *(_Absorbed(entry.rank, entry.passage, "duplicate") for entry in contained),
    )
    taken = _Entry(keeper.rank, replace(whole, score=keeper.passage.score), words, absorbed)
    place = next(i for i, entry in enumerate(entries) if entry in replaced)
    return [
        taken if i == place else entry
        for i, entry in enumerate(entries)
        if i == place or entry not in replaced
    ]


def _joined(one: RankedPassage, other: RankedPassage) -> RankedPassage | None:
    """Return two passages of one document as one passage.

    Returns None if they do not overlap or touch, or if their texts differ where they overlap.
    """
    first, second = sorted((one, other), key=lambda passage: (passage.start, -passage.end))
    if (
        (one.index, one.id) != (other.index, other.id)
        or not (one.located and other.located)
        or second.start > first.end
    ):
        return None
    shared = first.text[second.start - first.start :][: len(second.text)]
    if not second.text.startswith(shared):
        return None
    return replace(first, text=first.text + second.text[len(shared) :], end=max(first.end, second.end))


def _within(inner: str, outer: str) -> bool:
    """Return whether ``outer`` contains ``inner`` as whole words, at its first or last place there."""
    places = {outer.find(inner), outer.rfind(inner)} - {-1}
    return any(
        not _splits_a_word(outer, place) and not _splits_a_word(outer, place + len(inner)) for place in places
    )


def _splits_a_word(text: str, place: int) -> bool:
    around = text[place - 1 : place + 1] if 0 < place < len(text) else ""
    return words_of(around) == [around.lower()]


def _cut(passage: RankedPassage, fits: Fits) -> RankedPassage | None:
    """Return the beginning of a passage that fits alone, None where no character fits.

    It is cut after a sentence if that keeps more than half of what would fit, else between words, else where
    the room ends.
    """
    longest = bisect_left(
        range(1, len(passage.text)), True, key=lambda length: not fits([_shortened(passage, length)])
    )
    shortened = (_shortened(passage, end) for end in _good_ends(passage.text, longest))
    return next((short for short in shortened if short.text and fits([short])), None)


def _good_ends(text: str, longest: int) -> list[int]:
    """Return the ends at which a text may be cut to at most ``longest`` characters, the best first.

    The best end is after a sentence, the second best between words, the last one is ``longest`` itself.
    """
    second_half = range(longest // 2 + 1, longest + 1)
    begun = takewhile(lambda sentence: sentence[0] < longest, sentences(text, 0, len(text)))
    after_sentences = [start + len(text[start:end].rstrip()) for start, end in begun]
    sentence = max((end for end in after_sentences if end in second_half), default=0)
    word = max((end for end in second_half if text[end : end + 1].isspace()), default=0)
    return [end for end in (sentence, word, longest) if end]


def _shortened(passage: RankedPassage, length: int) -> RankedPassage:
    head = passage.text[:length]
    text = head.strip()
    if passage.located:
        start = passage.start + len(head) - len(head.lstrip())
        return replace(passage, text=text, start=start, end=start + len(text))
    return replace(passage, text=text, start=0, end=0)

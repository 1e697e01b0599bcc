"""Which passages a prompt holds: in order of rank, nothing twice, as many as there is room for. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from .strategies import sentences, words_of

Reason = Literal["duplicate", "merged", "budget", "limit", "empty"]
"""Why a passage has no number of its own. ``duplicate``: its text stands within another's. ``merged``: it overlaps
another of its document and the two were joined. ``budget``: it does not fit any more. ``limit``: as many as were asked
for are there. ``empty``: it has no visible character."""


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage of a document that a search found.

    ``start`` and ``end`` are characters of the document's text, (0, 0) where they are not known. ``context`` is read
    before the passage (a title, say). ``score`` is the hit's, None where it has none.
    """

    index: str
    id: str
    text: str
    start: int = 0
    end: int = 0
    context: str = ""
    score: float | None = None

    @property
    def located(self) -> bool:
        """Whether the offsets are known and are those of the text."""
        return self.end > self.start and self.end - self.start == len(self.text)


@dataclass(frozen=True, slots=True)
class NumberedPassage:
    """A passage that a prompt holds under ``number`` (from 1, the best first); ``cut`` where its end is missing."""

    number: int
    passage: RankedPassage
    cut: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A passage without a number of its own; ``number`` is that under which its text stands all the same, None where it does not."""

    passage: RankedPassage
    reason: Reason
    number: int | None = None


class _Absorbed(NamedTuple):
    """A passage whose text stands within an entry's; ``rank`` is its place among all that were offered."""

    rank: int
    passage: RankedPassage
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Entry:
    """A passage that was taken. ``words``: its text with white space made equal."""

    rank: int
    passage: RankedPassage
    words: str
    absorbed: tuple[_Absorbed, ...] = ()
    cut: bool = False


Fits = Callable[[Sequence[RankedPassage]], bool]


def select(
    passages: Sequence[RankedPassage], fits: Fits, *, most: int | None = None
) -> tuple[list[NumberedPassage], list[LeftOut]]:
    """Return the passages that are taken, numbered by rank, and all others with the reason.

    ``passages`` come best first. Each is taken whole where it ``fits`` beside those taken before it; one that does not is
    left out and the next is tried, but the very first is cut to what fits: after the last sentence of its second half,
    else between words, else between characters. Where not a character of it fits, nothing is taken.
    A passage whose text, white space apart, stands within another's is left out, whichever document it is of; the longer
    one takes the better rank of the two. Passages of one document that overlap or touch, as their offsets and texts
    agree, are joined at the better rank. ``most`` bounds how many are taken.
    """
    selection = _Selection(fits, most)
    for rank, passage in enumerate(passages):
        selection.offer(rank, passage)
    return selection.numbered()


class _Selection:
    """The passages taken so far, best first, and the others; ``closed`` where there is no room for the best, so that no other is taken for it."""

    def __init__(self, fits: Fits, most: int | None) -> None:
        self._fits = fits
        self._most = most
        self._entries: list[_Entry] = []
        self._others: list[tuple[int, LeftOut]] = []
        self._closed = False

    def offer(self, rank: int, passage: RankedPassage) -> None:
        """Take a passage or note why not."""
        words = " ".join(passage.text.split())
        holder = next((i for i, entry in enumerate(self._entries) if _within(words, entry.words)), None)
        if not words:
            self._leave(rank, passage, "empty")
        elif holder is not None:
            held = self._entries[holder]
            self._entries[holder] = replace(
                held, absorbed=(*held.absorbed, _Absorbed(rank, passage, "duplicate"))
            )
        else:
            self._propose(_Entry(rank, passage, words))

    def numbered(self) -> tuple[list[NumberedPassage], list[LeftOut]]:
        """Return both, the others in order of rank."""
        taken = [
            NumberedPassage(number, entry.passage, entry.cut) for number, entry in enumerate(self._entries, 1)
        ]
        within = [
            (each.rank, LeftOut(each.passage, each.reason, number))
            for number, entry in enumerate(self._entries, 1)
            for each in entry.absorbed
        ]
        return taken, [left for _, left in sorted([*self._others, *within], key=lambda other: other[0])]

    def _propose(self, new: _Entry) -> None:
        proposal = _with(self._entries, new)
        if self._most is not None and len(proposal) > self._most:
            self._leave(new.rank, new.passage, "limit")
        elif not self._closed and self._fits([entry.passage for entry in proposal]):
            self._entries = proposal
        elif not self._closed and not self._entries and (short := _cut(new.passage, self._fits)) is not None:
            self._entries = [replace(new, passage=short, words=" ".join(short.text.split()), cut=True)]
        else:
            self._closed = not self._entries
            self._leave(new.rank, new.passage, "budget")

    def _leave(self, rank: int, passage: RankedPassage, reason: Reason) -> None:
        self._others.append((rank, LeftOut(passage, reason)))


def _with(entries: Sequence[_Entry], new: _Entry) -> list[_Entry]:
    """Return the entries and the new one, which takes in those that it overlaps or holds and stands where the best of them stood."""
    whole, kin = new.passage, []
    for entry in entries:
        joined = None if entry.cut else _joined(entry.passage, whole)
        if joined is not None:
            whole = joined
            kin.append(entry)
    words = " ".join(whole.text.split())
    held = [entry for entry in entries if not entry.cut and entry not in kin and _within(entry.words, words)]
    if not kin and not held:
        return [*entries, new]
    keeper, *merged = [*kin, new]
    absorbed = (
        *(each for entry in (*kin, *held) for each in entry.absorbed),
        *(_Absorbed(entry.rank, entry.passage, "merged") for entry in merged),
        *(_Absorbed(entry.rank, entry.passage, "duplicate") for entry in held),
    )
    taken = _Entry(keeper.rank, replace(whole, score=keeper.passage.score), words, absorbed)
    place = next(i for i, entry in enumerate(entries) if entry in kin or entry in held)
    return [
        taken if i == place else entry
        for i, entry in enumerate(entries)
        if i == place or (entry not in kin and entry not in held)
    ]


def _joined(one: RankedPassage, other: RankedPassage) -> RankedPassage | None:
    """Return two passages of one document as one, where they overlap or touch and say the same of what they share."""
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
    """Whether a text stands in another, at its first or last place there, and not as part of a longer word."""
    places = {outer.find(inner), outer.rfind(inner)} - {-1}
    return any(
        not _splits_a_word(outer, place) and not _splits_a_word(outer, place + len(inner)) for place in places
    )


def _splits_a_word(text: str, place: int) -> bool:
    around = text[place - 1 : place + 1] if 0 < place < len(text) else ""
    return words_of(around) == [around.lower()]


def _cut(passage: RankedPassage, fits: Fits) -> RankedPassage | None:
    """Return as much of a passage's beginning as fits by itself; None where nothing does."""
    longest = bisect_left(
        range(1, len(passage.text)), True, key=lambda length: not fits([_shortened(passage, length)])
    )
    shortened = (_shortened(passage, end) for end in _good_ends(passage.text, longest))
    return next((short for short in shortened if short.text and fits([short])), None)


def _good_ends(text: str, longest: int) -> list[int]:
    """Return where a text is best cut to at most ``longest`` characters: after a sentence, between words, anywhere."""
    second_half = range(longest // 2 + 1, longest + 1)
    after_sentences = [start + len(text[start:end].rstrip()) for start, end in sentences(text, 0, len(text))]
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

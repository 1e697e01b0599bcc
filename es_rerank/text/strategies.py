"""Cutting a text as the ``chunking_settings`` of Elasticsearch's inference API say: by sentences, words or separators.

Sizes are in words, not tokens: that is what the settings mean (elastic/elasticsearch, ``*ChunkingSettings``). Offsets are
characters of the text. For passages that are indexed see ``chunking``, which counts tokens.

Every text is cut in time that grows with its length and not faster, in steps that are bounded: between two of them ``look``
is called, which raises where the time is up.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain, pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ..errors import RequestError
from ..types import Passage
from .boundaries import OWN_SIGNS, UNSPACED
from .separators import GROUPS, Look, Separator, go_on, separators_of

DEFAULT_MAX_CHUNK_SIZE = 300
"""Words per chunk where a ``chunk_rescorer`` names none (ChunkScorerConfig.DEFAULT_CHUNK_SIZE)."""

_BRIEF = 200
"""Characters that an error shows of a value."""

_ALONE = "\u3005-\u3007\u3040-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ideographs and Hiragana, of which each is a word."""

_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"

_MARKS = "\u00ad\u200c\u200d" + "".join(
    chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)).startswith("M")
)
"""What belongs to the letter before it: accents, vowel signs, joiners. ``re`` counts none of them as of a word."""

_LETTER = rf"[^\W_{_ALONE}{_KATAKANA}]"
_BETWEEN = rf"(?<=\d)[.,](?=\d)|(?<=[^\W\d])[.:·'’](?=[^\W\d_{_ALONE}{_KATAKANA}])"  # noqa: RUF001 the typographic apostrophe is meant
_WORD = re.compile(
    rf"[{_ALONE}][{_MARKS}]*|[{_KATAKANA}][{_KATAKANA}{_MARKS}]*|(?:(?<!_)_++)?{_LETTER}(?:{_LETTER}|[_{_MARKS}]|{_BETWEEN})*"
)
"""A word as the standard analyzer reads it (Unicode Standard Annex 29), emoji and Hebrew quotation marks apart."""

_CLOSERS = r"[\"'”’)\]}»›〉》」』】〕）］｝｣]"  # noqa: RUF001 they are meant
_SENTENCE_END = re.compile(
    rf"(?<![.!?…])[.!?…]++{_CLOSERS}*+\s+"
    rf"|[{OWN_SIGNS}]++{_CLOSERS}*+\s*"
    rf"|(?<![.!?．])[.!?．]++{_CLOSERS}*+(?=[{UNSPACED}])"  # noqa: RUF001 the full stop of full width is meant
    r"|[\n\u0085\u2028\u2029]\s*"
)
"""Also takes the white space behind. The look behind keeps a long row of dots from being tried from each of them.

Elasticsearch's own cutter, ICU's (SentenceBoundaryChunker), also ends a sentence between ``a!b`` and none before a small
letter or behind an ellipsis; otherwise they cut alike.
"""

_STRETCH = 16_384
"""Characters that one call of ``re`` reads, up to twice as many: no other thread runs meanwhile."""

_WORD_BEGINS = re.compile(rf"[\s{_ALONE}]")
"""No word goes on over one of these."""

_AROUND_ENDS = re.compile(rf"[.!?…．\s\"'”’)\]}}»›〉》」』】〕）］｝｣{OWN_SIGNS}]*+")  # noqa: RUF001 they are meant
"""What the end of a sentence may be made of; it is not found in the middle of a row of these."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentenceSettings(_Settings):
    """Whole sentences up to ``max_chunk_size`` words; neighbours share ``sentence_overlap`` sentences."""

    strategy: Literal["sentence"] = "sentence"
    max_chunk_size: Annotated[int, Field(ge=20)] = 250
    sentence_overlap: Literal[0, 1] = 1

    def spans(self, text: str, look: Look = go_on) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        yield from _packed(_Words(text, look), 0, len(text), self.max_chunk_size, self.sentence_overlap)


class WordSettings(_Settings):
    """Runs of ``max_chunk_size`` words; neighbours share ``overlap`` words."""

    strategy: Literal["word"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    overlap: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _half_at_most(self) -> WordSettings:
        if self.overlap > self.max_chunk_size // 2:
            raise ValueError(
                f"[overlap] must be at most half of [max_chunk_size], found [{self.overlap}] of [{self.max_chunk_size}]"
            )
        return self

    def spans(self, text: str, look: Look = go_on) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        bounds = _Words(text, look).bounds(0, len(text))
        count, step = len(bounds) - 1, self.max_chunk_size - self.overlap
        for first in range(0, max(1, count - self.overlap), step):
            yield bounds[first], bounds[min(first + self.max_chunk_size, count)]


class RecursiveSettings(_Settings):
    """Split at the first separator, the pieces that are too long at the next, and so on; at last by sentences."""

    strategy: Literal["recursive"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    separators: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    separator_group: Literal["plaintext", "markdown"] = "plaintext"

    @model_validator(mode="after")
    def _separators_can_be_used(self) -> RecursiveSettings:
        if {"separators", "separator_group"} <= self.model_fields_set:
            raise ValueError("[separators] and [separator_group] cannot both be given")
        _ = self.compiled  # raises for what cannot be used
        return self

    @cached_property
    def compiled(self) -> tuple[Separator, ...]:
        """Return what finds the separators, in the order in which they are tried."""
        return separators_of(self.separators or GROUPS[self.separator_group])

    def spans(self, text: str, look: Look = go_on) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        yield from self._split(_Words(text, look), 0, len(text), self.compiled)

    def _split(
        self, words: _Words, start: int, end: int, separators: tuple[Separator, ...]
    ) -> Iterator[tuple[int, int]]:
        """Yield the chunks of a stretch; as deep as there are separators, which are few."""
        words.look()
        if words.count(start, end) <= self.max_chunk_size:
            yield start, end
            return
        if not separators:
            yield from _packed(words, start, end, self.max_chunk_size, 0)
            return
        cuts = chain((start,), separators[0].starts(words.text, start, end, words.look), (end,))
        yield from self._joined(
            words, (piece for a, b in pairwise(cuts) for piece in self._split(words, a, b, separators[1:]))
        )

    def _joined(self, words: _Words, pieces: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Put neighbours together again as long as they fit."""
        start, end = next(pieces)
        for a, b in pieces:
            if words.count(start, b) > self.max_chunk_size:
                yield start, end
                start = a
            end = b
        yield start, end


class NoneSettings(_Settings):
    """The text whole."""

    strategy: Literal["none"]

    def spans(self, text: str, look: Look = go_on) -> Iterator[tuple[int, int]]:
        """Yield the one (start, end)."""
        look()
        yield 0, len(text)


Strategy = SentenceSettings | WordSettings | RecursiveSettings | NoneSettings
_BY_NAME: TypeAdapter[Strategy] = TypeAdapter(Annotated[Strategy, Field(discriminator="strategy")])


def strategy_of(settings: Mapping[str, Any] | None) -> Strategy:
    """Return the strategy that ``chunking_settings`` name; sentences of 300 words without overlap where none are given.

    Raises RequestError, naming the setting, for settings that cannot be used.
    """
    if not settings or set(settings) == {"max_chunk_size"}:
        settings = {
            "strategy": "sentence",
            "max_chunk_size": DEFAULT_MAX_CHUNK_SIZE,
            "sentence_overlap": 0,
            **(settings or {}),
        }
    try:
        return _BY_NAME.validate_python({"strategy": "sentence", **settings})
    except ValidationError as error:
        raise RequestError(f"[chunking_settings] {_worded(error.errors()[0])}") from error


def _worded(fault: ErrorDetails) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if len(fault["loc"]) < 2:
        return f"[strategy] must be one of sentence, word, recursive, none, found [{_brief(fault['input'].get('strategy'))}]"
    found = "" if fault["type"] == "missing" else f", found [{_brief(fault['input'])}]"
    return f"[{fault['loc'][1]}] {fault['msg'][0].lower()}{fault['msg'][1:]}{found}"


def _brief(value: Any) -> str:  # noqa: ANN401 any JSON value
    written = str(value).encode(errors="backslashreplace").decode()  # half a character could not be sent
    return written if len(written) <= _BRIEF else f"{written[:_BRIEF]}…"


def cut(text: str, strategy: Strategy, look: Look = go_on) -> list[Passage]:
    """Return the chunks of a text, white space trimmed, in order; a text of white space has none. Raises what ``look`` raises."""
    passages = []
    for start, end in strategy.spans(text, look):
        look()
        piece = text[start:end]
        begin = start + len(piece) - len(piece.lstrip())
        if piece.strip():
            passages.append(Passage(piece.strip(), begin, begin + len(piece.strip())))
    return passages


def words_of(text: str, look: Look = go_on) -> list[str]:
    """Return the words of a text in lower case. Raises what ``look`` raises."""
    words: list[str] = []
    for start, end in _stretches(text):
        look()
        words += (word.lower() for word in _WORD.findall(text, start, end))
    return words


class _Words:
    """A text and where its words stand, found once. ``look`` is called on the way."""

    def __init__(self, text: str, look: Look) -> None:
        self.text = text
        self.look = look
        self._starts, self._ends = array("q"), array("q")
        for first, last in _stretches(text):
            look()
            for match in _WORD.finditer(text, first, last):
                start, end = match.span()
                self._starts.append(start)
                self._ends.append(end)

    def count(self, start: int, end: int) -> int:
        """Return how many words a stretch holds, those that it cuts included."""
        first, last = self._held(start, end)
        return last - first

    def bounds(self, start: int, end: int) -> list[int]:
        """Return where the words of a stretch begin, what stands before and behind them included, and the end of the last."""
        first, last = self._held(start, end)
        bounds = [start]
        for number in range(first + 1, last):
            self.look()
            gap = self.text[self._ends[number - 1] : self._starts[number]]
            # Signs up to the first space are the word's before it, the others of the one behind it.
            bounds.append(self._ends[number - 1] + (len(gap.split(maxsplit=1)[0]) if gap[:1].strip() else 0))
        return [*bounds, end]

    def _held(self, start: int, end: int) -> tuple[int, int]:
        return bisect_right(self._ends, start), bisect_left(self._starts, end)


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of stretches that no word goes beyond, unless it has more than ``_STRETCH`` characters."""
    start = 0
    while start < len(text):
        latest = min(start + 2 * _STRETCH, len(text))
        begins = _WORD_BEGINS.search(text, start + _STRETCH, latest)
        end = begins.start() if begins else latest
        yield start, end
        start = end


def _packed(words: _Words, start: int, end: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield runs of whole sentences of up to ``size`` words; neighbours share ``overlap`` sentences where the next one fits beside them."""
    spans, counts = [], []
    for sentence in sentences(words.text, start, end, words.look):
        words.look()
        for span in _halves(words, *sentence, size):
            spans.append(span)
            counts.append(words.count(*span))
    first = 0
    while first < len(spans):
        words.look()
        last, held = first + 1, counts[first]
        while last < len(spans) and held + counts[last] <= size:
            held += counts[last]
            last += 1
        yield spans[first][0], spans[last - 1][1]
        if last == len(spans):
            return
        first = last - 1 if overlap and counts[last - 1] + counts[last] <= size else last


def sentences(text: str, start: int, end: int, look: Look = go_on) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the sentences between two characters of a text, the white space behind each included."""
    read = start
    while read < end:
        look()
        around = _AROUND_ENDS.match(text, min(read + _STRETCH, end), min(read + 2 * _STRETCH, end))
        assert around is not None, "it matches no signs, too"
        # The sign behind is read, for what looks ahead, and is of the next stretch.
        for match in _SENTENCE_END.finditer(text, read, min(around.end() + 1, end)):
            if match.end() > start:
                yield start, match.end()
                start = match.end()
        read = around.end()
    if start < end:
        yield start, end


def _halves(words: _Words, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a sentence of more than ``size`` words between words."""
    if words.count(start, end) <= size:
        yield start, end
    else:
        yield from pairwise([*words.bounds(start, end)[:-1:size], end])

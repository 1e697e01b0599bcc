"""Cuts a text into chunks as the ``chunking_settings`` of Elasticsearch's inference API say.

The strategies are by sentences, by words and by separators. Sizes are in words and not in tokens, as in these
settings. Offsets are characters of the text. The passages of an index are cut by ``chunking``, which counts
tokens.

The time to cut a text is linear in its length. The work is done in small steps. Between two steps a function,
``checkpoint``, is called, which can stop the work by raising an error, for example at a deadline.
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
from .separators import GROUPS, Checkpoint, Separator, never_stop, separators_of

DEFAULT_MAX_CHUNK_SIZE = 300
"""Words per chunk when a ``chunk_rescorer`` sets no size (observed on Elasticsearch 9.5)."""

_MAX_SHOWN = 200
"""Maximum number of characters of a value that an error message shows."""

_ONE_CHARACTER_WORDS = (
    "\u3005-\u3007\u3040-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Ideographs and Hiragana: each of these characters is a word."""

_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"

_MARKS = "\u00ad\u200c\u200d" + "".join(
    chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)).startswith("M")
)
"""Accents, vowel signs and joiners, which belong to the letter before them. ``\\w`` does not match them."""

_LETTER = rf"[^\W_{_ONE_CHARACTER_WORDS}{_KATAKANA}]"
_INSIDE_NUMBER = r"(?<=\d)[.,](?=\d)"
_INSIDE_WORD = (
    r"(?<=[^\W\d])[.:·'’]"  # noqa: RUF001 the typographic apostrophe is intended
    rf"(?=[^\W\d_{_ONE_CHARACTER_WORDS}{_KATAKANA}])"
)
_WORD = re.compile(
    rf"[{_ONE_CHARACTER_WORDS}][{_MARKS}]*"
    rf"|[{_KATAKANA}][{_KATAKANA}{_MARKS}]*"
    rf"|(?:(?<!_)_++)?{_LETTER}(?:{_LETTER}|[_{_MARKS}]|{_INSIDE_NUMBER}|{_INSIDE_WORD})*"
)
"""A word as Elasticsearch's standard analyzer finds it (Unicode Standard Annex 29), except emoji and
Hebrew quotation marks."""

_CLOSERS = r"[\"'”’)\]}»›〉》」』】〕）］｝｣]"  # noqa: RUF001 these signs are intended
_SENTENCE_END = re.compile(
    rf"(?<![.!?…])[.!?…]++{_CLOSERS}*+\s+"
    rf"|[{OWN_SIGNS}]++{_CLOSERS}*+\s*"
    rf"|(?<![.!?．])[.!?．]++{_CLOSERS}*+(?=[{UNSPACED}])"  # noqa: RUF001 the full-width full stop is intended
    r"|[\n\u0085\u2028\u2029]\s*"
)
"""The end of a sentence, with the white space after it. The look-behind avoids one attempt for each dot
of a long row.

Elasticsearch finds sentences with ICU. ICU also ends a sentence between ``a!`` and ``b``, and it ends no
sentence before a small letter or after an ellipsis (observed on Elasticsearch 9.5). All other sentences are
the same.
"""

_RANGE = 16_384
"""Number of characters that one call of ``re`` searches; at most twice as many. No other thread runs
during the call."""

_NEVER_INSIDE_A_WORD = re.compile(rf"[\s{_ONE_CHARACTER_WORDS}]")
"""A character before which every word has ended."""

_SENTENCE_END_SIGNS = re.compile(
    rf"[.!?…．\s\"'”’)\]}}»›〉》」』】〕）］｝｣{OWN_SIGNS}]*+"  # noqa: RUF001 these signs are intended
)
"""A row of characters that the end of a sentence may consist of. No range ends inside such a row."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentenceSettings(_Settings):
    """Chunks of whole sentences.

    A chunk has at most ``max_chunk_size`` words. Neighbours share ``sentence_overlap`` sentences.
    """

    strategy: Literal["sentence"] = "sentence"
    max_chunk_size: Annotated[int, Field(ge=20)] = 250
    sentence_overlap: Literal[0, 1] = 1

    def spans(self, text: str, checkpoint: Checkpoint = never_stop) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        words = _Words(text, checkpoint)
        yield from _packed_sentences(words, 0, len(text), self.max_chunk_size, self.sentence_overlap)


class WordSettings(_Settings):
    """Chunks of ``max_chunk_size`` words. Neighbours share ``overlap`` words."""

    strategy: Literal["word"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    overlap: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _check_overlap(self) -> WordSettings:
        if self.overlap > self.max_chunk_size // 2:
            raise ValueError(
                "[overlap] must be at most half of [max_chunk_size], "
                f"found [{self.overlap}] of [{self.max_chunk_size}]"
            )
        return self

    def spans(self, text: str, checkpoint: Checkpoint = never_stop) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        bounds = _Words(text, checkpoint).bounds(0, len(text))
        count, step = len(bounds) - 1, self.max_chunk_size - self.overlap
        for first in range(0, max(1, count - self.overlap), step):
            yield bounds[first], bounds[min(first + self.max_chunk_size, count)]


class RecursiveSettings(_Settings):
    """Chunks that the text is split into at separators, at most ``max_chunk_size`` words.

    The text is split at the first separator. A piece that is too long is split at the next separator, and so
    on. A piece that is still too long after the last separator is split by sentences.
    """

    strategy: Literal["recursive"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    separators: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    separator_group: Literal["plaintext", "markdown"] = "plaintext"

    @model_validator(mode="after")
    def _check_separators(self) -> RecursiveSettings:
        if {"separators", "separator_group"} <= self.model_fields_set:
            raise ValueError("[separators] and [separator_group] cannot both be given")
        _ = self.compiled  # raises ValueError for a separator that cannot be used
        return self

    @cached_property
    def compiled(self) -> tuple[Separator, ...]:
        """The separators, in the order in which they are tried."""
        return separators_of(self.separators or GROUPS[self.separator_group])

    def spans(self, text: str, checkpoint: Checkpoint = never_stop) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        yield from self._split(_Words(text, checkpoint), 0, len(text), self.compiled)

    def _split(
        self, words: _Words, start: int, end: int, separators: tuple[Separator, ...]
    ) -> Iterator[tuple[int, int]]:
        """Yield the chunks between two positions. The recursion is as deep as there are separators."""
        words.checkpoint()
        if words.count(start, end) <= self.max_chunk_size:
            yield start, end
            return
        if not separators:
            yield from _packed_sentences(words, start, end, self.max_chunk_size, 0)
            return
        cuts = chain((start,), separators[0].starts(words.text, start, end, words.checkpoint), (end,))
        pieces = (piece for a, b in pairwise(cuts) for piece in self._split(words, a, b, separators[1:]))
        yield from self._joined(words, pieces)

    def _joined(self, words: _Words, pieces: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield the pieces, neighbours joined as long as a chunk has at most ``max_chunk_size`` words."""
        start, end = next(pieces)
        for a, b in pieces:
            if words.count(start, b) > self.max_chunk_size:
                yield start, end
                start = a
            end = b
        yield start, end


class NoneSettings(_Settings):
    """The whole text as one chunk."""

    strategy: Literal["none"]

    def spans(self, text: str, checkpoint: Checkpoint = never_stop) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the only chunk."""
        checkpoint()
        yield 0, len(text)


ChunkingSettings = SentenceSettings | WordSettings | RecursiveSettings | NoneSettings
_BY_NAME: TypeAdapter[ChunkingSettings] = TypeAdapter(
    Annotated[ChunkingSettings, Field(discriminator="strategy")]
)


def strategy_of(settings: Mapping[str, Any] | None) -> ChunkingSettings:
    """Return the strategy that ``chunking_settings`` describe.

    Without settings, or with ``max_chunk_size`` only, that is sentences without overlap, 300 words by
    default. Raises RequestError, which names the setting, for settings that cannot be used.
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
        raise RequestError(f"[chunking_settings] {_message(error.errors()[0])}") from error


def _message(fault: ErrorDetails) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if len(fault["loc"]) < 2:
        strategy = _shortened(fault["input"].get("strategy"))
        return f"[strategy] must be one of sentence, word, recursive, none, found [{strategy}]"
    found = "" if fault["type"] == "missing" else f", found [{_shortened(fault['input'])}]"
    return f"[{fault['loc'][1]}] {fault['msg'][0].lower()}{fault['msg'][1:]}{found}"


def _shortened(value: Any) -> str:  # noqa: ANN401 any JSON value
    text = str(value).encode(errors="backslashreplace").decode()  # a lone surrogate could not be sent
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def cut(text: str, strategy: ChunkingSettings, checkpoint: Checkpoint = never_stop) -> list[Passage]:
    """Return the chunks of a text in order, without white space around them.

    A text of white space only has no chunks. ``checkpoint`` is called between chunks; an error that it raises
    stops the work.
    """
    passages = []
    for start, end in strategy.spans(text, checkpoint):
        checkpoint()
        piece = text[start:end]
        begin = start + len(piece) - len(piece.lstrip())
        if piece.strip():
            passages.append(Passage(piece.strip(), begin, begin + len(piece.strip())))
    return passages


def words_of(text: str, checkpoint: Checkpoint = never_stop) -> list[str]:
    """Return the words of a text in lower case, in order. Raises what ``checkpoint`` raises."""
    words: list[str] = []
    for start, end in _ranges(text):
        checkpoint()
        words += (word.lower() for word in _WORD.findall(text, start, end))
    return words


class _Words:
    """A text and the positions of its words, which are found once, in the constructor."""

    def __init__(self, text: str, checkpoint: Checkpoint) -> None:
        self.text = text
        self.checkpoint = checkpoint
        self._starts, self._ends = array("q"), array("q")
        for first, last in _ranges(text):
            checkpoint()
            for match in _WORD.finditer(text, first, last):
                start, end = match.span()
                self._starts.append(start)
                self._ends.append(end)

    def count(self, start: int, end: int) -> int:
        """Return the number of words between two positions. A word that crosses a position counts too."""
        first, last = self._indices(start, end)
        return last - first

    def bounds(self, start: int, end: int) -> list[int]:
        """Return the positions at which the words between two positions may be separated, in order.

        The first is ``start`` and the last is ``end``. Between two of them lies one word with the signs
        around it.
        """
        first, last = self._indices(start, end)
        bounds = [start]
        for number in range(first + 1, last):
            self.checkpoint()
            gap = self.text[self._ends[number - 1] : self._starts[number]]
            # Signs up to the first space belong to the word before them, the other signs to the word after
            # them.
            bounds.append(self._ends[number - 1] + (len(gap.split(maxsplit=1)[0]) if gap[:1].strip() else 0))
        return [*bounds, end]

    def _indices(self, start: int, end: int) -> tuple[int, int]:
        return bisect_right(self._ends, start), bisect_left(self._starts, end)


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of ranges that cover the text. No word crosses their borders, except very long ones.

    Only a word of more than ``_RANGE`` characters may be divided.
    """
    start = 0
    while start < len(text):
        latest = min(start + 2 * _RANGE, len(text))
        begins = _NEVER_INSIDE_A_WORD.search(text, start + _RANGE, latest)
        end = begins.start() if begins else latest
        yield start, end
        start = end


def _packed_sentences(
    words: _Words, start: int, end: int, size: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of chunks of whole sentences, at most ``size`` words each.

    Neighbours share ``overlap`` sentences (0 or 1). They share none where the next sentence would not fit
    beside the shared one.
    """
    spans, counts = [], []
    for sentence in sentences(words.text, start, end, words.checkpoint):
        words.checkpoint()
        for span in _parts_of_sentence(words, *sentence, size):
            spans.append(span)
            counts.append(words.count(*span))
    first = 0
    while first < len(spans):
        words.checkpoint()
        last, length = first + 1, counts[first]
        while last < len(spans) and length + counts[last] <= size:
            length += counts[last]
            last += 1
        yield spans[first][0], spans[last - 1][1]
        if last == len(spans):
            return
        first = last - 1 if overlap and counts[last - 1] + counts[last] <= size else last


def sentences(
    text: str, start: int, end: int, checkpoint: Checkpoint = never_stop
) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the sentences between two positions of a text.

    The white space after a sentence belongs to it. Raises what ``checkpoint`` raises.
    """
    position = start
    while position < end:
        checkpoint()
        signs = _SENTENCE_END_SIGNS.match(text, min(position + _RANGE, end), min(position + 2 * _RANGE, end))
        assert signs is not None, "the pattern also matches an empty string"  # noqa: S101 the message says why
        # The search sees one more character, because the pattern looks ahead. That character belongs to the
        # next range.
        for match in _SENTENCE_END.finditer(text, position, min(signs.end() + 1, end)):
            if match.end() > start:
                yield start, match.end()
                start = match.end()
        position = signs.end()
    if start < end:
        yield start, end


def _parts_of_sentence(words: _Words, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the sentence, or of parts of ``size`` words if it has more words."""
    if words.count(start, end) <= size:
        yield start, end
    else:
        yield from pairwise([*words.bounds(start, end)[:-1:size], end])

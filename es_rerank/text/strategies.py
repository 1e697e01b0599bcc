"""Cutting a text as the ``chunking_settings`` of Elasticsearch's inference API say: by sentences, words or separators.

Sizes are in words, not tokens: that is what the settings mean (elastic/elasticsearch, ``*ChunkingSettings``). Offsets are
characters of the text. For passages that are indexed see ``chunking``, which counts tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ..errors import RequestError
from ..types import Passage
from .boundaries import OWN_SIGNS, UNSPACED

DEFAULT_MAX_CHUNK_SIZE = 300
"""Words per chunk where a ``chunk_rescorer`` names none (ChunkScorerConfig.DEFAULT_CHUNK_SIZE)."""

_ALONE = "\u3005-\u3007\u3040-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ideographs and Hiragana, of which each is a word."""

_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"

_MARKS = "\u00ad\u200c\u200d" + "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)).startswith("M"))
"""What belongs to the letter before it: accents, vowel signs, joiners. ``re`` counts none of them as of a word."""

_LETTER = rf"[^\W_{_ALONE}{_KATAKANA}]"
_BETWEEN = rf"(?<=\d)[.,](?=\d)|(?<=[^\W\d])[.:·'’](?=[^\W\d_{_ALONE}{_KATAKANA}])"  # noqa: RUF001 the typographic apostrophe is meant
_WORD = re.compile(rf"[{_ALONE}][{_MARKS}]*|[{_KATAKANA}][{_KATAKANA}{_MARKS}]*|(?:(?<!_)_++)?{_LETTER}(?:{_LETTER}|[_{_MARKS}]|{_BETWEEN})*")
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

_SEPARATORS = {
    "plaintext": (r"(?<!\n)\n\n(?!\n)", r"(?<!\n)\n(?!\n)"),
    "markdown": (r"\n# ", r"\n## ", r"\n### ", r"\n#### ", r"\n##### ", r"\n###### ", r"\n^(?!\s*$).*\n-{1,}\n", r"\n^(?!\s*$).*\n={1,}\n"),
}
"""ChunkingSettings' separator groups."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentenceSettings(_Settings):
    """Whole sentences up to ``max_chunk_size`` words; neighbours share ``sentence_overlap`` sentences."""

    strategy: Literal["sentence"] = "sentence"
    max_chunk_size: Annotated[int, Field(ge=20)] = 250
    sentence_overlap: Literal[0, 1] = 1

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        yield from _packed(text, 0, len(text), self.max_chunk_size, self.sentence_overlap)


class WordSettings(_Settings):
    """Runs of ``max_chunk_size`` words; neighbours share ``overlap`` words."""

    strategy: Literal["word"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    overlap: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _half_at_most(self) -> WordSettings:
        if self.overlap > self.max_chunk_size // 2:
            raise ValueError(f"[overlap] must be at most half of [max_chunk_size], found [{self.overlap}] of [{self.max_chunk_size}]")
        return self

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        bounds = _bounds(text, 0, len(text))
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
    def _separators_are_patterns(self) -> RecursiveSettings:
        if {"separators", "separator_group"} <= self.model_fields_set:
            raise ValueError("[separators] and [separator_group] cannot both be given")
        for pattern in self.separators or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"[separators] holds {pattern!r}, which is not a regular expression: {error}") from error
        return self

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the chunks."""
        patterns = self.separators or _SEPARATORS[self.separator_group]
        yield from self._split(text, 0, len(text), patterns)

    def _split(self, text: str, start: int, end: int, patterns: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        if _words(text, start, end) <= self.max_chunk_size:
            yield start, end
            return
        if not patterns:
            yield from _packed(text, start, end, self.max_chunk_size, 0)
            return
        cuts = [start, *(match.start() for match in re.compile(patterns[0], re.MULTILINE).finditer(text, start, end) if match.start() > start), end]
        pieces = [piece for a, b in pairwise(cuts) for piece in self._split(text, a, b, patterns[1:])]
        yield from self._joined(text, pieces)

    def _joined(self, text: str, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Put neighbours together again as long as they fit."""
        start, end = pieces[0]
        held = _words(text, start, end)
        for a, b in pieces[1:]:
            more = held + _words(text, a, b)
            # A word that a separator cut counts once where its parts are together again.
            more = more if more <= self.max_chunk_size else _words(text, start, b)
            if more <= self.max_chunk_size:
                end, held = b, more
            else:
                yield start, end
                start, end, held = a, b, _words(text, a, b)
        yield start, end


class NoneSettings(_Settings):
    """The text whole."""

    strategy: Literal["none"]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the one (start, end)."""
        yield 0, len(text)


Strategy = SentenceSettings | WordSettings | RecursiveSettings | NoneSettings
_BY_NAME: TypeAdapter[Strategy] = TypeAdapter(Annotated[Strategy, Field(discriminator="strategy")])


def strategy_of(settings: Mapping[str, Any] | None) -> Strategy:
    """Return the strategy that ``chunking_settings`` name; sentences of 300 words without overlap where none are given.

    Raises RequestError, naming the setting, for settings that cannot be used.
    """
    if not settings or set(settings) == {"max_chunk_size"}:
        settings = {"strategy": "sentence", "max_chunk_size": DEFAULT_MAX_CHUNK_SIZE, "sentence_overlap": 0, **(settings or {})}
    try:
        return _BY_NAME.validate_python({"strategy": "sentence", **settings})
    except ValidationError as error:
        raise RequestError(f"[chunking_settings] {_worded(error.errors()[0])}") from error


def _worded(fault: ErrorDetails) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if len(fault["loc"]) < 2:
        return f"[strategy] must be one of sentence, word, recursive, none, found [{fault['input'].get('strategy')}]"
    found = "" if fault["type"] == "missing" else f", found [{fault['input']}]"
    return f"[{fault['loc'][1]}] {fault['msg'][0].lower()}{fault['msg'][1:]}{found}"


def cut(text: str, strategy: Strategy) -> list[Passage]:
    """Return the chunks of a text, white space trimmed, in order; a text of white space has none."""
    passages = []
    for start, end in strategy.spans(text):
        piece = text[start:end]
        begin = start + len(piece) - len(piece.lstrip())
        if piece.strip():
            passages.append(Passage(piece.strip(), begin, begin + len(piece.strip())))
    return passages


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return [match.lower() for match in _WORD.findall(text)]


def _words(text: str, start: int, end: int) -> int:
    return sum(1 for _ in _WORD.finditer(text, start, end))


def _packed(text: str, start: int, end: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield runs of whole sentences of up to ``size`` words; neighbours share ``overlap`` sentences where the next one fits beside them."""
    spans = [span for sentence in sentences(text, start, end) for span in _halves(text, *sentence, size)]
    words = [_words(text, *span) for span in spans]
    first = 0
    while first < len(spans):
        last, held = first + 1, words[first]
        while last < len(spans) and held + words[last] <= size:
            held += words[last]
            last += 1
        yield spans[first][0], spans[last - 1][1]
        if last == len(spans):
            return
        first = last - 1 if overlap and words[last - 1] + words[last] <= size else last


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the sentences between two characters of a text, the white space behind each included."""
    for match in _SENTENCE_END.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end


def _halves(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a sentence of more than ``size`` words between words."""
    bounds = _bounds(text, start, end)
    yield from pairwise([*bounds[:-1:size], end])


def _bounds(text: str, start: int, end: int) -> list[int]:
    """Return where the words of a stretch begin, what stands before and behind them included, and the end of the last."""
    words = [match.span() for match in _WORD.finditer(text, start, end)]
    gaps = [(left, text[left:right]) for (_, left), (right, _) in pairwise(words)]
    # Signs up to the first space are the word's before it, the others of the one behind it.
    return [start, *(left + len(gap.split(maxsplit=1)[0] if gap[:1].strip() else "") for left, gap in gaps), end]

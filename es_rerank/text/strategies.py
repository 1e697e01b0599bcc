"""Cutting a text as the ``chunking_settings`` of Elasticsearch's inference API say: by sentences, words or separators.

Sizes are in words, not tokens: that is what the settings mean (elastic/elasticsearch, ``*ChunkingSettings``). Offsets are
characters of the text. For passages that are indexed see ``chunking``, which counts tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..errors import RequestError
from ..types import Passage

DEFAULT_MAX_CHUNK_SIZE = 300
"""Words per chunk where a ``chunk_rescorer`` names none (ChunkScorerConfig.DEFAULT_CHUNK_SIZE)."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001 the typographic apostrophe is meant
"""A word; in scripts that put no space between words, a character, which is how the standard analyzer reads them."""

_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s))|[。！？]+[」』）”]?|\n+")  # noqa: RUF001 they are meant

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
        sentences = [span for sentence in _sentences(text) for span in _halves(text, *sentence, self.max_chunk_size)]
        first = 0
        while first < len(sentences):
            last, words = first + 1, _words(text, *sentences[first])
            while last < len(sentences) and words + _words(text, *sentences[last]) <= self.max_chunk_size:
                words += _words(text, *sentences[last])
                last += 1
            yield sentences[first][0], sentences[last - 1][1]
            if last >= len(sentences):
                return
            first = max(last - self.sentence_overlap, first + 1)


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
        words = [match.span() for match in _WORD.finditer(text)]
        for first in range(0, max(1, len(words) - self.overlap), self.max_chunk_size - self.overlap):
            run = words[first : first + self.max_chunk_size]
            if run:
                yield run[0][0], run[-1][1]


class RecursiveSettings(_Settings):
    """Split at the first separator, the pieces that are too long at the next, and so on; at last by sentences."""

    strategy: Literal["recursive"]
    max_chunk_size: Annotated[int, Field(ge=10)]
    separators: tuple[str, ...] | None = None
    separator_group: Literal["plaintext", "markdown"] = "plaintext"

    @model_validator(mode="after")
    def _separators_are_patterns(self) -> RecursiveSettings:
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
            whole = SentenceSettings(max_chunk_size=max(20, self.max_chunk_size), sentence_overlap=0)
            yield from ((start + a, start + b) for a, b in whole.spans(text[start:end]))
            return
        cuts = [start, *(match.start() for match in re.compile(patterns[0], re.MULTILINE).finditer(text, start, end) if match.start() > start), end]
        pieces = [piece for a, b in pairwise(cuts) for piece in self._split(text, a, b, patterns[1:])]
        yield from self._joined(text, pieces)

    def _joined(self, text: str, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Put neighbours together again as long as they fit."""
        start, end = pieces[0]
        for a, b in pieces[1:]:
            if _words(text, start, b) <= self.max_chunk_size:
                end = b
            else:
                yield start, end
                start, end = a, b
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
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"][1:]) or "strategy"
        raise RequestError(f"[chunking_settings] [{where}] {fault['msg'].lower()}, found [{fault['input']}]") from error


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


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _halves(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a sentence of more than ``size`` words between words."""
    words = [match.span() for match in _WORD.finditer(text, start, end)]
    if len(words) <= size:
        yield start, end
        return
    begins = [start, *(words[i][0] for i in range(size, len(words), size)), end]
    yield from pairwise(begins)

"""Reading a query and a document through a prompt, as monoT5 does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ModelFolderError
from .pairs import BGE_QUERY_SHARE, Encoded, special_layout, text_room, well_formed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MONOT5_PROMPT = "Query: {query} Document: {document} Relevant:"
"""What monoT5 was trained on (castorini/pygaggle, model/tokenize.py)."""

PromptTruncation = Literal["document", "prompt"]
"""How an over-long prompt is cut: ``document`` cuts the document and keeps the prompt's tail, ``prompt`` cuts the whole at its end."""

QUERY_SHARE = BGE_QUERY_SHARE
"""Largest share of the room beside the prompt's own words that ``document`` leaves to the query, where the document needs the rest.

monoT5's sources set none, since a query over the window never occurred in training; this is the share of ``only_second``."""

_LEAST_ROOM = 8
"""Tokens that a window has to leave beside the prompt's own words. A quarter of them is the document's, and the first of
a text can be a space alone."""

_SAMPLE = "a"
"""A text in the prompt's places: without one, the spaces around an empty place become one, and the prompt shorter than it will be."""

_UNKNOWN = "\U0010fffd"
"""The last character of the last private use area, which no vocabulary holds."""


class _Prompt(NamedTuple):
    """The ids of a prompt by what they stand for."""

    head: list[int]
    query: list[int]
    between: list[int]
    document: list[int]
    tail: list[int]

    @property
    def fixed(self) -> int:
        """How many tokens are the prompt's own."""
        return len(self.head) + len(self.between) + len(self.tail)


class PromptEncoder:
    """Encodes prompts within ``max_length`` tokens, special tokens included. Safe to share between threads.

    A prompt that fits is tokenised whole, so that it reads exactly as Hugging Face's tokenizer reads the formatted
    string. One that does not is cut by the rule of ``truncation``; ``document`` takes from the document's end, and from
    the query only what it has over ``QUERY_SHARE``. Special tokens that are spelt out in a text are left out. Raises
    ModelFolderError for a prompt without its two places, and for a window that the prompt alone would fill.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        prompt: str = MONOT5_PROMPT,
        truncation: PromptTruncation = "document",
    ) -> None:
        self._tokenizer, self._truncation = tokenizer, truncation
        self._before, self._between, self._after = _template(prompt)
        self._layout = special_layout(tokenizer, texts=1)
        self._room = text_room(self._layout, max_length)
        self._structural = _structural(tokenizer, self._layout.structural)
        if (left := self._room - self._split(_SAMPLE, _SAMPLE).fixed) < _LEAST_ROOM:
            raise ModelFolderError(
                f"a window of {max_length} tokens leaves {max(left, 0)} for query and document beside the prompt {prompt!r}, and {_LEAST_ROOM} are the least; "
                "export the model again with a larger --max-length"
            )

    def encode(self, query: str, documents: Iterable[str]) -> Iterator[Encoded]:
        """Yield the prompt of ``query`` with each document, as they are asked for."""
        query = well_formed(query)
        for document in documents:
            yield self._encoded(query, well_formed(document))

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a document are read beside a query with the whole prompt around them, at least 1."""
        prompt = self._split(well_formed(query), _SAMPLE)
        room = self._room - prompt.fixed
        if self._truncation == "prompt":
            return max(room - len(prompt.query), 1)
        return room - min(len(prompt.query), int(room * QUERY_SHARE))

    def _encoded(self, query: str, document: str) -> Encoded:
        prompt = self._split(query, document)
        ids = [token for part in prompt for token in part]
        if len(ids) <= self._room:
            return self._layout.fill([ids], truncated=False)
        if self._truncation == "prompt":
            return self._layout.fill([ids[: self._room]], truncated=True)
        room = self._room - prompt.fixed
        of_query = min(len(prompt.query), max(int(room * QUERY_SHARE), room - len(prompt.document)))
        kept = [
            *prompt.head,
            *prompt.query[:of_query],
            *prompt.between,
            *prompt.document[: room - of_query],
            *prompt.tail,
        ]
        return self._layout.fill([kept], truncated=True)

    def _split(self, query: str, document: str) -> _Prompt:
        """Return the ids by what they stand for; the space before a text is of the text, which most vocabularies join to its first word."""
        encoded = self._tokenizer.encode(
            f"{self._before}{query}{self._between}{document}{self._after}", add_special_tokens=False
        )
        read = [
            (token, end)
            for token, (_, end) in zip(encoded.ids, encoded.offsets, strict=True)
            if token not in self._structural
        ]
        query_ends = len(self._before) + len(query)
        document_ends = query_ends + len(self._between) + len(document)
        places = (
            len(self._before.rstrip()),
            query_ends,
            query_ends + len(self._between.rstrip()),
            document_ends,
        )
        cuts = [0, *(bisect_right(read, place, key=_end) for place in places), len(read)]
        return _Prompt(*([token for token, _ in read[start:stop]] for start, stop in pairwise(cuts)))


def _template(prompt: str) -> tuple[str, str, str]:
    """Return what stands before the query, between query and document, and behind the document."""
    before, query, rest = prompt.partition("{query}")
    between, document, after = rest.partition("{document}")
    if not query or not document:
        raise ModelFolderError(
            f"the prompt {prompt!r} has no {{query}} with {{document}} behind it; export the model again"
        )
    return before, between, after


def _structural(tokenizer: Tokenizer, delimiters: Iterable[int]) -> frozenset[int]:
    """Return the ids that a text must not give: all special tokens but the one that unknown characters become.

    A unigram vocabulary holds ``</s>`` and ``<extra_id_0>`` as pieces like any other, so that texts that spell them
    would give their ids although the tokenizer reads special tokens as text; also where only the normaliser spells them.
    """
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return frozenset(
        {*special, *delimiters}.difference(tokenizer.encode(_UNKNOWN, add_special_tokens=False).ids)
    )


def _end(read: tuple[int, int]) -> int:
    return read[1]

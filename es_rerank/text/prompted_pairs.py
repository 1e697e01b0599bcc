"""Encodes a query and a document as one text, a filled prompt, as monoT5 reads them."""

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
"""The prompt that monoT5 was trained with (castorini/pygaggle, model/tokenize.py)."""

PromptTruncation = Literal["document", "prompt"]
"""How a prompt that is too long is cut.

``document`` cuts the document and keeps the words of the prompt after it. ``prompt`` cuts the whole prompt
at its end."""

QUERY_SHARE = BGE_QUERY_SHARE
"""Largest share of the room for texts that ``document`` leaves to the query of a long document.

The sources of monoT5 set no share, because no query in its training data was too long. This is the share of
``only_second``."""

LEAST_ROOM = 8
"""Minimum number of tokens that remain for query and document beside the words of the prompt. The document
gets at least a quarter of them, and the first token of a text can be a space only."""

_SAMPLE = "a"
"""A text to fill the prompt's places for counting. With empty places, the spaces around a place would
become one space, and the prompt would have fewer tokens than with texts."""

_UNKNOWN = "\U0010fffd"
"""The last character of the last private use area. No vocabulary holds it: it becomes an unknown token."""


class _Prompt(NamedTuple):
    """The token ids of a filled prompt in parts: query, document, and the prompt's words around them."""

    head: list[int]
    query: list[int]
    between: list[int]
    document: list[int]
    tail: list[int]

    @property
    def fixed(self) -> int:
        """The number of tokens of the prompt's own words."""
        return len(self.head) + len(self.between) + len(self.tail)


class PromptEncoder:
    """Encodes filled prompts as at most ``max_length`` tokens, special tokens included.

    A prompt that fits gives the tokens that Hugging Face's tokenizer gives for the formatted string. A prompt
    that is too long is cut as ``truncation`` says. ``document`` cuts the end of the document, and cuts the
    query only where it has more than ``QUERY_SHARE`` of the room for texts. Special tokens that are spelt out
    in a text are left out. It may be shared between threads. Raises ModelFolderError for a prompt without
    ``{query}`` and ``{document}`` in this order, and when ``max_length`` leaves too few tokens for query and
    document.
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
        self._structural = structural_ids(tokenizer, self._layout.structural)
        if (left := self._room - self._split(_SAMPLE, _SAMPLE).fixed) < LEAST_ROOM:
            raise ModelFolderError(
                f"a maximum length of {max_length} tokens leaves {max(left, 0)} for query and document "
                f"beside the prompt {prompt!r}, and at least {LEAST_ROOM} are needed; "
                "export the model again with a larger --max-length"
            )

    def encode(self, query: str, documents: Iterable[str]) -> Iterator[Encoded]:
        """Yield the token ids of the prompt with ``query`` and each document, in order of the documents."""
        query = well_formed(query)
        for document in documents:
            yield self._encoded(query, well_formed(document))

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a long document a prompt with this query holds, at least 1."""
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
        """Return the token ids of the filled prompt in parts.

        The space before a text counts as a part of the text, because most vocabularies join it to the first
        word.
        """
        encoded = self._tokenizer.encode(
            f"{self._before}{query}{self._between}{document}{self._after}", add_special_tokens=False
        )
        ids_and_ends = [
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
        cuts = [0, *(bisect_right(ids_and_ends, place, key=_end) for place in places), len(ids_and_ends)]
        return _Prompt(*([token for token, _ in ids_and_ends[start:stop]] for start, stop in pairwise(cuts)))


def _template(prompt: str) -> tuple[str, str, str]:
    """Return the prompt's words before the query, between query and document, and after the document."""
    before, query, after_query = prompt.partition("{query}")
    between, document, after = after_query.partition("{document}")
    if not query or not document:
        raise ModelFolderError(
            f"the prompt {prompt!r} needs {{query}} and {{document}} after it; export the model again"
        )
    return before, between, after


def structural_ids(tokenizer: Tokenizer, delimiters: Iterable[int]) -> frozenset[int]:
    """Return the ids that the text of a query or document must not give.

    These are the ids of all special tokens except that of unknown characters. A unigram vocabulary holds
    ``</s>`` and ``<extra_id_0>`` as ordinary pieces. So a text that contains them, or contains them after
    normalisation, would give their ids although the tokenizer reads special tokens as text.
    """
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return frozenset(
        {*special, *delimiters}.difference(tokenizer.encode(_UNKNOWN, add_special_tokens=False).ids)
    )


def _end(id_and_end: tuple[int, int]) -> int:
    return id_and_end[1]

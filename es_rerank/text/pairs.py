"""Turning texts and pairs of texts into token ids within a model's window, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ModelFolderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Strategy = Literal["longest_first", "only_second"]
"""How an over-long pair is cut: ``longest_first`` takes from the longer text first, as sentence-transformers, TEI and
infinity do; ``only_second`` cuts the query to a share of the window and then only the passage, as FlagEmbedding does."""

BGE_QUERY_SHARE = 0.75
"""FlagEmbedding cuts the query to ``max_length * 3 // 4`` (inference/reranker/encoder_only/base.py)."""


_AT_ONCE = 32
"""Texts that are tokenised at once: 2,000 sentences in 64 ms instead of 121 one by one, two cores; more at once gain little and
would keep a deadline waiting."""


class Encoded(NamedTuple):
    """Token ids with special tokens in place; ``truncated`` where the window was too small for the text."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool


class _Stretch(NamedTuple):
    """Ids and segment ids of neighbouring tokens."""

    ids: list[int]
    type_ids: list[int]


class _Layout(NamedTuple):
    """Where special tokens stand: ``fixed`` stretches surround the texts, whose tokens all carry one segment id each."""

    fixed: list[_Stretch]
    segments: list[int]

    def fill(self, texts: Sequence[list[int]], *, truncated: bool) -> Encoded:
        """Return the sequence with the texts' ids in their places."""
        ids, type_ids = list(self.fixed[0].ids), list(self.fixed[0].type_ids)
        for text, segment, after in zip(texts, self.segments, self.fixed[1:], strict=True):
            ids += [*text, *after.ids]
            type_ids += [*[segment] * len(text), *after.type_ids]
        return Encoded(ids, type_ids, truncated)

    @property
    def structural(self) -> list[int]:
        """The ids that delimit texts, in order."""
        return [token for stretch in self.fixed for token in stretch.ids]


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``, configured once so that nothing mutates it afterwards.

    It neither pads nor truncates, so it may be shared between threads. ``[SEP]`` in a user's text is ordinary text and
    not the special token, which Hugging Face's default would make of it: otherwise a document could end its own
    segment and write the rest of the pair itself. Raises ModelFolderError when the file cannot be read.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 importing es_rerank loads no native library

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for every fault of the file
        raise ModelFolderError(
            f"{path} is not a tokenizer that can be read ({error}); export the model again"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


class _Texts:
    """Texts to ids, without the ids that delimit texts.

    A unigram vocabulary holds ``</s>`` as a piece like any other, so that the text spelt ``</s>`` gives its id although
    the tokenizer was told to read special tokens as text. Such ids are left out.
    """

    def __init__(self, tokenizer: Tokenizer, layout: _Layout) -> None:
        self._tokenizer = tokenizer
        self._structural = frozenset(layout.structural)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        return next(self.each([text]))

    def each(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Yield the same for every text; a few are tokenised at once, side by side, when the first of them is asked for."""
        texts = iter(texts)
        while some := [well_formed(text) for text in islice(texts, _AT_ONCE)]:
            for encoded in self._tokenizer.encode_batch_fast(some, add_special_tokens=False):
                ids: list[int] = encoded.ids
                yield (
                    ids
                    if self._structural.isdisjoint(ids)
                    else [token for token in ids if token not in self._structural]
                )


class TextEncoder:
    """Encodes single texts within ``max_length`` tokens, special tokens included. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        self._layout = special_layout(tokenizer, texts=1)
        self._texts = _Texts(tokenizer, self._layout)
        self._room = text_room(self._layout, max_length)

    def encode(self, texts: Iterable[str]) -> Iterator[Encoded]:
        """Yield the ids of each text, cut at its end, as they are asked for."""
        for ids in self._texts.each(texts):
            yield self._layout.fill([ids[: self._room]], truncated=len(ids) > self._room)


class PairEncoder:
    """Encodes pairs within ``max_length`` tokens, special tokens included. Safe to share between threads.

    The cut is ours and not the tokenizer's, whose setting is shared state: two threads with different windows would
    disturb each other.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        strategy: Strategy = "longest_first",
        query_share: float = BGE_QUERY_SHARE,
    ) -> None:
        self._layout = special_layout(tokenizer, texts=2)
        self._texts = _Texts(tokenizer, self._layout)
        self._room = text_room(self._layout, max_length)
        self._strategy = strategy
        # At least one token stays for the passage, however small the window.
        self._query_room = min(int(max_length * query_share), self._room - 1)

    def encode(self, query: str, passages: Iterable[str]) -> Iterator[Encoded]:
        """Yield the pair of ``query``, which is tokenised once, and each passage, as they are asked for."""
        first = self._texts.ids(query)
        for second in self._texts.each(passages):
            lengths = self._lengths(len(first), len(second))
            yield self._layout.fill(
                [first[: lengths[0]], second[: lengths[1]]], truncated=lengths != (len(first), len(second))
            )

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a passage are read beside a query, however long the passage."""
        return self._lengths(len(self._texts.ids(query)), self._room)[1]

    def _lengths(self, query: int, passage: int) -> tuple[int, int]:
        """Return how many tokens of query and passage are read."""
        if self._strategy == "longest_first":
            return longest_first(query, passage, self._room)
        query = min(query, self._query_room)
        return query, min(passage, self._room - query)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return the lengths to which two sequences are cut so that both fit into ``room`` tokens.

    The rule of Hugging Face's tokenizers (tokenizers/src/utils/truncation.rs, ``LongestFirst``): the shorter keeps all
    it has up to half of the room, an odd token goes to the longer.
    """
    if first + second <= room:
        return first, second
    if first > second:
        second, first = longest_first(second, first, room)
        return first, second
    kept = min(first, room // 2)
    return kept, room - kept


def well_formed(text: str) -> str:
    """Return the text as valid Unicode: halves of a surrogate pair are joined, a lone half becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def special_layout(tokenizer: Tokenizer, *, texts: Literal[1, 2]) -> _Layout:
    """Read off where the tokenizer puts its special tokens around one text or two.

    Raises ModelFolderError when the texts do not come out in order, as no tokenizer of a cross-encoder does.
    """
    sample = tokenizer.encode(*["a"] * texts)
    fixed, segments = [_Stretch([], [])], []
    order: list[int] = []
    for token, segment, text in zip(sample.ids, sample.type_ids, sample.sequence_ids, strict=True):
        if text is None:
            fixed[-1].ids.append(token)
            fixed[-1].type_ids.append(segment)
        elif text not in order:
            order.append(text)
            segments.append(segment)
            fixed.append(_Stretch([], []))
    if order != list(range(texts)):
        raise ModelFolderError(
            f"the tokenizer does not place {texts} texts in order; export the model again with its own tokenizer"
        )
    return _Layout(fixed, segments)


def text_room(layout: _Layout, max_length: int) -> int:
    """Return how many tokens a window leaves to the texts. Raises ModelFolderError where that is less than two."""
    room = max_length - len(layout.structural)
    if room < 2:
        raise ModelFolderError(
            f"a window of {max_length} tokens leaves {room} for the text; export the model again with a larger --max-length"
        )
    return room

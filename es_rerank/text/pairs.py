"""Encodes texts and pairs of texts as token ids, at most a model's maximum length, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ModelFolderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TruncationStrategy = Literal["longest_first", "only_second"]
"""How a pair that is too long is cut.

``longest_first`` shortens the longer text first, as sentence-transformers, TEI and infinity do.
``only_second`` cuts the query to a share of the maximum length and then only the passage, as FlagEmbedding
does."""

BGE_QUERY_SHARE = 0.75
"""Share of the maximum length to which FlagEmbedding cuts the query: ``max_length * 3 // 4``
(inference/reranker/encoder_only/base.py)."""


TOKENIZER_BATCH = 32
"""Number of texts in one call of the tokenizer.

On two cores 2,000 sentences take 64 ms in batches and 121 ms one by one. A larger batch gains little, and
a deadline is not checked within a batch."""


CHARACTERS = 16
"""Of a long text this number of characters is tokenised for each token that is read, and more if they have
too few tokens. Words of English have five letters."""

SPARE = 16
"""Tokens beyond those that are read: where a text is cut, its last tokens may be others."""

_WORD = 256
"""Most characters that are looked through for the end of a word where a text is cut."""


class Encoded(NamedTuple):
    """Token ids, special tokens included, and segment ids. ``truncated`` is true where a text was cut.

    ``beginning``: ids that a model reads before ``ids``, the same for all passages of a query. A decoder
    reads them once for all of them.
    """

    ids: list[int]
    type_ids: list[int]
    truncated: bool
    beginning: tuple[int, ...] = ()


class _SpecialTokens(NamedTuple):
    """Ids and segment ids of special tokens that stand side by side."""

    ids: list[int]
    type_ids: list[int]


class _Layout(NamedTuple):
    """Where a tokenizer puts special tokens.

    ``fixed`` holds the special tokens before the first text, between the texts and after the last text.
    ``segments`` holds the segment id of each text's tokens.
    """

    fixed: list[_SpecialTokens]
    segments: list[int]

    def fill(self, texts: Sequence[list[int]], *, truncated: bool) -> Encoded:
        """Return the sequence of special tokens and of the token ids of ``texts``."""
        ids, type_ids = list(self.fixed[0].ids), list(self.fixed[0].type_ids)
        for text, segment, after in zip(texts, self.segments, self.fixed[1:], strict=True):
            ids += [*text, *after.ids]
            type_ids += [*[segment] * len(text), *after.type_ids]
        return Encoded(ids, type_ids, truncated)

    @property
    def structural(self) -> list[int]:
        """The ids of the special tokens, in order."""
        return [token for special in self.fixed for token in special.ids]


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``. Nothing changes its configuration afterwards.

    It neither pads nor truncates, so it may be shared between threads. It reads ``[SEP]`` in a user's text as
    ordinary text. By default Hugging Face's tokenizers read it as the special token, so that a document could
    end its own segment and write the rest of the pair itself. Raises ModelFolderError when the file cannot be
    read.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 importing es_rerank loads no native library

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # a plain Exception for every error in the file, or a panic of Rust
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelFolderError(
            f"{path} is not a tokenizer that can be read ({error}); export the model again"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


class _Texts:
    """Turns texts into token ids without special tokens.

    A unigram vocabulary holds ``</s>`` as an ordinary piece. A text that contains ``</s>`` then gives the id
    of the special token, although the tokenizer was told to read special tokens as text. Such ids are left
    out.
    """

    def __init__(self, tokenizer: Tokenizer, layout: _Layout) -> None:
        self._tokenizer = tokenizer
        self._structural = frozenset(layout.structural)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of one text, without special tokens."""
        return self._tokenised([text])[0]

    def ids_of_all(self, texts: Iterable[str], most: int) -> Iterator[list[int]]:
        """Yield the token ids of each text, without special tokens; at least the first ``most`` of them.

        Texts are tokenised in batches. A batch is tokenised when the ids of its first text are requested. Of
        a text that is much longer than ``most`` tokens only the beginning is tokenised: a model reads 512
        tokens of a book.
        """
        texts = iter(texts)
        while batch := list(islice(texts, TOKENIZER_BATCH)):
            begun = [beginning(text, most * CHARACTERS) for text in batch]
            for text, ids in zip(batch, self._tokenised(begun), strict=True):
                yield self._enough(text, ids, most)

    def _enough(self, text: str, ids: list[int], most: int) -> list[int]:
        """Return the token ids of the beginning of a text. While they are too few, twice as much is read."""
        characters = most * CHARACTERS
        while len(text) > characters and len(ids) < most + SPARE:
            characters *= 2
            (ids,) = self._tokenised([beginning(text, characters)])
        return ids

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(
            [well_formed(text) for text in texts], add_special_tokens=False
        )
        return [self._without_special(each.ids) for each in encoded]

    def _without_special(self, ids: list[int]) -> list[int]:
        if self._structural.isdisjoint(ids):
            return ids
        return [token for token in ids if token not in self._structural]


class TextEncoder:
    """Encodes single texts as at most ``max_length`` tokens, special tokens included.

    It may be shared between threads. Raises ModelFolderError when ``max_length`` leaves fewer than two tokens
    for the text.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        self._layout = special_layout(tokenizer, texts=1)
        self._texts = _Texts(tokenizer, self._layout)
        self._room = text_room(self._layout, max_length)

    @property
    def room(self) -> int:
        """How many tokens of a text are read, beside the special tokens."""
        return self._room

    def count(self, text: str) -> int:
        """Return how many tokens a text has, without special tokens."""
        return len(self._texts.ids(text))

    def encode(self, texts: Iterable[str]) -> Iterator[Encoded]:
        """Yield the token ids of each text. A text that is too long is cut at its end."""
        for ids in self._texts.ids_of_all(texts, self._room + 1):
            yield self._layout.fill([ids[: self._room]], truncated=len(ids) > self._room)


class PairEncoder:
    """Encodes pairs of query and passage as at most ``max_length`` tokens, special tokens included.

    It may be shared between threads. It cuts the texts itself: the truncation setting of a tokenizer is
    shared state, so that two threads with different maximum lengths would disturb each other. ``strategy``
    says how a pair that is too long is cut. ``query_share`` is the query's share of ``max_length`` for
    ``only_second``. Raises ModelFolderError when ``max_length`` leaves fewer than two tokens for the texts.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        strategy: TruncationStrategy = "longest_first",
        query_share: float = BGE_QUERY_SHARE,
    ) -> None:
        self._layout = special_layout(tokenizer, texts=2)
        self._texts = _Texts(tokenizer, self._layout)
        self._room = text_room(self._layout, max_length)
        self._strategy = strategy
        # At least one token remains for the passage, even when the maximum length is small.
        self._query_room = min(int(max_length * query_share), self._room - 1)

    def encode(self, query: str, passages: Iterable[str]) -> Iterator[Encoded]:
        """Yield the pair of ``query`` and each passage, in order. The query is tokenised once."""
        first = self._texts.ids(query)
        # More tokens of a passage than of the query decide nothing: see ``longest_first``.
        for second in self._texts.ids_of_all(passages, max(self._room, len(first)) + 1):
            lengths = self._lengths(len(first), len(second))
            yield self._layout.fill(
                [first[: lengths[0]], second[: lengths[1]]], truncated=lengths != (len(first), len(second))
            )

    def room_beside(self, query: str) -> int:
        """Return the maximum number of a passage's tokens that a pair with this query holds."""
        return self._lengths(len(self._texts.ids(query)), self._room)[1]

    def _lengths(self, query: int, passage: int) -> tuple[int, int]:
        """Return to how many tokens a query and a passage of these lengths are cut."""
        if self._strategy == "longest_first":
            return longest_first(query, passage, self._room)
        query = min(query, self._query_room)
        return query, min(passage, self._room - query)


def beginning(text: str, characters: int) -> str:
    """Return the first characters of a text, up to the end of a word if one is near."""
    if len(text) <= characters:
        return text
    end = text.rfind(" ", max(1, characters - _WORD), characters)
    return text[: characters if end < 0 else end]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return the lengths to which two sequences are cut, so that they have at most ``room`` tokens together.

    This is the rule of Hugging Face's tokenizers (tokenizers/src/utils/truncation.rs, ``LongestFirst``): the
    shorter sequence keeps up to half of the room, the longer one gets the rest.
    """
    if first + second <= room:
        return first, second
    if first > second:
        second, first = longest_first(second, first, room)
        return first, second
    kept = min(first, room // 2)
    return kept, room - kept


def surely_fits(text: str, size: int) -> bool:
    """Return whether a text has at most ``size`` tokens, known from its length alone; False if not known.

    A token of a text in ASCII holds at least one character, in every vocabulary of WordPiece, BPE and
    Unigram. SentencePiece may put one token before the first word. Other characters may become longer when
    they are normalised.
    """
    return text.isascii() and len(text) < size


def well_formed(text: str) -> str:
    """Return the text as valid Unicode: a surrogate pair becomes its character, a lone surrogate U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def special_layout(tokenizer: Tokenizer, *, texts: Literal[1, 2]) -> _Layout:
    """Return where the tokenizer puts its special tokens around one text or around two texts.

    A short sample shows it. Raises ModelFolderError when the tokenizer changes the order of the texts, which
    no tokenizer of a cross-encoder does.
    """
    sample = tokenizer.encode(*["a"] * texts)
    fixed, segments = [_SpecialTokens([], [])], []
    order: list[int] = []
    for token, segment, text in zip(sample.ids, sample.type_ids, sample.sequence_ids, strict=True):
        if text is None:
            fixed[-1].ids.append(token)
            fixed[-1].type_ids.append(segment)
        elif text not in order:
            order.append(text)
            segments.append(segment)
            fixed.append(_SpecialTokens([], []))
    if order != list(range(texts)):
        raise ModelFolderError(
            f"the tokenizer does not keep {texts} texts in order; "
            "export the model again with its own tokenizer"
        )
    return _Layout(fixed, segments)


def text_room(layout: _Layout, max_length: int) -> int:
    """Return how many of ``max_length`` tokens remain for the texts beside the special tokens.

    Raises ModelFolderError when fewer than two remain.
    """
    room = max_length - len(layout.structural)
    if room < 2:
        raise ModelFolderError(
            f"a maximum length of {max_length} tokens leaves {room} for the text; "
            "export the model again with a larger --max-length"
        )
    return room

"""Encodes query and document as a prompt whose next token is a decoder's answer."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise, takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ModelFolderError
from .pairs import CHARACTERS, SPARE, TOKENIZER_BATCH, Encoded, beginning, well_formed
from .prompted_pairs import LEAST_ROOM, QUERY_SHARE, structural_ids

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_Place = Literal["query", "document"]
_PLACE = re.compile(r"(\{(?:instruction|query|document)\})")

_SAMPLES = ("a", "\n", ".")
"""Documents that show which tokens of a prompt stand before the document: a letter, a line's end and a sign
join what is before them in different ways."""


class _Words(NamedTuple):
    """Words of a prompt that are tokenised together with the texts between them.

    ``places`` names the text behind each of the words but the last: ``query`` or ``document``.
    """

    words: list[str]
    places: list[_Place]


class _Parts(NamedTuple):
    """Token ids of a stretch of a prompt: those of its words, and of the texts between them."""

    words: list[list[int]]
    texts: list[list[int]]

    def joined(self) -> list[int]:
        """Return all ids in order."""
        between = chain.from_iterable(zip(self.words, [*self.texts, []], strict=True))
        return [token for part in between for token in part]


class _Opening(NamedTuple):
    """What all prompts of a query have before the stretch that holds the document.

    ``query`` is the query's text if it stands in that stretch, else None. Of it ``query_room`` tokens are
    read. ``cut``: whether the query was cut.
    """

    ids: list[int]
    query: str | None
    query_room: int
    cut: bool


class DecoderPairEncoder:
    """Encodes filled prompts as at most ``max_length`` tokens.

    ``prompt`` holds the prompt's pieces, each of which is tokenised alone, as the references do it, with
    ``{instruction}``, ``{query}`` and ``{document}`` once in this order. ``instructed`` stands in the place
    of ``{instruction}``, filled with the instruction; nothing stands there when the instruction is empty.
    Special tokens in the pieces are read as such; those that are spelt out in a text are read as text. A
    prompt that fits gives the reference's tokens. Of a prompt that is too long the document's end is cut, and
    the words after it stay. A query is cut to ``QUERY_SHARE`` of the room for texts, whatever the document
    is.

    ``Encoded.beginning`` holds the ids that stand before the document. They depend on the instruction and the
    query alone. A prompt whose tokens do not begin with them has an empty beginning: its document joins what
    is before it. Whether that is so depends on the prompt alone. It may be shared between threads.

    Raises ModelFolderError when ``max_length`` leaves too few tokens for query and document.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        prompt: Sequence[str],
        instruction: str = "",
        instructed: str = "{instruction}",
    ) -> None:
        self._tokenizer, self._most = tokenizer, max_length
        self._special = {
            token.content: number
            for number, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        self._structural = structural_ids(tokenizer, ())
        told = instructed.replace("{instruction}", well_formed(instruction)) if instruction else ""
        stretches = [stretch for piece in prompt for stretch in self._stretches(piece, told)]
        own = [
            place
            for place, stretch in enumerate(stretches)
            if not isinstance(stretch, int) and stretch.places
        ]
        first, last = own[0], own[-1]
        self._before, self._middle, self._after = (
            self._fixed(stretches[start:stop])
            for start, stop in ((0, first), (first + 1, last), (last + 1, len(stretches)))
        )
        opens, holds = stretches[first], stretches[last]
        assert not isinstance(opens, int)  # noqa: S101 numbers have no places
        assert not isinstance(holds, int)  # noqa: S101 the stretch with the document, like the one above
        self._asks = opens if first != last else None
        self._holds = holds
        fixed = [self._before, self._middle, self._after]
        for stretch in [holds] if self._asks is None else [self._asks, holds]:
            (encoded,) = self._encoded([_filled(stretch, "a", "a")])
            fixed += self._split(stretch, encoded, "a", "a").words
        self._room = max_length - sum(map(len, fixed))
        if self._room < LEAST_ROOM:
            raise ModelFolderError(
                f"a maximum length of {max_length} tokens leaves {max(self._room, 0)} for query and document "
                f"beside the prompt and its instruction, and at least {LEAST_ROOM} are needed; state a "
                "shorter instruction, or export the model again with a larger --max-length"
            )

    def encode(self, query: str, documents: Iterable[str]) -> Iterator[Encoded]:
        """Yield the token ids of the prompt with ``query`` and each document, in order of the documents.

        Documents are tokenised in batches. A batch is tokenised when its first prompt is asked for.
        """
        documents = iter(documents)
        opening: _Opening | None = None
        shared: tuple[int, ...] = ()
        while batch := [well_formed(document) for document in islice(documents, TOKENIZER_BATCH)]:
            if opening is None:
                opening = self._opening(well_formed(query))
                shared = _common([ids for ids, _ in self._prompts(opening, _SAMPLES)])
            for ids, truncated in self._prompts(opening, batch):
                begins = len(ids) > len(shared) and tuple(ids[: len(shared)]) == shared
                rest = ids[len(shared) :] if begins else ids
                yield Encoded(rest, [0] * len(rest), truncated, shared if begins else ())

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a long document a prompt with this query holds, at least 1.

        The space before a document may be a token more than the document has alone, so one is left for it.
        """
        opening = self._opening(well_formed(query))
        ((ids, _),) = self._prompts(opening, [_SAMPLES[0]])
        return max(self._most - len(ids), 1)

    @property
    def before(self) -> int:
        """How many tokens of its own words a prompt has before the document."""
        return self._most - self._room - len(self._after)

    @property
    def after(self) -> int:
        """How many tokens a prompt has after the document."""
        return len(self._after)

    def _opening(self, query: str) -> _Opening:
        """Return what all prompts of a query begin with. Of a very long query only the beginning is read."""
        room = int(self._room * QUERY_SHARE)
        text = beginning(query, room * CHARACTERS)
        asks = self._asks or self._holds
        while True:
            (encoded,) = self._encoded([_filled(asks, text, _SAMPLES[0])])
            parts = self._split(asks, encoded, text, _SAMPLES[0])
            if len(text) == len(query) or len(parts.texts[0]) >= room + SPARE:
                break
            text = beginning(query, 2 * len(text))
        cut = len(parts.texts[0]) > room
        if self._asks is None:
            return _Opening(self._before, text, room, cut)
        read = _Parts(parts.words, [parts.texts[0][:room]])
        return _Opening([*self._before, *read.joined(), *self._middle], None, room, cut)

    def _prompts(self, opening: _Opening, documents: Sequence[str]) -> Iterator[tuple[list[int], bool]]:
        """Yield the ids of the prompt with each document, and whether something was cut."""
        begun = [beginning(document, self._room * CHARACTERS) for document in documents]
        query = opening.query or ""
        texts = [_filled(self._holds, query, document) for document in begun]
        for document, read, encoded in zip(documents, begun, self._encoded(texts), strict=True):
            text, parts = read, self._split(self._holds, encoded, query, read)
            while len(text) < len(document) and len(parts.texts[-1]) < self._room + SPARE:
                text = beginning(document, 2 * len(text))
                (more,) = self._encoded([_filled(self._holds, query, text)])
                parts = self._split(self._holds, more, query, text)
            if opening.query is not None:
                parts.texts[0] = parts.texts[0][: opening.query_room]
            *others, own = parts.texts
            used = len(opening.ids) + sum(map(len, [*others, *parts.words, self._after]))
            room = max(self._most - used, 0)
            parts.texts[-1] = own[:room]
            yield [*opening.ids, *parts.joined(), *self._after], opening.cut or len(own) > room

    def _stretches(self, piece: str, told: str) -> Iterator[int | _Words]:
        """Yield a piece's special tokens by their ids, and the stretches of words between them."""
        words: list[str] = [""]
        places: list[_Place] = []
        for part in self._parts(piece):
            if part in self._special:
                yield _Words(words, places)
                yield self._special[part]
                words, places = [""], []
            elif part == "{instruction}":
                words[-1] += told
            elif _PLACE.fullmatch(part):
                places.append("query" if part == "{query}" else "document")
                words.append("")
            else:
                words[-1] += part
        yield _Words(words, places)

    def _parts(self, piece: str) -> list[str]:
        """Return a piece in parts: places, special tokens, and the words between them."""
        longest_first = sorted(self._special, key=len, reverse=True)
        special = "|".join(map(re.escape, longest_first)) or "(?!)"
        return [part for part in re.split(rf"{_PLACE.pattern}|({special})", piece) if part]

    def _fixed(self, stretches: Sequence[int | _Words]) -> list[int]:
        """Return the ids of stretches without texts."""
        ids: list[int] = []
        for stretch in stretches:
            if isinstance(stretch, int):
                ids.append(stretch)
            else:
                (encoded,) = self._encoded(["".join(stretch.words)])
                ids += [token for token in encoded.ids if token not in self._structural]
        return ids

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        encoded: list[Encoding] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return encoded

    def _split(self, stretch: _Words, encoded: Encoding, query: str, document: str) -> _Parts:
        """Return the ids of a stretch in parts. The space before a text counts as a part of the text, because
        most vocabularies join it to the first word.
        """
        ids_and_ends = [
            (token, end)
            for token, (_, end) in zip(encoded.ids, encoded.offsets, strict=True)
            if token not in self._structural
        ]
        cuts, end = [0], 0
        for words, place in zip(stretch.words, [*stretch.places, None], strict=True):
            if place is not None:
                text = query if place == "query" else document
                ends = (end + len(words.rstrip()), end + len(words) + len(text))
                end = ends[1]
                cuts += [bisect_right(ids_and_ends, end, key=_end) for end in ends]
        cuts.append(len(ids_and_ends))
        parts = [[token for token, _ in ids_and_ends[start:stop]] for start, stop in pairwise(cuts)]
        return _Parts(parts[::2], parts[1::2])


def _filled(stretch: _Words, query: str, document: str) -> str:
    texts = [query if place == "query" else document for place in stretch.places]
    return "".join(chain.from_iterable(zip(stretch.words, [*texts, ""], strict=True)))


def _common(prompts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the ids with which all of ``prompts`` begin."""
    same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    return tuple(tokens[0] for tokens in same)


def _end(id_and_end: tuple[int, int]) -> int:
    return id_and_end[1]

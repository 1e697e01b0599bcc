"""Training lists without labels: texts of several kinds are queries, and the teacher judges the passages.

A model that learns only from labelled questions is not good at claims or keywords. So sentences are used as
claims, words of a sentence or a title as keyword queries, titles as title queries, and the labelled queries
of all collections as questions. The passages come from all collections.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...text.boundaries import UNSPACED
from ...types import FloatArray
from .labelled_lists import LabelledLists
from .passages import Embed, passage_text, similarities, together
from .recipe import Recipe
from .training_list import TrainingList, teacher_logits

_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])|(?<=[\u3002\uff01\uff1f])")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]{{2,}}")
_BLOCK = 64
"""Number of queries whose similarities to all passages are in memory at once."""


class WeakQuery(NamedTuple):
    """A text that is used as a query, and the passage ``own`` that it was taken from.

    A passage that contains its query word for word teaches nothing (inverse cloze task,
    https://arxiv.org/abs/1906.00300). ``remains`` is the passage without the query. It is empty when the
    passage must not be in the list, and None when the passage is used unchanged.
    """

    text: str
    own: int | None = None
    remains: str | None = None


def _length(text: str) -> int:
    """Return how many words a text has. In scripts without spaces, two characters count as one word."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


class WeakLists:
    """Makes the unlabelled lists of a recipe from the passages and queries of its sources."""

    def __init__(self, sources: Mapping[str, LabelledLists], recipe: Recipe) -> None:
        self._recipe, self._random = recipe, random.Random(f"{recipe.seed}:weak")
        self.passages = together({name: source.passages for name, source in sources.items()})
        self._queries = [list(source.queries.values()) for source in sources.values()]
        ends = [0]
        for source in sources.values():
            ends.append(ends[-1] + len(source.passages.texts))
        self._spans = [range(start, end) for start, end in itertools.pairwise(ends)]

    def lists(self, embedders: Sequence[Embed]) -> Iterator[TrainingList]:
        """Yield ``recipe.weak`` lists. There are a few less when a text has no usable query."""
        drawn = [query for _ in range(self._recipe.weak) if (query := self._query()) is not None]
        if not drawn:
            return
        texts = [query.text for query in drawn]
        vectors = [embed(texts, query=True) for embed in embedders]
        for start in range(0, len(drawn), _BLOCK):
            block = [rows[start : start + _BLOCK] for rows in vectors]
            near = similarities(block, self.passages.vectors)
            for query, similarity in zip(drawn[start : start + _BLOCK], near, strict=True):
                yield self._list(query, similarity)

    def _query(self) -> WeakQuery | None:
        """Draw a query. Kinds are drawn by their share; every collection is equally likely."""
        kind = self._random.choices(list(self._recipe.weak_kinds), list(self._recipe.weak_kinds.values()))[0]
        if kind == "labelled":
            return WeakQuery(self._random.choice(self._random.choice(self._queries)))
        number = self._random.choice(self._random.choice(self._spans))
        if kind == "title":
            title = self.passages.titles[number]
            return WeakQuery(title, number, self.passages.texts[number]) if title else None
        sentences = [sentence for sentence in _SENTENCES.split(self.passages.texts[number]) if sentence]
        if not sentences:
            return None
        sentence = self._random.choice(sentences)
        if kind == "keywords":
            return self._keywords(
                sentence if self._random.random() < 0.5 else self.passages.titles[number] or sentence, number
            )
        if not 5 <= _length(sentence) <= 45:
            return None
        others = " ".join(other for other in sentences if other is not sentence)
        return WeakQuery(
            sentence, number, others if self._random.random() < 0.5 and _length(others) > 15 else ""
        )

    def _keywords(self, text: str, number: int) -> WeakQuery | None:
        """Draw one to five words in lower case: neighbouring words, or longer words from anywhere in the
        text.

        From a text without spaces, draw two to six neighbouring characters.
        """
        if unspaced := _UNSPACED_RUN.findall(text):
            run, wanted = self._random.choice(unspaced), self._random.randint(2, 6)
            first = self._random.randint(0, max(0, len(run) - wanted))
            return WeakQuery(run[first : first + wanted], number)
        words = re.findall(r"[\w'-]+", text.lower())
        length = self._random.randint(1, 5)
        if self._random.random() < 0.5:
            first = self._random.randint(0, max(0, len(words) - length))
            chosen = words[first : first + length]
        else:
            places = [place for place, word in enumerate(words) if len(word) > 3]
            chosen = [words[place] for place in sorted(self._random.sample(places, min(length, len(places))))]
        return WeakQuery(" ".join(chosen), number) if any(len(word) > 3 for word in chosen) else None

    def _list(self, query: WeakQuery, similarity: FloatArray) -> TrainingList:
        """Return the list of a query: its own or the nearest passage, near passages of any rank, and a random
        passage.
        """
        size, bm25 = self._recipe.list_size, self.passages.bm25(query.text)
        near = [number for number in self.passages.near(similarity, bm25) if number != query.own]
        first = near.pop(self._random.randrange(3)) if query.own is None or query.remains == "" else query.own
        numbers = [
            first,
            *self._random.sample(near, min(size - 2, len(near))),
            self.passages.any_of(self._random),
        ]
        texts = [
            passage_text(self.passages, number, self._recipe.title_share, self._random) for number in numbers
        ]
        if query.own == first and query.remains is not None:
            texts[0] = query.remains
        return TrainingList(
            query.text,
            texts,
            [-1] * len(numbers),
            teacher_logits(similarity[:, numbers], bm25[numbers], self._recipe),
        )

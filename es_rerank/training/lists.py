"""From labelled collections to training lists: passages, mined negatives and the bi-encoder's opinion of each."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bm25s
import numpy as np

from ..collection import Document, read_corpus
from ..text.chunking import Chunker
from ..types import FloatArray
from .queries import draw_queries, plain
from .recipe import Recipe, Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Embed = Callable[[list[str]], FloatArray]
"""Texts to unit vectors, float32, (n, dims)."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_DENSE_NEIGHBOURS = 60
_BM25_NEIGHBOURS = 30


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query and its passages. ``labels``: 1 or 0, or all -1 when only the bi-encoder teaches. ``cosines``: the
    bi-encoder's similarity of query and passage.
    """

    query: str
    passages: list[str]
    labels: list[int]
    cosines: list[float]


@dataclass(slots=True)
class Passages:
    """All passages of one collection with their vectors (float32, (n, dims)) and the documents that they belong to."""

    texts: list[str]
    titles: list[str]
    owner: list[str]
    vectors: FloatArray
    of_document: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, owner in enumerate(self.owner):
            self.of_document.setdefault(owner, []).append(number)


def with_title(title: str, text: str) -> str:
    """Return title and text as the read path joins them."""
    return f"{title}\n{text}" if title else text


def cut_passages(documents: list[Document], tokenizer: Tokenizer, tokens: int, embed: Embed) -> Passages:
    """Cut documents into passages without overlap and embed each behind its title."""
    chunker = Chunker(tokenizer, size=tokens, overlap=0)
    texts: list[str] = []
    titles: list[str] = []
    owner: list[str] = []
    for document in documents:
        for passage in chunker.chunk(document.text):
            texts.append(passage.text)
            titles.append(document.title)
            owner.append(document.id)
    vectors = embed([with_title(title, text) for title, text in zip(titles, texts, strict=True)])
    return Passages(texts, titles, owner, vectors)


class ListMaker:
    """Makes the training lists of one source."""

    def __init__(self, source: Source, recipe: Recipe, folder: Path, tokenizer: Tokenizer, embed: Embed) -> None:
        self._source, self._recipe = source, recipe
        self._random = random.Random(f"{recipe.seed}:{source.collection}:lists")
        self.queries, self.qrels = draw_queries(source, folder, recipe.seed)
        documents = list(read_corpus(folder / source.collection))
        if source.judged_only:
            judged = {document for grades in self.qrels.values() for document in grades}
            documents = [document for document in documents if document.id in judged]
        self.passages = cut_passages(documents, tokenizer, recipe.passage_tokens, embed)
        self._vectors = dict(zip(self.queries, embed(list(self.queries.values())), strict=True))
        self._bm25 = bm25s.BM25()
        self._bm25.index(self._bm25_tokens([with_title(t, x) for t, x in zip(self.passages.titles, self.passages.texts, strict=True)]), show_progress=False)
        self._of_title: dict[str, list[int]] = {}
        for number, title in enumerate(self.passages.titles):
            self._of_title.setdefault(title, []).append(number)

    @staticmethod
    def _bm25_tokens(texts: list[str]) -> list[list[str]]:
        return [plain(text).split() or ["_"] for text in texts]

    def lists(self) -> Iterator[TrainingList]:
        """Yield the labelled lists of the source, each query ``repeats`` times."""
        neighbours = self._bm25_neighbours()
        for query, text in self.queries.items():
            for _ in range(self._source.repeats):
                made = self._labelled(query, text, neighbours[query])
                if made is not None:
                    yield made

    def _bm25_neighbours(self) -> dict[str, list[int]]:
        depth = min(_BM25_NEIGHBOURS, len(self.passages.texts))
        found, _ = self._bm25.retrieve(self._bm25_tokens(list(self.queries.values())), k=depth, show_progress=False)
        return {query: [int(number) for number in row] for query, row in zip(self.queries, found, strict=True)}

    def _labelled(self, query: str, text: str, bm25: list[int]) -> TrainingList | None:
        grades, vector, size = self.qrels[query], self._vectors[query], self._recipe.list_size
        similarity = self.passages.vectors @ vector
        positives = [document for document, grade in grades.items() if grade > 0 and document in self.passages.of_document]
        if not positives:
            return None
        best = max(grades[document] for document in positives)
        anchor = self._random.choice([document for document in positives if grades[document] == best])
        chosen = [(self._best_passage(anchor, similarity), 1)]
        if self._source.kind == "pool":
            pool = [document for document in grades if document != anchor and document in self.passages.of_document]
            self._random.shuffle(pool)
            # A grade between 0 and the best is neither a clear positive nor a clear negative: left out.
            clear = [(self._best_passage(document, similarity), int(grades[document] > 0)) for document in pool if grades[document] in (0, best)]
            negatives = [pair for pair in clear if pair[1] == 0][: size - 1]
            others = [pair for pair in clear if pair[1] == 1][: max(0, min(2, size - 2 - len(negatives)))]
            chosen += negatives + others
        mined = self._mined(grades, similarity, bm25, anchor, float(similarity[chosen[0][0]]))
        chosen += [(number, 0) for number in mined[: size - len(chosen)]]
        if len(chosen) < 2:
            return None
        numbers = [number for number, _ in chosen]
        return TrainingList(
            text,
            [self._shown(number, positive=bool(label)) for number, label in chosen],
            [label for _, label in chosen],
            [float(similarity[number]) for number in numbers],
        )

    def _best_passage(self, document: str, similarity: FloatArray) -> int:
        """Return the document's passage nearest to the query: the one that holds the answer, most of the time."""
        numbers = self.passages.of_document[document]
        return max(numbers, key=lambda number: similarity[number])

    def _mined(self, grades: dict[str, int], similarity: FloatArray, bm25: list[int], anchor: str, positive: float) -> list[int]:
        """Return hard negatives in random order, one a document, the last a random passage of the collection."""
        if self._source.kind == "same_title":
            title = self.passages.titles[self.passages.of_document[anchor][0]]
            near = list(self._of_title[title])
        else:
            depth = min(_DENSE_NEIGHBOURS, len(similarity) - 1)
            near = [*np.argpartition(-similarity, depth)[:depth].tolist(), *bm25]
        self._random.shuffle(near)
        near.insert(self._recipe.list_size - 2, self._random.randrange(len(similarity)))
        limit = positive + self._recipe.false_negative_margin
        seen = {document for document, grade in grades.items() if grade > 0}
        negatives: list[int] = []
        for number in near:
            owner = self.passages.owner[number]
            if owner not in seen and similarity[number] <= limit:
                seen.add(owner)
                negatives.append(number)
        return negatives

    def _shown(self, number: int, *, positive: bool) -> str:
        """Return the passage as the model reads it: with or without its title, whole or cut."""
        text, title = self.passages.texts[number], self.passages.titles[number]
        if not positive and self._random.random() < self._recipe.cut_share:
            sentences = _SENTENCES.split(text)
            length = self._random.randint(1, max(1, len(sentences)))
            first = self._random.randint(0, len(sentences) - length)
            text = " ".join(sentences[first : first + length])
        return with_title(title, text) if self._random.random() < self._recipe.title_share else text

    def unlabelled(self, count: int, embed: Embed) -> Iterator[TrainingList]:
        """Yield lists of a sentence, or a title, against passages near to it; nothing is known of them but cosines."""
        drawn: list[tuple[str, int]] = []
        for number in self._random.sample(range(len(self.passages.texts)), min(count, len(self.passages.texts))):
            sentences = [s for s in _SENTENCES.split(self.passages.texts[number]) if 4 <= len(s.split()) <= 40]
            title = self.passages.titles[number]
            if title and (not sentences or self._random.random() < 0.25):
                drawn.append((title, -1))
            elif sentences:
                drawn.append((self._random.choice(sentences), number))
        for (text, own), vector in zip(drawn, embed([text for text, _ in drawn]), strict=True):
            similarity = self.passages.vectors @ vector
            depth = min(_DENSE_NEIGHBOURS, len(similarity) - 1)
            # The sentence's own passage holds it word for word: matching it would teach nothing.
            near = [number for number in np.argsort(-similarity)[:depth].tolist() if number != own]
            numbers = [*near[:1], *self._random.sample(near[1:], min(self._recipe.list_size - 2, len(near) - 1)), self._random.randrange(len(similarity))]
            yield TrainingList(text, [self._shown(n, positive=True) for n in numbers], [-1] * len(numbers), [float(similarity[n]) for n in numbers])


def make_lists(recipe: Recipe, folder: Path, tokenizer: Tokenizer, embed: Embed, report: Callable[[str], None]) -> list[TrainingList]:
    """Return all lists of a recipe in a seeded order; ``report`` is told what each source gave."""
    lists: list[TrainingList] = []
    share = recipe.unlabelled // max(1, len(recipe.sources))
    for source in recipe.sources:
        maker = ListMaker(source, recipe, folder, tokenizer, embed)
        labelled, unlabelled = list(maker.lists()), list(maker.unlabelled(share, embed))
        report(f"{source.collection}: {len(maker.passages.texts)} passages, {len(labelled)} labelled lists, {len(unlabelled)} unlabelled")
        lists += labelled + unlabelled
    random.Random(recipe.seed).shuffle(lists)
    return lists

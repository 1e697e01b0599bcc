"""Training lists of labelled queries: a positive, and negatives that are hard to distinguish from it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...collection import Document, read_corpus
from ...types import FloatArray
from .passages import Embed, cut_passages, passage_text, similarities
from .queries import draw_queries
from .recipe import LabelledCollection, Recipe
from .training_list import TrainingList, teacher_logits

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class LabelledLists:
    """Makes the labelled lists of one source."""

    def __init__(
        self,
        source: LabelledCollection,
        recipe: Recipe,
        folder: Path,
        tokenizer: Tokenizer,
        embedders: Sequence[Embed],
    ) -> None:
        self._source, self._recipe = source, recipe
        self._random = random.Random(f"{recipe.seed}:{source.collection}:lists")
        self.queries, self.qrels = draw_queries(source, folder, recipe.seed)
        documents = list(read_corpus(folder / source.collection))
        if source.judged_only:
            judged = {document for query in self.queries for document in self.qrels[query]}
            documents = [document for document in documents if document.id in judged]
        documents = self._drawn(documents)
        self.passages = cut_passages(documents, tokenizer, recipe.passage_tokens, recipe.seed, embedders)
        self._vectors = [embed(list(self.queries.values()), query=True) for embed in embedders]

    def _drawn(self, documents: list[Document]) -> list[Document]:
        """Return at most ``documents`` of the source: relevant ones first, then others in a seeded order."""
        most = self._source.documents
        if most is None or len(documents) <= most:
            return documents
        relevant = {
            document for query in self.queries for document, grade in self.qrels[query].items() if grade > 0
        }
        order = list(range(len(documents)))
        random.Random(f"{self._recipe.seed}:{self._source.collection}:documents").shuffle(order)
        order.sort(key=lambda number: documents[number].id not in relevant)
        return [documents[number] for number in sorted(order[:most])]

    def lists(self) -> Iterator[TrainingList]:
        """Yield the labelled lists of the source, ``repeats`` lists for each query."""
        for number, (query, text) in enumerate(self.queries.items()):
            vectors = [rows[number : number + 1] for rows in self._vectors]
            similarity, bm25 = similarities(vectors, self.passages.vectors)[0], self.passages.bm25(text)
            for _ in range(self._source.repeats):
                chosen = self._chosen(self.qrels[query], similarity, bm25)
                if len(chosen) > 1:
                    numbers = [passage for passage, _ in chosen]
                    yield TrainingList(
                        text,
                        [
                            passage_text(self.passages, passage, self._recipe.title_share, self._random)
                            for passage in numbers
                        ],
                        [label for _, label in chosen],
                        teacher_logits(similarity[:, numbers], bm25[numbers], self._recipe),
                    )

    def _chosen(
        self, grades: dict[str, int], similarity: FloatArray, bm25: FloatArray
    ) -> list[tuple[int, int]]:
        """Return passages with labels, a positive first; empty when the corpus has no positive."""
        size = self._recipe.list_size
        positives = [
            document
            for document, grade in grades.items()
            if grade > 0 and document in self.passages.of_document
        ]
        if not positives:
            return []
        best = max(grades[document] for document in positives)
        anchor = self._random.choice([document for document in positives if grades[document] == best])
        chosen = [(self._best_passage(anchor, similarity), 1)]
        if self._source.kind == "pool":
            pool = [
                document
                for document in grades
                if document != anchor and document in self.passages.of_document
            ]
            self._random.shuffle(pool)
            # A grade between 0 and the best is neither a clear positive nor a clear negative, so it is left
            # out.
            clear = [
                (self._best_passage(document, similarity), int(grades[document] > 0))
                for document in pool
                if grades[document] in (0, best)
            ]
            negatives = [pair for pair in clear if pair[1] == 0][: size - 1]
            others = [pair for pair in clear if pair[1] == 1][: max(0, min(2, size - 2 - len(negatives)))]
            chosen += negatives + others
        if len(chosen) < size:
            mined = self._mined(grades, similarity, bm25, chosen[0][0])
            chosen += [(number, 0) for number in mined[: size - len(chosen)]]
        return chosen

    def _best_passage(self, document: str, similarity: FloatArray) -> int:
        """Return the document's passage that is nearest to the query.

        In most cases this passage contains the answer.
        """
        numbers = self.passages.of_document[document]
        return max(numbers, key=lambda number: similarity[0, number])

    def _mined(
        self, grades: dict[str, int], similarity: FloatArray, bm25: FloatArray, positive: int
    ) -> list[int]:
        """Return hard negatives in random order, one for each document; the last is a random passage of the
        collection.
        """
        kind = self._source.kind
        near = [] if kind == "same_title" else self.passages.near(similarity, bm25)
        self._random.shuffle(near)
        if kind in {"same_title", "title_first"}:
            siblings = list(self.passages.of_title[self.passages.titles[positive]])
            self._random.shuffle(siblings)
            near = [*siblings, *near]
        near.insert(self._recipe.list_size - 2, self.passages.any_of(self._random))
        limit = float(similarity[0, positive]) + self._recipe.false_negative_margin
        seen = {document for document, grade in grades.items() if grade > 0}
        negatives: list[int] = []
        for number in near:
            owner = self.passages.owner[number]
            if owner not in seen and similarity[0, number] <= limit:
                seen.add(owner)
                negatives.append(number)
        return negatives

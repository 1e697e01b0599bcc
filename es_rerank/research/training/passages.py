"""The passages of a collection, cut at several lengths, with their similarity and BM25 scores for a query."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import bm25s
import numpy as np

from ...collection import Document
from ...text.boundaries import UNSPACED
from ...text.chunking import Chunker
from ...types import FloatArray
from .queries import plain

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Embed(Protocol):
    """A function from texts to unit vectors, float32, (n, dims).

    ``query`` says that the texts are queries.
    """

    def __call__(self, texts: list[str], *, query: bool = False) -> FloatArray:
        """Return a vector for each text."""


def similarities(queries: Sequence[FloatArray], passages: Sequence[FloatArray]) -> FloatArray:
    """Return the cosines of queries and passages, float32, (queries, embedders, passages).

    Both have one matrix of vectors for each embedder.
    """
    return np.stack([query @ vectors.T for query, vectors in zip(queries, passages, strict=True)], axis=1)


DENSE_NEIGHBOURS = 60
BM25_NEIGHBOURS = 30


_RUNS = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def with_title(title: str, text: str) -> str:
    """Return title and text, joined as a search joins them."""
    return f"{title}\n{text}" if title else text


@dataclass(slots=True)
class Passages:
    """Passages, their vectors, and the documents that they belong to.

    The vectors are of the passages with their titles: for each embedder float32, (n, dims).
    """

    texts: list[str]
    titles: list[str]
    owner: list[str]
    vectors: list[FloatArray]
    of_document: dict[str, list[int]] = field(default_factory=dict)
    of_title: dict[str, list[int]] = field(default_factory=dict)
    _documents: list[str] = field(default_factory=list)
    _bm25: bm25s.BM25 = field(default_factory=bm25s.BM25)

    def __post_init__(self) -> None:
        for number, (owner, title) in enumerate(zip(self.owner, self.titles, strict=True)):
            self.of_document.setdefault(owner, []).append(number)
            self.of_title.setdefault(title, []).append(number)
        self._documents = list(self.of_document)
        self._bm25.index(
            [_words(with_title(*pair)) for pair in zip(self.titles, self.texts, strict=True)],
            show_progress=False,
        )

    def bm25(self, query: str) -> FloatArray:
        """Return the BM25 score of every passage for a query, float32, (n,)."""
        known = [word for word in _words(query) if word in self._bm25.vocab_dict]
        return np.asarray(
            self._bm25.get_scores(known) if known else np.zeros(len(self.texts)), dtype=np.float32
        )

    def near(self, similarity: FloatArray, bm25: FloatArray) -> list[int]:
        """Return the nearest passages by the vectors of each embedder, then the nearest by BM25, best first.

        ``similarity`` is float32, (embedders, n). Each document gives only its best passage, so documents
        with many passages are not drawn more often.
        """
        nearest = [number for row in similarity for number in self._best(row, DENSE_NEIGHBOURS)]
        return list(dict.fromkeys([*nearest, *self._best(bm25, BM25_NEIGHBOURS)]))

    def _best(self, scores: FloatArray, documents: int) -> list[int]:
        depth = min(3 * documents, len(scores))
        top = np.argpartition(-scores, depth - 1)[:depth]
        best: dict[str, int] = {}
        for number in top[np.argsort(-scores[top], kind="stable")].tolist():
            best.setdefault(self.owner[number], number)
        return list(best.values())[:documents]

    def any_of(self, chance: random.Random) -> int:
        """Return a random passage; every document is equally likely."""
        return chance.choice(self.of_document[chance.choice(self._documents)])


def cut_passages(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    sizes: Sequence[int],
    seed: int,
    embedders: Sequence[Embed],
) -> Passages:
    """Cut each document without overlap, and embed each passage with its title.

    The length, one of ``sizes`` tokens, is drawn for each document. So the length of a passage says nothing
    about its relevance.
    """
    chunkers = [Chunker(tokenizer, size=size, overlap=0) for size in sizes]
    texts: list[str] = []
    titles: list[str] = []
    owner: list[str] = []
    for document in documents:
        for passage in random.Random(f"{seed}:{document.id}").choice(chunkers).chunk(document.text):
            texts.append(passage.text)
            titles.append(document.title)
            owner.append(document.id)
    titled = [with_title(*pair) for pair in zip(titles, texts, strict=True)]
    return Passages(texts, titles, owner, [embed(titled) for embed in embedders])


def passage_text(passages: Passages, number: int, title_share: float, chance: random.Random) -> str:
    """Return a passage as the model reads it: with its title, or without."""
    return with_title(
        passages.titles[number] if chance.random() < title_share else "", passages.texts[number]
    )


def together(collections: dict[str, Passages]) -> Passages:
    """Return the passages of several collections, by name, as one collection in the given order."""
    parts = collections.values()
    return Passages(
        [text for part in parts for text in part.texts],
        [title for part in parts for title in part.titles],
        [f"{name}:{owner}" for name, part in collections.items() for owner in part.owner],
        [np.concatenate(rows) for rows in zip(*(part.vectors for part in parts), strict=True)],
    )


def _words(text: str) -> list[str]:
    """Return the words of a text. In scripts without spaces, every two neighbouring characters are a word."""
    runs = [run for part in plain(text).split() for run in _RUNS.findall(part)]
    return [word for run in runs for word in _paired(run)] or ["_"]


def _paired(run: str) -> list[str]:
    if len(run) > 1 and _UNSPACED.match(run):
        return [run[place : place + 2] for place in range(len(run) - 1)]
    return [run]

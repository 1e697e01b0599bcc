"""The passages of a collection, cut at several lengths, and what bi-encoder and BM25 say of each for a query."""

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
    """Texts to unit vectors, float32, (n, dims); ``query``: they are asked, not searched."""

    def __call__(self, texts: list[str], *, query: bool = False) -> FloatArray:
        """Return a vector for each text."""


DENSE_NEIGHBOURS = 60
BM25_NEIGHBOURS = 30


_RUNS = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def with_title(title: str, text: str) -> str:
    """Return title and text as the read path joins them."""
    return f"{title}\n{text}" if title else text


@dataclass(slots=True)
class Passages:
    """Passages with their vectors (float32, (n, dims)), embedded behind their titles, and the documents they belong to."""

    texts: list[str]
    titles: list[str]
    owner: list[str]
    vectors: FloatArray
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
        """Return the passages nearest by vector, then those nearest by words, best first and one a document.

        One a document, the best, so that documents of many passages are not drawn more often than others.
        """
        return list(
            dict.fromkeys([*self._best(similarity, DENSE_NEIGHBOURS), *self._best(bm25, BM25_NEIGHBOURS)])
        )

    def _best(self, scores: FloatArray, documents: int) -> list[int]:
        depth = min(3 * documents, len(scores))
        top = np.argpartition(-scores, depth - 1)[:depth]
        best: dict[str, int] = {}
        for number in top[np.argsort(-scores[top], kind="stable")].tolist():
            best.setdefault(self.owner[number], number)
        return list(best.values())[:documents]

    def any_of(self, chance: random.Random) -> int:
        """Return some passage, that of one document as likely as that of another."""
        return chance.choice(self.of_document[chance.choice(self._documents)])


def cut_passages(
    documents: Iterable[Document], tokenizer: Tokenizer, sizes: Sequence[int], seed: int, embed: Embed
) -> Passages:
    """Cut each document, without overlap, at one of ``sizes`` tokens that is drawn for it, and embed each passage behind its title.

    The size is drawn by document, so that length says nothing of relevance: positives and negatives come from all sizes.
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
    return Passages(
        texts, titles, owner, embed([with_title(*pair) for pair in zip(titles, texts, strict=True)])
    )


def shown(passages: Passages, number: int, title_share: float, chance: random.Random) -> str:
    """Return a passage as the model reads it: with its title, or without."""
    return with_title(
        passages.titles[number] if chance.random() < title_share else "", passages.texts[number]
    )


def together(collections: dict[str, Passages]) -> Passages:
    """Return the passages of several collections, by name, as one, in the order given."""
    parts = collections.values()
    return Passages(
        [text for part in parts for text in part.texts],
        [title for part in parts for title in part.titles],
        [f"{name}:{owner}" for name, part in collections.items() for owner in part.owner],
        np.concatenate([part.vectors for part in parts]),
    )


def _words(text: str) -> list[str]:
    """Return the words of a text, and of what is written without spaces every two neighbouring characters."""
    return [word for part in plain(text).split() for run in _RUNS.findall(part) for word in _paired(run)] or [
        "_"
    ]


def _paired(run: str) -> list[str]:
    return (
        [run[place : place + 2] for place in range(len(run) - 1)]
        if len(run) > 1 and _UNSPACED.match(run)
        else [run]
    )

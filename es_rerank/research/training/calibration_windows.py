"""First-stage windows of labelled queries, made in memory: what blends and calibrations are learned from.

Three kinds of first stage are searched as the short form searches them (``retrievers.planning.short_form``):
dense vectors, BM25 over title and text, and both fused by RRF. The search is exact and needs no index.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ...collection import Document, Qrels, read_corpus
from ...models import LoadedEmbedder
from ...retrievers.grammar.tree import DEFAULT_RANK_CONSTANT
from ...retrievers.ranking.fusion import rrf
from ...text.chunking import Chunker
from ...types import Candidate, FirstStageKind, FloatArray
from ..bm25 import Bm25
from .recipe import LabelledCollection

CALIBRATION_WINDOW = 50


class FirstStage(NamedTuple):
    """A first stage: its kind, and the name of its embedder; "" for BM25, which has none."""

    kind: FirstStageKind
    embedder: str

    @property
    def key(self) -> str:
        """The name of the first stage in tables, and the key of its blend in a manifest."""
        return f"{self.kind}:{self.embedder}" if self.embedder else self.kind


class FoundWindow(BaseModel):
    """The hits of one first stage for a query, best first, each as a place in ``FoundQuery.texts``.

    ``scores`` are the first stage's: (1 + cosine) / 2, BM25, or the sum of RRF. A label is 1 or 0, or None
    where a judged pool does not judge the document.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FirstStageKind
    embedder: str
    places: list[int]
    scores: list[float]
    labels: list[int | None]


class FoundQuery(BaseModel):
    """A query, the passages that any first stage found for it, each once, and the windows of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    texts: list[str]
    windows: list[FoundWindow]


class _Vectors:
    """The vectors of a collection's passages, which are cut by the embedder's tokenizer as an index cuts
    them.
    """

    def __init__(self, documents: Sequence[Document], embedder: LoadedEmbedder) -> None:
        chunker = Chunker(embedder.tokenizer)
        self._embedder = embedder
        self.texts: list[str] = []
        self.owner: list[int] = []
        for place, document in enumerate(documents):
            parts = [passage.text for passage in chunker.chunk(document.text)] or [""]
            self.texts += [f"{document.title}\n{part}" if document.title else part for part in parts]
            self.owner += [place] * len(parts)
        self._vectors = embedder.embed(self.texts)

    def nearest(self, query: str, documents: int) -> tuple[FloatArray, list[int]]:
        """Return for each document its best score, float32, (n,), and the number of its nearest passage."""
        cosines = self._vectors @ self._embedder.embed([query], purpose="query")[0]
        best, scores = [-1] * documents, np.zeros(documents, dtype=np.float32)
        for number in np.argsort(-cosines, kind="stable").tolist():
            if best[self.owner[number]] < 0:
                best[self.owner[number]] = number
                scores[self.owner[number]] = (1 + cosines[number]) / 2
        return scores, best


class Searched:
    """The first stages over one collection. Each passage is embedded once by each embedder."""

    def __init__(
        self,
        documents: Sequence[Document],
        embedders: Sequence[LoadedEmbedder],
        kinds: Sequence[FirstStageKind],
    ) -> None:
        self._ids = [document.id for document in documents]
        self._vectors = {embedder.name: _Vectors(documents, embedder) for embedder in embedders}
        fields = [[document.title for document in documents], [document.text for document in documents]]
        self._fields = [Bm25(texts) for texts in fields if any(map(str.strip, texts))]
        self._kinds = kinds

    def found(self, query: str, text: str, grades: Mapping[str, int], *, pooled: bool) -> FoundQuery | None:
        """Return the windows of a query; None when none of them has a relevant document.

        ``pooled``: a document that is not judged is unknown, and not irrelevant. The passage that is read is
        the one nearest to the query; that of a BM25 window is nearest by the first embedder.
        """
        hits: dict[FirstStage, tuple[list[tuple[int, float]], list[int]]] = {}
        # A multi_match of type most_fields adds up the scores of the fields.
        words = _best(
            sum((field.scores(text) for field in self._fields), np.zeros(len(self._ids))), least=0.0
        )
        for name, vectors in self._vectors.items():
            scores, nearest = vectors.nearest(text, len(self._ids))
            dense = _best(scores)
            lists = {"dense": dense, "bm25": words, "hybrid": _fused(dense, words)}
            for kind in self._kinds:
                hits.setdefault(FirstStage(kind, "" if kind == "bm25" else name), (lists[kind], nearest))
        texts: dict[str, int] = {}
        windows = []
        for stage, (ranked, nearest) in hits.items():
            own = self._vectors[stage.embedder or next(iter(self._vectors))].texts
            labels = [_label(grades.get(self._ids[document]), pooled=pooled) for document, _ in ranked]
            if 1 in labels:
                windows.append(
                    FoundWindow(
                        kind=stage.kind,
                        embedder=stage.embedder,
                        places=[
                            texts.setdefault(own[nearest[document]], len(texts)) for document, _ in ranked
                        ],
                        scores=[score for _, score in ranked],
                        labels=labels,
                    )
                )
        return FoundQuery(id=query, text=text, texts=list(texts), windows=windows) if windows else None


def _label(grade: int | None, *, pooled: bool) -> int | None:
    return int(grade > 0) if grade is not None else None if pooled else 0


def _best(scores: npt.NDArray[np.floating], least: float = -np.inf) -> list[tuple[int, float]]:
    """Return the places and scores of the best documents, best first, of those above ``least``."""
    order = np.argsort(-scores, kind="stable")[:CALIBRATION_WINDOW].tolist()
    return [(place, float(scores[place])) for place in order if scores[place] > least]


def _fused(dense: Sequence[tuple[int, float]], words: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    lists = [
        [Candidate("", str(place), score, rank) for rank, (place, score) in enumerate(ranked, 1)]
        for ranked in (words, dense)
    ]
    fused = rrf(lists, [1.0, 1.0], DEFAULT_RANK_CONSTANT, CALIBRATION_WINDOW)
    return [(int(candidate.id), candidate.score) for candidate in fused]


def drawn_documents(
    source: LabelledCollection, folder: Path, judged: Qrels, queries: Sequence[str], most: int, seed: int
) -> tuple[list[Document], int]:
    """Return the documents that the first stages search, and how many the collection has.

    All documents that are judged for ``queries`` are among them; the others are drawn, until there are
    ``most``. Of a source that is ``judged_only``, only documents that are judged in the permitted splits are
    drawn, so that no text of another split is read.
    """
    documents = list(read_corpus(folder / source.collection))
    total = len(documents)
    if source.judged_only:
        permitted = {document for grades in judged.values() for document in grades}
        documents = [document for document in documents if document.id in permitted]
    needed = {document for query in queries for document in judged[query]}
    others = [place for place, document in enumerate(documents) if document.id not in needed]
    random.Random(f"{seed}:{source.collection}:documents").shuffle(others)
    kept = set(others[: max(0, most - (len(documents) - len(others)))])
    return [d for place, d in enumerate(documents) if d.id in needed or place in kept], total

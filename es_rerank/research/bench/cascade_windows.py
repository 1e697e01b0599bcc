"""Makes the windows on which cascades are compared: a first stage in memory, and both models' logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from ...models import LoadedEmbedder
from ...models.local.cross_encoder import CrossEncoder
from ...scores import as_logits
from ..bm25 import Bm25
from .cascade import CascadeWindow
from .operations import Operations

Search = Callable[[str], Sequence[tuple[int, float]]]
"""A function from a query to the positions and scores of the best texts, best first."""


class ReadBy:
    """A model with the multiply-adds of its graph."""

    def __init__(self, model: CrossEncoder, operations: Operations) -> None:
        self.model, self._operations = model, operations

    def costs(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return the multiply-adds of each pair, cut to the model's length."""
        longest = self.model.manifest.max_length
        tokenizer = self.model.tokenizer
        return self._operations.of([min(longest, len(tokenizer.encode(query, text).ids)) for text in texts])


def cascade_windows(
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    cheap: ReadBy,
    better: ReadBy,
    *,
    size: int,
    embedder: LoadedEmbedder | None,
    step: Callable[[str], None],
) -> list[CascadeWindow]:
    """Return the windows of queries, by id: the ``size`` best documents of each. Queries without a hit are
    left out.

    The first stage is BM25, or with an ``embedder`` the cosine of vectors. ``corpus``: the text of each
    document, by id. ``step`` is called with the id of each query.
    """
    wanted, texts = list(corpus), list(corpus.values())
    search = partial(Bm25(texts).best, size=size) if embedder is None else _by_vectors(texts, embedder, size)
    found: list[CascadeWindow] = []
    for name, query in queries.items():
        if best := search(query):
            read = [texts[position] for position, _ in best]
            costs = np.asarray([cheap.costs(query, read), better.costs(query, read)], dtype=np.float64)
            found.append(
                CascadeWindow(
                    name,
                    [wanted[position] for position, _ in best],
                    np.asarray([score for _, score in best], dtype=np.float64),
                    as_logits(cheap.model.score(query, read)),
                    as_logits(better.model.score(query, read)),
                    costs.T,
                )
            )
        step(name)
    return found


def _by_vectors(texts: Sequence[str], embedder: LoadedEmbedder, size: int) -> Search:
    vectors = embedder.embed(texts)

    def search(query: str) -> list[tuple[int, float]]:
        # Elasticsearch's score of a cosine is (1 + cosine) / 2.
        scores = (1 + vectors @ embedder.embed([query], purpose="query")[0]) / 2
        order = np.argsort(-scores, kind="stable")[:size]
        return [(int(position), float(scores[position])) for position in order]

    return search

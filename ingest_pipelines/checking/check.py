"""Checks an index that es-rerank made: its vector search against the exact one, and what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from elasticsearch import AuthorizationException, Elasticsearch

from es_rerank.defaults import WINDOW
from es_rerank.errors import IndexMismatchError
from es_rerank.models import Embedder
from es_rerank.types import FloatArray

from ..mapping import IndexRecipe, recorded_recipe
from ..patience import Patience
from .advice import Problem, notes_on, problems_of
from .nearest import NEIGHBOURS, NearestDocuments
from .samples import COMPARED, Sample, sampled, vectors_differ
from .stored import View, stored_pages, stored_vector, view_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

QUERIES = 100
"""Default number of queries."""

FIELD = "passages.vector"

_CANDIDATES = 2 * WINDOW
"""``num_candidates`` of a short search, which asks for ``WINDOW`` documents (``es_rerank.client``)."""

_QUERY_WORDS = 8
"""Words of a passage that are asked as a query."""

_SHOWN = 5
"""Ids of documents that a problem names."""

AskedWith = Literal["given queries", "beginnings of passages", "stored vectors"]


@dataclass(frozen=True, slots=True)
class IndexCheck:
    """What was found in an index.

    ``index``: the name that the caller gave; ``version``: the concrete index. ``documents``, ``passages``:
    counts. ``queries``: how many were asked, and ``asked_with`` what they were. ``recall_at_10``: the share
    of the 10 nearest documents, by exact search, that the index's search has among its first 10; None without
    vectors. ``p50_ms``, ``p95_ms``: time of these searches as a client sees it.
    ``without_passages``: documents with words and no passages. ``without_vector``, ``other_dims``: passages
    without a vector, or with one of another length. ``vector_difference``: 1 minus the cosine of a stored
    vector and one that the embedder makes now, the largest among sampled passages; None if nothing could be
    compared. ``deleted``: the share of deleted documents in the segments. ``segments``: their number. Both
    are None if the caller may not read an index's statistics.
    """

    index: str
    version: str
    embedder: str
    dims: int
    index_options: dict[str, Any]
    documents: int
    passages: int
    queries: int
    asked_with: AskedWith
    recall_at_10: float | None
    p50_ms: float | None
    p95_ms: float | None
    without_passages: int
    without_vector: int
    other_dims: int
    vector_difference: float | None
    deleted: float | None
    segments: int | None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the check as the JSON object that ``es-rerank index check --json`` prints."""
        return asdict(self)


def check_index(
    client: Elasticsearch,
    index: str,
    embedder: Embedder,
    tokenizer: Tokenizer | None = None,
    *,
    queries: Sequence[str] = (),
    sample: int = QUERIES,
    least_recall: float = 0.9,
    patience: Patience | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> IndexCheck:
    """Check one index. Nothing is written.

    ``queries``: the texts to search for. Without them, the first words of ``sample`` passages are embedded as
    queries; the vectors of these passages are used if the embedder is not that of the index. ``tokenizer``
    cuts long titles as the ingest did; without it, passages with a long title are not compared.
    ``on_progress`` receives the number of documents that were read, and of all. Raises IndexMismatchError
    when ``index`` does not name one index that es-rerank made, and the errors of the client.
    """
    wait = patience or Patience()
    version, recipe, mappings = _recorded(client, index, wait)
    samples = sampled(client, version, sample, wait)
    fits = (embedder.name, embedder.dims) == (recipe.embedder, recipe.dims)
    total = int(wait.call(lambda: client.count(index=version))["count"])
    documents = passages = without_vector = other_dims = 0
    with view_of(client, version, wait) as view:
        asked_with, vectors = _asked(view, samples, queries, embedder, recipe, fits=fits)
        found, times = _searched(client, version, vectors, wait)
        nearest = NearestDocuments(vectors, found)
        for page in stored_pages(view, recipe.dims):
            nearest.add(page)
            documents += len(page.ids)
            passages += sum(page.passages)
            without_vector += page.without_vector
            other_dims += page.other_dims
            on_progress(documents, max(total, documents))
        compared = samples[:COMPARED] if fits else []
        stored = [stored_vector(view, each.id, each.place) for each in compared]
    without_passages, names = _without_passages(client, version, wait)
    deleted, segments = _segments(client, version, wait)
    check = IndexCheck(
        index=index,
        version=version,
        embedder=recipe.embedder,
        dims=recipe.dims,
        index_options=dict(_vector_field(mappings).get("index_options", {})),
        documents=documents,
        passages=passages,
        queries=len(vectors),
        asked_with=asked_with,
        recall_at_10=nearest.recall(),
        p50_ms=float(np.median(times)) if times else None,
        p95_ms=float(np.percentile(times, 95)) if times else None,
        without_passages=without_passages,
        without_vector=without_vector,
        other_dims=other_dims,
        vector_difference=vectors_differ(compared, stored, embedder, tokenizer, recipe),
        deleted=deleted,
        segments=segments,
    )
    check.problems.extend(
        problems_of(
            check,
            loaded=(embedder.name, embedder.dims),
            mapped_dims=_vector_field(mappings).get("dims"),
            service=mappings.get("_meta", {}).get("service"),
            names=names,
            least_recall=least_recall,
        )
    )
    check.notes.extend(notes_on(check))
    return check


def _recorded(
    client: Elasticsearch, index: str, patience: Patience
) -> tuple[str, IndexRecipe, dict[str, Any]]:
    found = patience.call(lambda: client.indices.get(index=index, allow_no_indices=False)).body
    if len(found) != 1:
        raise IndexMismatchError(
            f"{index} names {len(found)} indices ({', '.join(sorted(found))}); check one of them", index=index
        )
    ((version, state),) = found.items()
    recipe = recorded_recipe(state["mappings"].get("_meta", {}))
    if recipe is None:
        raise IndexMismatchError(f"{version} was not made by es-rerank ingest", index=version)
    return version, recipe, state["mappings"]


def _vector_field(mappings: dict[str, Any]) -> dict[str, Any]:
    passages = mappings.get("properties", {}).get("passages", {}).get("properties", {})
    return dict(passages.get("vector", {}))


def _asked(
    view: View,
    samples: Sequence[Sample],
    queries: Sequence[str],
    embedder: Embedder,
    recipe: IndexRecipe,
    *,
    fits: bool,
) -> tuple[AskedWith, FloatArray]:
    """Return what is asked and its vectors, float32, (queries, dims)."""
    if fits and queries:
        return "given queries", embedder.embed(list(queries), purpose="query")
    if fits:
        texts = [" ".join(sample.text.split()[:_QUERY_WORDS]) for sample in samples]
        if texts:
            return "beginnings of passages", embedder.embed(texts, purpose="query")
    stored = (stored_vector(view, sample.id, sample.place) for sample in samples)
    usable = [vector for vector in stored if vector is not None and len(vector) == recipe.dims]
    return "stored vectors", np.stack(usable) if usable else np.empty((0, recipe.dims), dtype=np.float32)


def _searched(
    client: Elasticsearch, version: str, vectors: FloatArray, patience: Patience
) -> tuple[list[list[str]], list[float]]:
    """Return the first 10 ids of each search, and its milliseconds. All run once before they are timed."""
    found, times = [], []
    for timed in (False, True):
        for vector in vectors:
            knn = {
                "field": FIELD,
                "query_vector": vector.tolist(),
                "k": WINDOW,
                "num_candidates": _CANDIDATES,
            }
            began = time.perf_counter()
            answer = patience.call(
                lambda knn=knn: client.search(  # type: ignore[misc]
                    index=version,
                    knn=knn,
                    size=WINDOW,
                    source=False,
                    track_total_hits=False,
                    allow_partial_search_results=False,
                )
            )
            if timed:
                times.append((time.perf_counter() - began) * 1e3)
                found.append([hit["_id"] for hit in answer["hits"]["hits"][:NEIGHBOURS]])
    return found, times


def _without_passages(client: Elasticsearch, version: str, patience: Patience) -> tuple[int, list[str]]:
    """Return how many documents have words and no passages, and the ids of some."""
    has_passages = {"nested": {"path": "passages", "query": {"exists": {"field": "passages.start"}}}}
    # Not exists: an empty text exists too.
    words = [{"regexp": {name: ".+"}} for name in ("title", "text")]
    answer = patience.call(
        lambda: client.search(
            index=version,
            query={"bool": {"must_not": [has_passages], "should": words, "minimum_should_match": 1}},
            size=_SHOWN,
            source=False,
            track_total_hits=True,
            allow_partial_search_results=False,
        )
    )
    return answer["hits"]["total"]["value"], [hit["_id"] for hit in answer["hits"]["hits"]]


def _segments(
    client: Elasticsearch, version: str, patience: Patience
) -> tuple[float, int] | tuple[None, None]:
    """Return the share of deleted documents in the segments, and how many segments there are.

    Both are None where the caller lacks the privilege ``monitor`` of the index.
    """
    try:
        answer = patience.call(lambda: client.indices.stats(index=version, metric="docs,segments"))
    except AuthorizationException:
        return None, None
    stats = answer["_all"]["primaries"]
    held = stats["docs"]["count"] + stats["docs"]["deleted"]
    return stats["docs"]["deleted"] / held if held else 0.0, stats["segments"]["count"]

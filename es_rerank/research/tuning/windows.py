"""Searches an index for judged queries: the windows of each first stage, with logits and ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import IndexMismatchError, ModelError
from ...retrievers.grammar.tree import FirstStage
from ...types import FloatArray
from ..evaluation.experiment import by_first_stage, logit_of
from .judgements import Judgements

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ...client import RerankClient
    from .texts_read import NotedTexts

_IDS_AT_ONCE = 1_000
"""Ids in one request; with ``_HITS`` an id may have several documents."""

_HITS = 10_000
"""Most hits of one request: Elasticsearch's default for ``index.max_result_window``."""

OnQueriesDone = Callable[[int], None]
"""Called after every query with the number of queries that are done."""


class Read(NamedTuple):
    """The texts that were read for a hit, and the position of the one whose logit is the hit's."""

    texts: tuple[str, ...]
    best: int


@dataclass(frozen=True, slots=True)
class Window:
    """The first-stage hits of one query, best first.

    ``logits``: the model's, float32, (n,). ``first_stage``: the first stage's scores, float32, (n,).
    ``ratings``: float32, (n,), NaN where a document is not judged. ``read``: what the model read for each
    hit; empty where nobody noted it.
    """

    query: str
    documents: tuple[str, ...]
    logits: FloatArray
    first_stage: FloatArray
    ratings: FloatArray
    read: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What is the same for every query: the index, the size of the window and the fields that are read."""

    index: str
    window: int
    fields: Sequence[str] = ()


def in_index(client: Elasticsearch, index: str, judgements: Judgements, id_field: str | None) -> Judgements:
    """Return the judgements with the ids of the index, without documents that are not in it.

    ``id_field`` names a keyword field that holds the ids of the judgements; None where they are ``_id``. All
    documents with the same value have its rating.
    """
    judged = sorted({document for rated in judgements.ratings.values() for document in rated})
    found: dict[str, list[str]] = {}
    for start in range(0, len(judged), _IDS_AT_ONCE):
        found |= _found(client, index, judged[start : start + _IDS_AT_ONCE], id_field)
    ratings = {
        query: {own: rating for name, rating in rated.items() for own in found.get(name, ())}
        for query, rated in judgements.ratings.items()
    }
    counts = {**judgements.counts, "not_in_index": len(judged) - len(found)}
    return Judgements(ratings, {name: count for name, count in counts.items() if count})


def _found(
    client: Elasticsearch, index: str, judged: Sequence[str], id_field: str | None
) -> dict[str, list[str]]:
    """Return the ``_id`` of the documents of each judged id that the index has."""
    wanted = {"ids": {"values": judged}} if id_field is None else {"terms": {id_field: judged}}
    fields = [] if id_field is None else [{"field": id_field}]
    answer = client.search(
        index=index, query=wanted, source=False, fields=fields, size=_HITS, allow_partial_search_results=False
    )
    hits = answer["hits"]["hits"]
    if len(hits) == _HITS:
        raise IndexMismatchError(
            f"{len(judged)} judged ids are the [{id_field}] of {_HITS:,} documents of [{index}] or more; "
            "name a field with --id-field whose values belong to one document",
            index=index,
        )
    names = set(judged)
    own: dict[str, list[str]] = {}
    for hit in hits:
        values = [hit["_id"]] if id_field is None else hit.get("fields", {}).get(id_field, ())
        for value in values:
            if str(value) in names:
                own.setdefault(str(value), []).append(hit["_id"])
    return own


def with_relevant(judgements: Judgements, relevant_from: float) -> Judgements:
    """Return the judgements of the queries that have a relevant document; the others are counted.

    Every order of the others' hits is worth the same.
    """
    kept = {
        query: rated
        for query, rated in judgements.ratings.items()
        if any(rating >= relevant_from for rating in rated.values())
    }
    counts = Counter(judgements.counts)
    counts["queries_without_relevant"] += len(judgements.ratings) - len(kept)
    return replace(judgements, ratings=kept, counts={name: count for name, count in counts.items() if count})


def search_all(
    client: RerankClient,
    search: Search,
    judgements: Judgements,
    first_stages: Sequence[FirstStage],
    *,
    on_progress: OnQueriesDone | None = None,
    noted: NotedTexts | None = None,
) -> dict[FirstStage, list[Window]]:
    """Return the windows of every query, by first stage.

    The client must have no deadline (``timeout_s=None``). Its reranker should remember its scores, so that a
    passage is read once, whatever finds it. ``noted`` is this reranker where the windows shall have what it
    read. Raises ModelError for an answer without all scores, and
    IndexMismatchError when an id occurs twice in a window.
    """
    windows: dict[FirstStage, list[Window]] = {name: [] for name in first_stages}
    for done, (query, rated) in enumerate(judgements.ratings.items(), 1):
        for name, own in windows.items():
            found = _window(client, search, query, rated, name)
            own.append(found if noted is None else replace(found, read=noted.taken()))
        if on_progress:
            on_progress(done)
    return windows


def _window(
    client: RerankClient, search: Search, query: str, rated: Mapping[str, float], first_stage: FirstStage
) -> Window:
    answer: dict[str, Any] = client.rerank(
        query,
        index=search.index,
        size=search.window,
        window=search.window,
        first_stage=first_stage,
        field=search.fields or None,
        source=False,
    ).body
    block, hits = answer["rerank"], by_first_stage(answer["hits"]["hits"])
    if hits and block["status"] != "reranked":
        raise ModelError(
            f"the answer to {query!r} was not reranked ({block['status']}: {block.get('reason')}); tuning "
            "needs every score; remove the cause and run it again"
        )
    names = tuple(hit["_id"] for hit in hits)
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise IndexMismatchError(
            f"[{search.index}] holds the id {twice!r} twice, so it is not known which of them is judged; "
            "tune for one index",
            index=search.index,
        )
    return Window(
        query,
        names,
        np.asarray([logit_of(hit) for hit in hits], dtype=np.float32),
        np.asarray([hit["fields"]["rerank.first_stage_score"][0] for hit in hits], dtype=np.float32),
        np.asarray([rated.get(name, np.nan) for name in names], dtype=np.float32),
    )

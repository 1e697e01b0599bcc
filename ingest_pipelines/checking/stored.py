"""Reads the stored vectors of an index, page by page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from elasticsearch import ApiError, BadRequestError, Elasticsearch, TransportError

from es_rerank.types import FloatArray

from ..patience import Patience

_DOCUMENTS = 500
"""Documents of which the number of passages is asked at once."""

_PASSAGES = 1_000
"""Passages whose vectors are asked at once: 4 MB as text with 384 dimensions. A document with more of them is
asked alone."""

_KEEP_ALIVE = "5m"


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Some documents of an index, with the vectors of their passages.

    ``ids``: of the documents. ``passages``: how many each has. ``owners``: the place in ``ids`` of each
    vector's document. ``vectors``: float32, (vectors, dims). ``without_vector``: how many passages have none.
    ``other_dims``: how many have a vector of another length.
    """

    ids: list[str]
    passages: list[int]
    owners: list[int]
    vectors: FloatArray
    without_vector: int
    other_dims: int


def stored_pages(view: View, dims: int) -> Iterator[StoredPage]:
    """Yield all documents of a view.

    At most ``_PASSAGES`` vectors, or those of one document, are in memory. Raises the errors of the client,
    also when a shard does not answer.
    """
    for numbers in _numbers(view):
        for group in _groups(numbers):
            yield _page(_with_vectors(view, list(group)), group, dims)


class View:
    """An index as it was at one point in time."""

    def __init__(self, client: Elasticsearch, index: str, patience: Patience) -> None:
        self._client = client
        self._patience = patience
        opened = patience.call(lambda: client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE))
        self.id = opened["id"]

    def hits(self, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401 keywords of ``Elasticsearch.search``
        """Return the hits of a search."""
        answer = self._patience.call(
            lambda: self._client.search(
                pit={"id": self.id, "keep_alive": _KEEP_ALIVE},
                track_total_hits=False,
                allow_partial_search_results=False,
                **body,
            )
        )
        self.id = answer.get("pit_id", self.id)
        return list(answer["hits"]["hits"])


def stored_vector(view: View, identifier: str, place: int) -> FloatArray | None:
    """Return the vector of a document's passage, float32, (dims,); None if it has none any more."""
    for hit in _with_vectors(view, [identifier]):
        passages = _passages(hit)
        return as_vector(passages[place].get("vector")) if place < len(passages) else None
    return None


@contextmanager
def view_of(client: Elasticsearch, index: str, patience: Patience) -> Iterator[View]:
    """Open an index as it is now, whatever is written meanwhile."""
    view = View(client, index, patience)
    try:
        yield view
    finally:
        with suppress(ApiError, TransportError):  # it ends by itself
            client.close_point_in_time(id=view.id)


def _numbers(view: View) -> Iterator[dict[str, int]]:
    """Yield id to number of passages, some documents at a time."""
    after: dict[str, Any] = {}
    while hits := view.hits(size=_DOCUMENTS, sort=["_shard_doc"], source=["passages.start"], **after):
        after = {"search_after": hits[-1]["sort"]}
        yield {hit["_id"]: len(_passages(hit)) for hit in hits}


def _groups(numbers: dict[str, int]) -> Iterator[dict[str, int]]:
    """Yield the documents in groups of at most ``_PASSAGES`` passages."""
    group: dict[str, int] = {}
    for name, number in numbers.items():
        if group and sum(group.values()) + number > _PASSAGES:
            yield group
            group = {}
        group[name] = number
    if group:
        yield group


def _with_vectors(view: View, ids: Sequence[str]) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {"includes": ["passages.vector", "passages.start"]}
    query = {"ids": {"values": list(ids)}}
    try:
        return view.hits(size=len(ids), query=query, source={**wanted, "exclude_vectors": False})
    except BadRequestError:  # before 9.2, vectors were never excluded, and there was no such key
        return view.hits(size=len(ids), query=query, source=wanted)


def _page(hits: Sequence[dict[str, Any]], numbers: dict[str, int], dims: int) -> StoredPage:
    owners: list[int] = []
    vectors: list[FloatArray] = []
    ids, without, other = [], 0, 0
    for place, hit in enumerate(hits):
        ids.append(hit["_id"])
        for passage in _passages(hit):
            vector = as_vector(passage.get("vector"))
            if vector is None:
                without += 1
            elif len(vector) != dims:
                other += 1
            else:
                owners.append(place)
                vectors.append(vector)
    stacked = np.stack(vectors) if vectors else np.empty((0, dims), dtype=np.float32)
    return StoredPage(ids, [numbers[name] for name in ids], owners, stacked, without, other)


def _passages(hit: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the passages of a hit. Elasticsearch gives a single one back as it was written."""
    found = hit.get("_source", {}).get("passages") or []
    return [found] if isinstance(found, dict) else list(found)


def as_vector(value: Any) -> FloatArray | None:  # noqa: ANN401 any JSON value
    """Return a vector as Elasticsearch gives it: a list of numbers, or big-endian float32 in base64."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), dtype=">f4").astype(np.float32)
    return None if value is None else np.asarray(value, dtype=np.float32)

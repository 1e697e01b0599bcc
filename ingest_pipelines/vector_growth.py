"""Changes how Elasticsearch indexes the vectors of an index that exists (see ``vector_options``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from es_rerank.errors import IndexMismatchError, SettingsError

from .node_versions import node_versions
from .patience import Patience, own
from .vector_options import (
    VECTORS,
    VectorOptions,
    most_passages,
    named_options,
    options_by_size,
    recorded_options,
)

_OVERSAMPLES_SINCE = {8: 19, 9: 1}
"""First minor version of each major that takes ``rescore_vector`` in a mapping:
https://github.com/elastic/elasticsearch/pull/124581"""


def takes_oversampling(client: Elasticsearch) -> bool:
    """Return whether all nodes take ``rescore_vector`` in a mapping; True if they do not tell their versions.

    Raises the client's errors of a cluster that is busy.
    """
    return all(
        major > max(_OVERSAMPLES_SINCE) or minor >= _OVERSAMPLES_SINCE.get(major, minor + 1)
        for major, minor in filter(None, node_versions(client))
    )


def vector_growth(
    client: Elasticsearch, index: str, options: VectorOptions, patience: Patience
) -> VectorGrowth:
    """Return what keeps the options of an index fit, after it got those that somebody named.

    Raises IndexMismatchError when Elasticsearch does not change the options of this index to those named.
    """
    if options.chosen == "given":
        _give(client, index, options, patience)
    return VectorGrowth(client, index, patience)


def is_of_oversampling(error: BadRequestError) -> bool:
    """Whether Elasticsearch refused ``rescore_vector``: one that does not tell its version may be older."""
    return "rescore_vector" in str(error.body)


@contextmanager
def writable_with(
    writable: Callable[[VectorOptions], AbstractContextManager[str]], options: VectorOptions
) -> Iterator[str]:
    """Yield what ``writable`` yields for the options, without oversampling if Elasticsearch refuses it."""
    with ExitStack() as stack:
        try:
            version = stack.enter_context(writable(options))
        except BadRequestError as error:
            if not is_of_oversampling(error):
                raise
            version = stack.enter_context(writable(options.without_oversampling()))
        yield version


def options_to_keep(
    client: Elasticsearch, name: str, dims: int, patience: Patience, *, oversamples: bool
) -> VectorOptions | None:
    """Return the options that somebody named for the index or alias ``name``, for a new version of it with
    vectors of ``dims`` dimensions. None if nobody named any, or they do not go with these vectors.
    """
    try:
        states = patience.call(lambda: client.indices.get_mapping(index=name)).body.values()
    except NotFoundError:
        return None
    recorded = [recorded_options(state["mappings"].get("_meta", {})) for state in states]
    found = recorded[0] if len(recorded) == 1 else None
    if found is None or found.chosen != "given":
        return None
    try:
        return named_options(found.type, dims, oversamples=oversamples)
    except SettingsError:
        return None


class VectorGrowth:
    """Keeps the ``index_options`` of an index fit for its number of passages while an ingest fills it.

    Only options that were chosen by size change. An index that es-rerank made before there was a choice, or
    with options that somebody named, stays as it is.
    """

    def __init__(self, client: Elasticsearch, index: str, patience: Patience) -> None:
        self._client = client
        self._index = ""
        self._patience = patience
        self._most: int | None = None
        self._counted = self._written = 0
        self.go_on_in(index)

    def go_on_in(self, index: str) -> None:
        """Look at this index from now on. Another one has replaced the one before if it was re-embedded."""
        if index == self._index:
            return
        self._index = index
        self._most = self._most_recorded()
        self._counted = 0 if self._most is None else self._passages()
        self._written = 0
        self.reached(0)

    def reached(self, written: int) -> None:
        """Say that this run has written so many passages; change the options if the index needs others."""
        if self._most is None or self._counted + written - self._written <= self._most:
            return
        try:
            # A document that replaces another is no growth: count before anything changes.
            self._counted, self._written = self._passages(), written
            self._most = self._most_recorded()  # another ingest may have changed the options
            if self._most is not None and self._counted > self._most:
                self._most = self._grown()
        except NotFoundError:  # a re-embedding replaced this version, and somebody removed it
            self._most = None

    def _most_recorded(self) -> int | None:
        """Return the number of passages above which other options are due, None if never."""
        recorded = recorded_options(_mappings(self._client, self._index, self._patience).get("_meta", {}))
        return most_passages(recorded.type) if recorded is not None and recorded.chosen == "auto" else None

    def _passages(self) -> int:
        self._patience.call(lambda: self._client.indices.refresh(index=self._index))
        inside = {"inside": {"nested": {"path": "passages"}}}
        answer = self._patience.call(
            lambda: self._client.search(
                index=self._index, size=0, aggs=inside, allow_partial_search_results=False
            )
        )
        return int(answer["aggregations"]["inside"]["doc_count"])

    def _grown(self) -> int | None:
        """Change the options to those for the number of passages; return up to how many these are fit."""
        mappings = _mappings(self._client, self._index, self._patience)
        oversamples = self._patience.call(lambda: takes_oversampling(self._client))
        wanted = options_by_size(self._counted, int(mappings["_meta"]["dims"]), oversamples=oversamples)
        if wanted.type == _vector_field(mappings).get("index_options", {}).get("type"):
            return None  # nothing fits these vectors better here
        try:
            _set(self._client, self._index, wanted, self._patience)
        except BadRequestError:
            return None  # this version of Elasticsearch does not change these; searches stay right
        return most_passages(wanted.type)


def _give(client: Elasticsearch, index: str, options: VectorOptions, patience: Patience) -> None:
    """Give an index the options that somebody named, if it has others. Raises IndexMismatchError."""
    mappings = _mappings(client, index, patience)
    there = _vector_field(mappings).get("index_options", {}).get("type")
    recorded = recorded_options(mappings.get("_meta", {}))
    if there == options.type and (recorded is None or recorded.chosen != "auto"):
        return
    try:
        _set(client, index, options, patience)
    except BadRequestError as error:
        raise IndexMismatchError(
            f"Elasticsearch does not change the vectors of {index} from {there} to {options.type}: it goes "
            "from flat to a graph, from hnsw to int8_hnsw, and from both to bbq_hnsw; make a new version of "
            "the index with --rebuild",
            index=index,
        ) from error


def _set(client: Elasticsearch, index: str, options: VectorOptions, patience: Patience) -> None:
    """Change the ``index_options`` of an index and record them.

    Raises BadRequestError when Elasticsearch does not change these.
    """
    mappings = _mappings(client, index, patience)

    def put(these: VectorOptions) -> None:
        vector = {**_vector_field(mappings), "index_options": dict(these.index_options)}
        passages = {"type": "nested", "dynamic": "strict", "properties": {"vector": vector}}
        meta = {**mappings.get("_meta", {}), VECTORS: these.as_meta()}
        own(client.indices.put_mapping(index=index, meta=meta, properties={"passages": passages}))

    try:
        patience.call(lambda: put(options))
    except BadRequestError as error:
        if not is_of_oversampling(error):
            raise
        patience.call(lambda: put(options.without_oversampling()))


def _mappings(client: Elasticsearch, index: str, patience: Patience) -> dict[str, Any]:
    (state,) = patience.call(lambda: client.indices.get_mapping(index=index)).values()
    return dict(state["mappings"])


def _vector_field(mappings: Mapping[str, Any]) -> dict[str, Any]:
    return dict(mappings["properties"]["passages"]["properties"]["vector"])

"""Size, recall and latency of Elasticsearch's ways to index vectors: the same passages in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np

from ...defaults import WINDOW
from ...errors import IngestError, SettingsError
from ...types import FloatArray
from .paired import Added, Milliseconds, Spread, ratio, spread
from .vector_passages import Cut, VectorPassages

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

BASELINE = "hnsw"

Judge = Callable[[Sequence[Mapping[str, int]], Sequence[Sequence[str]]], float | None]
"""Returns the nDCG@10 of orders of document ids by the judgements of the same queries; None without any."""

_FIELD = "passages.vector"
_NEIGHBOURS = 10
"""Documents of which recall and nDCG are computed."""

_CANDIDATES = 2 * WINDOW
"""``num_candidates`` of a short search (``es_rerank.client``), which asks for ``WINDOW`` documents."""

_EQUAL = 1e-6
"""A document whose similarity is less than that of the tenth nearest by no more than this counts as found:
float32 sums of a CPU and of Elasticsearch differ by so much."""

_SEED = 20_260_101
_WARM_UP = 50
_BULK_PASSAGES = 500
_BLOCK = 8_192
"""Passages whose similarities are computed at once."""


class Way(NamedTuple):
    """A type of ``index_options``, and how many times ``k`` candidates are rescored with the float vectors.

    ``oversample`` is None for a type that has float vectors only; 0 rescores nothing.
    """

    type: str
    oversample: float | None = None

    @property
    def name(self) -> str:
        """The name in tables, such as ``bbq_hnsw, oversample 3``."""
        return f"{self.type}, oversample {self.oversample:g}" if self.oversample else self.type


WAYS = (
    Way("hnsw"),
    Way("flat"),
    Way("int8_hnsw", 0),
    Way("int8_hnsw", 2),
    Way("int4_hnsw", 0),
    Way("int4_hnsw", 3),
    Way("bbq_hnsw", 0),
    Way("bbq_hnsw", 3),
    Way("bbq_hnsw", 5),
    Way("int8_flat", 0),
    Way("bbq_flat", 3),
)
"""All ways of Elasticsearch 9.5 with a Basic licence; writing ``bbq_disk`` needs another one."""


class Built(NamedTuple):
    """An index of one type after it was merged into one segment.

    ``disk``: bytes of the whole index. ``memory``: bytes of its vectors that a search reads for every
    candidate, and of the graph: what should fit into the memory beside the heap. ``index_s`` and ``merge_s``:
    seconds of the bulk requests with the refresh, and of the merge.
    """

    name: str
    disk: int
    memory: int
    index_s: float
    merge_s: float


@dataclass(frozen=True, slots=True)
class WayRow:
    """The measurements of one way.

    ``recall``: the share of the 10 nearest documents that are among its first 10, mean over the queries.
    ``ndcg``: nDCG@10 of the queries with judgements, None without any. ``faster``: how many times faster than
    ``hnsw``.
    """

    way: Way
    built: Built
    recall: float
    ndcg: float | None
    spread: Spread
    faster: Added | None

    def as_json(self) -> dict[str, Any]:
        """Return the row; times in milliseconds or seconds as the keys say, sizes in bytes."""
        faster = None if self.faster is None else [round(value, 3) for value in self.faster]
        return {
            "type": self.way.type,
            "oversample": self.way.oversample,
            "disk_bytes": self.built.disk,
            "memory_bytes": self.built.memory,
            "index_s": round(self.built.index_s, 1),
            "merge_s": round(self.built.merge_s, 1),
            "recall_at_10": round(self.recall, 4),
            "ndcg_at_10": None if self.ndcg is None else round(self.ndcg, 4),
            "p50_ms": round(self.spread.p50, 3),
            "p95_ms": round(self.spread.p95, 3),
            "times_faster": faster,
        }


def chosen_ways(types: Sequence[str]) -> tuple[Way, ...]:
    """Return the ways of these types, and those of ``hnsw``, with which they are compared; all without types.

    Raises SettingsError for an unknown type.
    """
    known = list(dict.fromkeys(way.type for way in WAYS))
    for name in types:
        if name not in known:
            raise SettingsError(f"--type {name} is not measured here; choose from {', '.join(known)}")
    return tuple(way for way in WAYS if not types or way.type in (BASELINE, *types))


@contextmanager
def own_indices(client: Elasticsearch) -> Iterator[Callable[[str], str]]:
    """Yield a function that returns the name of the index of a type; delete these indices at the end."""
    run, names = uuid4().hex[:12], []

    def name_of(kind: str) -> str:
        names.append(f"bench-vectors-{run}-{kind}")
        return names[-1]

    try:
        yield name_of
    finally:
        for name in names:
            client.indices.delete(index=name, ignore_unavailable=True)


def build(
    client: Elasticsearch,
    index: str,
    body: Mapping[str, Any],
    corpus: VectorPassages,
    encode: Callable[[FloatArray], str | list[float]],
    on_progress: Callable[[int], None],
) -> Built:
    """Index all documents, merge them into one segment and return the sizes.

    ``body``: the settings and mappings of the index. ``encode`` turns a vector into its JSON value.
    ``on_progress`` receives the number of indexed passages. Raises IngestError when Elasticsearch refuses a
    document, and the client's errors.
    """
    client.indices.create(index=index, **body)
    client.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
    began, at = time.perf_counter(), 0
    operations: list[dict[str, Any]] = []
    waiting = 0
    for document in corpus.documents():
        vectors = corpus.vectors[at + waiting : at + waiting + len(document.passages)]
        operations += [{"index": {"_id": document.id}}, _source(document, vectors, encode)]
        waiting += len(document.passages)
        if waiting >= _BULK_PASSAGES:
            _send(client, index, operations)
            at, waiting, operations = at + waiting, 0, []
            on_progress(at)
    if operations:
        _send(client, index, operations)
        on_progress(at + waiting)
    client.indices.refresh(index=index)
    indexed = time.perf_counter()
    client.options(request_timeout=1_800).indices.forcemerge(index=index, max_num_segments=1)
    client.indices.refresh(index=index)
    merged = time.perf_counter()
    stats = client.indices.stats(index=index, metric="store,dense_vector")["_all"]["primaries"]
    return Built(
        index,
        stats["store"]["size_in_bytes"],
        _memory(stats["dense_vector"].get("off_heap", {})),
        indexed - began,
        merged - indexed,
    )


def _memory(off_heap: Mapping[str, Any]) -> int:
    """Return the bytes of the vectors that are compared and of the graph.

    Elasticsearch counts float vectors (vec), quantized ones (veq, or veb for bbq) and the graph (vex).
    """
    sizes = {name: int(off_heap.get(f"total_{name}_size_bytes", 0)) for name in ("vec", "veq", "veb", "vex")}
    return (sizes["veq"] + sizes["veb"] or sizes["vec"]) + sizes["vex"]


def _source(
    document: Cut, vectors: FloatArray, encode: Callable[[FloatArray], str | list[float]]
) -> dict[str, Any]:
    passages = [
        {"text": passage.text, "vector": encode(vector), "start": passage.start, "end": passage.end}
        for passage, vector in zip(document.passages, vectors, strict=True)
    ]
    return {"title": document.title, "text": document.text, "passages": passages}


def _send(client: Elasticsearch, index: str, operations: Sequence[Mapping[str, Any]]) -> None:
    answer = client.bulk(index=index, operations=operations)
    reasons = [item["index"]["error"]["reason"] for item in answer["items"] if "error" in item["index"]]
    if reasons:
        raise IngestError(
            f"Elasticsearch refused {len(reasons)} documents of the bench's own index {index}: {reasons[0]}",
            failed=len(reasons),
        )


def measure(
    client: Elasticsearch,
    built: Mapping[str, Built],
    ways: Sequence[Way],
    corpus: VectorPassages,
    judge: Judge,
    on_query: Callable[[int], None],
) -> list[WayRow]:
    """Ask every query in every way, in a random order for each query, and return a row for each way.

    Some queries run before and do not count. ``on_query`` receives the number of queries that are done, 0
    while warming up. Errors of the elasticsearch client pass through unchanged.
    """
    once = client.options(max_retries=0)
    draw = np.random.default_rng(_SEED)
    queries = [vector.tolist() for vector in corpus.queries]
    times: Milliseconds = np.empty((len(ways), len(queries)))
    found: list[list[list[str]]] = [[[]] * len(queries) for _ in ways]
    counted = [(number, True) for number in range(len(queries))]
    for number, counts in [*((number, False) for number in range(min(_WARM_UP, len(queries)))), *counted]:
        for place in draw.permutation(len(ways)):
            way = ways[place]
            body = _search(way, queries[number])
            began = time.perf_counter_ns()
            answer = once.search(index=built[way.type].name, body=body)
            times[place, number] = (time.perf_counter_ns() - began) / 1e6
            found[place][number] = [hit["_id"] for hit in answer["hits"]["hits"][:_NEIGHBOURS]]
        on_query(number + 1 if counts else 0)
    near = _nearest(corpus)
    baseline = times[[way.type for way in ways].index(BASELINE)]
    return [
        WayRow(
            way,
            built[way.type],
            float(np.mean([near.share(query, names) for query, names in enumerate(found[place])])),
            judge(corpus.qrels, found[place]),
            spread(times[place]),
            None if way.type == BASELINE else ratio(times[place], baseline),
        )
        for place, way in enumerate(ways)
    ]


def _search(way: Way, vector: list[float]) -> dict[str, Any]:
    rescoring = {} if way.oversample is None else {"rescore_vector": {"oversample": way.oversample}}
    knn = {"field": _FIELD, "query_vector": vector, "k": WINDOW, "num_candidates": _CANDIDATES, **rescoring}
    return {"knn": knn, "size": WINDOW, "_source": False, "track_total_hits": False}


class _Nearest:
    """The similarity of each document to each query: that of its nearest passage."""

    def __init__(self, names: Sequence[str], similarities: FloatArray) -> None:
        """``similarities``: float32, (queries, documents)."""
        self._places = {name: place for place, name in enumerate(names)}
        self._similarities = similarities
        self._tenth = np.sort(similarities, axis=1)[:, -min(_NEIGHBOURS, len(names))]

    def share(self, query: int, names: Sequence[str]) -> float:
        """Return how many of the 10 nearest documents are among ``names``, from 0 to 1."""
        own = self._similarities[query, [self._places[name] for name in names]]
        return float((own >= self._tenth[query] - _EQUAL).sum()) / min(_NEIGHBOURS, len(self._places))


def _nearest(corpus: VectorPassages) -> _Nearest:
    names, firsts, at = [], [], 0
    for document in corpus.documents():
        names.append(document.id)
        firsts.append(at)
        at += len(document.passages)
    of_passages = np.empty((len(corpus.queries), at), dtype=np.float32)
    for start in range(0, at, _BLOCK):
        of_passages[:, start : start + _BLOCK] = corpus.queries @ corpus.vectors[start : start + _BLOCK].T
    return _Nearest(names, np.maximum.reduceat(of_passages, firsts, axis=1))

"""Latency that the sidecar and the library add to Elasticsearch: the same searches in each way, within one
run.

Every way uses the official client with one open connection. That is what callers use. A plain search is
faster with it than with httpx and varies no more. Its own cost is in all times, so it cancels in the
differences.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol
from uuid import uuid4

import numpy as np

from ...errors import IngestError, SearchError
from ...testing import HashEmbedder
from .paired import Added, Milliseconds, Spread, added, spread

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

DOCUMENTS = 20_000
GATEWAY_ROUNDS = 300

Way = Literal["direct", "sidecar", "library"]
"""Elasticsearch directly; through a sidecar in front of it; or through ``RerankClient`` in this process."""

_SEED = 20_260_101
_SIZE = 10
_CANDIDATES = 100
_WARM_UP = 100
"""Largest number of rounds that do not count, at the start.

They open the connections, and Elasticsearch's compiler sees every kind of search.
"""

_COLLECT_EVERY = 100
"""Rounds between two garbage collections. No collection runs while something is timed."""

_BULK = 1_000
_QUESTION_WORDS = 3
_DOCUMENT_WORDS = (12, 30)
_WORDS = tuple("".join(letters) for letters in product("bdgklmprst", "aeiou", "lnrs", "aeio"))
_EMBEDDER = HashEmbedder(64)

_MAPPINGS: dict[str, Any] = {
    # Newer versions leave vectors out of _source by default. With this, answers have the same size on every
    # version.
    "_source": {"excludes": ["vector"]},
    "properties": {
        "text": {"type": "text"},
        "number": {"type": "integer"},
        "vector": {"type": "dense_vector", "dims": _EMBEDDER.dims},
    },
}


class Question(NamedTuple):
    """The words of one round's search, and their vector."""

    text: str
    vector: list[float]


class Searcher(Protocol):
    """A client that is timed: ``Elasticsearch``, or ``RerankClient`` around it."""

    def search(self, *, index: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 each client has its own response type
        """Return Elasticsearch's response."""


def match_search(question: Question) -> dict[str, Any]:
    """Return the body of a search without a retriever."""
    return {"query": {"match": {"text": question.text}}, "size": _SIZE}


def knn_search(question: Question) -> dict[str, Any]:
    """Return the body of a search with one knn retriever, which Elasticsearch runs on every licence."""
    return {"retriever": _leaf(question), "size": _SIZE}


def rrf_search(question: Question) -> dict[str, Any]:
    """Return the body of the same knn retriever inside an rrf retriever, which Elasticsearch refuses on a
    Basic licence.
    """
    return {"retriever": {"rrf": {"retrievers": [_leaf(question)], "rank_window_size": _SIZE}}, "size": _SIZE}


def _leaf(question: Question) -> dict[str, Any]:
    return {
        "knn": {"field": "vector", "query_vector": question.vector, "k": _SIZE, "num_candidates": _CANDIDATES}
    }


class Case(NamedTuple):
    """One search in one way. ``baseline`` is the case that it is compared with, None for a baseline itself.

    ``about`` is its label in a table, where it follows its baseline.
    """

    name: str
    about: str
    way: Way
    body: Callable[[Question], dict[str, Any]]
    baseline: str | None = None


CASES = (
    Case("search", "match query", "direct", match_search),
    Case("search-sidecar", "… through the sidecar", "sidecar", match_search, "search"),
    Case("search-library", "… through RerankClient", "library", match_search, "search"),
    Case("knn", "knn retriever", "direct", knn_search),
    Case("knn-sidecar", "… through the sidecar", "sidecar", knn_search, "knn"),
    Case("rrf-sidecar", "rrf of it, by the sidecar", "sidecar", rrf_search, "knn"),
    Case("rrf-library", "rrf of it, by RerankClient", "library", rrf_search, "knn"),
)


@dataclass(frozen=True, slots=True)
class CaseRow:
    """The measurements of one case; ``added`` is None for a baseline."""

    case: Case
    spread: Spread
    added: Added | None

    def as_json(self) -> dict[str, Any]:
        """Return the row in milliseconds with three decimals; a baseline has null for its differences."""
        times = dict(zip(("p50_ms", "p95_ms", "min_ms", "max_ms"), self.spread, strict=True))
        differences = dict(
            zip(("added_ms", "added_low_ms", "added_high_ms"), self.added or (None, None, None), strict=True)
        )
        rounded = {
            key: value if value is None else round(value, 3)
            for key, value in {**times, **differences}.items()
        }
        return {"name": self.case.name, "baseline": self.case.baseline, **rounded}


@contextmanager
def own_index(client: Elasticsearch) -> Iterator[str]:
    """Make an empty index ``bench-gateway-<random>`` and yield its name; delete it when the block ends.

    Errors of the elasticsearch client pass through unchanged.
    """
    name = f"bench-gateway-{uuid4().hex[:12]}"
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    try:  # includes the creation: an interrupt may come when the index exists and the answer is not yet here
        client.indices.create(index=name, mappings=_MAPPINGS, settings=settings)
        yield name
    finally:
        client.indices.delete(index=name, ignore_unavailable=True)


def fill(client: Elasticsearch, index: str, documents: int, on_progress: Callable[[int], None]) -> None:
    """Index ``documents`` short documents, always the same ones, as one segment.

    ``on_progress`` receives the number of documents that are indexed. Raises IngestError when Elasticsearch
    refuses some. Errors of the elasticsearch client pass through unchanged.
    """
    texts = _texts(documents, _DOCUMENT_WORDS, np.random.default_rng(_SEED))
    for start in range(0, documents, _BULK):
        part = texts[start : start + _BULK]
        operations: list[dict[str, Any]] = []
        for number, (text, vector) in enumerate(zip(part, _EMBEDDER.embed(part), strict=True), start):
            operations += [
                {"index": {"_id": str(number)}},
                {"text": text, "number": number, "vector": vector.tolist()},
            ]
        _bulk(client, index, operations)
        on_progress(start + len(part))
    # A merge in the background would disturb the timing.
    client.indices.forcemerge(index=index, max_num_segments=1)
    client.indices.refresh(index=index)


def _bulk(client: Elasticsearch, index: str, operations: list[dict[str, Any]]) -> None:
    answer = client.bulk(index=index, operations=operations)
    reasons = [item["index"]["error"]["reason"] for item in answer["items"] if "error" in item["index"]]
    if reasons:
        raise IngestError(
            f"Elasticsearch refused {len(reasons)} documents of the bench's own index {index}: {reasons[0]}",
            failed=len(reasons),
        )


def _texts(number: int, words: tuple[int, int], draw: np.random.Generator) -> list[str]:
    """Return texts whose words are as unevenly frequent as in a language (Zipf's law)."""
    share = 1 / (np.arange(len(_WORDS)) + 3)
    lengths = draw.integers(*words, size=number, endpoint=True)
    drawn = draw.choice(len(_WORDS), size=int(lengths.sum()), p=share / share.sum())
    return [" ".join(_WORDS[word] for word in part) for part in np.split(drawn, lengths.cumsum()[:-1])]


def questions(number: int) -> list[Question]:
    """Return ``number`` questions, always the same ones, made of words of the documents."""
    texts = _texts(number, (_QUESTION_WORDS, _QUESTION_WORDS), np.random.default_rng(_SEED + 1))
    return [
        Question(text, vector.tolist()) for text, vector in zip(texts, _EMBEDDER.embed(texts), strict=True)
    ]


def measure(
    ways: Mapping[Way, Searcher], index: str, rounds: int, on_round: Callable[[int], None]
) -> list[CaseRow]:
    """Run every case in every round, in a random order for each round; return a row for each case.

    At first the same number of rounds, at most 100, are run and do not count. ``on_round`` receives the
    number of rounds that are done, 0 while warming up. Raises SearchError when a way finds other hits than
    its baseline, and whatever the clients raise.
    """
    warm_up = min(rounds, _WARM_UP)
    draw = np.random.default_rng(_SEED + 2)
    taken = np.empty((warm_up + rounds, len(CASES)))
    with _quiet_memory():
        for number, question in enumerate(questions(warm_up + rounds)):
            taken[number] = _round(ways, index, question, draw)
            if number % _COLLECT_EVERY == 0:
                gc.collect()
            on_round(max(0, number + 1 - warm_up))
    return rows(taken[warm_up:])


@contextmanager
def _quiet_memory() -> Iterator[None]:
    """Switch the automatic garbage collection off."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _round(
    ways: Mapping[Way, Searcher], index: str, question: Question, draw: np.random.Generator
) -> Milliseconds:
    taken, hits = np.empty(len(CASES)), {}
    for place in draw.permutation(len(CASES)):
        case = CASES[place]
        search, body = ways[case.way].search, case.body(question)
        began = time.perf_counter_ns()
        answer = search(index=index, body=body)
        taken[place] = (time.perf_counter_ns() - began) / 1e6
        hits[case.name] = [hit["_id"] for hit in answer["hits"]["hits"]]
    _check(hits)
    return taken


def _check(hits: Mapping[str, list[str]]) -> None:
    """Raise SearchError unless every way found the same hits as its baseline."""
    for case in CASES:
        if case.baseline is not None and hits[case.name] != hits[case.baseline]:
            raise SearchError(
                f"{case.name} finds other hits {hits[case.name]} than {case.baseline} "
                f"{hits[case.baseline]}, so their "
                "times cannot be compared; run the bench again, without other load on the cluster"
            )


def rows(taken: Milliseconds) -> list[CaseRow]:
    """Return a row for each case. ``taken`` has one column for each case and one line for each round, in
    milliseconds.
    """
    times = {case.name: taken[:, place] for place, case in enumerate(CASES)}
    return [
        CaseRow(
            case,
            spread(times[case.name]),
            added(times[case.name], times[case.baseline]) if case.baseline else None,
        )
        for case in CASES
    ]

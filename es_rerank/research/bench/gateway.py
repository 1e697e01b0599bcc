"""What sidecar and library add to Elasticsearch's own latency: the same searches, every way, interleaved in one run.

Every way is asked with the official client, over one kept connection each. It is what callers use, a plain search
through it is quicker than through httpx and spreads no wider, and what it costs itself cancels in the differences.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol
from uuid import uuid4

import numpy as np
from elasticsearch import Elasticsearch

from ...errors import IngestError, SearchError
from ...testing import HashEmbedder
from .paired import Added, Milliseconds, Spread, added, spread

DOCUMENTS = 20_000
ROUNDS = 300

Way = Literal["direct", "sidecar", "library"]
"""Elasticsearch itself; through a sidecar over it; through ``RerankClient`` in this process."""

_SEED = 20_260_101
_SIZE = 10
_CANDIDATES = 100
_WARM_UP = 100
"""Most rounds before the first that counts: connections are open, and the node's compiler has seen every kind of search."""

_COLLECT_EVERY = 100
"""Rounds between two collections of garbage, which stand still while anything is timed."""

_BULK = 1_000
_QUESTION_WORDS = 3
_DOCUMENT_WORDS = (12, 30)
_WORDS = tuple("".join(letters) for letters in product("bdgklmprst", "aeiou", "lnrs", "aeio"))
_EMBEDDER = HashEmbedder(64)

_MAPPINGS: dict[str, Any] = {
    # Newer versions leave vectors out of _source by themselves: so the answers weigh the same on every version.
    "_source": {"excludes": ["vector"]},
    "properties": {
        "text": {"type": "text"},
        "number": {"type": "integer"},
        "vector": {"type": "dense_vector", "dims": _EMBEDDER.dims},
    },
}


class Question(NamedTuple):
    """What one round asks every way: words, and their vector."""

    text: str
    vector: list[float]


class Searcher(Protocol):
    """What is timed: ``Elasticsearch``, or ``RerankClient`` around it."""

    def search(self, *, index: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 each client has its own response type
        """Return Elasticsearch's response."""


def plain(question: Question) -> dict[str, Any]:
    """Return the body of a search without a retriever."""
    return {"query": {"match": {"text": question.text}}, "size": _SIZE}


def knn(question: Question) -> dict[str, Any]:
    """Return the body of a retriever tree that is one knn leaf, which Elasticsearch runs on any licence."""
    return {"retriever": _leaf(question), "size": _SIZE}


def rrf(question: Question) -> dict[str, Any]:
    """Return the body of the same leaf in a fusion, which Elasticsearch refuses on a Basic licence."""
    return {"retriever": {"rrf": {"retrievers": [_leaf(question)], "rank_window_size": _SIZE}}, "size": _SIZE}


def _leaf(question: Question) -> dict[str, Any]:
    return {
        "knn": {"field": "vector", "query_vector": question.vector, "k": _SIZE, "num_candidates": _CANDIDATES}
    }


class Case(NamedTuple):
    """One search by one way; ``baseline`` names the case that it is compared with, None for a baseline itself.

    ``about`` is its line in a table, right below its baseline's.
    """

    name: str
    about: str
    way: Way
    body: Callable[[Question], dict[str, Any]]
    baseline: str | None = None


CASES = (
    Case("search", "match query", "direct", plain),
    Case("search-sidecar", "… through the sidecar", "sidecar", plain, "search"),
    Case("search-library", "… through RerankClient", "library", plain, "search"),
    Case("knn", "knn retriever", "direct", knn),
    Case("knn-sidecar", "… through the sidecar", "sidecar", knn, "knn"),
    Case("rrf-sidecar", "rrf of it, by the sidecar", "sidecar", rrf, "knn"),
    Case("rrf-library", "rrf of it, by RerankClient", "library", rrf, "knn"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one case; ``added`` is None for a baseline."""

    case: Case
    spread: Spread
    added: Added | None

    def as_json(self) -> dict[str, Any]:
        """Return the row with milliseconds of three decimals, null where nothing was compared."""
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
    """Make an empty index ``bench-gateway-<random>`` and yield its name; it is deleted when the block ends.

    Errors of the elasticsearch client pass through unchanged.
    """
    name = f"bench-gateway-{uuid4().hex[:12]}"
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    try:  # from here on: an interrupt may come when the index is there and the answer is not
        client.indices.create(index=name, mappings=_MAPPINGS, settings=settings)
        yield name
    finally:
        client.indices.delete(index=name, ignore_unavailable=True)


def fill(client: Elasticsearch, index: str, documents: int, on_progress: Callable[[int], None]) -> None:
    """Index so many short documents, the same every time, as one segment; ``on_progress`` is told how many are in.

    Raises IngestError when Elasticsearch refuses some, and the elasticsearch client's own errors unchanged.
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
    # A merge under way would take turns with what is timed.
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
    """Return texts of words that are as unevenly common as those of a language (Zipf's law)."""
    share = 1 / (np.arange(len(_WORDS)) + 3)
    lengths = draw.integers(*words, size=number, endpoint=True)
    drawn = draw.choice(len(_WORDS), size=int(lengths.sum()), p=share / share.sum())
    return [" ".join(_WORDS[word] for word in part) for part in np.split(drawn, lengths.cumsum()[:-1])]


def questions(number: int) -> list[Question]:
    """Return so many questions, the same every time, in words of the documents."""
    texts = _texts(number, (_QUESTION_WORDS, _QUESTION_WORDS), np.random.default_rng(_SEED + 1))
    return [
        Question(text, vector.tolist()) for text, vector in zip(texts, _EMBEDDER.embed(texts), strict=True)
    ]


def measure(
    ways: Mapping[Way, Searcher], index: str, rounds: int, on_round: Callable[[int], None]
) -> list[Row]:
    """Ask every case in every round, in an order drawn anew for each, and return a row for each case.

    As many rounds again, 100 at most, come first and do not count; ``on_round`` is told how many of the rounds are
    done, none of them while warming up. Raises SearchError when a way finds other hits than its baseline, and
    whatever the clients raise.
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
    """Keep the garbage collector from running by itself."""
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
    taken, found = np.empty(len(CASES)), {}
    for place in draw.permutation(len(CASES)):
        case = CASES[place]
        search, body = ways[case.way].search, case.body(question)
        began = time.perf_counter_ns()
        answer = search(index=index, body=body)
        taken[place] = (time.perf_counter_ns() - began) / 1e6
        found[case.name] = [hit["_id"] for hit in answer["hits"]["hits"]]
    _check(found)
    return taken


def _check(found: Mapping[str, list[str]]) -> None:
    """Hold that every way did the same work: a quick wrong answer is worth nothing."""
    for case in CASES:
        if case.baseline is not None and found[case.name] != found[case.baseline]:
            raise SearchError(
                f"{case.name} finds other hits {found[case.name]} than {case.baseline} {found[case.baseline]}: nothing can be compared"
            )


def rows(taken: Milliseconds) -> list[Row]:
    """Return a row for each case from its column of timings, one line a round, in milliseconds."""
    times = {case.name: taken[:, place] for place, case in enumerate(CASES)}
    return [
        Row(
            case,
            spread(times[case.name]),
            added(times[case.name], times[case.baseline]) if case.baseline else None,
        )
        for case in CASES
    ]

"""Latency that sidecar, library and plugin add to Elasticsearch: the same searches in each way, in one run.

Every way uses the official client with one open connection. That is what callers use. A plain search is
faster with it than with httpx and varies no more. Its own cost is in all times, so it cancels in the
differences.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np

from ...errors import IngestError, SearchError
from ...testing import HashEmbedder
from .gateway_searches import CASES, Case, Question, Way, without_model
from .paired import Added, Milliseconds, Spread, added, spread

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

DOCUMENTS = 20_000
GATEWAY_ROUNDS = 300

_SEED = 20_260_101
_WARM_UP = 100
"""Largest number of rounds that do not count, at the start.

They open the connections, and Elasticsearch's compiler sees every kind of search.
"""

_MODEL_IN = "rerank-sidecar"
"""The case whose answer says how long the model took. The plugin's search scores the same passages."""

_SAME = 1e-6
"""Relative difference of scores that count as equal."""

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


class Searcher(Protocol):
    """A client that is timed: ``Elasticsearch``, or ``RerankClient`` around it."""

    def search(self, *, index: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 each client has its own response type
        """Return Elasticsearch's response."""


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
    """Run every case of these ways in every round, in a random order for each round; return their rows.

    At first the same number of rounds, at most 100, are run and do not count. ``on_round`` receives the
    number of rounds that are done, 0 while warming up. Raises SearchError when a way finds other hits than
    another way of the same search, and whatever the clients raise.
    """
    cases = [case for case in CASES if case.way in ways]
    warm_up = min(rounds, _WARM_UP)
    draw = np.random.default_rng(_SEED + 2)
    taken, model = np.empty((warm_up + rounds, len(cases))), np.empty(warm_up + rounds)
    with _quiet_memory():
        for number, question in enumerate(questions(warm_up + rounds)):
            taken[number], model[number] = _round(ways, cases, index, question, draw)
            if number % _COLLECT_EVERY == 0:
                gc.collect()
            on_round(max(0, number + 1 - warm_up))
    return rows(cases, taken[warm_up:], model[warm_up:])


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
    ways: Mapping[Way, Searcher],
    cases: Sequence[Case],
    index: str,
    question: Question,
    draw: np.random.Generator,
) -> tuple[Milliseconds, float]:
    """Return the time of each case, and the part of the model in the sidecar's rerank, in milliseconds."""
    taken, answers = np.empty(len(cases)), {}
    for place in draw.permutation(len(cases)):
        case = cases[place]
        search, body = ways[case.way].search, case.body(question)
        began = time.perf_counter_ns()
        answers[case.name] = search(index=index, body=body)
        taken[place] = (time.perf_counter_ns() - began) / 1e6
    for case in cases:
        if case.same_hits is not None:
            _check(case, answers[case.name]["hits"]["hits"], answers[case.same_hits]["hits"]["hits"])
    stages = answers[_MODEL_IN]["rerank"]["milliseconds"]
    return taken, float(stages.get("rerank", 0.0))  # missing when there was no passage to score


def _check(case: Case, hits: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> None:
    """Raise SearchError unless two searches found the same hits. Equal scores may be in any order."""
    found, expected = [hit["_id"] for hit in hits], [hit["_id"] for hit in others]
    if found == expected:
        return
    scores, others_scores = ([hit["_score"] for hit in each] for each in (hits, others))
    if len(scores) == len(others_scores) and np.allclose(scores, others_scores, rtol=_SAME, atol=0):
        cut = scores[-1] * (1 + _SAME)  # documents of this score may be on either side of the page's end
        if _sets_by_score(hits, cut) == _sets_by_score(others, cut):
            return
    raise SearchError(
        f"{case.name} finds other hits {found} than {case.same_hits} {expected}, so their times cannot be "
        "compared; run the bench again, without other load on the cluster"
    )


def _sets_by_score(hits: Sequence[dict[str, Any]], cut: float) -> list[set[str]]:
    """Return the ids of the hits above ``cut``, those of equal scores in one set."""
    sets: list[set[str]] = []
    above = [hit for hit in hits if hit["_score"] > cut]
    for place, hit in enumerate(above):
        if place == 0 or hit["_score"] < above[place - 1]["_score"] * (1 - _SAME):
            sets.append(set())
        sets[-1].add(hit["_id"])
    return sets


def rows(cases: Sequence[Case], taken: Milliseconds, model: Milliseconds) -> list[CaseRow]:
    """Return a row for each case, and one more for each that reranks: its time without the model's part.

    ``taken`` has one column for each case and one line for each round, ``model`` the part of the model in
    each round, both in milliseconds.
    """
    times = {case.name: taken[:, place] for place, case in enumerate(cases)}
    found = []
    for case in cases:
        baseline = times[case.baseline] if case.baseline else None
        found.append(_row(case, times[case.name], baseline))
        if case.reranks:
            found.append(_row(without_model(case), times[case.name] - model, baseline))
    return found


def _row(case: Case, times: Milliseconds, baseline: Milliseconds | None) -> CaseRow:
    return CaseRow(case, spread(times), None if baseline is None else added(times, baseline))

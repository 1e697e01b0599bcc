"""What a search does, step by step, without doing it: no I/O here.

A search is written once, as a generator that yields what it wants done (``Search``, ``Forward``, ``ReadMapping``,
``Embed``, ``Score``) and receives the result; ``run`` does it, blocking or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..errors import DeadlineError, IndexMismatchError, RequestError, UnknownModelError
from ..models import Embedder, Reranker
from ..types import Candidate, Scores
from .answer import Account, assemble, page_of
from .facts import IndexFacts
from .plan import Reading, candidates_of, check_tree, leaf_body, leaves_of, page_body, passages_body, read_texts, reading_of, texts_body, with_reading
from .request import SearchRequest
from .rerank import Ranking, first_stage_order, rank, texts_of
from .tree import DEFAULT_INFERENCE_ID, Knn, Native, Query, Standard, TextSimilarityReranker, builders

T = TypeVar("T")

_MAPPING_SECONDS = 60.0
"""How long a mapping is believed; a new field or model behind an alias is seen after that."""


@dataclass(frozen=True, slots=True)
class Search:
    """One ``_search``; ``stage`` names it in the account."""

    body: dict[str, Any]
    stage: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A search that Elasticsearch runs whole; the arguments are those of ``Elasticsearch.search``."""

    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadMapping:
    """The facts of the index, from the cache where they are fresh."""


@dataclass(frozen=True, slots=True)
class Embed:
    """A query vector."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of texts, by the model that an inference id names."""

    query: str
    texts: list[str]
    model: str


Effect = Search | Forward | ReadMapping | Embed | Score
Steps = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class Served:
    """The models at hand: rerankers by inference id, the first being the default, and the embedder of queries."""

    rerankers: Mapping[str, Reranker]
    embedder: Embedder | None = None

    def reranker(self, inference_id: str) -> Reranker:
        """Return a served model; Elastic's default id means the first.

        Raises UnknownModelError, listing what is served, for any other.
        """
        if inference_id in self.rerankers:
            return self.rerankers[inference_id]
        if inference_id == DEFAULT_INFERENCE_ID and self.rerankers:
            return next(iter(self.rerankers.values()))
        known = ", ".join(self.rerankers) or "none"
        raise UnknownModelError(f"inference endpoint [{inference_id}] is not served here; served rerankers: {known}", name=inference_id)

    def embedder_for(self, model: str | None) -> Embedder:
        """Return the embedder of queries.

        Raises UnknownModelError when another model is named, RequestError when there is none.
        """
        if self.embedder is None:
            raise RequestError("[query_vector_builder] needs an embedder and none is configured; give [query_vector] yourself or configure an embedder")
        if model not in (None, self.embedder.name):
            raise UnknownModelError(f"embedding model [{model}] is not served here; served: {self.embedder.name}", name=model or "")
        return self.embedder


class MappingCache:
    """Facts of indices, believed for a minute; owned by a client, never shared between credentials."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._facts: dict[str, tuple[float, IndexFacts]] = {}

    def get(self, index: str) -> IndexFacts | None:
        """Return facts that are still fresh."""
        found = self._facts.get(index)
        return found[1] if found and self._clock() < found[0] else None

    def put(self, facts: IndexFacts) -> IndexFacts:
        """Keep facts and return them."""
        self._facts[facts.index] = (self._clock() + _MAPPING_SECONDS, facts)
        return facts


@dataclass(frozen=True, slots=True)
class Context:
    """Where a search runs: index expression, query parameters of every request, models, deadline (monotonic)."""

    index: str | None
    parameters: dict[str, Any]
    served: Served
    mappings: MappingCache
    account: Account
    deadline: float | None = None

    def remaining(self) -> dict[str, Any]:
        """Return the request timeout that the deadline leaves, in seconds, as a client option."""
        return {} if self.deadline is None else {"request_timeout": max(0.05, self.deadline - time.monotonic())}


def search_steps(request: SearchRequest, context: Context) -> Steps[dict[str, Any]]:
    """Run a request whose root is a reranker and return the response.

    Raises RequestError for another root; every error of the tree's own checks comes before anything is asked.
    """
    node = request.retriever
    if not isinstance(node, TextSimilarityReranker):
        kind = node.kind if isinstance(node, Native) else type(node).__name__.lower()
        raise RequestError(f"[text_similarity_reranker] cannot stand under [{kind}] here; make it the root of the tree")
    check_tree(node, request.size)
    account = context.account
    account.model, account.window = context.served.reranker(node.inference_id).name, node.rank_window_size
    facts = yield ReadMapping()
    first, ranking = yield from _Evaluation(context, facts, request.first_stage).reranked(node, ())
    page = page_of(ranking, request.offset, request.size)
    fetched = yield from _page([hit.candidate for hit in page], request, node)
    return assemble(first, ranking, page, fetched, account)


def _page(candidates: Sequence[Candidate], request: SearchRequest, node: TextSimilarityReranker) -> Steps[list[dict[str, Any]]]:
    """Fetch the page's hits as the caller asked; nothing is asked where the caller wants ids alone."""
    if not candidates:
        return []
    if request.page.get("_source") is False and set(request.page) <= {"_source", "pit", "runtime_mappings"}:
        return [{"_index": candidate.index, "_id": candidate.id} for candidate in candidates]
    answer = yield Search(page_body(candidates, request.page, leaves_of(node)), "page")
    return list(answer["hits"]["hits"])


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """The evaluation of one tree: where it runs, what the index is, and what else the first stage is asked."""

    context: Context
    facts: IndexFacts
    extra: dict[str, Any]

    def reranked(self, node: TextSimilarityReranker, filters: Sequence[Query]) -> Steps[tuple[dict[str, Any], Ranking]]:
        """Return the first stage's response and the window in the reranker's order."""
        reading = reading_of(node, self.facts)
        child, every = node.retriever, [*filters, *node.filter]
        if isinstance(child, TextSimilarityReranker):
            first, inner = yield from self.reranked(child, every)
            window = [
                replace(hit.candidate, score=hit.probability or 0.0, rank=position) for position, hit in enumerate(inner.hits[: node.rank_window_size], 1)
            ]
            candidates = yield from self._read(window, node, reading)
        else:
            assert not isinstance(child, Native), "check_tree lets no other retriever stand under a reranker"
            first, candidates = yield from self._first_stage(child, node, reading, every)
        self.context.account.candidates = len(candidates)
        self.context.account.capped = sum(candidate.capped for candidate in candidates)
        return first, (yield from self._scored(node, candidates))

    def _first_stage(
        self, leaf: Standard | Knn, node: TextSimilarityReranker, reading: Reading, filters: Sequence[Query]
    ) -> Steps[tuple[dict[str, Any], list[Candidate]]]:
        """Ask for the first stage and, in the same request wherever that can be, for the texts."""
        vector = (yield from self.vector(leaf)) if isinstance(leaf, Knn) else None
        body, whole = with_reading(leaf_body(leaf, node.rank_window_size, filters, vector), reading, leaf, self.facts, node.inference_text)
        first = yield Search({**self.extra, **body}, "first_stage")
        candidates = candidates_of(first["hits"]["hits"][: node.rank_window_size])
        if whole:
            return first, [_with_texts(candidate, candidate.hit, reading) for candidate in candidates]
        return first, (yield from self._read(candidates, node, reading))

    def vector(self, leaf: Knn) -> Steps[list[float] | str]:
        """Return the leaf's query vector: its own, or one made here unless the index holds another model's."""
        self.facts.require(leaf.field, "vector")
        if leaf.query_vector_builder is None:
            assert leaf.query_vector is not None, "parse lets exactly one of vector and builder pass"
            return leaf.query_vector
        wanted = leaf.query_vector_builder.text_embedding
        check_embedder(self.context.served.embedder_for(wanted.model_id), leaf.field, self.facts)
        vector: list[float] = yield Embed(wanted.model_text, wanted.model_id)
        return vector

    def _read(self, candidates: Sequence[Candidate], node: TextSimilarityReranker, reading: Reading) -> Steps[list[Candidate]]:
        """Fetch the texts of known candidates, order kept; a document deleted meanwhile drops out."""
        if not candidates:
            return []
        body = passages_body(reading, node.inference_text, candidates) if reading.nearest else texts_body(reading, candidates)
        same: dict[str, Any] = {key: self.extra[key] for key in ("pit", "runtime_mappings") if key in self.extra}
        answer = yield Search({**same, **body}, "passages")
        found = {(hit["_index"], hit["_id"]): hit for hit in answer["hits"]["hits"]}
        pairs = [(candidate, found.get((candidate.index, candidate.id))) for candidate in candidates]
        return [_with_texts(candidate, hit, reading) for candidate, hit in pairs if hit is not None]

    def _scored(self, node: TextSimilarityReranker, candidates: list[Candidate]) -> Steps[Ranking]:
        """Score the window; where failures are allowed, a broken or late reranker leaves first-stage order, marked."""
        account, reranker = self.context.account, self.context.served.reranker(node.inference_id)
        if not candidates:
            return Ranking([], complete=True, truncated=0, cached=0)
        try:
            scores: Scores = yield Score(node.inference_text, texts_of(candidates), node.inference_id)
            ranking = rank(candidates, scores, reranker.calibration, node.min_score)
        except Exception as error:  # a reranker may be anyone's code; its failure is allowed, or raised unchanged
            if not node.allow_rerank_failures:
                raise
            account.status, account.reason = "first_stage", f"the reranker failed: {error}"
            return first_stage_order(candidates)
        account.truncated += ranking.truncated
        account.cached += ranking.cached
        return ranking if ranking.complete else _late(node, candidates, ranking, scores, account)


def _with_texts(candidate: Candidate, hit: dict[str, Any], reading: Reading) -> Candidate:
    context, passages, capped = read_texts(hit, reading)
    return replace(candidate, context=context, passages=passages, capped=capped)


def check_embedder(embedder: Embedder, field: str, facts: IndexFacts) -> None:
    """Check that query vectors will mean what the index's vectors mean.

    Raises IndexMismatchError when the index records another embedder, or vectors of another length.
    """
    if facts.embedders and facts.embedders != {embedder.name}:
        recorded = ", ".join(sorted(facts.embedders))
        raise IndexMismatchError(
            f"index [{facts.index}] holds vectors of [{recorded}], the query would be embedded with [{embedder.name}]; choose that embedder", index=facts.index
        )
    dims = facts.dims.get(field, embedder.dims)
    if dims != embedder.dims:
        raise IndexMismatchError(
            f"field [{field}] of index [{facts.index}] holds vectors of {dims} dimensions, embedder [{embedder.name}] makes {embedder.dims}; "
            "give the query vector yourself or choose the embedder that filled the index",
            index=facts.index,
        )


def _late(node: TextSimilarityReranker, candidates: list[Candidate], ranking: Ranking, scores: Scores, account: Account) -> Ranking:
    done = int(scores.done.sum())
    reason = f"the deadline came when {done} of {len(scores)} passages were scored"
    if not node.allow_rerank_failures:
        raise DeadlineError(f"{reason}; allow more time (timeout, X-Rerank-Timeout-Ms), a smaller rank_window_size, or allow_rerank_failures")
    account.status, account.reason = ("partial" if done else "first_stage"), reason
    return ranking if done else first_stage_order(candidates)


def vector_steps(retriever: dict[str, Any], context: Context) -> Steps[dict[str, Any]]:
    """Return a native tree with every ``query_vector_builder`` replaced by the vector that it asks for."""
    tree = deepcopy(retriever)
    facts = yield ReadMapping()
    for leaf in builders(tree):
        node = Knn.model_validate(leaf)
        leaf["query_vector"] = yield from _Evaluation(context, facts, {}).vector(node)
        del leaf["query_vector_builder"]
    return tree

"""First stage beside reranked, on a real Elasticsearch: three runs from one answer per query, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ...client import RerankClient
from ...errors import ModelError
from ...retrievers.grammar.tree import FirstStage, Query
from ...retrievers.planning.index_schema import schema_of
from ...retrievers.planning.short_form import DEFAULT_WINDOW, retriever_for
from ...scores import ranked
from .measures import Difference, Measures, Run, compared, mean, measured, run_of
from .reliability import Reliability, reliability, says_what_is_irrelevant, with_relevance
from .topics import Topics

DEPTH = 100
"""How deep every run is: recall is measured at 100."""

Progress = Callable[[int], None]
"""Called after every query with the number of queries done."""


class Orders(NamedTuple):
    """Document ids in three orders: the same documents, the first stage's tail below the window included."""

    first_stage: list[str]
    cross_encoder: list[str]
    reranked: list[str]


class Observation(NamedTuple):
    """One query: its three orders, the probability of every document in the window, who reranked, how many texts in how
    many seconds, of how many the score was remembered, and the whole search in seconds.
    """

    orders: Orders
    probabilities: dict[str, float]
    model: str
    texts: int
    remembered: int
    rerank_s: float
    search_s: float


class QueryResult(BaseModel):
    """One query's nDCG@10 in the three orders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    text: str
    first_stage: float
    cross_encoder: float
    reranked: float


class Result(BaseModel):
    """An experiment's outcome, as ``es-rerank evaluate --json`` prints it.

    ``first_stage``, ``cross_encoder`` (the model's own logits alone) and ``reranked`` (what a search returns: calibrated
    with the first stage where the model says so) are means over ``queries`` queries. ``difference`` is reranked minus
    first stage. ``recall_at_window`` is the mean share of a query's relevant documents among the ``window`` hits: no
    order of them finds more. ``skipped_queries`` have no relevant document; ``missing_documents`` are judged, but not in
    the corpus, so that no order finds them. ``search_p50`` is the median search, reranking included, in seconds; it and
    ``pairs_per_second`` are None where scores were remembered from another first stage, and the latter where the time
    was too short to measure. ``reliability`` is of the probabilities that are the hits' scores; None where no hit is
    judged. ``reranker`` is how the model was named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    collection: str
    split: str
    queries: int
    window: int
    first_stage: Measures
    cross_encoder: Measures
    reranked: Measures
    difference: Difference
    pairs_per_second: float | None
    recalled_by: FirstStage
    model: str
    reranker: str
    skipped_queries: int
    missing_documents: int
    search_p50: float | None
    recall_at_window: float = Field(alias="recall@window")
    reliability: Reliability | None
    per_query: list[QueryResult]

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values, under the names that the command line promises."""
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for every query: index, what recalls, how many hits are reranked by whom, which fields are read.

    ``reranker`` is one of the client's, by its ``inference_id``; None for its only one.
    """

    index: str
    first_stage: FirstStage = "knn"
    window: int = DEFAULT_WINDOW
    fields: Sequence[str] = ()
    reranker: str | None = None


def experiments(
    client: RerankClient, topics: Topics, setups: Sequence[Setup], *, on_progress: Progress | None = None
) -> list[Result]:
    """Search for every query, with the first stage alone and reranked, and measure the orders: a result for each setup.

    The setups are of one index, window and fields; they differ in first stage and reranker. All take their turn at a
    query before the next one, so that what one has scored another may remember. Give a client without a deadline
    (``timeout_s=None``): an answer that is late or unreranked is no measurement. Raises ModelError for such an answer,
    and whatever the client raises.
    """
    observations: list[dict[str, Observation]] = [{} for _ in setups]
    first_stages = {setup.first_stage: _FirstStage(client, setup) for setup in setups}
    for done, (query, text) in enumerate(topics.queries.items(), 1):
        pool = _among(topics.pools.get(query))
        recalled = {name: first_stage.ids(text, pool) for name, first_stage in first_stages.items()}
        for setup, seen in zip(setups, observations, strict=True):
            seen[query] = observed(_answer(client, text, setup, pool), recalled[setup.first_stage])
        if on_progress:
            on_progress(done)
    return [result_of(topics, setup, seen) for setup, seen in zip(setups, observations, strict=True)]


class _FirstStage:
    """The first stage by itself, deep enough for recall; exactly the child of the tree that reranking gets."""

    def __init__(self, client: RerankClient, setup: Setup) -> None:
        self._client = client
        self._setup = setup
        self._schemas = schema_of(client.indices.get_mapping(index=setup.index).body, setup.index)
        self._depth = max(DEPTH, setup.window)

    def ids(self, text: str, pool: Query | None) -> list[str]:
        """Return document ids, best first, of those that ``pool`` lets through."""
        setup = self._setup
        tree = retriever_for(
            text, self._schemas, first_stage=setup.first_stage, window=self._depth, field=setup.fields or None
        )
        child = tree["text_similarity_reranker"]["retriever"]
        if pool is not None:
            (body,) = child.values()
            body["filter"] = [pool]
        answer = self._client.search(index=setup.index, retriever=child, size=self._depth, source=False)
        return [hit["_id"] for hit in answer["hits"]["hits"]]


def _among(pool: list[str] | None) -> Query | None:
    """Return the filter that lets a pool of documents through."""
    return None if pool is None else {"ids": {"values": pool}}


def _answer(client: RerankClient, text: str, setup: Setup, pool: Query | None) -> dict[str, Any]:
    answer = client.rerank(
        text,
        index=setup.index,
        size=setup.window,
        window=setup.window,
        first_stage=setup.first_stage,
        field=setup.fields or None,
        inference_id=setup.reranker,
        filter=pool,
        source=False,
    )
    block = answer["rerank"]
    if block["status"] != "reranked":
        raise ModelError(
            f"the answer to {text!r} was not reranked ({block['status']}: {block.get('reason')}); an experiment needs every score"
        )
    body: dict[str, Any] = answer.body
    return body


def observed(answer: dict[str, Any], first_stage: Sequence[str]) -> Observation:
    """Return what one answer shows; ``first_stage`` holds the ids of a deeper search, of which the tail is used.

    Both searches are approximate, so the window is taken from the answer: the three orders differ by reranking alone.
    """
    hits = answer["hits"]["hits"]
    window = set(ids_of(hits))
    tail = [name for name in first_stage if name not in window]
    before = by_first_stage(hits)
    alone = [before[position] for position in ranked([model_logit(hit) for hit in before])]
    block = answer["rerank"]
    seconds = block["milliseconds"]
    # The short form reads one text per candidate: its nearest passage, or its field.
    return Observation(
        Orders(*([*ids_of(order), *tail] for order in (before, alone, hits))),
        {hit["_id"]: hit["_score"] for hit in hits},
        block["model"],
        block["candidates"],
        block["cached"],
        seconds.get("rerank", 0.0) / 1000,
        seconds["total"] / 1000,
    )


def ids_of(hits: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of hits, in their order."""
    return [hit["_id"] for hit in hits]


def by_first_stage(hits: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return reranked hits in the order in which the first stage had them."""
    return sorted(hits, key=lambda hit: hit["fields"]["rerank.first_stage_rank"][0])


def model_logit(hit: dict[str, Any]) -> float:
    """Return the cross-encoder's own logit; an answer names it only where calibration made it another."""
    fields = hit["fields"]
    return float(fields.get("rerank.model_logit", fields["rerank.logit"])[0])


def result_of(topics: Topics, setup: Setup, observations: dict[str, Observation]) -> Result:
    """Return the measures of all observations, of which there is at least one."""
    first_stage, cross_encoder, reranked = (
        measured(topics.qrels, _run(name, observations)) for name in Orders._fields
    )
    seen = list(observations.values())
    known = says_what_is_irrelevant(topics.qrels)
    return Result(
        collection=topics.collection,
        split=topics.split,
        queries=len(topics.queries),
        window=setup.window,
        first_stage=mean(first_stage.values()),
        cross_encoder=mean(cross_encoder.values()),
        reranked=mean(reranked.values()),
        difference=compared(first_stage, reranked),
        pairs_per_second=_speed(seen),
        recalled_by=setup.first_stage,
        model=seen[0].model,
        reranker=setup.reranker or seen[0].model,
        skipped_queries=topics.skipped,
        missing_documents=len(topics.missing),
        search_p50=None
        if any(each.remembered for each in seen)
        else round(median(each.search_s for each in seen), 4),
        recall_at_window=fmean(
            _recall(topics.qrels[query], each.probabilities) for query, each in observations.items()
        ),
        reliability=reliability(
            [
                pair
                for query, each in observations.items()
                for pair in with_relevance(each.probabilities, topics.qrels[query], known=known)
            ]
        ),
        per_query=[
            QueryResult(
                query=query,
                text=text,
                first_stage=first_stage[query].ndcg_at_10,
                cross_encoder=cross_encoder[query].ndcg_at_10,
                reranked=reranked[query].ndcg_at_10,
            )
            for query, text in topics.queries.items()
        ],
    )


def _recall(grades: dict[str, int], window: Collection[str]) -> float:
    """Return the share of a query's relevant documents, of which there is at least one, that the window holds."""
    relevant = {name for name, grade in grades.items() if grade > 0}
    return len(relevant.intersection(window)) / len(relevant)


def _run(name: str, observations: dict[str, Observation]) -> Run:
    return {query: run_of(getattr(seen.orders, name)) for query, seen in observations.items()}


def _speed(seen: Sequence[Observation]) -> float | None:
    seconds = sum(each.rerank_s for each in seen)
    return (
        None
        if any(each.remembered for each in seen) or not seconds
        else round(sum(each.texts for each in seen) / seconds, 1)
    )

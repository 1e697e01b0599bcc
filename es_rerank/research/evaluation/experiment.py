"""Measures the first stage against the reranked order on a real Elasticsearch.

One answer per query gives three runs: first stage, cross-encoder alone, and reranked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ...defaults import WINDOW
from ...errors import ModelError
from ...retrievers.grammar.tree import FirstStage, Query
from ...retrievers.planning.index_schema import schema_of
from ...retrievers.planning.short_form import retriever_for
from ...scores import ranked
from ..reliability import Reliability, reliability, says_what_is_irrelevant, with_relevance
from .measures import Difference, Measures, Run, compared, mean, measures_by_query, run_of
from .topics import Topics

if TYPE_CHECKING:
    from ...client import RerankClient

DEPTH = 100
"""Depth of every run, because recall is measured at 100."""

HARM = 0.01
"""A shipped default whose mean nDCG@10 is further than this below its first stage's harms the collection. The
project promises that no collection loses more."""

OnSearchesDone = Callable[[int], None]
"""Called after every search with reranking, with the number of those that are done: one for each query and
setup."""


class Orders(NamedTuple):
    """Document ids in three orders of the same documents.

    Documents of the first stage below the window follow at the end of each order.
    """

    first_stage: list[str]
    cross_encoder: list[str]
    reranked: list[str]


class Observation(NamedTuple):
    """The measurements of one query.

    ``probabilities`` has the score of every document in the window, ``pair_probabilities`` the probability of
    its pair alone. ``texts`` is the number of texts that
    were scored in ``rerank_s`` seconds, ``remembered`` of them from the cache. ``search_s`` is the whole
    search in seconds. ``blend`` is the key of the blend that was used, None without one. ``left_alone``: the
    blend left the first stage's order as it was.
    """

    orders: Orders
    probabilities: dict[str, float]
    pair_probabilities: dict[str, float]
    model: str
    texts: int
    remembered: int
    rerank_s: float
    search_s: float
    blend: str | None
    left_alone: bool


class QueryResult(BaseModel):
    """One query's nDCG@10 in the three orders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    text: str
    first_stage: float
    cross_encoder: float
    reranked: float


class Result(BaseModel):
    """Result of one experiment, as ``es-rerank evaluate --json`` prints it.

    ``first_stage``, ``cross_encoder`` and ``reranked`` are means over ``queries`` queries. ``cross_encoder``
    is the order by the model's own logits. ``reranked`` is the order that a search returns; if the model has
    a calibration, it combines the logits with the first stage. ``difference`` is ``reranked`` minus
    ``first_stage``.

    ``recall_at_window`` is the mean share of a query's relevant documents that are among the ``window`` hits;
    reranking cannot find more. ``skipped_queries`` have no relevant document. ``missing_documents`` are
    judged but not in the corpus, so no order finds them.

    ``search_p50`` is the median time of a search with reranking, in seconds. ``search_p50`` and
    ``pairs_per_second`` are None when scores came from the cache after another first stage.
    ``pairs_per_second`` is also None when the time was too short to measure. ``reliability`` is measured on
    the hits' scores, which are probabilities, ``pair_reliability`` on the probabilities of the pairs alone.
    Both are None when no hit is judged. ``reranker`` is the name that
    the user gave. ``embedder`` is the name of the embedder whose vectors the first stage used; None for BM25,
    which uses none.

    ``blend`` is the key of the blend in the model's manifest that the searches used, None for a model without
    one. In ``left_alone`` of the queries it left the first stage's order as it was.
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
    embedder: str | None
    model: str
    reranker: str
    blend: str | None
    left_alone: int
    skipped_queries: int
    missing_documents: int
    search_p50: float | None
    recall_at_window: float = Field(alias="recall@window")
    reliability: Reliability | None
    pair_reliability: Reliability | None
    per_query: list[QueryResult]

    @property
    def stage(self) -> str:
        """The first stage with its embedder, as tables name it: ``knn (bge-small-en-v15)``, ``bm25``."""
        return self.recalled_by if self.embedder is None else f"{self.recalled_by} ({self.embedder})"

    @property
    def harmed(self) -> bool:
        """Whether the shipped default is below the first stage by more than ``HARM``."""
        return round(self.difference.ndcg_at_10, 9) < -HARM

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values, with the keys that the command line documents."""
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that are the same for every query: index, first stage, window, fields and reranker.

    ``reranker`` is an ``inference_id`` of the client; None means the client's only reranker. ``embedder`` is
    the name under which results show the embedder of the index; None where the first stage uses no vectors,
    or where no other embedder is beside it.
    """

    index: str
    first_stage: FirstStage = "knn"
    window: int = WINDOW
    fields: Sequence[str] = ()
    reranker: str | None = None
    embedder: str | None = None


def experiments(
    client: RerankClient,
    topics: Topics,
    setups: Sequence[Setup],
    *,
    on_progress: OnSearchesDone | None = None,
) -> list[Result]:
    """Search for every query, with the first stage alone and reranked; return one result for each setup.

    The setups have the same window and fields; they differ in index (one for each embedder), first stage and
    reranker. All setups run for one query before the next query starts, so a score from one setup can come
    from the cache in another, and the cache need not hold more than one query's pairs.
    The client must have no deadline (``timeout_s=None``): a late answer, or one without reranking, is not a
    measurement. Raises ModelError for such an answer, and whatever the client raises.
    """
    observations: list[dict[str, Observation]] = [{} for _ in setups]
    first_stages = {(setup.index, setup.first_stage): _FirstStage(client, setup) for setup in setups}
    done = 0
    for query, text in topics.queries.items():
        pool = _pool_filter(topics.pools.get(query))
        recalled = {key: first_stage.ids(text, pool) for key, first_stage in first_stages.items()}
        for setup, seen in zip(setups, observations, strict=True):
            seen[query] = observed(
                _answer(client, text, setup, pool), recalled[setup.index, setup.first_stage]
            )
            done += 1
            if on_progress:
                on_progress(done)
    return [result_of(topics, setup, seen) for setup, seen in zip(setups, observations, strict=True)]


class _FirstStage:
    """The first stage alone, deep enough for recall: the same child retriever that the reranker gets."""

    def __init__(self, client: RerankClient, setup: Setup) -> None:
        self._client = client
        self._setup = setup
        self._schemas = schema_of(client.indices.get_mapping(index=setup.index).body, setup.index)
        self._depth = max(DEPTH, setup.window)

    def ids(self, text: str, pool: Query | None) -> list[str]:
        """Return document ids, best first; with ``pool``, only those that the filter matches."""
        setup = self._setup
        tree = retriever_for(
            text, self._schemas, first_stage=setup.first_stage, window=self._depth, field=setup.fields or None
        )
        child = tree["text_similarity_reranker"]["retriever"]
        if pool is not None:
            (body,) = child.values()
            body["filter"] = [pool]
        # An answer that misses shards would measure something else.
        answer = self._client.search(
            index=setup.index,
            retriever=child,
            size=self._depth,
            source=False,
            allow_partial_search_results=False,
        )
        return [hit["_id"] for hit in answer["hits"]["hits"]]


def _pool_filter(pool: list[str] | None) -> Query | None:
    """Return the filter that matches the documents of a pool."""
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
            f"the answer to {text!r} was not reranked ({block['status']}: {block.get('reason')}); an "
            "experiment needs every score; remove the cause and run it again"
        )
    body: dict[str, Any] = answer.body
    return body


def observed(answer: dict[str, Any], first_stage: Sequence[str]) -> Observation:
    """Return the measurements of one answer.

    ``first_stage`` has the ids of a deeper search, of which the part below the window is used. Both searches
    are approximate and can differ. So the window is taken from the answer, and the three orders differ only
    by reranking.
    """
    hits = answer["hits"]["hits"]
    window = set(ids_of(hits))
    tail = [name for name in first_stage if name not in window]
    before = by_first_stage(hits)
    alone = [before[position] for position in ranked([logit_of(hit) for hit in before])]
    block = answer["rerank"]
    seconds = block["milliseconds"]
    # The short form scores one text for each candidate: its nearest passage, or its field.
    return Observation(
        Orders(*([*ids_of(order), *tail] for order in (before, alone, hits))),
        {hit["_id"]: hit["_score"] for hit in hits},
        {hit["_id"]: hit["fields"]["rerank.probability"][0] for hit in hits},
        block["model"],
        block["candidates"],
        block["cached"],
        seconds.get("rerank", 0.0) / 1000,
        seconds["total"] / 1000,
        block.get("blend"),
        block.get("order") == "first_stage",
    )


def ids_of(hits: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of hits, in their order."""
    return [hit["_id"] for hit in hits]


def by_first_stage(hits: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return reranked hits in the order of the first stage."""
    return sorted(hits, key=lambda hit: hit["fields"]["rerank.first_stage_rank"][0])


def logit_of(hit: dict[str, Any]) -> float:
    """Return the cross-encoder's own logit of a hit."""
    return float(hit["fields"]["rerank.logit"][0])


def result_of(topics: Topics, setup: Setup, observations: dict[str, Observation]) -> Result:
    """Return the result of all observations, of which there must be at least one."""
    first_stage, cross_encoder, reranked = (
        measures_by_query(topics.qrels, _run(name, observations)) for name in Orders._fields
    )
    seen = list(observations.values())
    known = says_what_is_irrelevant(topics.qrels)

    def measured(probabilities: Sequence[dict[str, float]]) -> Reliability | None:
        return reliability(
            [
                judged
                for query, found in zip(observations, probabilities, strict=True)
                for judged in with_relevance(found, topics.qrels[query], known=known)
            ]
        )

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
        embedder=setup.embedder,
        model=seen[0].model,
        reranker=setup.reranker or seen[0].model,
        # A search that finds nothing has none.
        blend=next((observation.blend for observation in seen if observation.blend), None),
        left_alone=sum(observation.left_alone for observation in seen),
        skipped_queries=topics.skipped,
        missing_documents=len(topics.missing),
        search_p50=_median_search(seen),
        recall_at_window=fmean(
            _recall(topics.qrels[query], observation.probabilities)
            for query, observation in observations.items()
        ),
        reliability=measured([observation.probabilities for observation in seen]),
        pair_reliability=measured([observation.pair_probabilities for observation in seen]),
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


def _median_search(seen: Sequence[Observation]) -> float | None:
    """Return the median time of a search in seconds; None when scores came from the cache."""
    if any(observation.remembered for observation in seen):
        return None
    return round(median(observation.search_s for observation in seen), 4)


def _recall(grades: dict[str, int], window: Collection[str]) -> float:
    """Return the share of a query's relevant documents that are in the window. There must be one."""
    relevant = {name for name, grade in grades.items() if grade > 0}
    return len(relevant.intersection(window)) / len(relevant)


def _run(name: str, observations: dict[str, Observation]) -> Run:
    return {query: run_of(getattr(seen.orders, name)) for query, seen in observations.items()}


def _speed(seen: Sequence[Observation]) -> float | None:
    """Return scored texts per second; None when scores came from the cache or the time is zero."""
    seconds = sum(observation.rerank_s for observation in seen)
    if any(observation.remembered for observation in seen) or not seconds:
        return None
    return round(sum(observation.texts for observation in seen) / seconds, 1)

"""Compound retrievers on a real Elasticsearch: scores by hand, paging under writes,
what the union of the leaves gives.
"""

from __future__ import annotations

import asyncio
import pickle
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from corpus import EMBEDDER, Broken, Late
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, Elasticsearch, NotFoundError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from es_rerank import AsyncRerankClient, RerankClient
from es_rerank.errors import InvalidSearchError, RequestError, RetrieverParsingError
from es_rerank.node import Node
from es_rerank.retrievers.ranking.fusion import pinned_scores
from es_rerank.retrievers.ranking.ranked_node import json_score
from es_rerank.testing import WordOverlapReranker

WORDS = [
    "treaty",
    "king",
    "queen",
    "paper",
    "moon",
    "dog",
    "river",
    "stone",
    "archive",
    "crowd",
    "cheer",
    "rain",
    "signed",
    "sealed",
    "night",
]
GROUPS = ("red", "green", "blue")
SHARDS = 3
DOCUMENTS = 240


@pytest.fixture(scope="module")
def corpus(node: Node) -> Iterator[tuple[Elasticsearch, str]]:
    """240 documents of random words on three shards, each with a vector, a group and a number."""
    with Elasticsearch(node.url, request_timeout=60) as es:
        name = "compound-corpus"
        es.options(ignore_status=404).indices.delete(index=name)
        fill(es, name, DOCUMENTS)
        yield es, name
        es.indices.delete(index=name)


def fill(es: Elasticsearch, name: str, count: int) -> None:
    mappings = {
        "properties": {
            "text": {"type": "text"},
            "vector": {
                "type": "dense_vector",
                "dims": EMBEDDER.dims,
                "similarity": "cosine",
                "index_options": {"type": "flat"},
            },
            "group": {"type": "keyword"},
            "number": {"type": "integer"},
            "seen": {"type": "date"},
            "parts": {
                "type": "nested",
                "properties": {"word": {"type": "keyword"}, "place": {"type": "integer"}},
            },
        }
    }
    es.indices.create(
        index=name, mappings=mappings, settings={"number_of_shards": SHARDS, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number in range(count):
        operations += [{"index": {"_id": f"d{number}"}}, document(number)]
    assert not es.bulk(index=name, operations=operations, refresh=True)["errors"]


def document(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    words = draw.choices(WORDS, k=draw.randint(3, 12))
    text = " ".join(words)
    return {
        "text": text,
        "vector": EMBEDDER.embed([text])[0].tolist(),
        "group": GROUPS[number % 3],
        "number": number,
        "seen": f"2024-01-{1 + number % 28:02d}",
        "parts": [{"word": word, "place": place} for place, word in enumerate(words[:3])],
    }


@pytest.fixture
def client(corpus: tuple[Elasticsearch, str]) -> RerankClient:
    return RerankClient(corpus[0], reranker=WordOverlapReranker(), embedder=EMBEDDER)


@pytest.fixture
def name(corpus: tuple[Elasticsearch, str]) -> str:
    return corpus[1]


def standard(words: str, **more: Any) -> dict[str, Any]:
    return {"standard": {"query": {"match": {"text": words}}, **more}}


def knn(words: str, k: int = 40, **more: Any) -> dict[str, Any]:
    return {
        "knn": {
            "field": "vector",
            "query_vector": EMBEDDER.embed([words])[0].tolist(),
            "k": k,
            "num_candidates": 200,
            **more,
        }
    }


def rrf(*children: dict[str, Any], window: int = 50, constant: int = 60, **more: Any) -> dict[str, Any]:
    return {
        "rrf": {"retrievers": list(children), "rank_window_size": window, "rank_constant": constant, **more}
    }


def linear(*children: tuple[dict[str, Any], float, str], window: int = 50, **more: Any) -> dict[str, Any]:
    entries = [{"retriever": child, "weight": weight, "normalizer": how} for child, weight, how in children]
    return {"linear": {"retrievers": entries, "rank_window_size": window, **more}}


def reranker(child: dict[str, Any], words: str, window: int = 50, **more: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": words,
            "rank_window_size": window,
            **more,
        }
    }


def pairs(answer: Any) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


Scored = tuple[str, float, int]
"""A document's id, its score, and its place in its shard, which decides between equal scores."""


class ByHand:
    """The documented formulas over single searches, each sent by itself, in plain float64."""

    def __init__(self, es: Elasticsearch, pit: str) -> None:
        self.es, self.pit = es, pit

    def of(
        self, tree: dict[str, Any], window: int = 0, filters: Sequence[dict[str, Any]] = ()
    ) -> list[Scored]:
        ((kind, content),) = tree.items()
        own = content.get("filter", [])
        filters = [*filters, *(own if isinstance(own, list) else [own])]
        if kind in ("standard", "knn"):
            return self.leaf(kind, content, window, filters)
        size = content["rank_window_size"]
        entries = [entry if "retriever" in entry else {"retriever": entry} for entry in content["retrievers"]]
        totals: dict[str, float] = {}
        places: dict[str, int] = {}
        for entry in entries:
            found = self.below(entry["retriever"], size, filters)[:size]
            places |= {each: place for each, _, place in found}
            shares = (
                [1.0 / (content["rank_constant"] + rank) for rank in range(1, len(found) + 1)]
                if kind == "rrf"
                else self.normalised(found, entry)
            )
            for (each, _, _), share in zip(found, shares, strict=True):
                totals[each] = totals.get(each, 0.0) + entry.get("weight", 1.0) * share
        # Sums that differ only by rounding are equal.
        order = sorted(totals, key=lambda each: (-round(totals[each], 6), places[each]))
        return [(each, totals[each], places[each]) for each in order[:size]]

    def below(self, tree: dict[str, Any], window: int, filters: list[dict[str, Any]]) -> list[Scored]:
        return self.of(tree, window, filters)

    def leaf(
        self, kind: str, content: dict[str, Any], window: int, filters: list[dict[str, Any]]
    ) -> list[Scored]:
        if kind == "knn":
            body: dict[str, Any] = {
                "knn": {
                    **{key: value for key, value in content.items() if key != "filter"},
                    "filter": filters,
                }
            }
        else:
            body = {"query": {"bool": {"must": [content["query"]], "filter": filters}}}
        answer = self.es.search(
            body={**body, "size": window, "pit": {"id": self.pit}, "sort": ["_score", "_shard_doc"]}
        )
        # Elasticsearch has float32 scores and prints the shortest decimals that mean them.
        return [
            (hit["_id"], float(np.float32(hit["_score"])), hit["sort"][-1]) for hit in answer["hits"]["hits"]
        ]

    @staticmethod
    def normalised(found: list[Scored], entry: dict[str, Any]) -> list[float]:
        scores = [score for _, score, _ in found]
        how = entry.get("normalizer", "none")
        if how == "minmax" and scores:
            low, high = min(scores), max(scores)
            return [(score - low) / (high - low) if high - low >= 1e-6 else 1.0 for score in scores]
        if how == "l2_norm" and scores:
            norm = float(np.sqrt(sum(score * score for score in scores)))
            return [score / norm for score in scores]
        return scores


class RootByHand(ByHand):
    """The documented formulas over what the client answers for each child.

    Step by step, because minmax over close scores magnifies a child's rounding to float32 without bound.
    """

    def __init__(self, es: Elasticsearch, pit: str, client: RerankClient) -> None:
        super().__init__(es, pit)
        self.client = client

    def below(self, tree: dict[str, Any], window: int, filters: list[dict[str, Any]]) -> list[Scored]:
        ((kind, content),) = tree.items()
        if kind in ("standard", "knn"):
            return self.of(tree, window, filters)
        answer = self.client.search(
            body={
                "retriever": tree,
                "size": content["rank_window_size"],
                "pit": {"id": self.pit},
                "_source": False,
            }
        )
        return [(each, float(np.float32(score)), place) for place, (each, score) in enumerate(pairs(answer))]


RED = {"term": {"group": "red"}}
LATE = {"range": {"number": {"gte": 100}}}
JANUARY = {"range": {"seen": {"gte": "2024-01-05", "lt": "2024-01-20"}}}
PART = {
    "nested": {
        "path": "parts",
        "query": {
            "bool": {"filter": [{"term": {"parts.word": "king"}}, {"range": {"parts.place": {"lte": 1}}}]}
        },
    }
}
TREES = {
    "rrf": rrf(standard("treaty king"), knn("queen paper")),
    "rrf weighted": rrf(
        {"retriever": standard("treaty king"), "weight": 2.5},
        {"retriever": knn("queen paper"), "weight": 0.5},
        constant=1,
    ),
    "rrf filtered": rrf(
        standard("treaty king", filter=RED), knn("queen paper", filter=[LATE]), filter=JANUARY
    ),
    "rrf three": rrf(standard("moon"), standard("dog river"), knn("moon dog"), window=20),
    "linear": linear((standard("treaty king"), 2.0, "minmax"), (knn("queen paper"), 1.5, "minmax")),
    "linear none": linear((standard("treaty king"), 0.25, "none"), (knn("queen paper"), 4.0, "none")),
    "linear l2": linear(
        (standard("stone archive"), 1.0, "l2_norm"), (knn("stone"), 3.0, "l2_norm"), window=30
    ),
    "linear filtered": linear(
        (standard("treaty", filter=PART), 1.0, "minmax"), (knn("night", filter=RED), 1.0, "none"), filter=LATE
    ),
    "rrf in rrf": rrf(
        standard("rain"), rrf(standard("night moon"), knn("rain night"), constant=5), window=40, constant=1
    ),
    "linear in rrf, filtered": rrf(
        linear((standard("cheer"), 1.0, "minmax"), (knn("crowd"), 1.0, "minmax"), filter=RED),
        standard("crowd cheer"),
        filter=LATE,
    ),
    "rrf in linear": linear(
        (rrf(standard("sealed"), knn("signed sealed"), constant=3), 10.0, "minmax"),
        (standard("signed"), 1.0, "l2_norm"),
        window=25,
    ),
}


def against_hand(
    client: RerankClient, es: Elasticsearch, name: str, tree: dict[str, Any], *, step_by_step: bool = False
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return (id, score) of the whole window: ours and the hand calculation's, both of one point in time."""
    pit = es.open_point_in_time(index=name, keep_alive="1m")["id"]
    try:
        ((_, content),) = tree.items()
        answer = client.search(
            body={
                "retriever": tree,
                "size": content["rank_window_size"],
                "pit": {"id": pit},
                "_source": False,
            }
        )
        by_hand = RootByHand(es, pit, client) if step_by_step else ByHand(es, pit)
        return pairs(answer), [(each, score) for each, score, _ in by_hand.of(tree)]
    finally:
        es.close_point_in_time(id=pit)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_scores_equal_a_hand_calculation(
    client: RerankClient, corpus: tuple[Elasticsearch, str], tree: dict[str, Any]
) -> None:
    got, expected = against_hand(client, *corpus, tree)
    assert len(got) >= 10
    assert dict(got) == pytest.approx(dict(expected), abs=1e-6)
    assert [score for _, score in got] == pytest.approx([score for _, score in expected], abs=1e-6)


LEAVES = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda words: standard(" ".join(words))),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda words: knn(" ".join(words), k=30)),
)
RANDOM_TREES = st.recursive(
    LEAVES,
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=3).map(lambda found: rrf(*found, window=30, constant=7)),
        st.lists(
            st.tuples(children, st.floats(0.1, 5), st.sampled_from(["none", "minmax", "l2_norm"])),
            min_size=1,
            max_size=3,
        ).map(lambda found: linear(*found, window=30)),
    ),
    max_leaves=5,
).filter(lambda tree: next(iter(tree)) in ("rrf", "linear"))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
@given(tree=RANDOM_TREES)
def test_any_tree_of_fusions_sums_to_the_hand_calculation(
    client: RerankClient, corpus: tuple[Elasticsearch, str], tree: dict[str, Any]
) -> None:
    got, expected = against_hand(client, *corpus, tree, step_by_step=True)
    assert [score for _, score in got] == pytest.approx([score for _, score in expected], rel=1e-6, abs=1e-6)


# --- points in time and paging ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_reranker", [False, True], ids=["fused", "reranked"])
def test_pages_of_seven_join_to_one_of_a_hundred_while_others_write(
    client: RerankClient, es: Elasticsearch, index: str, with_reranker: bool
) -> None:
    fill(es, index, DOCUMENTS)
    tree = rrf(standard("treaty king queen moon"), knn("treaty king", k=100), window=100)
    tree = reranker(tree, "treaty king queen", window=100) if with_reranker else tree
    pit = es.open_point_in_time(index=index, keep_alive="1m")["id"]
    stop = threading.Event()
    writer = threading.Thread(target=_write, args=(es, index, stop))
    writer.start()
    try:
        body = {"retriever": tree, "pit": {"id": pit, "keep_alive": "1m"}, "_source": ["number"]}
        whole = client.search(body={**body, "size": 100})
        paged: list[dict[str, Any]] = []
        for offset in range(0, 105, 7):
            page = client.search(body={**body, "size": 7, "from": offset})
            assert page["pit_id"]
            paged += page["hits"]["hits"]
    finally:
        stop.set()
        writer.join()
        es.close_point_in_time(id=pit)
    assert len(whole["hits"]["hits"]) == 100
    assert [(hit["_id"], hit["_score"], hit["_source"]) for hit in paged] == [
        (hit["_id"], hit["_score"], hit["_source"]) for hit in whole["hits"]["hits"]
    ]
    assert len({hit["_id"] for hit in paged}) == 100
    assert es.count(index=index)["count"] != DOCUMENTS, "the writer wrote"


def _write(es: Elasticsearch, index: str, stop: threading.Event) -> None:
    number = 1000
    while not stop.is_set():
        es.index(index=index, id=f"d{number}", document=document(number % 7), refresh=True)
        es.options(ignore_status=404).delete(index=index, id=f"d{(number - 1000) * 3}", refresh=True)
        es.options(ignore_status=404).delete(index=index, id=f"d{(number - 1000) * 3 + 1}", refresh=True)
        number += 1


def test_a_compound_search_opens_one_point_in_time_and_closes_it(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    def open_contexts() -> int:
        stats = es.nodes.stats(metric="indices", index_metric="search")
        return sum(int(each["indices"]["search"]["open_contexts"]) for each in stats["nodes"].values())

    before = open_contexts()
    client.search(index=name, retriever=rrf(standard("moon"), knn("dog")))
    assert open_contexts() == before
    broken = RerankClient(es, reranker=Broken())
    with pytest.raises(RuntimeError, match="fell over"):
        broken.search(index=name, retriever=reranker(rrf(standard("moon"), knn("dog")), "moon"))
    assert open_contexts() == before
    with pytest.raises(ApiError):
        client.search(index=name, retriever=rrf(standard("moon"), {"standard": {"query": {"nonsense": {}}}}))
    assert open_contexts() == before


async def test_an_async_search_that_is_cancelled_leaves_no_point_in_time(
    node: Node, es: Elasticsearch, name: str
) -> None:
    class Slow(WordOverlapReranker):
        async def ascore(self, query: str, passages: Any, *, deadline: float | None = None) -> Any:
            began.set()
            await asyncio.Event().wait()

    def open_contexts() -> int:
        stats = es.nodes.stats(metric="indices", index_metric="search")
        return sum(int(each["indices"]["search"]["open_contexts"]) for each in stats["nodes"].values())

    began = asyncio.Event()
    before = open_contexts()
    async with AsyncElasticsearch(node.url) as inner:
        client = AsyncRerankClient(inner, reranker=Slow())
        task = asyncio.create_task(
            client.search(index=name, retriever=reranker(rrf(standard("moon"), knn("dog")), "moon"))
        )
        await began.wait()
        assert open_contexts() > before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert open_contexts() == before


def test_what_cannot_stand_beside_a_point_in_time_is_refused_in_elasticsearchs_words(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    pit = es.open_point_in_time(index=name, keep_alive="1m")["id"]
    body = {"retriever": rrf(standard("moon"), knn("dog")), "pit": {"id": pit}}
    plain = {"query": {"match_all": {}}, "pit": {"id": pit}}
    for more in ({"index": name}, {"routing": "x"}, {"preference": "_local"}, {"ignore_unavailable": True}):
        with pytest.raises(BadRequestError) as theirs:
            es.search(body=plain, **more)
        with pytest.raises(BadRequestError) as ours:
            client.search(body=body, **more)
        assert ours.value.body == theirs.value.body
    es.close_point_in_time(id=pit)
    with pytest.raises(NotFoundError, match="status_exception") as gone:
        client.search(body=body)
    assert "search_context_missing_exception" in str(gone.value.body["error"]["suppressed"])


def test_a_compound_retriever_without_an_index_is_refused_in_elasticsearchs_words(
    client: RerankClient, es: Elasticsearch
) -> None:
    rescore = {"window_size": 10, "query": {"rescore_query": {"match_all": {}}}}
    with pytest.raises(BadRequestError) as theirs:
        es.search(retriever={"rescorer": {"retriever": standard("moon"), "rescore": rescore}})
    for tree in (
        rrf(standard("moon"), knn("dog")),
        {"linear": {"query": "moon", "fields": ["word"], "normalizer": "minmax"}},
        {
            "text_similarity_reranker": {
                "retriever": standard("moon"),
                "field": "word",
                "inference_text": "x",
                "allow_rerank_failures": True,
            }
        },
    ):
        with pytest.raises(BadRequestError) as ours:
            client.search(retriever=tree)
        assert ours.value.body == theirs.value.body


def test_a_reranker_inside_a_callers_point_in_time_finds_its_passages(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    pit = es.open_point_in_time(index=name, keep_alive="1m")["id"]
    tree = {
        "text_similarity_reranker": {
            "retriever": standard("moon dog"),
            "field": "parts.word",
            "inference_text": "moon",
            "rank_window_size": 20,
        }
    }
    answer = client.search(body={"retriever": tree, "pit": {"id": pit}})
    es.close_point_in_time(id=pit)
    assert answer["hits"]["hits"][0]["fields"]["rerank.passage"][0]["text"] == "moon"


# --- few and small requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "requests"),
    [
        (rrf(standard("moon")), 2),
        (linear((knn("moon"), 1.0, "minmax")), 2),
        (rrf(standard("moon"), knn("dog")), 4),
        (reranker(standard("moon"), "moon"), 3),
        (reranker(knn("moon"), "moon"), 3),
        (reranker(reranker(standard("moon"), "moon"), "dog", window=20), 3),
        (reranker(rrf(standard("moon"), knn("dog")), "moon"), 6),
        (reranker(reranker(rrf(standard("moon"), knn("dog")), "moon"), "dog", window=20), 6),
        (rrf(knn("dog"), reranker(standard("moon"), "moon")), 5),
        (rrf(standard("moon"), rrf(standard("dog"), knn("dog")), knn("river")), 4),
        ({"pinned": {"ids": ["d1"], "retriever": standard("moon")}}, 4),
        (
            {
                "rescorer": {
                    "rescore": {"window_size": 20, "query": {"rescore_query": {"match": {"text": "dog"}}}},
                    "retriever": rrf(standard("moon")),
                }
            },
            3,
        ),
    ],
    ids=lambda value: (
        value
        if isinstance(value, int)
        else " ".join(key for key in str(value).replace("'", "").split() if key.endswith("{") or ":" in key)[
            :60
        ]
    ),
)
def test_requests_are_few(client: RerankClient, name: str, tree: dict[str, Any], requests: int) -> None:
    block = client.search(index=name, retriever=tree)["rerank"]
    assert block["requests"] == requests


def test_the_first_stage_carries_ids_and_scores_only(client: RerankClient, name: str) -> None:
    block = client.search(
        index=name,
        retriever=rrf(standard("moon dog river"), knn("dog", k=50), window=50),
        source=False,
        size=10,
    )["rerank"]
    assert block["bytes"] / 100 < 130, "bytes per hit of two windows of 50"


# --- the rest of the request --------------------------------------------------------------------------------

HYBRID = rrf(standard("treaty king"), knn("queen paper", k=15), window=30)


def union(es: Elasticsearch, name: str, **more: Any) -> Any:
    """What Elasticsearch gives for the union of the leaves: the query,
    and the documents that the kNN finds.
    """
    near = es.search(index=name, knn=knn("queen paper", k=15)["knn"], size=15, source=False)
    found = [hit["_id"] for hit in near["hits"]["hits"]]
    return es.search(
        index=name,
        query={"bool": {"should": [{"match": {"text": "treaty king"}}, {"ids": {"values": found}}]}},
        **more,
    )


AGGS = {
    "groups": {"terms": {"field": "group"}, "aggs": {"mean": {"avg": {"field": "number"}}}},
    "days": {"cardinality": {"field": "seen"}},
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["fused", "reranked"])
def test_aggregations_totals_and_highlights_are_those_of_the_union(
    client: RerankClient, es: Elasticsearch, name: str, wrapped: bool
) -> None:
    highlight: dict[str, Any] = {"fields": {"text": {}}}
    tree = reranker(HYBRID, "king", window=30) if wrapped else HYBRID
    answer = client.search(
        index=name, retriever=tree, size=30, aggs=AGGS, highlight=highlight, track_total_hits=True
    )
    expected = union(es, name, size=DOCUMENTS, aggs=AGGS, highlight=highlight, track_total_hits=True)
    assert answer["aggregations"] == expected["aggregations"]
    assert answer["hits"]["total"] == expected["hits"]["total"]
    shown = {hit["_id"]: hit.get("highlight") for hit in expected["hits"]["hits"]}
    assert len(answer["hits"]["hits"]) == 30
    assert all(hit.get("highlight") == shown[hit["_id"]] for hit in answer["hits"]["hits"])
    assert any("highlight" in hit for hit in answer["hits"]["hits"])


@pytest.mark.parametrize("limit", [True, False, 5, 10_000])
def test_totals_are_counted_as_far_as_asked(
    client: RerankClient, es: Elasticsearch, name: str, limit: Any
) -> None:
    ours = client.search(index=name, retriever=HYBRID, track_total_hits=limit, source=False)["hits"]
    theirs = union(es, name, track_total_hits=limit)["hits"]
    assert ours.get("total") == theirs.get("total")


def test_a_page_past_the_window_is_empty_and_still_counts(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    answer = client.search(index=name, retriever=HYBRID, from_=30, size=10, aggs=AGGS)
    assert answer["hits"]["hits"] == []
    assert answer["hits"]["max_score"] is None
    assert answer["aggregations"] == union(es, name, aggs=AGGS)["aggregations"]
    assert (
        ids(client.search(index=name, retriever=HYBRID, from_=25, size=10))
        == ids(client.search(index=name, retriever=HYBRID, size=30))[25:]
    )
    assert ids(client.search(index=name, retriever=HYBRID, size=0)) == []


def test_the_post_filter_narrows_hits_and_leaves_aggregations(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    whole = client.search(index=name, retriever=HYBRID, size=30, aggs=AGGS)
    answer = client.search(index=name, retriever=HYBRID, size=3, from_=1, post_filter=RED, aggs=AGGS)
    red = [hit["_id"] for hit in whole["hits"]["hits"] if hit["_source"]["group"] == "red"]
    assert ids(answer) == red[1:4]
    assert answer["aggregations"] == whole["aggregations"]
    assert answer["hits"]["total"]["value"] < whole["hits"]["total"]["value"]


def test_collapsing_keeps_the_best_of_each_group_of_the_ranked_window(
    client: RerankClient, name: str
) -> None:
    whole = client.search(index=name, retriever=HYBRID, size=30)["hits"]["hits"]
    inner = {"name": "others", "size": 2, "_source": ["number"]}
    answer = client.search(index=name, retriever=HYBRID, collapse={"field": "group", "inner_hits": inner})
    best: dict[str, list[dict[str, Any]]] = {}
    for hit in whole:
        best.setdefault(hit["_source"]["group"], []).append(hit)
    assert pairs(answer) == [(group[0]["_id"], group[0]["_score"]) for group in best.values()]
    for hit in answer["hits"]["hits"]:
        group = best[hit["fields"]["group"][0]]
        others = hit["inner_hits"]["others"]["hits"]
        assert [(each["_id"], each["_score"]) for each in others["hits"]] == [
            (each["_id"], each["_score"]) for each in group[:2]
        ]
        assert others["max_score"] == group[0]["_score"]


def test_inner_hits_of_a_leaf_are_computed_for_the_page_alone(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    nested = {
        "nested": {
            "path": "parts",
            "query": {"term": {"parts.word": "king"}},
            "inner_hits": {"name": "kings", "_source": ["parts.place"]},
        }
    }
    answer = client.search(
        index=name, retriever=rrf({"standard": {"query": nested}}, knn("queen")), size=20, source=False
    )
    alone = es.search(index=name, query=nested, size=DOCUMENTS)
    expected = {
        hit["_id"]: [each["_nested"] for each in hit["inner_hits"]["kings"]["hits"]["hits"]]
        for hit in alone["hits"]["hits"]
    }
    assert all("kings" in hit["inner_hits"] for hit in answer["hits"]["hits"])
    for hit in answer["hits"]["hits"]:
        assert [each["_nested"] for each in hit["inner_hits"]["kings"]["hits"]["hits"]] == expected.get(
            hit["_id"], []
        )


def test_what_is_fetched_of_a_hit_is_what_elasticsearch_fetches(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    fetch: dict[str, Any] = {
        "source": ["group"],
        "fields": ["number", {"field": "seen", "format": "epoch_millis"}],
        "docvalue_fields": ["number"],
        "version": True,
        "seq_no_primary_term": True,
    }
    answer = client.search(index=name, retriever=HYBRID, size=5, **fetch)
    plain = es.search(index=name, query={"ids": {"values": ids(answer)}}, size=5, **fetch)
    expected = {
        hit["_id"]: {key: value for key, value in hit.items() if key != "_score"}
        for hit in plain["hits"]["hits"]
    }
    assert {
        hit["_id"]: {key: value for key, value in hit.items() if key != "_score"}
        for hit in answer["hits"]["hits"]
    } == expected


def test_without_stored_fields_hits_have_no_ids_and_keep_their_scores(
    client: RerankClient, name: str
) -> None:
    whole = client.search(index=name, retriever=HYBRID, size=5, source=False)
    bare = client.search(index=name, retriever=HYBRID, size=5, stored_fields="_none_", source=False)
    assert [hit.get("_id") for hit in bare["hits"]["hits"]] == [None] * 5
    assert [hit["_score"] for hit in bare["hits"]["hits"]] == [hit["_score"] for hit in whole["hits"]["hits"]]


def test_names_of_leaves_and_compounds_are_among_the_matched_queries(client: RerankClient, name: str) -> None:
    tree = rrf(standard("treaty", _name="words"), knn("queen", k=5, _name="near"), _name="both")
    for hit in client.search(index=name, retriever=tree, size=50)["hits"]["hits"]:
        matched = hit["matched_queries"]
        assert "both" in matched
        assert ("words" in matched) == ("treaty" in hit["_source"]["text"].split())
        assert {"words", "near"} & set(matched)


def test_profile_and_suggest_come_from_elasticsearch(client: RerankClient, name: str) -> None:
    answer = client.search(
        index=name,
        retriever=HYBRID,
        profile=True,
        suggest={"word": {"text": "treety", "term": {"field": "text"}}},
    )
    assert len(answer["profile"]["shards"]) == SHARDS
    assert answer["suggest"]["word"][0]["options"][0]["text"] == "treaty"


def test_typed_keys_total_as_number_and_filter_path_shape_the_final_answer(
    client: RerankClient, name: str
) -> None:
    answer = client.search(
        index=name, retriever=HYBRID, aggs=AGGS, typed_keys=True, rest_total_hits_as_int=True
    )
    assert "sterms#groups" in answer["aggregations"]
    assert isinstance(answer["hits"]["total"], int)
    narrow = client.search(index=name, retriever=HYBRID, filter_path=["hits.hits._id", "rerank.status"])
    assert narrow.body == {
        "hits": {"hits": [{"_id": each} for each in ids(answer)]},
        "rerank": {"status": "fused"},
    }


def test_explain_says_how_each_stage_contributed(client: RerankClient, name: str) -> None:
    tree = reranker(
        rrf(standard("treaty king"), linear((knn("queen"), 2.0, "minmax"), (standard("moon"), 1.0, "none"))),
        "king",
        chunk_rescorer={"size": 1},
    )
    hits = client.search(index=name, retriever=tree, explain=True, size=20)["hits"]["hits"]
    assert all("_shard" in hit and "_node" in hit for hit in hits)
    for hit in hits:
        top = hit["_explanation"]
        assert top["value"] == hit["_score"]
        assert (
            "using inference endpoint: [.rerank-v1-elasticsearch] on document field: [text]"
            in top["description"]
        )
        assert "top [1] best chunks" in top["description"]
        (fused,) = top["details"]
        assert fused["description"].startswith(f"rrf score: [{fused['value']}] computed for initial ranks [")
        assert fused["value"] == hit["fields"]["rerank.first_stage_score"][0]
        ranks = [detail["value"] for detail in fused["details"]]
        assert fused["value"] == pytest.approx(sum(1 / (60 + rank) for rank in ranks if rank), abs=1e-6)
        for detail in fused["details"][1:]:
            if detail["value"]:
                weighted = detail["details"][0]
                assert weighted["value"] == pytest.approx(
                    sum(part["value"] for part in weighted["details"]), rel=1e-5
                )


def test_min_scores_cut_each_stage_and_the_totals(client: RerankClient, name: str) -> None:
    whole = client.search(
        index=name, retriever=linear((standard("treaty king moon"), 1.0, "minmax"), window=100), size=100
    )
    least = pairs(whole)[20][1]
    cut = client.search(
        index=name,
        retriever=linear((standard("treaty king moon"), 1.0, "minmax"), window=100, min_score=least),
        size=100,
        aggs=AGGS,
    )
    kept = [pair for pair in pairs(whole) if pair[1] >= least]
    assert pairs(cut) == kept
    assert cut["hits"]["total"]["value"] == len(kept)
    assert sum(bucket["doc_count"] for bucket in cut["aggregations"]["groups"]["buckets"]) == len(kept)
    beside = client.search(
        index=name,
        retriever=linear((standard("treaty king moon"), 1.0, "minmax"), window=100),
        size=100,
        min_score=least,
    )
    assert (pairs(beside), beside["hits"]["total"]["value"]) == (kept, len(kept))
    above = rrf(
        linear((standard("treaty king moon"), 1.0, "minmax"), window=100, min_score=least), window=100
    )
    assert [each for each, _ in pairs(client.search(index=name, retriever=above, size=100))] == [
        each for each, _ in kept
    ]


def test_several_indices_and_routed_documents_are_told_apart(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    mappings = {"properties": {"text": {"type": "text"}}}
    for each in (index, f"{index}-b"):
        es.indices.create(
            index=each, mappings=mappings, settings={"number_of_shards": 4, "number_of_replicas": 0}
        )
    for each, routing, text in (
        (index, "r1", "moon one"),
        (index, "r4", "moon two moon"),
        (f"{index}-b", None, "moon moon moon"),
    ):
        es.index(index=each, id="same", routing=routing, document={"text": text}, refresh=True)
    es.indices.update_aliases(actions=[{"add": {"index": f"{index}*", "alias": f"{index}-alias"}}])
    for where in (f"{index}*", [index, f"{index}-b"], f"{index}-alias"):
        tree = reranker(
            rrf(standard("moon"), {"standard": {"query": {"match_all": {}}}}, window=10), "two", window=10
        )
        hits = client.search(index=where, retriever=tree, size=10)["hits"]["hits"]
        assert sorted(hit["_source"]["text"] for hit in hits) == [
            "moon moon moon",
            "moon one",
            "moon two moon",
        ]
        assert hits[0]["_source"]["text"] == "moon two moon"
    routed = client.search(index=index, retriever=rrf(standard("moon"), {"standard": {}}), routing="r1")[
        "hits"
    ]["hits"]
    assert [hit["_routing"] for hit in routed if hit["_routing"] != "r1"] in ([], ["r4"]), (
        "r4 only if it shares a shard with r1"
    )
    assert client.search(
        index=f"{index},no-such-index",
        retriever=rrf(standard("moon"), {"standard": {}}),
        ignore_unavailable=True,
    )["hits"]["hits"]
    with pytest.raises(NotFoundError, match="no-such-index"):
        client.search(index=f"{index},no-such-index", retriever=rrf(standard("moon"), {"standard": {}}))
    assert client.search(
        index=index,
        retriever=rrf(standard("moon"), {"standard": {}}),
        preference="_local",
        search_type="dfs_query_then_fetch",
    )


def test_failing_leaves_are_named_together(client: RerankClient, name: str) -> None:
    bad = {"standard": {"query": {"range": {"number": {"gte": "many"}}}}}
    with pytest.raises(BadRequestError) as caught:
        client.search(index=name, retriever=rrf(standard("moon"), bad))
    error = caught.value.body["error"]
    assert (caught.value.status_code, error["type"]) == (400, "status_exception")
    assert error["reason"].startswith("[rrf] search failed - retrievers '[standard]' returned errors.")
    assert "number_format_exception" in str(error["suppressed"])


# --- pinned, rescored, native, licensed ---------------------------------------------------------------------


def test_pinned_documents_come_first_in_the_order_written(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    organic = ids(client.search(index=name, retriever=rrf(standard("moon")), size=10))
    pins = ["d7", organic[3], "absent", "d3"]
    answer = client.search(
        index=name, retriever={"pinned": {"ids": pins, "retriever": standard("moon")}}, size=10
    )
    assert ids(answer) == (["d7", organic[3], "d3"] + [each for each in organic if each not in pins])[:10]
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[:3] == [json_score(pinned_scores(4)[place]) for place in (0, 1, 3)]
    assert scores[3] < 100
    docs = {
        "pinned": {
            "docs": [{"_id": "d7", "_index": "elsewhere"}, {"_id": "d3", "_index": name}],
            "retriever": standard("moon", filter=RED),
        }
    }
    assert ids(client.search(index=name, retriever=docs, size=2))[0] == "d3"
    matching = {
        hit["_id"]
        for hit in es.search(index=name, query={"match": {"text": "moon"}}, size=DOCUMENTS)["hits"]["hits"]
    }
    assert answer["hits"]["total"]["value"] == len(matching | {"d7", "d3", organic[3]})


def test_a_rescorer_over_a_fusion_is_elasticsearchs_rescoring_of_that_window(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    rescore = {
        "window_size": 20,
        "query": {
            "rescore_query": {"match": {"text": "river"}},
            "query_weight": 2.0,
            "rescore_query_weight": 3.0,
        },
    }
    window = pairs(client.search(index=name, retriever=rrf(standard("treaty king"), knn("river")), size=50))
    answer = client.search(
        index=name,
        retriever={"rescorer": {"rescore": rescore, "retriever": rrf(standard("treaty king"), knn("river"))}},
        size=20,
    )
    rivers = {
        hit["_id"]: hit["_score"]
        for hit in es.search(index=name, query={"match": {"text": "river"}}, size=DOCUMENTS)["hits"]["hits"]
    }
    got = dict(pairs(answer))
    assert len(got) == 20
    assert set(got) <= {each for each, _ in window}
    for each, score in window:
        if each in got:
            assert got[each] == pytest.approx(2 * score + 3 * rivers.get(each, 0.0), rel=1e-5)


def test_a_rescorer_leaf_is_rescored_where_it_is_searched(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    rescore = {
        "window_size": 50,
        "query": {"rescore_query": {"match": {"text": "river"}}, "rescore_query_weight": 5.0},
    }
    rescorer = {"rescorer": {"rescore": rescore, "retriever": standard("treaty king", filter=RED)}}
    native = es.search(index=name, retriever=rescorer, size=20)
    ours = client.search(index=name, retriever=linear((rescorer, 1.0, "none"), window=50), size=20)
    assert pairs(ours) == pairs(native)
    assert client.search(index=name, retriever=rescorer, size=20).body["hits"] == native.body["hits"], (
        "a tree that Elasticsearch runs goes to it unchanged"
    )


def test_what_a_licensed_cluster_runs_goes_to_it_whole(es: Elasticsearch, name: str) -> None:
    licensed = RerankClient(es, reranker=WordOverlapReranker(), elasticsearch_runs=["rrf", "linear"])
    with pytest.raises(BadRequestError, match=r"unknown retriever \[rrf\]") as caught:
        licensed.search(index=name, retriever=rrf(standard("moon"), knn("dog")))
    assert not isinstance(caught.value, RequestError), "this is the node's own word: it has no rrf"
    with pytest.raises(BadRequestError, match=r"unknown retriever \[rrf\]"):
        licensed.search(index=name, retriever=reranker(rrf(standard("moon"), knn("dog")), "moon"))
    mixed = licensed.search(index=name, retriever=rrf(knn("dog"), reranker(standard("moon"), "moon")))
    assert mixed["rerank"]["status"] == "reranked", "a fusion over one of ours is run here"
    with pytest.raises(RequestError, match="elasticsearch_runs names"):
        RerankClient(es, elasticsearch_runs=["standard"])


def test_rule_and_diversify_are_refused_over_ours_and_sent_whole_under_it(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    rule = {"rule": {"ruleset_ids": ["r"], "match_criteria": {"q": "x"}, "retriever": rrf(standard("moon"))}}
    with pytest.raises(
        RetrieverParsingError, match=r"\[rule\] is run by Elasticsearch alone.*\[rrf\] is run here"
    ):
        client.search(index=name, retriever=rule)
    native = {"diversify": {"type": "mmr", "field": "vector", "lambda": 0.5, "retriever": standard("moon")}}
    diverse = set(ids(es.search(index=name, retriever=native)))
    answer = client.search(index=name, retriever=reranker(native, "moon", window=10), size=10)
    assert set(ids(answer)) == diverse
    assert answer["rerank"]["status"] == "reranked"
    with pytest.raises(BadRequestError, match=r"unknown retriever \[rule\]") as caught:
        client.search(
            index=name, retriever=reranker({"rule": {**rule["rule"], "retriever": standard("moon")}}, "moon")
        )
    assert not isinstance(caught.value, RequestError), "this is the node's own word: it has no rule"


# --- rerankers inside fusions -------------------------------------------------------------------------------


def test_a_reranker_inside_a_fusion_gives_its_order(client: RerankClient, name: str) -> None:
    alone = ids(
        client.search(index=name, retriever=reranker(standard("moon dog"), "moon dog", window=30), size=30)
    )
    fused = client.search(
        index=name, retriever=rrf(reranker(standard("moon dog"), "moon dog", window=30), window=30), size=30
    )
    assert ids(fused) == alone
    assert all(hit["fields"]["rerank.logit"] for hit in fused["hits"]["hits"])
    assert fused["rerank"]["model"] == "word-overlap"
    both = client.search(
        index=name,
        retriever=rrf(knn("river"), reranker(standard("moon dog"), "moon dog", window=30), window=30),
        size=30,
    )
    told = {hit["_id"]: "rerank.logit" in hit.get("fields", {}) for hit in both["hits"]["hits"]}
    assert set(told.values()) == {True, False}


def test_a_reranker_that_fails_inside_a_fusion_leaves_its_first_stage_marked(
    es: Elasticsearch, name: str
) -> None:
    broken = RerankClient(
        es, reranker={"good": WordOverlapReranker(), "bad": Broken(), "late": Late(reached=3)}
    )
    failing = reranker(
        standard("moon dog"), "moon", window=30, inference_id="bad", allow_rerank_failures=True
    )
    answer = broken.search(index=name, retriever=rrf(failing, window=30), size=30)
    assert ids(answer) == ids(
        broken.search(index=name, retriever=rrf(standard("moon dog"), window=30), size=30)
    )
    assert (answer["rerank"]["status"], "fell over" in answer["rerank"]["reason"]) == ("first_stage", True)
    mixed = broken.search(
        index=name,
        retriever=rrf(
            failing, reranker(standard("river"), "river", window=30, inference_id="good"), window=30
        ),
    )
    assert mixed["rerank"]["status"] == "partial"
    late = reranker(standard("moon dog"), "moon", window=30, inference_id="late", allow_rerank_failures=True)
    assert (
        broken.search(index=name, retriever=linear((late, 1.0, "minmax"), window=30))["rerank"]["status"]
        == "partial"
    )


def test_chunk_rescorer_reads_the_nearest_chunks_of_a_plain_field(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    es.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}}})
    filler = " ".join(f"Sentence number {i} says nothing of interest." for i in range(60))
    for number, needle in enumerate(
        ("The king signed the treaty at night.", "A dog barks.", "The moon is far.")
    ):
        es.index(index=index, id=str(number), document={"text": f"{filler} {needle} {filler}"}, refresh=True)
    chunks = {
        "size": 1,
        "chunking_settings": {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 0},
    }
    tree = reranker({"standard": {}}, "king signed treaty", window=10, chunk_rescorer=chunks)
    first, *others = client.search(index=index, retriever=tree)["hits"]["hits"]
    passage = first["fields"]["rerank.passage"][0]
    assert first["_id"] == "0"
    assert "The king signed the treaty at night." in passage["text"]
    assert first["_source"]["text"][passage["start"] : passage["end"]] == passage["text"]
    assert len(passage["text"].split()) <= 20
    assert all(hit["_score"] < first["_score"] for hit in others)
    with pytest.raises(
        RequestError, match=r"\[chunking_settings\] \[max_chunk_size\].*greater than or equal to 20"
    ):
        client.search(
            index=index,
            retriever=reranker(
                {"standard": {}}, "x", window=10, chunk_rescorer={"chunking_settings": {"max_chunk_size": 5}}
            ),
        )


# --- multi-field --------------------------------------------------------------------------------------------


def test_a_query_over_fields_is_the_fusion_of_its_groups(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    answer = client.search(
        index=name, retriever={"rrf": {"query": "treaty king", "fields": ["text", "group"]}}
    )
    match = {"multi_match": {"query": "treaty king", "type": "most_fields", "fields": ["text", "group"]}}
    assert ids(answer) == ids(
        client.search(index=name, retriever=rrf({"standard": {"query": match}}, window=10))
    )
    everything = client.search(index=name, retriever={"linear": {"query": "treaty", "normalizer": "minmax"}})
    assert ids(everything) == ids(
        es.search(
            index=name, query={"multi_match": {"query": "treaty", "type": "most_fields", "fields": ["*"]}}
        )
    )
    boosted = client.search(
        index=name,
        retriever={"linear": {"query": "treaty red", "fields": ["text^2", "group^9"], "normalizer": "none"}},
    )
    query = {"multi_match": {"query": "treaty red", "type": "most_fields", "fields": ["text^2", "group^9"]}}
    assert pairs(boosted) == pairs(es.search(index=name, query=query))


# --- errors are theirs and ours -----------------------------------------------------------------------------


def test_an_error_is_caught_as_theirs_and_as_ours(client: RerankClient, name: str) -> None:
    with pytest.raises(RetrieverParsingError) as ours:
        client.search(index=name, retriever={"rrf": {"retrievers": [standard("x")], "rank_windw_size": 3}})
    assert isinstance(ours.value, BadRequestError)
    error: Any = ours.value
    assert (error.status_code, error.error) == (400, "x_content_parse_exception")
    assert (
        error.body["error"]["reason"]
        == str(error)
        == "[retriever.rrf] [rrf] unknown field [rank_windw_size] did you mean [rank_window_size]?"
    )
    assert error.path == "retriever.rrf"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.body, again.path) == (type(error), error.body, error.path)
    with pytest.raises(
        InvalidSearchError, match=r"1: \[rrf\] requires.*;2: cannot specify \[retriever\] and \[sort\];"
    ):
        client.search(index=name, retriever=rrf(standard("x"), window=5), sort=["_doc"], size=6)
    with pytest.raises(NotFoundError, match="is not served here"):
        client.search(index=name, retriever=reranker(standard("x"), "x", inference_id="none-such"))
    with pytest.raises(InvalidSearchError, match=r"cannot specify \[rrf\] and \[scroll\]"):
        client.search(index=name, retriever=rrf(standard("x")), scroll="1m")


# --- msearch and the async twin -----------------------------------------------------------------------------


def test_msearch_answers_in_order_ours_theirs_and_errors(
    client: RerankClient, es: Elasticsearch, name: str
) -> None:
    searches: list[dict[str, Any]] = [
        {"index": name},
        {"query": {"match": {"text": "moon"}}, "size": 3},
        {},
        {"retriever": HYBRID, "size": 3},
        {"index": name},
        {"retriever": {"rrf": {"retrievers": []}}},
        {"index": "no-such-index"},
        {"retriever": rrf(standard("moon"), knn("dog"))},
        {},
        {"retriever": standard("moon"), "size": 1},
    ]
    answers = client.msearch(searches=searches, index=name)["responses"]
    assert ids(answers[0]) == ids(es.search(index=name, query={"match": {"text": "moon"}}, size=3))
    assert ids(answers[1]) == ids(client.search(index=name, retriever=HYBRID, size=3))
    assert (answers[2]["status"], answers[2]["error"]["type"]) == (400, "action_request_validation_exception")
    assert (answers[3]["status"], answers[3]["error"]["type"]) == (404, "index_not_found_exception")
    assert len(ids(answers[4])) == 1
    assert [answer["status"] for answer in answers] == [200, 200, 400, 404, 200]


async def test_the_async_client_answers_the_same(client: RerankClient, node: Node, name: str) -> None:
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=WordOverlapReranker(), embedder=EMBEDDER)
        for tree in (*TREES.values(), reranker(HYBRID, "king", window=30)):
            assert (await twin.search(index=name, retriever=tree)).body["hits"] == client.search(
                index=name, retriever=tree
            ).body["hits"]
        searches: list[dict[str, Any]] = [
            {},
            {"retriever": HYBRID},
            {},
            {"query": {"match_all": {}}},
            {},
            {"retriever": {"rrf": {"fields": ["x"]}}},
        ]
        theirs = (await twin.msearch(searches=searches, index=name))["responses"]
        ours = client.msearch(searches=searches, index=name)["responses"]
        assert [answer.get("hits") for answer in theirs] == [answer.get("hits") for answer in ours]
        assert theirs[2]["error"] == ours[2]["error"]
        with pytest.raises(RetrieverParsingError):
            await twin.search(index=name, retriever={"rrf": {"retriever": {}}})


# --- beside Elasticsearch's own compound retriever ----------------------------------------------------------

RESCORE = {
    "window_size": 40,
    "query": {"rescore_query": {"match": {"text": "river"}}, "rescore_query_weight": 2.0},
}
NATIVE = {"rescorer": {"rescore": RESCORE, "retriever": standard("treaty king moon", _name="words")}}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "page": {"from_": 7, "size": 5},
    "past the window": {"from_": 40},
    "nothing": {"size": 0, "aggs": AGGS},
    "aggregations": {"aggs": AGGS, "size": 3},
    "post filter": {"post_filter": RED, "size": 4, "from_": 2},
    "post filter and aggregations": {"post_filter": LATE, "aggs": AGGS, "track_total_hits": True, "size": 5},
    "collapse": {
        "collapse": {"field": "group", "inner_hits": {"name": "others", "size": 3, "_source": False}},
        "source": False,
    },
    "collapse by number": {"collapse": {"field": "number"}, "size": 20, "source": False},
    "totals up to three": {"track_total_hits": 3},
    "no totals": {"track_total_hits": False},
    "least score": {"min_score": 1.5},
    "highlight": {"highlight": {"fields": {"text": {"number_of_fragments": 1}}}},
    "fetch": {
        "fields": ["seen", "number"],
        "docvalue_fields": ["group"],
        "version": True,
        "seq_no_primary_term": True,
        "source": ["text"],
    },
    "no ids": {"stored_fields": "_none_", "source": False},
    "runtime field": {"runtime_mappings": {"extra": {"type": "keyword"}}, "fields": ["extra"]},
    "suggest": {"suggest": {"s": {"text": "kingg", "term": {"field": "text"}}}, "size": 1},
    "typed": {"aggs": AGGS, "typed_keys": True, "rest_total_hits_as_int": True},
    "filtered path": {"filter_path": ["hits.hits._id", "hits.total"]},
    "routed": {"routing": "d1"},
    "preferred shards": {"preference": "_local"},
    "boosted index": {"indices_boost": [{"compound-corpus": 3.0}]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_all_else_of_a_response_is_what_elasticsearchs_own_compound_retriever_gives(
    client: RerankClient, es: Elasticsearch, name: str, options: dict[str, Any]
) -> None:
    """A fusion of one list with weight one has its scores; all that surrounds them must then be equal, too.

    Two things differ: ``search_type=dfs_query_then_fetch`` reaches our leaves, while Elasticsearch leaves it
    out there; and a page that a post-filter or collapsing leaves short is not filled up from outside the
    window, with scores of 0.
    """
    theirs = es.search(index=name, retriever=NATIVE, **options).body
    ours = client.search(index=name, retriever=linear((NATIVE, 1.0, "none"), window=40), **options).body
    for answer in (theirs, ours):
        answer.pop("took", None)
        answer.pop("rerank", None)
        for hit in answer.get("hits", {}).get("hits", []):
            hit.pop("sort", None)
    assert ours == theirs

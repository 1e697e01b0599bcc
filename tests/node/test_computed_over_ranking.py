"""What Elasticsearch computes over a ranking is what it computes over the ranking of its own retriever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from corpus import EMBEDDER, Broken
from elasticsearch import Elasticsearch
from over_ranking import SHARDS, WINDOW, Body, filled, knn, ours, reranked, rescored, standard

from es_rerank import RerankClient
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

NAME = "computed-over-ranking"


@pytest.fixture(scope="module")
def es(node: Node) -> Iterator[Elasticsearch]:
    with filled(node.url, NAME) as client:
        yield client


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")


WORDY = rescored(standard("treaty king moon", _name="words"))
FILTERED = rescored(
    standard("treaty king", filter={"match": {"text": "moon"}}), filter={"match": {"title": "king"}}
)
NEAR = rescored(knn("queen moon", filter={"match": {"text": "paper"}}, _name="near"))
TREES = {"words": WORDY, "filtered words": FILTERED, "vectors": NEAR}

BEST: Body = {"top_hits": {"size": 4, "_source": False}}
LATE: Body = {"range": {"number": {"gte": 20}}}
COMPUTED: dict[str, Body] = {
    "best hits": {"aggs": {"best": BEST}},
    "best hits of each group": {"aggs": {"groups": {"terms": {"field": "group"}, "aggs": {"best": BEST}}}},
    "best hits at the edge of the window": {"aggs": {"best": {"top_hits": {"from": 20, "size": 30}}}},
    "best hits by score and number": {
        "aggs": {"best": {"top_hits": {"size": 50, "sort": ["_score", {"number": "desc"}], "_source": False}}}
    },
    "best hits by number": {
        "aggs": {
            "best": {"top_hits": {"sort": [{"number": "desc"}, "_doc"], "track_scores": True, "size": 5}}
        }
    },
    "best hits under a least score": {"aggs": {"best": {"top_hits": {"size": 50}}}, "min_score": 1.5},
    "best hits of a page": {"aggs": {"best": BEST}, "from": 3, "size": 2},
    "best hits without a page": {"aggs": {"best": BEST}, "size": 0, "track_total_hits": 7},
    "best hits beside a filter of the page": {"aggs": {"best": BEST}, "post_filter": LATE, "size": 2},
    "best hits of everything": {"aggs": {"all": {"global": {}, "aggs": {"best": BEST}}}},
    "marked best hits": {
        "aggs": {"best": {"top_hits": {"size": 4, "highlight": {"type": "plain", "fields": {"text": {}}}}}}
    },
    "a sample": {
        "aggs": {"s": {"sampler": {"shard_size": 3}, "aggs": {"n": {"stats": {"field": "number"}}}}}
    },
    "a sample beside a short page": {
        "aggs": {"s": {"sampler": {"shard_size": 9}, "aggs": {"n": {"stats": {"field": "number"}}}}},
        "size": 1,
    },
    "words of a sample": {
        "aggs": {
            "s": {
                "sampler": {"shard_size": 5},
                "aggs": {"w": {"significant_text": {"field": "text", "min_doc_count": 1}}},
            }
        }
    },
    "a diversified sample": {
        "aggs": {
            "s": {
                "diversified_sampler": {"field": "group", "max_docs_per_value": 2, "shard_size": 4},
                "aggs": {"n": {"terms": {"field": "number"}}},
            }
        }
    },
    "typed names": {"aggs": {"best": BEST, "n": {"max": {"field": "number"}}}},
    "aggregations that read no score": {
        "aggs": {"groups": {"terms": {"field": "group"}, "aggs": {"n": {"avg": {"field": "number"}}}}}
    },
}
SHOWN: dict[str, Body] = {
    "plain": {"highlight": {"type": "plain", "fields": {"text": {}, "title": {}}}},
    "unified": {"highlight": {"fields": {"text": {}, "title": {"number_of_fragments": 0}}}},
    "any field": {
        "highlight": {"require_field_match": False, "fields": {"title": {}, "text": {"type": "plain"}}}
    },
    "another query": {
        "highlight": {"type": "plain", "highlight_query": {"match": {"text": "dog"}}, "fields": {"text": {}}}
    },
    "another query for a field": {
        "highlight": {
            "fields": [
                {"text": {"highlight_query": {"match": {"text": "dog"}}}},
                {"title": {"type": "plain"}},
            ]
        }
    },
    "fields together": {
        "highlight": {"fields": {"text": {"matched_fields": ["text", "text.plain"], "type": "unified"}}}
    },
    "no total and names": {"track_total_hits": False},
    "scores of names": {"include_named_queries_score": True},
    "groups in order": {
        "collapse": {"field": "group", "inner_hits": {"name": "g", "size": 30, "_source": False}},
        "size": 3,
    },
    "groups by score and number": {
        "collapse": {
            "field": "group",
            "inner_hits": {
                "name": "g",
                "size": 80,
                "sort": [{"_score": "desc"}, {"number": "desc"}],
                "_source": False,
            },
        },
        "size": 3,
    },
    "groups in two orders": {
        "collapse": {
            "field": "rare",
            "inner_hits": [
                {"name": "worst", "size": 40, "sort": {"_score": "asc"}, "_source": False},
                {"name": "first", "sort": ["number"], "track_scores": True},
            ],
        },
        "size": 5,
    },
    "marked groups": {
        "collapse": {
            "field": "group",
            "inner_hits": {"name": "g", "highlight": {"type": "plain", "fields": {"text": {}}}},
        },
        "size": 3,
    },
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("asked", [*COMPUTED.values(), *SHOWN.values()], ids=[*COMPUTED, *SHOWN])
def test_it_is_what_elasticsearch_computes_over_its_own_ranking(
    client: RerankClient, es: Elasticsearch, tree: Body, asked: Body
) -> None:
    options = (
        {"include_named_queries_score": asked["include_named_queries_score"]}
        if ("include_named_queries_score" in asked)
        else {"typed_keys": "n" in asked.get("aggs", {})}
    )
    body = {key: value for key, value in asked.items() if key != "include_named_queries_score"}
    theirs = es.search(index=NAME, body={**body, "retriever": tree}, **options).body
    answer = client.search(index=NAME, body={**body, "retriever": ours(tree)}, **options).body
    for each in (theirs, answer):
        each.pop("took")
        for hit in each["hits"]["hits"]:
            hit.pop("sort", None)
    assert answer.pop("rerank")["status"] == "fused"
    assert answer == theirs


def test_the_best_score_is_that_of_the_hits_that_a_filter_leaves(
    client: RerankClient, es: Elasticsearch
) -> None:
    first = es.search(index=NAME, retriever=WORDY, size=1)["hits"]["hits"][0]
    others = {"bool": {"must_not": {"ids": {"values": [first["_id"]]}}}}
    theirs = es.search(index=NAME, retriever=WORDY, post_filter=others, size=2)["hits"]
    answer = client.search(index=NAME, retriever=ours(WORDY), post_filter=others, size=2)["hits"]
    assert answer == theirs
    assert answer["max_score"] < first["_score"]


def test_best_hits_have_the_scores_of_the_reranker(client: RerankClient) -> None:
    tree = reranked(
        {"rrf": {"rank_window_size": WINDOW, "retrievers": [standard("treaty king"), knn("moon")]}}
    )
    aggs = {
        "all": {"terms": {"field": "group"}, "aggs": {"best": {"top_hits": {"size": 100, "_source": False}}}}
    }
    answer = client.search(index=NAME, body={"retriever": tree, "size": 5, "aggs": aggs})
    page = client.search(index=NAME, body={"retriever": tree})["hits"]["hits"]
    expected = {hit["_id"]: hit["_score"] for hit in page}
    assert len(expected) == WINDOW
    found = [
        hit for bucket in answer["aggregations"]["all"]["buckets"] for hit in bucket["best"]["hits"]["hits"]
    ]
    assert len(found) == answer["hits"]["total"]["value"] > WINDOW
    assert {hit["_id"]: hit["_score"] for hit in found if hit["_score"]} == expected
    assert {hit["_score"] for hit in found if hit["_id"] not in expected} == {0.0}
    for bucket in answer["aggregations"]["all"]["buckets"]:
        scores = [hit["_score"] for hit in bucket["best"]["hits"]["hits"]]
        assert scores == sorted(scores, reverse=True)
        assert bucket["best"]["hits"]["max_score"] == scores[0]


def test_documents_without_a_score_stay_in_order_in_what_is_computed(es: Elasticsearch) -> None:
    client = RerankClient(es, reranker=Broken(), embedder=EMBEDDER, plugin="never")
    child = {
        "standard": {"query": {"match": {"text": "king"}}, "sort": [{"number": "desc"}, {"_doc": "asc"}]}
    }
    tree = reranked(child, allow_rerank_failures=True)
    aggs = {
        "best": {"top_hits": {"size": 60, "_source": False}},
        "s": {"sampler": {"shard_size": 1}, "aggs": {"n": {"max": {"field": "number"}}}},
    }
    answer = client.search(index=NAME, body={"retriever": tree, "aggs": aggs, "size": WINDOW})
    page = [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]
    assert {score for _, score in page} == {None}
    best = answer["aggregations"]["best"]["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in best["hits"]][:WINDOW] == page
    assert {hit["_score"] for hit in best["hits"][WINDOW:]} == {0.0}
    assert best["max_score"] is None
    assert answer["aggregations"]["s"]["doc_count"] == SHARDS


def test_only_what_reads_scores_costs_a_request(client: RerankClient) -> None:
    tree = ours(WORDY)
    plain = client.search(index=NAME, retriever=tree)["rerank"]["requests"]
    for name, asked in COMPUTED.items():
        more = 0 if name == "aggregations that read no score" else 1
        assert (
            client.search(index=NAME, body={**asked, "retriever": tree})["rerank"]["requests"] == plain + more
        )
    by_score = SHOWN["groups by score and number"]
    assert client.search(index=NAME, body={**by_score, "retriever": tree})["rerank"]["requests"] == plain + 1

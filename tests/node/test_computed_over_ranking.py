"""What Elasticsearch computes over a ranking is what it computes over the ranking of its own retriever."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from corpus import EMBEDDER, Broken
from elasticsearch import ApiError, Elasticsearch

from es_rerank import RerankClient
from es_rerank.errors import InvalidSearchError
from es_rerank.node import Node
from es_rerank.testing import WordOverlapReranker

NAME = "computed-over-ranking"
WORDS = ("treaty", "king", "queen", "paper", "moon", "dog", "river", "stone", "archive", "crowd", "cheer")
SHARDS, DOCUMENTS, WINDOW = 3, 240, 40

Body = dict[str, Any]


@pytest.fixture(scope="module")
def es(node: Node) -> Iterator[Elasticsearch]:
    """A client, and an index of 240 documents of random words on three shards."""
    with Elasticsearch(node.url, request_timeout=60) as client:
        client.options(ignore_status=404).indices.delete(index=NAME)
        client.indices.create(
            index=NAME,
            mappings={
                "properties": {
                    "text": {
                        "type": "text",
                        "term_vector": "with_positions_offsets",
                        "fields": {"plain": {"type": "text", "analyzer": "simple"}},
                    },
                    "title": {"type": "text", "term_vector": "with_positions_offsets"},
                    "vector": {
                        "type": "dense_vector",
                        "dims": EMBEDDER.dims,
                        "similarity": "cosine",
                        "index_options": {"type": "flat"},
                    },
                    "group": {"type": "keyword"},
                    "rare": {"type": "integer"},
                    "number": {"type": "integer"},
                }
            },
            settings={"number_of_shards": SHARDS, "number_of_replicas": 0},
        )
        operations: list[Body] = []
        for number in range(DOCUMENTS):
            operations += [{"index": {"_id": f"d{number}"}}, document(number)]
        assert not client.bulk(index=NAME, operations=operations, refresh=True)["errors"]
        yield client
        client.indices.delete(index=NAME)


def document(number: int) -> Body:
    words = random.Random(number).choices(WORDS, k=3 + number % 9)
    text = " ".join(words)
    return {
        "text": text,
        "title": " ".join(words[:2]),
        "vector": EMBEDDER.embed([text])[0].tolist(),
        "group": ("red", "green", "blue")[number % 3],
        "number": number % 40,
        **({"rare": number % 7} if number % 2 else {}),
    }


@pytest.fixture
def client(es: Elasticsearch) -> RerankClient:
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER, plugin="never")


def standard(words: str, **more: Any) -> Body:
    return {"standard": {"query": {"match": {"text": words}}, **more}}


def knn(words: str, **more: Any) -> Body:
    vector = EMBEDDER.embed([words])[0].tolist()
    return {"knn": {"field": "vector", "k": 30, "num_candidates": 60, "query_vector": vector, **more}}


def rescored(child: Body, **more: Any) -> Body:
    """A retriever that Elasticsearch runs on any licence, and that ranks its documents as ours do."""
    rescore = {"window_size": WINDOW, "query": {"rescore_query": {"match": {"text": "river"}}}}
    return {"rescorer": {"rescore": rescore, "retriever": child, **more}}


def ours(native: Body) -> Body:
    """A tree that es-rerank runs, with the scores of ``native``. Its second leaf finds nothing."""
    children = [
        {"retriever": native, "weight": 1.0, "normalizer": "none"},
        {"retriever": standard("nothing")},
    ]
    return {"linear": {"rank_window_size": WINDOW, "retrievers": children}}


def reranked(child: Body, words: str = "king moon", **more: Any) -> Body:
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": words,
            "rank_window_size": WINDOW,
            **more,
        }
    }


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


FAST = {
    "fast vectors": {"type": "fvh", "fields": {"text": {}, "title": {}}},
    "ordered by score": {"order": "score", "fields": {"text": {"type": "fvh", "fragment_size": 20}}},
    "fields together": {
        "type": "fvh",
        "fields": {"text": {"matched_fields": ["text", "text.plain"], "require_field_match": False}},
    },
    "plain": {"type": "plain", "fields": {"text": {"fragment_size": 20}}},
}


@pytest.mark.parametrize("highlight", FAST.values(), ids=FAST)
def test_every_highlighter_marks_what_the_leaves_ask_for(
    client: RerankClient, es: Elasticsearch, highlight: Body
) -> None:
    """Elasticsearch's own compound retriever marks nothing by fast vectors; the same queries in a ``bool``
    query are marked.
    """
    near = knn("queen moon", filter={"match": {"text": "paper"}})
    leaves = [standard("treaty king", filter={"match": {"text": "moon"}}), standard("dog"), near]
    tree = reranked({"rrf": {"rank_window_size": WINDOW, "retrievers": leaves}})
    best = {"top_hits": {"size": 5, "highlight": highlight}}
    answer = client.search(index=NAME, retriever=tree, highlight=highlight, aggs={"best": best})
    should = [
        {
            "bool": {
                "must": {"match": {"text": "treaty king"}},
                "filter": {"match": {"text": "moon"}},
            }
        },
        {"match": {"text": "dog"}},
        {"match": {"text": "paper"}},
    ]
    expected = es.search(index=NAME, query={"bool": {"should": should}}, highlight=highlight, size=DOCUMENTS)
    marked = {hit["_id"]: hit.get("highlight") for hit in expected["hits"]["hits"]}
    hits = answer["hits"]["hits"]
    assert {hit["_id"]: hit.get("highlight") for hit in hits} == {
        hit["_id"]: marked[hit["_id"]] for hit in hits
    }
    assert sum("highlight" in hit for hit in hits) > WINDOW / 2
    for hit in answer["aggregations"]["best"]["hits"]["hits"]:
        assert hit["highlight"] == marked[hit["_id"]]


def test_ids_are_no_words_to_mark(client: RerankClient, es: Elasticsearch) -> None:
    text = "king moon king"
    vector = EMBEDDER.embed([text])[0].tolist()
    es.index(index=NAME, id="king", document=document(7) | {"text": text, "vector": vector}, refresh=True)
    try:
        tree = reranked(knn(text))
        highlight: Body = {"require_field_match": False, "fields": {"text": {"type": "plain"}}}
        hits = client.search(index=NAME, retriever=tree, highlight=highlight)["hits"]["hits"]
        assert "king" in {hit["_id"] for hit in hits}
        assert not any("highlight" in hit for hit in hits)
    finally:
        es.delete(index=NAME, id="king", refresh=True)


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


@pytest.mark.parametrize("said", [True, "true"])
def test_nothing_explains_a_request_of_our_own(client: RerankClient, said: Any) -> None:
    tree = reranked(
        {"rrf": {"retrievers": [standard("treaty king"), standard("moon")], "rank_window_size": WINDOW}}
    )
    body = {
        "retriever": tree,
        "explain": said,
        "aggs": {
            "groups": {
                "terms": {"field": "group"},
                "aggs": {"best": {"top_hits": {"size": 99, "explain": said, "_source": False}}},
            }
        },
        "collapse": {
            "field": "group",
            "inner_hits": [
                {"name": "ranked", "size": 99, "explain": said, "_source": False},
                {
                    "name": "sorted",
                    "size": 99,
                    "explain": said,
                    "sort": ["_score", "number"],
                    "_source": False,
                },
            ],
        },
    }
    answer = client.search(index=NAME, body=body)
    page = answer["hits"]["hits"]
    best = [
        hit
        for bucket in answer["aggregations"]["groups"]["buckets"]
        for hit in bucket["best"]["hits"]["hits"]
    ]
    groups = [
        hit
        for top in page
        for name in ("ranked", "sorted")
        for hit in top["inner_hits"][name]["hits"]["hits"]
    ]
    assert len(page) == 3
    assert len(best) * 2 == len(groups) > 3 * WINDOW
    for hit in (*page, *best, *groups):
        explained = hit["_explanation"]
        assert explained["value"] == hit["_score"]
        if hit["_score"]:
            assert explained["description"].startswith(
                "text_similarity_reranker match using inference endpoint"
            )
            assert explained["details"][0]["description"].startswith("rrf score: [")
        else:
            assert explained["description"] == f"doc not found in top {WINDOW} rank docs"
        assert "ConstantScore" not in str(explained)


def test_explain_as_an_argument_explains_the_ranking(client: RerankClient) -> None:
    for said in (True, "true"):
        answer = client.search(index=NAME, retriever=reranked(standard("king")), explain=said, size=2)
        for hit in answer["hits"]["hits"]:
            assert hit["_explanation"]["description"].startswith("text_similarity_reranker match")
    answer = client.search(index=NAME, retriever=reranked(standard("king")), explain="false", size=2)
    assert not any("_explanation" in hit for hit in answer["hits"]["hits"])


def test_names_of_compounds_and_vectors_say_the_scores_that_they_gave(client: RerankClient) -> None:
    fused = {
        "rrf": {
            "retrievers": [standard("treaty king", _name="words"), knn("moon", _name="near")],
            "rank_window_size": WINDOW,
            "_name": "fused",
        }
    }
    answer = client.search(
        index=NAME, retriever=reranked(fused, _name="top"), include_named_queries_score=True
    )
    first = {hit["_id"]: hit["_score"] for hit in client.search(index=NAME, retriever=fused)["hits"]["hits"]}
    near = client.search(index=NAME, retriever=reranked(knn("moon")), size=30)["hits"]["hits"]
    similar = {hit["_id"]: hit["fields"]["rerank.first_stage_score"][0] for hit in near}
    assert len(answer["hits"]["hits"]) == WINDOW
    for hit in answer["hits"]["hits"]:
        named = hit["matched_queries"]
        assert named["top"] == hit["_score"]
        assert named["fused"] == first[hit["_id"]]
        assert named.get("near") == similar.get(hit["_id"])


def test_a_profile_shows_each_search_over_the_ranking(client: RerankClient) -> None:
    tree = ours(WORDY)
    plain = client.search(index=NAME, retriever=tree, profile=True, aggs={"n": {"max": {"field": "number"}}})
    assert len(plain["profile"]["shards"]) == SHARDS
    apart = client.search(index=NAME, retriever=tree, profile="true", aggs={"best": BEST})
    assert len(apart["profile"]["shards"]) == 2 * SHARDS
    assert sum(len(shard["aggregations"]) for shard in apart["profile"]["shards"]) == SHARDS


def test_scores_that_elasticsearch_refuses_are_refused(client: RerankClient, es: Elasticsearch) -> None:
    rescore = {
        "window_size": 10,
        "query": {"rescore_query": {"match": {"text": "river"}}, "query_weight": -1.0},
    }
    native: Body = {"rescorer": {"rescore": rescore, "retriever": standard("king")}}
    words = "RankDoc scores must be positive values. Missing a normalization step?"
    with pytest.raises(ApiError, match="RankDoc scores must be positive values"):
        es.search(index=NAME, retriever=native)
    fused = {"rrf": {"retrievers": [standard("king")]}}
    for tree in ({"rescorer": {"rescore": rescore, "retriever": fused}}, {"rrf": {"retrievers": [native]}}):
        with pytest.raises(InvalidSearchError) as caught:
            client.search(index=NAME, retriever=tree)
        assert words in str(caught.value)
    heavy = {"linear": {"retrievers": [{"retriever": standard("king"), "weight": 3e38}]}}
    with pytest.raises(InvalidSearchError, match="the plugin es-rerank"):
        client.search(index=NAME, retriever=heavy)


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

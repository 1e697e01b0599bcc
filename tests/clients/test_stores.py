"""Frameworks' Elasticsearch stores, whose only change is the address: it is the gateway's.

Each script of ``tests/clients/calls/stores_*.py`` runs once with the address of Elasticsearch and once with
that of a gateway, over a node without our plugin and over one with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from client_table import client
from elasticsearch import Elasticsearch
from store_bodies import GREEN, QUESTION, assert_refused, hybrid, knn, query, store_documents
from tried_stores import Found, Got, Place, Ranked, assert_ranked, both, placed

pytestmark = [pytest.mark.long, pytest.mark.node, pytest.mark.timeout(900)]
"""They make environments, and one node starts with the plugin."""


@pytest.fixture(scope="module", params=["outside", "inside"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    inside = request.param == "inside"
    node = request.getfixturevalue("plugin_node" if inside else "node")
    port = request.getfixturevalue("sidecar_port") if inside else None
    with placed(node, tmp_path_factory.mktemp("stores"), port) as found:
        yield found


@pytest.fixture(scope="module")
def langchain(place: Place) -> Iterator[Got]:
    with both(place, "langchain", "stores_langchain.py") as got:
        yield got


@pytest.fixture(scope="module")
def llama_index(place: Place) -> Iterator[Got]:
    with both(place, "llama_index", "stores_llama_index.py") as got:
        yield got


@pytest.fixture(scope="module")
def haystack(place: Place) -> Iterator[Got]:
    with both(place, "haystack", "stores_haystack.py") as got:
        yield got


def assert_in_order(found: Found, wanted: Ranked) -> None:
    """LlamaIndex scales the scores of a page to 0..1, all equal ones to 1."""
    scores = [score for _, score in wanted]
    low, high = min(scores), max(scores)
    scaled = [(score - low) / (high - low) for score in scores]
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert [score for _, score in found] == pytest.approx(scaled, abs=1e-4)


def weighted(got: Got) -> Any:
    words, near = hybrid(4, 50, vector=got.vector())["retriever"]["rrf"]["retrievers"]
    return {"rrf": {"retrievers": [{"retriever": words, "weight": 0.5}, near]}}


IDS = [key for key, _, _ in store_documents()]


# --- LangChain ----------------------------------------------------------------------------------------------


@client(
    "LangChain, `ElasticsearchStore`, `ElasticsearchRetriever` and their asynchronous twins",
    "Elasticsearch's search and index APIs",
    "langchain-elasticsearch",
    "langchain",
)
def test_langchains_store_fuses_through_the_gateway_only(langchain: Got) -> None:
    assert langchain.through["index"] == {"added": IDS, "again": ["late"], "deleted": True}
    assert langchain.direct["index"] == langchain.through["index"]
    for case in ("hybrid", "hybrid_old_strategy", "hybrid_by_rank", "hybrid_vector_made_there"):
        assert_ranked(langchain.assert_only_through(case), langchain.hybrid(4, 50))
    for case in ("hybrid_filtered", "hybrid_async"):
        assert_ranked(langchain.assert_only_through(case), langchain.hybrid(4, 50, [GREEN]))
    for case in ("hybrid_parameters", "hybrid_old_parameters"):
        found = langchain.assert_only_through(case)
        assert_ranked(found, langchain.hybrid(8, 50, rank_constant=3, rank_window_size=25))
    assert_ranked(langchain.assert_only_through("hybrid_candidates"), langchain.hybrid(3, 10))
    assert_ranked(langchain.assert_only_through("hybrid_as_retriever"), langchain.hybrid(3, 50))
    assert_ranked(langchain.assert_only_through("hybrid_weighted"), langchain.ranked(weighted(langchain), 4))


def test_langchains_documents_hold_their_text_and_metadata(langchain: Got) -> None:
    texts = {key: [text, metadata] for key, text, metadata in store_documents()}
    found = langchain.assert_only_through("hybrid_documents")
    assert found == [texts[key] for key, _ in langchain.hybrid(2, 50)]


def test_langchains_retriever_reranks_through_the_gateway_only(langchain: Got) -> None:
    words = {"standard": {"query": {"match": {"text": QUESTION}}}}
    near = {"knn": {"field": "vector", "k": 10, "num_candidates": 50, "query_vector": langchain.vector()}}
    tree = {
        "text_similarity_reranker": {
            "retriever": {"rrf": {"retrievers": [words, near]}},
            "field": "text",
            "inference_text": QUESTION,
        }
    }
    for case in ("retriever_reranked", "retriever_async"):
        refused, found = langchain.direct[case], langchain.through[case]
        assert refused["status"] in {400, 403}
        assert "unknown retriever [" in refused["said"] or "non-compliant" in refused["said"]
        assert_ranked(found, langchain.ranked(tree, 5))


def test_langchains_store_works_with_vectors_of_the_sidecar(langchain: Got) -> None:
    found = langchain.through["hybrid_with_vectors_of_the_sidecar"]
    tree = hybrid(4, 50, vector=langchain.vector())["retriever"]
    texts = {key: text for key, text, _ in store_documents()}
    with Elasticsearch(langchain.place.node) as es:
        hits = es.search(index=f"{langchain.index}-embedded", size=100)["hits"]["hits"]
    assert sorted(hit["_source"]["text"] for hit in hits) == sorted(texts.values())
    wanted = langchain.ranked(tree, 4, "-embedded")
    texts_of = {hit["_id"]: hit["_source"]["text"] for hit in hits}
    assert_ranked(found, [(texts_of[key], score) for key, score in wanted])


def test_langchains_errors_are_those_of_a_licensed_elasticsearch(langchain: Got) -> None:
    refused = langchain.through["hybrid_over_the_window"]
    assert (refused["status"], refused["raised"][0]) == (400, "BadRequestError")
    sentence = "requires [rank_window_size: 10] be greater than or equal to [size: 11]"
    assert sentence in refused["said"]


def test_all_else_of_langchains_store_is_as_on_elasticsearch(langchain: Got) -> None:
    for case in ("hybrid_without_rrf", "dense_with_score", "dense_by_vector", "dense_diverse", "bm25"):
        assert "raised" not in langchain.assert_the_same(case)
    langchain.assert_the_same("exact")  # the node may have no scripts
    assert langchain.assert_the_same("caches") == {
        "missing": None,
        "found": ["said"],
        "vectors": ["01", "02", None],
    }
    assert langchain.assert_the_same("history") == {"said": ["who signed", "the king"], "cleared": []}


def test_langchains_store_makes_its_own_mappings_through_the_gateway(langchain: Got) -> None:
    found = langchain.assert_only_through("own_mappings")
    low = [{"range": {"metadata.number": {"lt": 20}}}]
    words, near = hybrid(4, 50, low, langchain.vector())["retriever"]["rrf"]["retrievers"]
    words["standard"]["query"]["bool"]["must"] = [{"match": {"words": {"query": QUESTION}}}]
    near["knn"]["field"] = "near"
    assert_ranked(found, langchain.ranked({"rrf": {"retrievers": [words, near]}}, 4, "-mapped"))


# --- LlamaIndex ---------------------------------------------------------------------------------------------


@client(
    "LlamaIndex, `ElasticsearchStore`",
    "Elasticsearch's search and index APIs",
    "llama-index-vector-stores-elasticsearch",
    "llama_index",
)
def test_llama_indexs_store_fuses_through_the_gateway_only(llama_index: Got) -> None:
    assert llama_index.assert_the_same("index") == {"added": IDS}
    plain = llama_index.hybrid(4, 40)
    for case in ("hybrid", "hybrid_by_rank", "hybrid_vector_made_there", "hybrid_default_mode"):
        assert_in_order(llama_index.assert_only_through(case), plain)
    for case in ("hybrid_filtered", "hybrid_own_filter"):
        assert_in_order(llama_index.assert_only_through(case), llama_index.hybrid(4, 40, [GREEN]))
    for case in ("hybrid_parameters", "hybrid_old_parameters"):
        found = llama_index.assert_only_through(case)
        assert_in_order(found, llama_index.hybrid(8, 80, rank_constant=3, rank_window_size=25))
    found = llama_index.assert_only_through("hybrid_weighted")
    assert_in_order(found, llama_index.ranked(weighted(llama_index), 4))
    found = llama_index.assert_only_through("hybrid_under_an_index")
    assert_in_order(found, llama_index.hybrid(4, 40, [GREEN]))
    refused = llama_index.through["hybrid_over_the_window"]
    assert refused["status"] == 400
    assert "be greater than or equal to [size: 11]" in refused["said"]


def test_llama_indexs_nodes_hold_their_text_and_metadata(llama_index: Got) -> None:
    told = {
        key: [key, text, metadata["group"], f"of {metadata['group']}"]
        for key, text, metadata in store_documents()
    }
    found = llama_index.assert_only_through("hybrid_blocking")
    assert found == [told[key] for key, _ in llama_index.hybrid(4, 40)]


def test_all_else_of_llama_indexs_store_is_as_on_elasticsearch(llama_index: Got) -> None:
    for case in ("hybrid_without_rrf", "dense", "bm25"):
        assert "raised" not in llama_index.assert_the_same(case)
    llama_index.assert_the_same("exact")  # the node may have no scripts


def test_llama_indexs_nodes_are_deleted_through_the_gateway(llama_index: Got) -> None:
    assert llama_index.assert_only_through("nodes_and_deletions") == {
        "some": ["d1", "d2"],
        "of_group": 20,
        "left": ["red"],
        "groups": ["red"],
    }


# --- Haystack -----------------------------------------------------------------------------------------------


@client(
    "Haystack, `ElasticsearchDocumentStore` and its retrievers",
    "Elasticsearch's search and index APIs",
    "elasticsearch-haystack",
    "haystack",
)
def test_haystacks_store_and_retrievers_are_as_on_elasticsearch(haystack: Got) -> None:
    assert haystack.assert_the_same("index") == {"added": 60, "counted": 60}
    for case in ("words", "words_filtered", "near", "near_async", "hybrid", "hybrid_filtered"):
        assert haystack.assert_the_same(case)
    filtered = haystack.assert_the_same("filters")
    assert filtered["green"] == 20
    assert filtered["all"] == 60
    assert filtered["range"] == {"min": 0, "max": 39}
    wrote = {"counts": [9, 8, 5, 0], "said": ["DuplicateDocumentError", "written", "written"]}
    assert haystack.assert_the_same("writes") == wrote
    assert haystack.assert_the_same("async_writes") == [5, 3]


def test_haystacks_fusion_runs_through_the_gateway_only(haystack: Got) -> None:
    leaves = [
        {"standard": {"query": {"match": {"content": QUESTION}}}},
        {"knn": {"field": "embedding", "k": 9, "num_candidates": 30, "query_vector": haystack.vector()}},
    ]
    wanted = haystack.ranked({"rrf": {"retrievers": leaves, "rank_window_size": 20}}, 6)
    assert_ranked(haystack.assert_only_through("one_fusion"), wanted)


def test_haystacks_sparse_fusion_ends_with_the_error_of_its_leaf(haystack: Got) -> None:
    """Its leaf asks a model inside Elasticsearch, for which Elastic wants a licence as well."""
    refused, there = haystack.through["hybrid_in_elasticsearch"], haystack.direct["hybrid_in_elasticsearch"]
    assert_refused(there["status"], there["said"])
    assert refused["status"] >= 400
    assert "unknown retriever" not in refused["said"]


# --- where it runs ------------------------------------------------------------------------------------------


def test_a_fused_search_runs_inside_where_the_plugin_is(langchain: Got) -> None:
    place = langchain.place
    for body in (
        hybrid(4, 50, vector=langchain.vector()),
        {"query": query(), "knn": knn(4, 50, (), langchain.vector()), "rank": {"rrf": {}}, "size": 4},
    ):
        answer = httpx.post(f"{place.gateway}/{langchain.index}/_search", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["rerank"].get("inside", False) is place.inside
        found = [[hit["_id"], hit["_score"]] for hit in answer.json()["hits"]["hits"]]
        assert_ranked(found, langchain.hybrid(4, 50))

"""The read path on a real Elasticsearch: documents in, an ordinary response out, better ordered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus import EMBEDDER, Broken, Late, fill
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch, NotFoundError
from elasticsearch import ConnectionError as NoConnection

from es_rerank.client import AsyncRerankClient, RerankClient
from es_rerank.errors import (
    DeadlineError,
    IndexMismatchError,
    RequestError,
    RetrieverParsingError,
    UnknownModelError,
)
from es_rerank.integrations.langchain import RerankRetriever
from es_rerank.node import Node
from es_rerank.retrievers.grammar.tree import FirstStage
from es_rerank.scores import logistic
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.types import Blend, Calibration

QUESTION = "who signed the treaty"


@pytest.fixture
def client(es: Elasticsearch, index: str) -> RerankClient:
    fill(es, index, shards=2)
    return RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def body(**changes: Any) -> dict[str, Any]:
    child = {"standard": {"query": {"match": {"text": QUESTION}}}}
    return {
        "text_similarity_reranker": {
            "retriever": child,
            "field": "text",
            "inference_text": QUESTION,
            **changes,
        }
    }


def test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape(
    client: RerankClient, index: str
) -> None:
    answer = client.rerank(QUESTION, index=index, size=3)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"]["max_score"] == scores[0]
    first = answer["hits"]["hits"][0]
    assert first["_id"] == "a2"
    assert first["_source"]["title"] == "Paper"
    assert first["_score"] == pytest.approx(float(logistic(first["fields"]["rerank.logit"])[0]))
    passage = first["fields"]["rerank.passage"][0]
    assert first["_source"]["text"][passage["start"] : passage["end"]] == passage["text"]
    assert {"took", "timed_out", "_shards"} <= set(answer)
    assert answer["rerank"] == {
        **answer["rerank"],
        "model": "word-overlap",
        "status": "reranked",
        "window": 50,
        "candidates": 5,
    }


@pytest.mark.parametrize("first_stage", ["knn", "bm25"])
def test_a_search_costs_a_look_and_two_requests(client: RerankClient, index: str, first_stage: Any) -> None:
    answer = client.rerank(QUESTION, index=index, first_stage=first_stage)
    assert answer["rerank"]["requests"] == 3
    assert answer["rerank"]["bytes"] > 0
    assert all(hit["fields"]["rerank.passage"][0]["text"] for hit in answer["hits"]["hits"])


def test_asking_for_passages_does_not_change_the_first_stage(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    plain = es.search(
        index=index,
        query={"multi_match": {"query": QUESTION, "fields": ["title", "text"], "type": "most_fields"}},
    )
    answer = client.rerank(QUESTION, index=index, first_stage="bm25")
    first_stage = {
        hit["_id"]: (
            hit["fields"]["rerank.first_stage_rank"][0],
            hit["fields"]["rerank.first_stage_score"][0],
        )
        for hit in answer["hits"]["hits"]
    }
    assert first_stage == {
        hit["_id"]: (rank, pytest.approx(hit["_score"])) for rank, hit in enumerate(plain["hits"]["hits"], 1)
    }
    assert answer["hits"]["total"] == plain["hits"]["total"]


def test_a_pasted_body_is_served(client: RerankClient, index: str) -> None:
    answer = client.search(
        index=index,
        retriever=body(inference_id=".rerank-v1-elasticsearch", rank_window_size=10),
        size=2,
        source=["title"],
    )
    assert ids(answer)[0] == "a2"
    assert len(ids(answer)) == 2
    assert answer["hits"]["hits"][0]["_source"] == {"title": "Paper"}
    assert ids(client.search(index=index, body={"retriever": body(), "size": 2})) == ids(answer)


def test_pages_of_the_window_join_to_the_window(client: RerankClient, index: str) -> None:
    tree = body(retriever={"standard": {"query": {"match_all": {}}}})
    whole = ids(client.search(index=index, retriever=tree))
    paged = [
        hit
        for offset in range(0, 6, 2)
        for hit in ids(client.search(index=index, retriever=tree, size=2, from_=offset))
    ]
    assert paged == whole
    assert len(whole) == 5
    assert ids(client.search(index=index, retriever=tree, size=2, from_=50)) == []


@pytest.mark.parametrize("first_stage", ["knn", "bm25", "hybrid"])
def test_pages_of_the_short_form_join_to_a_window_that_no_page_widens(
    client: RerankClient, index: str, first_stage: FirstStage
) -> None:
    def page(offset: int, size: int) -> list[str]:
        return ids(
            client.rerank(
                "who signed the paper",
                index=index,
                window=3,
                size=size,
                from_=offset,
                first_stage=first_stage,
            )
        )

    whole = page(0, 3)
    assert len(whole) == 3
    assert [page(offset, 1) for offset in range(3)] == [[name] for name in whole]
    assert page(2, 3) == whole[2:]
    assert page(3, 3) == page(50, 1) == []


def test_a_page_larger_than_the_window_is_refused(client: RerankClient, index: str) -> None:
    sentence = r"size \[51\] is larger than the window of 50 hits .* give a window of 51 or more"
    with pytest.raises(RequestError, match=sentence):
        client.rerank("who signed the paper", index=index, size=51)
    with pytest.raises(RequestError, match=sentence):
        RerankRetriever(client=client, index=index, k=51).invoke("who signed the paper")


def test_a_query_or_text_in_a_script_that_the_model_does_not_read_is_named(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    class LatinOnly(WordOverlapReranker):
        scripts = ("Latin",)

    english = RerankClient(es, reranker=LatinOnly("english"), embedder=EMBEDDER)
    asked = english.rerank("谁签署了条约", index=index)["rerank"]
    assert asked["status"] == "reranked"
    (sentence,) = asked["warnings"]
    assert sentence.startswith("the model [english] was not trained on texts in Han script")
    assert "warnings" not in english.rerank(QUESTION, index=index)["rerank"]
    assert "warnings" not in client.rerank("谁签署了条约", index=index)["rerank"], "it may read all scripts"
    es.index(index=index, document={"text": "条约已签署"}, refresh=True)
    read = english.search(index=index, retriever=body(retriever={"standard": {"query": {"match_all": {}}}}))
    assert "1 of 6 passages are in it" in read["rerank"]["warnings"][0]


def test_filters_on_numbers_reach_every_first_stage(client: RerankClient, index: str) -> None:
    recent = {"range": {"metadata.year": {"gte": 2021}}}
    for first_stage in ("knn", "bm25"):
        assert set(ids(client.rerank(QUESTION, index=index, filter=recent, first_stage=first_stage))) <= {
            "a2",
            "a3",
            "a4",
        }


def test_aggregations_highlights_and_totals_come_along(client: RerankClient, index: str) -> None:
    answer = client.search(
        index=index,
        retriever=body(),
        aggs={"years": {"max": {"field": "metadata.year"}}},
        highlight={"fields": {"text": {}}},
        fields=["title"],
        track_total_hits=True,
    )
    assert answer["aggregations"]["years"]["value"] == 2023
    assert "<em>signed</em>" in answer["hits"]["hits"][0]["highlight"]["text"][0]
    assert answer["hits"]["hits"][0]["fields"]["title"] == ["Paper"]
    assert answer["hits"]["total"]["relation"] == "eq"


def test_min_score_is_a_probability(client: RerankClient, index: str) -> None:
    every = client.search(index=index, retriever=body())
    bound = every["hits"]["hits"][1]["_score"]
    assert ids(client.search(index=index, retriever=body(min_score=bound))) == [
        hit["_id"] for hit in every["hits"]["hits"] if hit["_score"] >= bound
    ]


def test_title_and_text_are_read_together(client: RerankClient, index: str) -> None:
    tree = body(
        field=["title", "text"],
        inference_text="moon dog",
        retriever={"standard": {"query": {"match_all": {}}}},
    )
    assert client.search(index=index, retriever=tree)["hits"]["hits"][0]["_id"] == "a1"


def test_every_passage_counts_without_a_chunk_rescorer(client: RerankClient, index: str) -> None:
    tree = body(
        field="passages.text",
        inference_text="cats sleep",
        retriever={"standard": {"query": {"match_all": {}}}},
    )
    first = client.search(index=index, retriever=tree)["hits"]["hits"][0]
    assert (first["_id"], first["fields"]["rerank.passage"][0]["text"]) == ("a1", "Cats sleep.")


def test_a_reranker_under_a_reranker(client: RerankClient, index: str) -> None:
    inner = body(retriever={"standard": {"query": {"match_all": {}}}}, rank_window_size=3)
    answer = client.search(
        index=index, retriever=body(retriever=inner, inference_text="rivers run", rank_window_size=3), size=3
    )
    assert len(ids(answer)) == 3
    assert [hit["fields"]["rerank.first_stage_rank"][0] for hit in answer["hits"]["hits"]] == [1, 2, 3]


def test_calibration_blends_the_first_stage_in(client: RerankClient, es: Elasticsearch, index: str) -> None:
    blended = RerankClient(
        es,
        reranker=WordOverlapReranker(calibration=Calibration(blends={"dense": Blend(1.0, 10.0, 0.0)})),
        embedder=EMBEDDER,
    )
    hits = blended.search(index=index, retriever=body(blend=True))["hits"]["hits"]
    assert [hit["fields"]["rerank.first_stage_rank"][0] for hit in hits] == sorted(
        hit["fields"]["rerank.first_stage_rank"][0] for hit in hits
    )
    alone = blended.search(index=index, retriever=body())["hits"]["hits"]
    probabilities = {hit["_id"]: hit["fields"]["rerank.probability"] for hit in hits}
    assert probabilities == {hit["_id"]: [hit["_score"]] for hit in alone}
    assert any([hit["_score"]] != probabilities[hit["_id"]] for hit in hits)


def test_a_minimum_score_is_refused_with_blending(client: RerankClient, index: str) -> None:
    with pytest.raises(RetrieverParsingError, match=r"use \[min_probability\]"):
        client.search(index=index, retriever=body(blend=True, min_score=0.5))
    with pytest.raises(RetrieverParsingError, match=r"use \[min_probability\]"):
        client.search(index=index, retriever=body(blend=True), min_score=0.5)
    with pytest.raises(RetrieverParsingError, match=r"use \[min_probability\]"):
        client.rerank(QUESTION, index=index, min_score=0.5)
    probable = client.rerank(QUESTION, index=index, min_probability=0.6)["hits"]["hits"]
    assert 0 < len(probable) < len(client.rerank(QUESTION, index=index)["hits"]["hits"])
    assert all(hit["fields"]["rerank.probability"][0] >= np.float32(0.6) for hit in probable)
    kept = client.search(index=index, retriever=body(blend=True, min_probability=0.6))["hits"]
    assert all(hit["fields"]["rerank.probability"][0] >= np.float32(0.6) for hit in kept["hits"])
    assert kept["total"]["value"] == len(kept["hits"])


def test_a_vector_is_made_for_a_tree_that_elasticsearch_runs(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    knn = {"field": "passages.vector", "k": 3, "num_candidates": 10}
    built = client.search(
        index=index,
        retriever={"knn": {**knn, "query_vector_builder": {"text_embedding": {"model_text": "cats sleep"}}}},
    )
    given = es.search(
        index=index, retriever={"knn": {**knn, "query_vector": EMBEDDER.embed(["cats sleep"])[0].tolist()}}
    )
    assert ids(built) == ids(given)
    assert "rerank" not in built


def test_everything_else_is_the_wrapped_clients(client: RerankClient, es: Elasticsearch, index: str) -> None:
    assert (
        client.search(index=index, query={"match": {"text": "moon"}}).body["hits"]
        == es.search(index=index, query={"match": {"text": "moon"}}).body["hits"]
    )
    assert client.count(index=index)["count"] == 5
    assert client.indices.exists(index=index)
    assert client.options(request_timeout=5).rerank(QUESTION, index=index)["rerank"]["status"] == "reranked"


async def test_the_async_client_answers_the_same(client: RerankClient, node: Node, index: str) -> None:
    async with AsyncElasticsearch(node.url) as inner:
        twin = AsyncRerankClient(inner, reranker=WordOverlapReranker(), embedder=EMBEDDER)
        searches: list[dict[str, Any]] = [{"retriever": body()}, {"query": {"match_all": {}}}]
        for search in searches:
            assert (await twin.search(index=index, **search)).body["hits"] == client.search(
                index=index, **search
            ).body["hits"]
        assert (await twin.rerank(QUESTION, index=index)).body["hits"] == client.rerank(
            QUESTION, index=index
        ).body["hits"]


def test_a_broken_reranker_leaves_the_first_stage_marked_where_allowed(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    broken = RerankClient(es, reranker=Broken(), embedder=EMBEDDER)
    answer = broken.search(index=index, retriever=body(allow_rerank_failures=True))
    plain = es.search(index=index, query={"match": {"text": QUESTION}})
    assert [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]] == [
        (hit["_id"], hit["_score"]) for hit in plain["hits"]["hits"]
    ]
    assert answer["rerank"]["status"] == "first_stage"
    assert "the model fell over" in answer["rerank"]["reason"]
    with pytest.raises(RuntimeError, match="fell over"):
        broken.search(index=index, retriever=body())


def test_the_short_form_keeps_the_first_stage_where_the_reranker_fails(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    answer = RerankClient(es, reranker=Broken(), embedder=EMBEDDER).rerank(QUESTION, index=index)
    assert answer["rerank"]["status"] == "first_stage"
    assert answer["hits"]["hits"]


def test_a_query_vector_of_another_length_is_refused(client: RerankClient, index: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.rerank(QUESTION, index=index, query_vector=[1.0, 2.0, 3.0])
    assert "different number of dimensions" in str(refused.value.body)


def test_a_late_reranker_gives_a_partial_answer_where_allowed(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    late = RerankClient(es, reranker=Late(reached=2), embedder=EMBEDDER)
    tree = body(retriever={"standard": {"query": {"match_all": {}}}}, allow_rerank_failures=True)
    answer = late.search(index=index, retriever=tree)
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert answer["rerank"]["status"] == "partial"
    assert "2 of 5 passages" in answer["rerank"]["reason"]
    assert [score is None for score in scores] == [False, False, True, True, True]
    tail = [hit["fields"]["rerank.first_stage_rank"][0] for hit in answer["hits"]["hits"][2:]]
    assert tail == sorted(tail)
    with pytest.raises(DeadlineError, match="rank_window_size"):
        late.search(index=index, retriever=body())


def test_a_reranker_that_reached_nothing_leaves_the_first_stage(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    answer = RerankClient(es, reranker=Late(reached=0)).search(
        index=index, retriever=body(allow_rerank_failures=True)
    )
    assert answer["rerank"]["status"] == "first_stage"


def test_no_hits_one_hit_and_an_empty_text_are_ordinary(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    assert (
        ids(
            client.search(
                index=index, retriever=body(retriever={"standard": {"query": {"match": {"text": "absent"}}}})
            )
        )
        == []
    )
    es.index(index=index, id="bare", document={"metadata": {"year": 1}}, refresh=True)
    one = client.search(
        index=index, retriever=body(retriever={"standard": {"query": {"ids": {"values": ["bare"]}}}})
    )
    assert ids(one) == ["bare"]
    assert "bare" in ids(
        client.search(
            index=index,
            retriever=body(field="passages.text", retriever={"standard": {"query": {"match_all": {}}}}),
        )
    )


def test_an_unknown_model_and_an_unmapped_field_are_named(client: RerankClient, index: str) -> None:
    with pytest.raises(
        UnknownModelError, match=r"\[other\] is not served here; served rerankers: word-overlap"
    ):
        client.search(index=index, retriever=body(inference_id="other"))
    with pytest.raises(IndexMismatchError, match=r"no field \[abstract\]"):
        client.search(index=index, retriever=body(field="abstract"))


def test_another_embedder_than_the_index_records_is_refused(
    client: RerankClient, es: Elasticsearch, index: str
) -> None:
    other = RerankClient(es, reranker=WordOverlapReranker(), embedder=HashEmbedder(32))
    with pytest.raises(
        IndexMismatchError,
        match=r"vectors of \[hash-64\], the query would be embedded with \[hash-32\]; .*--embedder hash-64, ",
    ):
        other.rerank(QUESTION, index=index)


def test_elasticsearchs_own_errors_pass_through(client: RerankClient) -> None:
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        client.rerank(QUESTION, index="no-such-index")
    nobody = RerankClient(Elasticsearch("http://127.0.0.1:9", max_retries=0), reranker=WordOverlapReranker())
    with pytest.raises(NoConnection):
        nobody.rerank(QUESTION, index="any")


def test_a_deadline_that_leaves_no_time_is_refused(es: Elasticsearch) -> None:
    with pytest.raises(RequestError, match="leaves no time"):
        RerankClient(es, timeout_s=0)


def test_two_indices_may_share_an_id(client: RerankClient, es: Elasticsearch, index: str) -> None:
    fill(
        es, f"{index}-2", [("Other", "The treaty: who signed it? Nobody knows who signed the treaty.", 2024)]
    )
    hits = client.rerank(QUESTION, index=f"{index}*", size=10)["hits"]["hits"]
    assert sorted((hit["_index"], hit["_id"]) for hit in hits if hit["_id"] == "a0") == [
        (index, "a0"),
        (f"{index}-2", "a0"),
    ]
    assert {hit["_source"]["title"] for hit in hits if hit["_id"] == "a0"} == {"Peace", "Other"}


def test_an_index_that_was_there_before(es: Elasticsearch, index: str) -> None:
    """Flat chunks, someone's own vectors, numeric metadata: nothing is re-ingested,
    field and vector are theirs.
    """
    own = HashEmbedder(dims=16)
    es.indices.create(
        index=index,
        mappings={
            "properties": {
                "content": {"type": "text"},
                "emb": {"type": "dense_vector", "dims": 16},
                "page": {"type": "integer"},
                "lang": {"type": "keyword"},
            }
        },
    )
    for page, content in enumerate(
        [
            "the king signed the treaty",
            "a dog barks",
            "who signed it, and when, is unknown",
            "who signed the treaty is written here",
        ]
    ):
        es.index(
            index=index,
            id=str(page),
            document={
                "content": content,
                "emb": own.embed([content])[0].tolist(),
                "page": page,
                "lang": "en",
            },
            refresh=True,
        )
    client = RerankClient(es, reranker=WordOverlapReranker())
    answer = client.rerank(
        QUESTION,
        index=index,
        field="content",
        query_vector=own.embed([QUESTION])[0].tolist(),
        filter={"range": {"page": {"gte": 1}}},
    )
    assert ids(answer)[0] == "3"
    assert set(ids(answer)) == {"1", "2", "3"}
    assert answer["hits"]["hits"][0]["_source"]["page"] == 3
    with pytest.raises(RequestError, match="give \\[query_vector\\] yourself or configure an embedder"):
        client.rerank(QUESTION, index=index)
    wrong = RerankClient(es, reranker=WordOverlapReranker(), embedder=EMBEDDER)
    with pytest.raises(IndexMismatchError, match="holds vectors of 16 dimensions"):
        wrong.rerank(QUESTION, index=index)

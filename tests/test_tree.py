"""The retriever tree: Elastic's grammar, defaults and faults."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.errors import IndexMismatchError, RequestError, RetrieverParsingError
from es_rerank.retrievers.facts import facts_of
from es_rerank.retrievers.plan import check_tree, leaf_body, reading_of, standard_query
from es_rerank.retrievers.request import read_request
from es_rerank.retrievers.short_form import retriever_for
from es_rerank.retrievers.tree import Knn, Native, Standard, TextSimilarityReranker, needs_us, parse, reranks

KNN = {"knn": {"field": "v", "k": 5, "num_candidates": 10, "query_vector": [1.0, 0.0]}}
MAPPING = {
    "articles-000001": {
        "mappings": {
            "_meta": {"embedder": "tiny"},
            "properties": {
                "title": {"type": "text"},
                "text": {"type": "text"},
                "passages": {
                    "type": "nested",
                    "properties": {
                        "text": {"type": "text"},
                        "vector": {"type": "dense_vector", "dims": 2},
                        "start": {"type": "integer"},
                        "end": {"type": "integer"},
                    },
                },
            },
        }
    }
}
FLAT = {"docs": {"mappings": {"properties": {"content": {"type": "text"}, "embedding": {"type": "dense_vector", "dims": 3}, "year": {"type": "integer"}}}}}


def reranker(**changes: Any) -> dict[str, Any]:
    return {"text_similarity_reranker": {"retriever": KNN, "field": "text", "inference_text": "q", **changes}}


def parsed(**changes: Any) -> TextSimilarityReranker:
    node = parse(reranker(**changes))
    assert isinstance(node, TextSimilarityReranker)
    return node


def test_defaults_are_elastics() -> None:
    node = parsed()
    assert (node.rank_window_size, node.inference_id, node.allow_rerank_failures, node.min_score) == (10, ".rerank-v1-elasticsearch", False, None)
    assert parsed(chunk_rescorer={}).chunk_rescorer == parsed(chunk_rescorer={"size": 1}).chunk_rescorer


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text_similarity_reranker": {"retriever": KNN, "field": "t"}}, r"\[text_similarity_reranker\] required \[inference_text\]"),
        (reranker(widow=3), r"\[text_similarity_reranker\] unknown field \[widow\]"),
        (reranker(rank_window_size="many"), r"failed to parse field \[rank_window_size\].*'many'"),
        (reranker(rank_window_size=0), r"greater than or equal to 1, found 0"),
        (reranker(retriever={"knn": {"field": "v", "k": 3}}), r"\[knn\] required \[num_candidates\] at \[retriever.text_similarity_reranker.retriever.knn\]"),
        ({"knn": {"field": "v", "k": 3, "num_candidates": 5}}, "exactly one of"),
        ({"knn": {"field": "v", "k": 9, "num_candidates": 5, "query_vector": [1.0]}}, r"\[num_candidates\] cannot be less than \[k\]"),
        ({"standard": {}, "knn": {}}, r"exactly one retriever, found \[standard, knn\]"),
        ([], "found list"),
        ({"standard": 3}, "expected an object, found int"),
    ],
)
def test_faults_name_the_thing_and_the_place(body: Any, message: str) -> None:
    with pytest.raises(RetrieverParsingError, match=message) as caught:
        parse(body)
    assert caught.value.path.startswith("retriever")


def test_a_retriever_that_is_not_ours_is_kept_as_it_came() -> None:
    assert parse({"pinned": {"ids": ["1"]}}) == Native(kind="pinned", body={"ids": ["1"]})


def test_only_retrievers_decide_whether_we_are_needed() -> None:
    assert not needs_us(KNN)
    assert not needs_us({"standard": {"query": {"match": {"text_similarity_reranker": "x"}}}})
    assert needs_us(reranker())
    assert needs_us({"rrf": {"retrievers": [{"standard": {}}, {"knn": {"query_vector_builder": {}}}]}})
    assert reranks({"rrf": {"retrievers": [{"retriever": reranker()}]}})
    assert not needs_us(None)


@pytest.mark.parametrize("key", ["query", "knn", "sort", "search_after", "terminate_after", "rescore", "min_score"])
def test_what_elasticsearch_refuses_beside_a_retriever_is_refused(key: str) -> None:
    with pytest.raises(RequestError, match=rf"cannot specify \[retriever\] and \[{key}\]"):
        read_request({"retriever": reranker(), key: {}})


def test_a_part_that_cannot_be_honoured_is_refused_not_dropped() -> None:
    with pytest.raises(RequestError, match=r"\[suggest\] cannot be combined"):
        read_request({"retriever": reranker(), "suggest": {}})


def test_the_body_is_split_between_first_stage_and_page() -> None:
    request = read_request({"retriever": reranker(), "aggs": {"a": {}}, "_source": ["x"], "runtime_mappings": {"r": {}}, "from": 3, "size": 4})
    assert request.first_stage == {"aggs": {"a": {}}, "runtime_mappings": {"r": {}}}
    assert request.page == {"_source": ["x"], "runtime_mappings": {"r": {}}}
    assert (request.offset, request.size) == (3, 4)


@pytest.mark.parametrize("value", [-1, "3", True, 2.5])
def test_a_size_that_is_not_a_count_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match=r"\[size\]"):
        read_request({"retriever": reranker(), "size": value})


def test_size_over_the_window_is_refused_in_elasticsearchs_words() -> None:
    with pytest.raises(RequestError, match=r"requires \[rank_window_size: 10\] be greater than or equal to \[size: 11\]"):
        check_tree(parsed(), 11)


def test_a_native_child_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"\[pinned\] cannot stand under"):
        check_tree(parsed(retriever={"pinned": {}}), 1)


def test_filters_of_the_reranker_reach_the_leaf() -> None:
    leaf = parse(KNN)
    assert isinstance(leaf, Knn)
    body = leaf_body(leaf, 3, [{"term": {"a": 1}}], [1.0, 0.0])
    assert body["knn"]["filter"] == [{"term": {"a": 1}}]
    assert body["size"] == 3
    standard = Standard.model_validate({"query": {"match": {"t": "x"}}, "filter": {"term": {"b": 2}}})
    assert standard_query(standard, [{"term": {"a": 1}}]) == {"bool": {"must": [{"match": {"t": "x"}}], "filter": [{"term": {"b": 2}}, {"term": {"a": 1}}]}}


def test_reading_knows_nested_passages_and_their_title() -> None:
    facts = facts_of(MAPPING, "articles")
    reading = reading_of(parsed(field=["title", "passages.text"], chunk_rescorer={"size": 2}), facts)
    assert (reading.context, reading.passage, reading.nested, reading.nearest, reading.offsets) == (("title",), "passages.text", "passages", 2, True)
    assert reading.fields() == ["title"]
    assert reading_of(parsed(field="passages.text"), facts).fields() == ["passages.text", "passages.start", "passages.end"]


def test_a_field_that_is_not_mapped_is_named_with_those_that_are() -> None:
    with pytest.raises(IndexMismatchError, match=r"no field \[body\]; its text fields are: text, title, passages.text"):
        reading_of(parsed(field="body"), facts_of(MAPPING, "articles"))


def test_short_form_reads_title_and_nearest_passage_of_our_own_index() -> None:
    tree = retriever_for("who", facts_of(MAPPING, "articles"), window=20)["text_similarity_reranker"]
    assert tree["field"] == ["title", "passages.text"]
    assert tree["chunk_rescorer"] == {"size": 1}
    assert tree["retriever"]["knn"]["field"] == "passages.vector"
    assert tree["retriever"]["knn"]["k"] == 20
    assert tree["allow_rerank_failures"] is True


def test_short_form_serves_an_index_that_was_there_before() -> None:
    tree = retriever_for("who", facts_of(FLAT, "docs"), query_vector=[1, 0, 0], filters=[{"range": {"year": {"gte": 2020}}}])["text_similarity_reranker"]
    assert tree["field"] == ["content"]
    assert "chunk_rescorer" not in tree
    assert tree["retriever"]["knn"]["query_vector"] == [1, 0, 0]
    assert tree["filter"] == [{"range": {"year": {"gte": 2020}}}]


def test_short_form_over_an_index_without_vectors_says_what_to_do() -> None:
    plain = facts_of({"p": {"mappings": {"properties": {"content": {"type": "text"}}}}}, "p")
    with pytest.raises(IndexMismatchError, match=r"no dense_vector field.*bm25.*es-rerank ingest"):
        retriever_for("who", plain)
    assert retriever_for("who", plain, first_stage="bm25")["text_similarity_reranker"]["retriever"]["standard"]["query"]["multi_match"]["fields"] == ["content"]


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(RequestError, match="query is empty"):
        retriever_for(" \n", facts_of(FLAT, "docs"))


def test_several_vector_fields_must_be_chosen_from() -> None:
    two = facts_of({"p": {"mappings": {"properties": {"a": {"type": "dense_vector"}, "b": {"type": "dense_vector"}, "t": {"type": "text"}}}}}, "p")
    with pytest.raises(RequestError, match=r"several vector fields \(a, b\)"):
        retriever_for("who", two)

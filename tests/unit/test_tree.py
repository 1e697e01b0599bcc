"""What a retriever tree is read as, and who runs which part of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from retriever_bodies import (
    BUILDER,
    GONE,
    ILLEGAL,
    LEAF,
    MATCH,
    RESCORE,
    knn,
    linear,
    pinned,
    reranker,
    rescorer,
    rrf,
    standard,
)

from es_rerank.errors import RetrieverParsingError
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.tree import (
    ChunkRescorer,
    Knn,
    Linear,
    Native,
    Pinned,
    Rescorer,
    Rrf,
    Standard,
    TextEmbedding,
    TextSimilarityReranker,
    Weighted,
    nodes_of,
)
from es_rerank.retrievers.grammar.unparsed_tree import (
    has_retriever_run_here,
    needs_es_rerank,
    text_embedding_leaves,
)


def parsed(body: Any, runs: Collection[str] = ()) -> Any:
    return parse(body, elasticsearch_runs=runs)


# --- what is taken ------------------------------------------------------------------------------------------


FOUND = Standard(query=MATCH)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            standard(),
            Standard(
                query=None,
                sort=None,
                search_after=None,
                terminate_after=None,
                collapse=None,
                filter=(),
                min_score=None,
            ),
        ),
        (
            {"knn": {"field": "v", "k": 3, "query_vector": [1, 2]}},
            Knn(
                field="v",
                k=3,
                num_candidates=None,
                query_vector=[1.0, 2.0],
                similarity=None,
                rescore_vector=None,
                visit_percentage=None,
            ),
        ),
        (
            rrf(),
            Rrf(
                retrievers=(Weighted(FOUND, 1.0, None),),
                query=None,
                fields=(),
                rank_constant=60,
                rank_window_size=10,
            ),
        ),
        ({"rrf": {"query": "q"}}, Rrf(query="q", fields=(), retrievers=())),
        (linear(), Linear(retrievers=(Weighted(FOUND, 1.0, None),), rank_window_size=10, normalizer=None)),
        (pinned(), Pinned(ids=("1",), docs=None, retriever=FOUND, rank_window_size=10)),
        (rescorer(), Rescorer(retriever=FOUND, rescore=(RESCORE,))),
        (
            reranker(chunk_rescorer={}),
            TextSimilarityReranker(
                retriever=FOUND,
                field=("text",),
                inference_text="who signed",
                inference_id=".rerank-v1-elasticsearch",
                rank_window_size=10,
                allow_rerank_failures=False,
                chunk_rescorer=ChunkRescorer(size=1, chunking_settings=None),
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defaults_are_elastics(body: dict[str, Any], expected: Any) -> None:
    assert parse(body) == expected


def test_a_reranker_reads_whole_fields_unless_chunks_are_asked_for() -> None:
    assert parsed(reranker()).chunk_rescorer is None
    assert parsed(
        reranker(chunk_rescorer={"size": 4, "chunking_settings": None})
    ).chunk_rescorer == ChunkRescorer(size=4)


def test_windows_are_those_that_elastic_documents() -> None:
    assert [
        parsed(body).window for body in (rrf(), linear(), pinned(), reranker(), rrf(rank_window_size=77))
    ] == [10, 10, 10, 10, 77]
    several = [{"window_size": 30, "query": {}}, {"query": {}}, {"window_size": 7, "query": {}}]
    # The smallest, 10 where none is written.
    assert [parsed(rescorer(rescore=several[:count])).window for count in (1, 2, 3)] == [30, 10, 7]


@pytest.mark.parametrize("wrap", [standard, knn, rrf, linear, pinned, rescorer, reranker])
def test_every_retriever_may_carry_a_filter_a_least_score_and_a_name(wrap: Any) -> None:
    node = parsed(wrap(filter={"term": {"a": 1}}, min_score=0.5, _name="me"))
    assert (node.filter, node.min_score, node.name) == (({"term": {"a": 1}},), 0.5, "me")
    assert parsed(wrap(filter=[{"term": {"a": 1}}, {"term": {"b": 2}}])).filter == (
        {"term": {"a": 1}},
        {"term": {"b": 2}},
    )


def test_children_of_a_fusion_may_be_written_either_way() -> None:
    node = parsed(rrf(LEAF, {"retriever": knn()}, {"weight": 0.5, "retriever": LEAF}))
    assert [(child.retriever.kind, child.weight) for child in node.retrievers] == [
        ("standard", 1.0),
        ("knn", 1.0),
        ("standard", 0.5),
    ]
    node = parsed(linear({"retriever": LEAF, "weight": 2, "normalizer": "MinMax"}, normalizer="L2_NORM"))
    assert (node.normalizer, node.retrievers) == ("l2_norm", (Weighted(FOUND, 2.0, "minmax"),))


def test_one_thing_may_stand_without_its_array() -> None:
    assert parse({"rrf": {"retrievers": LEAF}}) == parse(rrf(LEAF))
    assert parse({"linear": {"retrievers": {"retriever": LEAF}}}) == parse(linear({"retriever": LEAF}))
    assert parse(pinned(ids=GONE, docs={"_id": "1"})) == parse(pinned(ids=GONE, docs=[{"_id": "1"}]))
    assert parse(pinned(ids="1")) == parse(pinned(ids=["1"]))
    assert parse(rescorer(rescore=RESCORE)) == parse(rescorer(rescore=[RESCORE]))
    assert parse(reranker(field="text")) == parse(reranker(field=["text"]))


def test_numbers_and_truths_written_as_strings_are_taken() -> None:
    assert parse(rrf(rank_window_size="50", rank_constant="7", min_score="0.25")) == parse(
        rrf(rank_window_size=50, rank_constant=7, min_score=0.25)
    )
    assert parse(rrf({"retriever": LEAF, "weight": "0.5"})) == parse(rrf({"retriever": LEAF, "weight": 0.5}))
    assert parse(knn(k="5", num_candidates=" 20 ", query_vector=["1", "-2.5e1"])) == parse(
        knn(k=5, num_candidates=20, query_vector=[1.0, -25.0])
    )
    assert parse(rescorer(rescore={**RESCORE, "window_size": "20"})) == parse(rescorer())
    chunks = {"chunk_rescorer": {"size": "3"}}
    assert parse(reranker(allow_rerank_failures="true", **chunks)) == parse(
        reranker(allow_rerank_failures=True, chunk_rescorer={"size": 3})
    )
    assert parse(pinned(ids=[1, "b", True])) == parse(pinned(ids=["1", "b", "true"]))


def test_what_stands_behind_the_point_of_a_whole_number_is_cut_off() -> None:
    assert parse(knn(k=3.9, num_candidates="1e2", query_vector=[1])) == parse(
        knn(k=3, num_candidates=100, query_vector=[1])
    )
    assert parsed(rescorer(rescore={**RESCORE, "window_size": "20.7f"})).window == 20
    assert parsed(rrf(rank_window_size="NaN")).window == 0


@pytest.mark.parametrize(
    "sort", ["_score", {"_score": "desc"}, {"_score": {"order": "desc"}}, {"_score": {}}]
)
def test_pins_may_stand_over_what_is_sorted_by_score(sort: Any) -> None:
    assert parsed(pinned(retriever=standard(query=MATCH, sort=[sort]))).retriever.sort == [sort]


def test_pins_are_kept_in_order_with_their_index() -> None:
    assert parsed(pinned(ids=["b", "a"])).pins == [(None, "b"), (None, "a")]
    docs = [{"_index": "i", "_id": "b"}, {"_id": "a"}, {"_index": "j", "_id": "b"}]
    assert parsed(pinned(ids=GONE, docs=docs)).pins == [("i", "b"), (None, "a"), ("j", "b")]
    assert len(parsed(pinned(ids=[str(number) for number in range(100)])).pins) == 100


def test_only_a_vector_of_a_text_is_made_here() -> None:
    def builder(wanted: Any) -> Any:
        return parsed(knn(query_vector=GONE, query_vector_builder=wanted)).builder

    assert builder(BUILDER) == TextEmbedding(model_text="who signed", model_id=None)
    assert builder({"text_embedding": {"model_id": "m", "model_text": "q"}}) == TextEmbedding(
        model_text="q", model_id="m"
    )
    assert builder({"lookup": {"id": "1"}}) is None
    assert parsed(knn(query_vector="3f800000")).builder is None


# --- who runs it --------------------------------------------------------------------------------------------


def test_only_retrievers_decide_whether_we_are_needed() -> None:
    assert not needs_es_rerank(knn())
    assert not needs_es_rerank(rescorer())
    assert not needs_es_rerank({"rule": {"ruleset_ids": ["r"], "retriever": LEAF}})
    assert not needs_es_rerank(standard(query={"match": {"text_similarity_reranker": {"rrf": {}}}}))
    assert not needs_es_rerank(standard(query={"pinned": {"ids": ["1"], "organic": {"match_all": {}}}}))
    assert not needs_es_rerank(None)
    assert not needs_es_rerank([rrf()])


@pytest.mark.parametrize(
    "tree", [rrf(), linear(), pinned(), reranker(), {"rrf": {}}, {"linear": {"retrievers": LEAF}}]
)
def test_a_compound_here_needs_es_rerank_at_any_depth(tree: dict[str, Any]) -> None:
    kind = next(iter(tree))
    for body in (
        tree,
        rescorer(retriever=tree),
        {"rule": {"retriever": tree}},
        {"diversify": {"retriever": rescorer(retriever=tree)}},
    ):
        assert has_retriever_run_here(body)
        assert needs_es_rerank(body)
        assert not has_retriever_run_here(body, [kind])
    inside = {"rrf": {"retrievers": [LEAF, {"retriever": tree, "weight": 2}]}}
    assert has_retriever_run_here(inside, ["rrf"]) == (kind != "rrf")
    assert not has_retriever_run_here(inside, ["rrf", "linear", "pinned", "text_similarity_reranker"])


def test_a_vector_that_is_made_here_needs_es_rerank_wherever_it_is_asked_for() -> None:
    mine, theirs = (
        knn(query_vector=GONE, query_vector_builder=BUILDER),
        knn(query_vector=GONE, query_vector_builder={"lookup": {"id": "1"}}),
    )
    deep = rescorer(retriever={"rrf": {"retrievers": [theirs, {"retriever": mine}, LEAF]}})
    assert list(text_embedding_leaves(deep)) == [mine["knn"]]
    assert not has_retriever_run_here(mine)
    assert needs_es_rerank(mine)
    assert not needs_es_rerank(theirs)
    assert needs_es_rerank(deep, ["rrf"])
    assert not needs_es_rerank(deep, ["rrf", "query_vector_builder"])
    assert list(text_embedding_leaves(deep, ["query_vector_builder"])) == []
    assert list(text_embedding_leaves(knn(query_vector_builder="nonsense"))) == []


@pytest.mark.parametrize("kind", ["rule", "diversify"])
def test_what_only_elasticsearch_runs_is_kept_whole_over_native_and_refused_over_ours(kind: str) -> None:
    content = {
        "anything": [1],
        "retriever": rescorer(retriever=knn()),
        "rank_window_size": "25",
        "_name": "me",
        "min_score": 0.5,
    }
    node = parsed({kind: content})
    assert isinstance(node, Native)
    assert (node.kind, node.body, node.window, node.name, node.min_score) == (kind, content, 25, "me", 0.5)
    assert [child.kind for child in node.children] == ["rescorer"]
    for ours in (rrf(), linear(), pinned(), reranker(), rescorer(retriever=pinned())):
        word = next(iter(ours))
        with pytest.raises(RetrieverParsingError) as caught:
            parse(rrf(LEAF, {kind: {"retriever": ours}}))
        at = f"retriever.rrf.retrievers[1].{kind}"
        assert (caught.value.path, caught.value.kind) == (at, ILLEGAL)
        assert str(caught.value) == (
            f"[{at}] [{kind}] is run by Elasticsearch alone, with everything under it, "
            f"and [{word}] is run here; take [{kind}] out, or put it below [{word}]"
        )


def test_below_what_only_elasticsearch_runs_no_vector_is_made_here() -> None:
    tree = {"rule": {"retriever": knn(query_vector=GONE, query_vector_builder=BUILDER)}}
    with pytest.raises(
        RetrieverParsingError,
        match=r"^\[retriever.rule\] \[rule\] is run by Elasticsearch alone.* \[knn\] is run here",
    ):
        parse(tree)


def test_a_fault_below_a_native_retriever_is_found() -> None:
    with pytest.raises(
        RetrieverParsingError,
        match=r"^\[retriever.rule.retriever.standard\] \[standard\] unknown field \[qery\]",
    ):
        parse({"rule": {"retriever": standard(qery={})}})
    with pytest.raises(RetrieverParsingError, match=r"^\[retriever.rrf.retrievers\[1\].knn\] Required"):
        parse(rrf(LEAF, {"retriever": {"knn": {}}}), elasticsearch_runs=["rrf"])


def kinds(body: dict[str, Any], runs: Collection[str]) -> list[str]:
    return [
        f"native {node.kind}" if isinstance(node, Native) else node.kind
        for node in nodes_of(parsed(body, runs))
    ]


def test_what_elasticsearch_runs_goes_whole_where_its_whole_subtree_can() -> None:
    mine = knn(query_vector=GONE, query_vector_builder=BUILDER)
    assert kinds(rrf(LEAF, {"retriever": knn()}), ["rrf"]) == ["native rrf"]
    assert kinds({"rrf": {"retrievers": LEAF}}, ["rrf"]) == ["native rrf"]
    assert kinds(rrf(LEAF, knn()), ["linear"]) == ["rrf", "standard", "knn"]
    assert kinds(reranker(retriever=rrf(LEAF, rescorer())), ["rrf"]) == [
        "text_similarity_reranker",
        "native rrf",
    ]
    assert kinds(rrf(LEAF, reranker()), ["rrf"]) == [
        "rrf",
        "standard",
        "text_similarity_reranker",
        "standard",
    ]
    assert kinds(rrf(LEAF, linear({"retriever": pinned()})), ["rrf", "linear", "pinned"]) == ["native rrf"]
    assert kinds(rrf(LEAF, mine), ["rrf"]) == ["rrf", "standard", "knn"]
    assert kinds(rrf(LEAF, rescorer(retriever=mine)), ["rrf"]) == ["rrf", "standard", "rescorer", "knn"]


def test_a_builder_that_elasticsearch_runs_is_not_read() -> None:
    odd = knn(query_vector=GONE, query_vector_builder={"text_embedding": {"input": "q"}})
    assert parsed(odd, ["query_vector_builder"]).query_vector_builder == {"text_embedding": {"input": "q"}}
    with pytest.raises(RetrieverParsingError, match=r"unknown field \[input\]"):
        parse(odd)

"""Rules between the parts of a search: windows and sizes, the multi-field format, what stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import (
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

from es_rerank.errors import InvalidSearchError, RequestError, RetrieverParsingError, error_body
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.request import SearchRequest, read_request
from es_rerank.retrievers.grammar.tree import (
    Native,
    Rrf,
    Standard,
)
from es_rerank.retrievers.grammar.validation import check_children, faults_of

# --- windows, sizes, the multi-field format -----------------------------------------------------------------


def test_size_over_the_window_is_a_fault_of_every_retriever_that_is_too_small() -> None:
    tree = parse(reranker(retriever=rrf(LEAF, rank_window_size=15), rank_window_size=12))
    assert faults_of(tree, 12) == []
    assert faults_of(tree, 16) == [
        "[text_similarity_reranker] requires [rank_window_size: 12] be greater than or equal to [size: 16]",
        "[rrf] requires [rank_window_size: 15] be greater than or equal to [size: 16]",
    ]
    assert faults_of(parse(standard()), 9999) == []


def test_a_parent_takes_no_more_than_a_compound_child_hands_on() -> None:
    def over(parent: int, child: dict[str, Any]) -> list[str]:
        return faults_of(parse(linear({"retriever": LEAF}, {"retriever": child}, rank_window_size=parent)), 0)

    assert over(50, rrf(rank_window_size=50)) == []
    assert over(51, rrf(rank_window_size=50)) == [
        (
            "[linear] requires [rank_window_size: 51] to be smaller than or equal to "
            "its sub retriever's rrf [rank_window_size: 50]"
        )
    ]
    assert over(21, rescorer()) == [
        (
            "[linear] requires [rank_window_size: 21] to be smaller than or equal to "
            "its sub retriever's rescorer [window_size: 20]"
        )
    ]
    assert over(51, {"rule": {"retriever": LEAF, "rank_window_size": 10}}) == []


def test_scroll_and_a_negative_window_are_faults() -> None:
    assert faults_of(parse(rrf(pinned())), 1, scroll=True) == [
        "cannot specify [rrf] and [scroll]",
        "cannot specify [pinned] and [scroll]",
    ]
    assert faults_of(parse(reranker(rank_window_size=-2)), -3) == [
        "[rank_window_size] parameter cannot be negative, found [-2]"
    ]
    assert faults_of(parse(rescorer(rescore={**RESCORE, "window_size": -1})), -3) == [
        "[window_size] parameter cannot be negative, found [-1]"
    ]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"rrf": {"query": "q"}}, []),
        ({"rrf": {"query": "q", "fields": "a"}}, []),
        ({"linear": {"query": "q", "normalizer": "minmax"}}, []),
        ({"rrf": {}}, ["[rrf] must provide [retrievers] or [query]"]),
        ({"linear": {"retrievers": []}}, ["[linear] must provide [retrievers] or [query]"]),
        ({"rrf": {"fields": ["a"]}}, ["[rrf] [query] must be provided when [fields] is specified"]),
        (
            {"rrf": {"fields": [], "retrievers": [LEAF]}},
            ["[rrf] [query] must be provided when [fields] is specified"],
        ),
        ({"rrf": {"query": ""}}, ["[rrf] [query] cannot be empty"]),
        ({"rrf": {"query": "q", "fields": []}}, ["[rrf] [fields] cannot be empty"]),
        ({"rrf": {"query": "q", "retrievers": [LEAF]}}, ["[rrf] cannot combine [retrievers] and [query]"]),
        ({"linear": {"query": "q"}}, ["[linear] [normalizer] must be provided when [query] is specified"]),
        (
            {"linear": {"query": "", "fields": [], "retrievers": [{"retriever": LEAF}]}},
            [
                "[linear] [query] cannot be empty",
                "[linear] [fields] cannot be empty",
                "[linear] cannot combine [retrievers] and [query]",
                "[linear] [normalizer] must be provided when [query] is specified",
            ],
        ),
    ],
)
def test_the_multi_field_format_is_held_to_elastics_rules(body: dict[str, Any], faults: list[str]) -> None:
    assert faults_of(parse(body), 1) == faults
    assert faults_of(parse(reranker(retriever=body)), 1) == faults


@pytest.mark.parametrize(("key", "value"), [("search_after", [1]), ("terminate_after", 5)])
def test_what_a_standard_retriever_may_carry_only_alone_is_refused_below_a_compound(
    key: str, value: Any
) -> None:
    alone = standard(query=MATCH, **{key: value})
    check_children(parse(alone))
    for wrapped, path in (
        (rrf(LEAF, alone), "retriever.rrf"),
        (reranker(retriever=rescorer(retriever=alone)), "retriever.text_similarity_reranker.rescorer"),
    ):
        with pytest.raises(RetrieverParsingError) as caught:
            check_children(parse(wrapped))
        assert (str(caught.value), caught.value.kind) == (
            f"[{path}] [{key}] cannot be used in children of compound retrievers",
            ILLEGAL,
        )


@pytest.mark.parametrize("more", [{}, {"sort": ["_score"]}, {"min_score": 1}])
def test_pins_over_a_standard_retriever_without_a_query_are_refused(more: dict[str, Any]) -> None:
    for tree, path in (
        (pinned(retriever=standard(**more)), "retriever.pinned"),
        (rrf(pinned(retriever=standard(**more))), "retriever.rrf.pinned"),
    ):
        with pytest.raises(RetrieverParsingError) as caught:
            check_children(parse(tree))
        assert (str(caught.value), caught.value.kind) == (
            f"[{path}] pinned retriever requires retriever with associated query",
            ILLEGAL,
        )


@pytest.mark.parametrize(
    "tree",
    [
        pinned(retriever=standard(filter=MATCH)),
        pinned(retriever=standard(), filter=MATCH),
        rrf(pinned(retriever=standard()), filter=MATCH),
        pinned(retriever=rrf(standard())),
    ],
)
def test_a_filter_is_a_query_for_pins(tree: dict[str, Any]) -> None:
    check_children(parse(tree))


# --- the search around it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["query", "knn", "search_after", "terminate_after", "sort", "rescore", "rank"]
)
def test_what_elasticsearch_refuses_beside_a_retriever_is_refused(key: str) -> None:
    with pytest.raises(InvalidSearchError) as caught:
        read_request({"retriever": reranker(), key: 1})
    assert str(caught.value) == f"Validation Failed: 1: cannot specify [retriever] and [{key}];"


def test_all_that_does_not_go_together_is_said_at_once() -> None:
    with pytest.raises(InvalidSearchError) as caught:
        read_request(
            {"sort": [], "retriever": rrf(rank_window_size=3), "size": 4, "rescore": {}, "query": {}},
            scroll=True,
        )
    assert caught.value.faults[-1] == "cannot specify [retriever] and [query, sort, rescore]"
    assert sorted(caught.value.faults) == [
        "[rrf] requires [rank_window_size: 3] be greater than or equal to [size: 4]",
        "cannot specify [retriever] and [query, sort, rescore]",
        "cannot specify [rrf] and [scroll]",
    ]
    assert error_body(caught.value)["error"]["type"] == "action_request_validation_exception"
    assert str(caught.value) == "Validation Failed: " + "".join(
        f"{number}: {fault};" for number, fault in enumerate(caught.value.faults, 1)
    )


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    for key, meant in (
        ("hihglight", " did you mean [highlight]?"),
        ("agg", " did you mean [aggs]?"),
        ("nonsense", ""),
    ):
        with pytest.raises(RetrieverParsingError) as caught:
            read_request({"retriever": reranker(), key: {}})
        assert (str(caught.value), caught.value.path) == (f"Unknown key in [{key}].{meant}", key)


def test_a_slice_is_refused() -> None:
    with pytest.raises(RequestError, match=r"\[slice\] cannot be combined with a compound retriever"):
        read_request({"retriever": reranker(), "slice": {"id": 0, "max": 2}})


def test_sizes_are_those_given_and_may_be_strings() -> None:
    def counts(**body: Any) -> tuple[int, int | None]:
        request = read_request({"retriever": reranker(rank_window_size=50), **body})
        return request.offset, request.size

    assert counts() == (0, None)
    assert counts(size=0) == (0, 0)
    assert counts(**{"from": "7", "size": "3"}) == (7, 3)
    assert counts(**{"from": "7.9", "size": 3.0}) == (7, 3)


def test_the_body_is_split_between_every_search_and_the_page() -> None:
    common = {"runtime_mappings": {"r": {}}, "pit": {"id": "p"}, "timeout": "1s"}
    page = {
        "_source": ["x"], "fields": ["f"], "docvalue_fields": ["d"], "stored_fields": ["s"],
        "script_fields": {}, "highlight": {}, "version": True, "seq_no_primary_term": True, "explain": True,
        "profile": True, "aggs": {"a": {}}, "aggregations": {"b": {}}, "track_total_hits": 5,
        "track_scores": True, "suggest": {}, "stats": ["g"], "ext": {}, "collapse": {"field": "k"},
        "post_filter": MATCH,
    }  # fmt: skip
    request = read_request(
        {
            "retriever": LEAF,
            "from": 3,
            "size": 4,
            "min_score": 0.5,
            "indices_boost": [{"i": 2}],
            **page,
            **common,
        }
    )
    assert request == SearchRequest(Standard(query=MATCH), 3, 4, 0.5, common, {**page, **common})
    assert request.explain
    assert not read_request({"retriever": LEAF, "explain": False}).explain
    assert read_request({"retriever": LEAF}) == SearchRequest(Standard(query=MATCH), 0, None, None, {}, {})


@pytest.mark.parametrize(
    "tree",
    [
        standard(min_score=0.1),
        rrf(min_score=0.1),
        rrf(standard(min_score=0.1)),
        rrf(knn(min_score=0.1)),
        rrf(linear({"retriever": rrf(), "weight": 1}, min_score=0.1)),
        reranker(min_probability=0.1),
    ],
)
def test_the_bodys_min_score_is_without_effect_beside_one_in_the_tree(tree: dict[str, Any]) -> None:
    assert read_request({"retriever": tree, "min_score": 0.5}).min_score is None


def test_a_request_is_held_to_the_trees_rules_and_to_who_runs_what() -> None:
    with pytest.raises(RetrieverParsingError, match="cannot be used in children"):
        read_request({"retriever": rrf(standard(terminate_after=1))})
    assert isinstance(read_request({"retriever": rrf()}, ["rrf"]).retriever, Native)
    assert isinstance(read_request({"retriever": rrf()}, ["linear"]).retriever, Rrf)

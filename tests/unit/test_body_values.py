"""Numbers and booleans beside a retriever, and minima in it: taken and refused as Elasticsearch does."""

from __future__ import annotations

import math
from typing import Any

import pytest
from retriever_bodies import (
    CONTENT,
    ILLEGAL,
    LEAF,
    NOT_A_NUMBER,
    PARSING,
    knn,
    linear,
    pinned,
    reranker,
    rrf,
    standard,
)

from es_rerank.errors import RetrieverParsingError
from es_rerank.retrievers.grammar.body_values import FLAGS
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.request import SearchRequest, read_request
from es_rerank.retrievers.planning.leaves import LeafSearch, leaf_body

JSON = "json_parse_exception"


def read(**beside: Any) -> SearchRequest:
    return read_request({"retriever": rrf(rank_window_size=50), **beside})


@pytest.mark.parametrize("value", [2, 2.0, 2.9, "2", "2.0", "2.9", " 2 ", "+2", "2e0", "2f"])
def test_whole_numbers_may_be_strings_and_lose_their_decimal_places(value: Any) -> None:
    request = read(size=value, track_total_hits=value, **{"from": value})
    assert (request.size, request.offset, request.page["track_total_hits"]) == (2, 2, 2)


@pytest.mark.parametrize(("value", "least"), [("0.5", 0.5), ("-1", -1.0), ("1e1", 10.0), (3, 3.0)])
def test_a_least_score_may_be_a_string(value: Any, least: float) -> None:
    assert read(min_score=value).min_score == least


@pytest.mark.parametrize("key", [*FLAGS, "track_total_hits"])
def test_booleans_may_be_strings(key: str) -> None:
    assert read(**{key: "true"}).page == {key: True}
    assert read(**{key: "false"}).page == {key: False}


def test_an_explanation_may_be_asked_for_by_a_string() -> None:
    assert read(explain="true").explain
    assert not read(explain="").explain


@pytest.mark.parametrize(
    "key", ["size", "from", "min_score", "aggs", "query", "_source", "slice", "timeout", "sort", "version"]
)
def test_null_is_refused_whatever_the_key(key: str) -> None:
    assert_refused({key: None}, f"Unknown key for a VALUE_NULL in [{key}].", PARSING)


NOT_NUMERIC = "Current token (VALUE_TRUE) not numeric, can not use numeric value accessors"
NOT_BOOLEAN = "Current token (VALUE_NUMBER_INT) not of boolean type"
TOO_LARGE = "Numeric value (99999999999) out of range of int (-2147483648 - 2147483647)"


@pytest.mark.parametrize(
    ("beside", "sentence", "kind", "cause"),
    [
        ({"size": "many"}, '[size] For input string: "many"', NOT_A_NUMBER, None),
        ({"from": ""}, "[from] empty String", NOT_A_NUMBER, None),
        ({"size": True}, f"[size] {NOT_NUMERIC}", CONTENT, (JSON, NOT_NUMERIC)),
        ({"size": [1]}, "Unknown key for a START_ARRAY in [size].", PARSING, None),
        ({"min_score": {}}, "Unknown key for a START_OBJECT in [min_score].", PARSING, None),
        ({"min_score": "x"}, '[min_score] For input string: "x"', NOT_A_NUMBER, None),
        ({"size": -1}, "[size] parameter cannot be negative, found [-1]", ILLEGAL, None),
        ({"size": "-2.5"}, "[size] parameter cannot be negative, found [-2]", ILLEGAL, None),
        ({"from": -1}, "[from] parameter cannot be negative but was [-1]", ILLEGAL, None),
        (
            {"size": 99999999999},
            f"[size] {TOO_LARGE}",
            CONTENT,
            ("input_coercion_exception", TOO_LARGE),
        ),
        (
            {"from": "99999999999"},
            "[from] Value [99999999999] is out of range for an integer",
            ILLEGAL,
            None,
        ),
        ({"version": 1}, f"[version] {NOT_BOOLEAN}", CONTENT, (JSON, NOT_BOOLEAN)),
        (
            {"explain": "yes"},
            "[explain] Failed to parse value [yes] as only [true] or [false] are allowed.",
            ILLEGAL,
            None,
        ),
        ({"profile": []}, "Unknown key for a START_ARRAY in [profile].", PARSING, None),
        (
            {"track_total_hits": -2},
            "[track_total_hits] parameter must be positive or equals to -1, got -2",
            ILLEGAL,
            None,
        ),
        ({"indices_boost": {"a": 2}}, "Unknown key for a START_OBJECT in [indices_boost].", PARSING, None),
        ({"indices_boost": 2}, "Unknown key for a VALUE_NUMBER in [indices_boost].", PARSING, None),
        (
            {"indices_boost": ["a"]},
            "Expected [START_OBJECT] in [null] but found [VALUE_STRING]",
            PARSING,
            None,
        ),
        (
            {"indices_boost": [{}]},
            "Expected [FIELD_NAME] in [indices_boost] but found [END_OBJECT]",
            PARSING,
            None,
        ),
        (
            {"indices_boost": [{"a": "2"}]},
            "Expected [VALUE_NUMBER] in [indices_boost] but found [VALUE_STRING]",
            PARSING,
            None,
        ),
        (
            {"indices_boost": [{"a": 1, "b": 2}]},
            "Expected [END_OBJECT] in [indices_boost] but found [FIELD_NAME]",
            PARSING,
            None,
        ),
        ({"terminate_after": "x"}, '[terminate_after] For input string: "x"', NOT_A_NUMBER, None),
    ],
)
def test_a_wrong_value_is_refused_with_elasticsearchs_type(
    beside: dict[str, Any], sentence: str, kind: str, cause: tuple[str, str] | None
) -> None:
    assert_refused(beside, sentence, kind, cause)


def test_the_first_fault_of_the_body_is_reported() -> None:
    with pytest.raises(RetrieverParsingError, match=r"^\[size\]"):
        read_request({"size": "x", "retriever": {"nonsense": {}}})
    with pytest.raises(RetrieverParsingError, match="unknown retriever"):
        read_request({"retriever": {"nonsense": {}}, "size": "x"})


def assert_refused(
    beside: dict[str, Any], sentence: str, kind: str, cause: tuple[str, str] | None = None
) -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        read(**beside)
    error = caught.value
    assert (str(error), error.path, error.kind, error.cause) == (sentence, next(iter(beside)), kind, cause)


# --- minima of retrievers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, "-1", -0.5])
def test_a_negative_minimum_of_linear_is_refused_and_of_no_other_retriever(value: Any) -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        parse(linear(min_score=value))
    assert str(caught.value) == (
        f"[retriever.linear] [min_score] must be greater than or equal to 0, was: [{float(value)}]; "
        "leave it out for no minimum"
    )
    assert caught.value.kind == ILLEGAL
    for wrap in (rrf, pinned, reranker, standard):
        parse(wrap(min_score=value))
    parse(linear(min_score=0))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_minimum_that_is_no_number_is_refused_where_the_retriever_runs_here(value: str) -> None:
    trees = [wrap(min_score=value) for wrap in (rrf, linear, pinned, reranker)]
    for tree in [*trees, reranker(min_probability=value), rrf(LEAF, linear(min_score=value))]:
        with pytest.raises(RetrieverParsingError) as caught:
            parse(tree)
        assert f"must be a number, found [{value}]" in str(caught.value)
        assert caught.value.kind == ILLEGAL


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_json_cannot_hold_goes_to_elasticsearch_as_it_came(value: str) -> None:
    for tree, key in ((standard(min_score=value), "min_score"), (knn(min_score=value), "min_score")):
        node = parse(tree)
        assert not math.isfinite(node.min_score or 0)
        assert leaf_body(LeafSearch(node, 5))[key] == value  # type: ignore[arg-type]
    assert leaf_body(LeafSearch(parse(knn(similarity=value)), 5))["knn"]["similarity"] == value  # type: ignore[arg-type]


def test_a_least_score_beside_blended_scores_is_refused() -> None:
    blended = reranker(blend=True)
    for tree in (blended, pinned(retriever=blended)):
        with pytest.raises(RetrieverParsingError, match=r"^\[min_score\].*use \[min_probability\]"):
            read_request({"retriever": tree, "min_score": 0.5})
    for tree in (reranker(), pinned(), rrf({"standard": {}}, blended)):
        assert read_request({"retriever": tree, "min_score": 0.5}).min_score == 0.5
    # It is without effect where the tree has a minimum.
    least = reranker(blend=True, min_probability=0.5)
    assert read_request({"retriever": least, "min_score": 0.5}).min_score is None

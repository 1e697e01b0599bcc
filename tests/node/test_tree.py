"""The retriever tree: Elastic's grammar, defaults and faults; where Elasticsearch can be asked,
its own sentences.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from es_rerank.errors import InvalidSearchError, RequestError, RetrieverParsingError, error_body
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.request import SearchRequest, read_request
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
    builders,
    composes,
    needs_us,
    nodes_of,
)
from es_rerank.retrievers.grammar.validation import check_children, faults_of

ILLEGAL, CONTENT, PARSING, NOT_A_NUMBER = (
    "illegal_argument_exception",
    "x_content_parse_exception",
    "parsing_exception",
    "number_format_exception",
)
UNKNOWN = "named_object_not_found_exception"
MATCH = {"match": {"text": "treaty"}}
LEAF: dict[str, Any] = {"standard": {"query": MATCH}}
RESCORE: dict[str, Any] = {"window_size": 20, "query": {"rescore_query": MATCH}}
BUILDER = {"text_embedding": {"model_text": "who signed"}}
GONE = object()


def without_gone(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not GONE}


def standard(**content: Any) -> dict[str, Any]:
    return {"standard": content}


def knn(**changes: Any) -> dict[str, Any]:
    return {
        "knn": without_gone(
            {"field": "vector", "k": 5, "num_candidates": 10, "query_vector": [1.0, 0.0], **changes}
        )
    }


def rrf(*children: Any, **more: Any) -> dict[str, Any]:
    return {"rrf": {"retrievers": list(children or (LEAF,)), **more}}


def linear(*children: Any, **more: Any) -> dict[str, Any]:
    return {"linear": {"retrievers": list(children or ({"retriever": LEAF},)), **more}}


def pinned(**changes: Any) -> dict[str, Any]:
    return {"pinned": without_gone({"ids": ["1"], "retriever": LEAF, **changes})}


def rescorer(**changes: Any) -> dict[str, Any]:
    return {"rescorer": without_gone({"retriever": LEAF, "rescore": RESCORE, **changes})}


def reranker(**changes: Any) -> dict[str, Any]:
    return {
        "text_similarity_reranker": without_gone(
            {"retriever": LEAF, "field": "text", "inference_text": "who signed", **changes}
        )
    }


def parsed(body: Any, runs: Collection[str] = ()) -> Any:
    return parse(body, elasticsearch_runs=runs)


# --- what is taken ------------------------------------------------------------------------------------------

FOUND = Standard(query=MATCH)


@pytest.mark.parametrize(
    ("body", "node"),
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
def test_defaults_are_elastics(body: dict[str, Any], node: Any) -> None:
    assert parse(body) == node


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


# --- what is refused ----------------------------------------------------------------------------------------


def fault(body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None = None) -> Any:
    """A retriever, where the fault is below «retriever», its sentence, its type,
    and (type, reason) of what caused it.
    """
    return pytest.param(body, f"retriever{path}", sentence, kind, cause, id=sentence[:60])


def wrong_type(body: dict[str, Any], key: str, token: str, path: str = "", kind: str = "") -> Any:
    root = next(iter(body))
    return fault(
        body, path or f".{root}", f"[{kind or root}] {key} doesn't support values of type: {token}", CONTENT
    )


def failed(body: dict[str, Any], key: str, cause: tuple[str, str], path: str = "", kind: str = "") -> Any:
    root = next(iter(body))
    return fault(body, path or f".{root}", f"[{kind or root}] failed to parse field [{key}]", CONTENT, cause)


def failed_build(body: dict[str, Any], kind: str, path: str, reason: str) -> Any:
    return fault(
        body,
        path,
        f"Failed to build [{kind}] after last required field arrived: {reason}",
        CONTENT,
        (ILLEGAL, reason),
    )


def no_number(written: str) -> tuple[str, str]:
    return NOT_A_NUMBER, f'For input string: "{written}"'


FIRST = ".retrievers[0]"
CHUNKS = ".text_similarity_reranker.chunk_rescorer"
MADE = ".knn.query_vector_builder.text_embedding"
NO_PINS = "Either 'ids' or 'docs' must be provided and non-empty for pinned retriever"
FAULTS = [
    # shape
    fault([], "", "Unknown key for a START_ARRAY in [retriever].", PARSING),
    fault(None, "", "Unknown key for a VALUE_NULL in [retriever].", PARSING),
    fault({}, "", "retriever malformed, empty clause found", PARSING),
    fault(
        {"nonsense": {}}, "", "unknown retriever [nonsense]", PARSING, (UNKNOWN, "unknown field [nonsense]")
    ),
    fault(
        {"standart": {}},
        "",
        "unknown retriever [standart] did you mean [standard]?",
        PARSING,
        (UNKNOWN, "unknown field [standart]"),
    ),
    fault(
        {"rescore": {}},
        "",
        "unknown retriever [rescore] did you mean [rescorer]?",
        PARSING,
        (UNKNOWN, "unknown field [rescore]"),
    ),
    fault(
        {"nonsense": 3},
        ".nonsense",
        "[nonsense] retriever malformed, no [START_OBJECT] after retriever name",
        PARSING,
    ),
    fault(
        {"standard": 3},
        ".standard",
        "[standard] retriever malformed, no [START_OBJECT] after retriever name",
        PARSING,
    ),
    fault(
        {"standard": {}, "knn": {}},
        "",
        "[standard] malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]",
        PARSING,
    ),
    # keys
    fault(standard(qery={}), ".standard", "[standard] unknown field [qery] did you mean [query]?", CONTENT),
    fault(standard(boost=None), ".standard", "[standard] unknown field [boost]", CONTENT),
    fault(standard(name="me"), ".standard", "[standard] unknown field [name] did you mean [_name]?", CONTENT),
    fault(
        rrf(LEAF, standard(nonsense=1)),
        ".rrf.retrievers[1].standard",
        "[standard] unknown field [nonsense]",
        CONTENT,
    ),
    fault(
        linear(
            {
                "retriever": rrf(
                    {"retriever": rescorer(retriever=reranker(retriever=pinned(retriever=knn(_nam=1))))}
                )
            }
        ),
        f".linear{FIRST}.retriever.rrf{FIRST}.retriever.rescorer.retriever.text_similarity_reranker.retriever.pinned.retriever.knn",
        "[knn] unknown field [_nam] did you mean [_name]?",
        CONTENT,
    ),
    fault(rrf(retriever=LEAF), ".rrf", "[rrf] unknown field [retriever] did you mean [retrievers]?", CONTENT),
    fault(
        rrf(rank_window=5),
        ".rrf",
        "[rrf] unknown field [rank_window] did you mean [rank_window_size]?",
        CONTENT,
    ),
    fault(rrf(normalizer="none"), ".rrf", "[rrf] unknown field [normalizer]", CONTENT),
    fault(linear(rank_constant=1), ".linear", "[linear] unknown field [rank_constant]", CONTENT),
    fault(rescorer(window_size=5), ".rescorer", "[rescorer] unknown field [window_size]", CONTENT),
    fault(
        reranker(inference_it=1),
        ".text_similarity_reranker",
        "[text_similarity_reranker] unknown field [inference_it] "
        "did you mean any of [inference_id, inference_text]?",
        CONTENT,
    ),
    fault(
        reranker(chunk_rescorer={"sice": 1}),
        CHUNKS,
        "[chunk_rescorer] unknown field [sice] did you mean [size]?",
        CONTENT,
    ),
    fault(
        knn(query_vector=GONE, query_vector_builder={"text_embedding": {"model_text": "x", "model": "y"}}),
        MADE,
        "[text_embedding] unknown field [model] did you mean [model_id]?",
        CONTENT,
    ),
    # the first as they are written, what is missing last
    failed(standard(min_score="x", nonsense=1), "min_score", no_number("x")),
    fault(standard(nonsense=1, min_score="x"), ".standard", "[standard] unknown field [nonsense]", CONTENT),
    wrong_type(standard(query=3, nonsense=1), "query", "VALUE_NUMBER"),
    failed(knn(field=GONE, k="x"), "k", no_number("x")),
    # what is missing
    fault(knn(field=GONE), ".knn", "Required [field]", ILLEGAL),
    fault(knn(field=GONE, k=GONE), ".knn", "Required [field, k]", ILLEGAL),
    fault(rescorer(retriever=GONE, rescore=GONE), ".rescorer", "Required [retriever, rescore]", ILLEGAL),
    fault(reranker(inference_text=GONE), ".text_similarity_reranker", "Required [inference_text]", ILLEGAL),
    fault(
        {"text_similarity_reranker": {}},
        ".text_similarity_reranker",
        "Required [retriever, inference_text, field]",
        ILLEGAL,
    ),
    fault(linear({"weight": 1}), f".linear{FIRST}", "Required [retriever]", ILLEGAL),
    fault(
        knn(query_vector=GONE, query_vector_builder={"text_embedding": {}}),
        MADE,
        "Required [model_text]",
        ILLEGAL,
    ),
    # types
    wrong_type(standard(query=[MATCH]), "query", "START_ARRAY"),
    wrong_type(standard(sort="_score"), "sort", "VALUE_STRING"),
    wrong_type(standard(sort=None), "sort", "VALUE_NULL"),
    wrong_type(standard(filter=3), "filter", "VALUE_NUMBER"),
    failed(
        standard(filter=[MATCH, 3]),
        "filter",
        (PARSING, "[_na] query malformed, must start with start_object"),
    ),
    wrong_type(standard(_name=3), "_name", "VALUE_NUMBER"),
    wrong_type(standard(min_score=True), "min_score", "VALUE_BOOLEAN"),
    wrong_type(knn(field=3), "field", "VALUE_NUMBER"),
    wrong_type(knn(k={}), "k", "START_OBJECT"),
    failed(knn(k=""), "k", (NOT_A_NUMBER, "empty String")),
    failed(knn(k="0x1"), "k", no_number("0x1")),
    failed(knn(k=" 1_0 "), "k", no_number("1_0")),
    failed(knn(k="2147483648"), "k", (ILLEGAL, "Value [2147483648] is out of range for an integer")),
    failed(
        knn(k=-2147483649),
        "k",
        (
            "input_coercion_exception",
            "Numeric value (-2147483649) out of range of int (-2147483648 - 2147483647)",
        ),
    ),
    failed(
        knn(query_vector=[1, None]),
        "query_vector",
        (PARSING, "Type [VALUE_NULL] not supported for query vector"),
    ),
    failed(knn(query_vector=[1, "x"]), "query_vector", no_number("x")),
    failed(knn(query_vector={}), "query_vector", (PARSING, "Unknown type [START_OBJECT] for parsing vector")),
    wrong_type(knn(query_vector=True), "query_vector", "VALUE_BOOLEAN"),
    failed(rrf(rank_constant="many"), "rank_constant", no_number("many")),
    wrong_type(rrf(query=3), "query", "VALUE_NUMBER"),
    failed(rrf(fields=[["a"]]), "fields", (ILLEGAL, "Expected text but found START_ARRAY")),
    wrong_type(rrf(fields={"a": 1}), "fields", "START_OBJECT"),
    wrong_type({"rrf": {"retrievers": "x"}}, "retrievers", "VALUE_STRING"),
    wrong_type({"linear": {"retrievers": None}}, "retrievers", "VALUE_NULL"),
    wrong_type(reranker(retriever=[]), "retriever", "START_ARRAY"),
    wrong_type(reranker(allow_rerank_failures=1), "allow_rerank_failures", "VALUE_NUMBER"),
    failed(
        reranker(allow_rerank_failures="yes"),
        "allow_rerank_failures",
        (ILLEGAL, "Failed to parse value [yes] as only [true] or [false] are allowed."),
    ),
    wrong_type(reranker(chunk_rescorer=True), "chunk_rescorer", "VALUE_BOOLEAN"),
    wrong_type(
        reranker(chunk_rescorer={"chunking_settings": "x"}),
        "chunking_settings",
        "VALUE_STRING",
        CHUNKS,
        "chunk_rescorer",
    ),
    fault(
        knn(query_vector=GONE, query_vector_builder={"text_embedding": "x"}),
        MADE,
        "[text_embedding] Expected START_OBJECT but was: VALUE_STRING",
        CONTENT,
    ),
    # kNN
    failed_build(
        knn(query_vector=GONE),
        "knn",
        ".knn",
        "either [query_vector] or [query_vector_builder] must be provided",
    ),
    failed_build(
        knn(query_vector_builder=BUILDER),
        "knn",
        ".knn",
        "only one of [query_vector] and [query_vector_builder] must be provided",
    ),
    fault(knn(k=0), ".knn", "[k] must be greater than 0", ILLEGAL),
    fault(knn(k=11), ".knn", "[num_candidates] cannot be less than [k]", ILLEGAL),
    fault(knn(num_candidates=0), ".knn", "[num_candidates] cannot be less than [k]", ILLEGAL),
    fault(knn(k=10_001, num_candidates=GONE), ".knn", "[num_candidates] cannot be less than [k]", ILLEGAL),
    fault(knn(num_candidates=10_001), ".knn", "[num_candidates] cannot exceed [10000]", ILLEGAL),
    fault(knn(visit_percentage=100.5), ".knn", "[visit_percentage] must be between 0 and 100", ILLEGAL),
    fault(knn(visit_percentage=-1), ".knn", "[visit_percentage] must be between 0 and 100", ILLEGAL),
    # fusions
    fault(
        rrf(rank_constant=0),
        ".rrf",
        "[rank_constant] must be greater or equal to [1] for [rrf], found [0]",
        ILLEGAL,
    ),
    fault(rrf(3), f".rrf{FIRST}", "expected object but found [VALUE_NUMBER]", PARSING),
    fault(rrf({}), f".rrf{FIRST}", "retriever component must contain a retriever", PARSING),
    fault(
        rrf(LEAF, {"weight": 2}),
        ".rrf.retrievers[1]",
        "retriever component must contain a retriever",
        PARSING,
    ),
    fault(rrf({"retriever": "x"}), f".rrf{FIRST}", "retriever must be an object", PARSING),
    fault(
        rrf({"retriever": LEAF, "wait": 1}),
        f".rrf{FIRST}",
        "unknown field [wait], expected [retriever] or [weight]",
        PARSING,
    ),
    fault(rrf({**LEAF, "weight": 1}), f".rrf{FIRST}", "unknown field [weight] after retriever", PARSING),
    fault(
        rrf({"retriever": LEAF, "weight": -1}),
        f".rrf{FIRST}",
        "[weight] must be non-negative, found [-1.0]",
        ILLEGAL,
    ),
    failed(
        rrf({"retriever": LEAF, "weight": "heavy"}),
        "weight",
        no_number("heavy"),
        f".rrf{FIRST}",
        "rrf_component",
    ),
    wrong_type(
        rrf({"retriever": LEAF, "weight": None}), "weight", "VALUE_NULL", f".rrf{FIRST}", "rrf_component"
    ),
    fault(linear(LEAF), f".linear{FIRST}", "[retriever-component] unknown field [standard]", CONTENT),
    fault(
        linear("x"),
        f".linear{FIRST}",
        "[retriever-component] Expected START_OBJECT but was: VALUE_STRING",
        CONTENT,
    ),
    fault(
        linear({"retriever": LEAF, "wight": 1}),
        f".linear{FIRST}",
        "[retriever-component] unknown field [wight] did you mean [weight]?",
        CONTENT,
    ),
    wrong_type(
        linear({"retriever": 3}), "retriever", "VALUE_NUMBER", f".linear{FIRST}", "retriever-component"
    ),
    failed_build(
        linear({"retriever": LEAF, "weight": -0.5}),
        "retriever-component",
        f".linear{FIRST}",
        "[weight] must be non-negative, found [-0.5]",
    ),
    wrong_type(
        linear({"retriever": LEAF, "weight": [1]}),
        "weight",
        "START_ARRAY",
        f".linear{FIRST}",
        "retriever-component",
    ),
    fault(
        linear({"retriever": LEAF, "normalizer": "softmax"}),
        f".linear{FIRST}",
        "Unknown normalizer [softmax]; the normalizers are none, minmax, l2_norm",
        ILLEGAL,
    ),
    fault(
        linear(normalizer="max"),
        ".linear",
        "Unknown normalizer [max]; the normalizers are none, minmax, l2_norm",
        ILLEGAL,
    ),
    wrong_type(linear(normalizer=1), "normalizer", "VALUE_NUMBER"),
    # pins
    failed_build(
        pinned(docs=[{"_id": "1"}]),
        "pinned",
        ".pinned",
        "Both 'ids' and 'docs' cannot be specified at the same time",
    ),
    failed_build(pinned(ids=GONE), "pinned", ".pinned", NO_PINS),
    failed_build(pinned(ids=[]), "pinned", ".pinned", NO_PINS),
    failed_build(pinned(ids=GONE, docs=[]), "pinned", ".pinned", NO_PINS),
    fault(
        pinned(ids=[str(number) for number in range(101)]),
        ".pinned",
        "[pinned] Max of 100 ids exceeded: 101 provided.",
        ILLEGAL,
    ),
    fault(
        pinned(ids=GONE, docs=[{"_id": str(n)} for n in range(102)]),
        ".pinned",
        "[pinned] Max of 100 docs exceeded: 102 provided.",
        ILLEGAL,
    ),
    fault(pinned(ids=["a", "b", "a"]), ".pinned", "[pinned] duplicate id found in list: a", ILLEGAL),
    fault(
        pinned(ids=GONE, docs=[{"_id": "a"}, {"_id": "a"}]),
        ".pinned",
        "[pinned] duplicate doc found in list: a",
        ILLEGAL,
    ),
    failed(pinned(ids=[None]), "ids", (ILLEGAL, "Expected text but found VALUE_NULL")),
    fault(
        pinned(ids=GONE, docs=[{"_id": "a"}, {"_index": "i"}]), ".pinned.docs[1]", "Required [_id]", ILLEGAL
    ),
    wrong_type(pinned(ids=GONE, docs=[{"_id": 1}]), "_id", "VALUE_NUMBER", ".pinned.docs[0]", "item"),
    fault(
        pinned(ids=GONE, docs=[{"_id": "1", "id": "2"}]),
        ".pinned.docs[0]",
        "[item] unknown field [id] did you mean [_id]?",
        CONTENT,
    ),
    fault(
        pinned(ids=GONE, docs=["1"]),
        ".pinned.docs[0]",
        "[item] Expected START_OBJECT but was: VALUE_STRING",
        CONTENT,
    ),
    wrong_type(pinned(ids=GONE, docs="1"), "docs", "VALUE_STRING"),
    failed_build(
        pinned(ids=GONE, docs=[{"_id": "1", "_index": "logs-*"}]),
        "item",
        ".pinned.docs[0]",
        "Item index cannot contain wildcard expressions",
    ),
    fault(
        pinned(retriever=standard(sort=[{"_score": "desc"}, {"year": "desc"}])),
        ".pinned",
        "[pinned] retriever only supports sorting by score; leave [sort] out of its retriever",
        ILLEGAL,
    ),
    # rescorers
    failed_build(rescorer(rescore=[]), "rescorer", ".rescorer", "Missing rescore definition"),
    wrong_type(rescorer(rescore="x"), "rescore", "VALUE_STRING"),
    failed(rescorer(rescore=[RESCORE, {**RESCORE, "window_size": "x"}]), "rescore", no_number("x")),
    failed(
        rescorer(rescore={**RESCORE, "window_size": None}),
        "rescore",
        (PARSING, "unexpected token [VALUE_NULL] after [window_size]"),
    ),
    failed(
        rescorer(rescore={**RESCORE, "window_size": False}),
        "rescore",
        (
            "json_parse_exception",
            "Current token (VALUE_FALSE) not numeric, can not use numeric value accessors",
        ),
    ),
    # rerankers
    fault(
        reranker(field=[]),
        ".text_similarity_reranker",
        "[field] names no field; name the one whose text is read",
        ILLEGAL,
    ),
    fault(
        reranker(inference_text=""),
        ".text_similarity_reranker",
        "[inference_text] is empty; give the text that the documents are compared with",
        ILLEGAL,
    ),
    fault(reranker(chunk_rescorer={"size": 0}), CHUNKS, "size must be greater than 0, was: 0", ILLEGAL),
]


@pytest.mark.parametrize(("body", "path", "sentence", "kind", "cause"), FAULTS)
def test_a_fault_has_its_place_sentence_and_type(
    body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None
) -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        parse(body)
    error = caught.value
    assert (str(error), error.path, error.kind, error.cause) == (f"[{path}] {sentence}", path, kind, cause)


def test_a_fault_is_answered_as_elasticsearch_answers_its_own() -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        parse(knn(k="x"))
    reason = {"type": CONTENT, "reason": "[retriever.knn] [knn] failed to parse field [k]"}
    caused_by = {"type": NOT_A_NUMBER, "reason": 'For input string: "x"'}
    assert error_body(caught.value) == {
        "error": {"root_cause": [reason], **reason, "caused_by": caused_by},
        "status": 400,
    }


# --- against Elasticsearch ----------------------------------------------------------------------------------


def chain(error: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """(type, reason) of an error and of what caused it, outermost first, without lines,
    columns and excerpts of the body.
    """
    while error:
        yield error["type"], re.sub(r"^\[\d+:\d+\] ", "", error["reason"].split("\n at [Source")[0])
        error = error.get("caused_by")


def there(es: Elasticsearch, index: str, body: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    """What Elasticsearch says of a search; nothing where it takes it."""
    try:
        es.search(index=index, body=body, **options)
    except ApiError as error:
        found = list(chain(error.body["error"]))
        # What only its shards refuse was well written.
        return [] if found[0][0] == "search_phase_execution_exception" else found
    return []


def here(body: dict[str, Any], *, scroll: bool = False) -> list[tuple[str, str]]:
    """What we say of a search, without positions in the tree."""
    try:
        read_request(body, scroll=scroll)
    except RequestError as error:
        return [
            (kind, re.sub(r"^\[retriever[^ ]*\] ", "", reason))
            for kind, reason in chain(error_body(error)["error"])
        ]
    return []


def differing(es: Elasticsearch, index: str, bodies: list[dict[str, Any]]) -> list[tuple[Any, Any, Any]]:
    """(search, ours, theirs) of those where one refuses and the other does not,
    or where no sentence of theirs is ours.

    Theirs begins with what encloses the fault; ours is the fault itself.
    To «Failed to build» we add the cause.
    """
    properties = {
        "vector": {"type": "dense_vector", "dims": 2},
        "text": {"type": "text"},
        "number": {"type": "integer"},
    }
    es.indices.create(
        index=index,
        mappings={"properties": properties},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    found = []
    for body in bodies:
        ours, theirs = here(body), there(es, index, body)
        joined = [(kind, f"{reason}: {below}") for (kind, reason), (_, below) in pairwise(theirs)]
        if bool(ours) != bool(theirs) or not set(ours) <= {*theirs, *joined}:
            found.append((body, ours, theirs))
    return found


SCALARS = [
    True,
    3,
    3.7,
    -1,
    0,
    "x",
    "3",
    "3.5",
    "-2",
    "",
    [],
    [1],
    {},
    {"a": 1},
    1e30,
    99999999999,
    "99999999999",
    "1e2",
    " 3 ",
    "+3",
    "1_0",
    "0x1",
    "2.5f",
]
STRANGE = [*SCALARS, None, "NaN", "Infinity"]


def test_scalars_are_taken_and_refused_as_elasticsearch_does(es: Elasticsearch, index: str) -> None:
    trees = [
        knn(**{key: value})
        for key in ("k", "num_candidates", "similarity", "min_score", "_name", "field")
        for value in STRANGE
    ]
    # «NaN» is no share of a hundred here; Elasticsearch lets it pass.
    trees += [knn(visit_percentage=value) for value in [*SCALARS, None]]
    trees += [standard(**{key: value}) for key in ("min_score", "_name") for value in STRANGE]
    trees += [rescorer(**{key: value}) for key in ("min_score", "_name") for value in STRANGE]
    # An object in place of the window is another kind of rescorer to Elasticsearch.
    trees += [
        rescorer(rescore={**RESCORE, "window_size": value})
        for value in STRANGE
        if not isinstance(value, dict)
    ]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_structures_of_a_wrong_type_are_refused_as_elasticsearch_does(es: Elasticsearch, index: str) -> None:
    plain = [None, True, 3, "x", "", 1e30]
    trees: list[Any] = [
        *plain,
        [],
        [{}],
        {},
        {"standard": 3},
        {"standard": None},
        {"standard": []},
        {"nonsense": 3},
        {"standard": {}, "knn": {}},
    ]
    trees += [standard(**{key: value}) for key in ("query", "sort", "collapse", "filter") for value in plain]
    trees += [
        standard(query=[]),
        standard(collapse=[1]),
        standard(filter=[1]),
        standard(filter=[MATCH, None]),
        standard(search_after="x"),
    ]
    trees += [
        knn(**{key: value}) for key in ("rescore_vector", "query_vector_builder", "filter") for value in plain
    ]
    trees += [
        knn(query_vector=value)
        for value in (None, True, [1, "x"], [True, 1], [None, 1], [[1], 1], ["1.5", 2], {}, {"a": 1}, "zz")
    ]
    trees += [rescorer(**{key: value}) for key in ("retriever", "rescore", "filter") for value in plain]
    trees += [rescorer(retriever=[]), rescorer(rescore=[]), rescorer(filter=[1])]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_what_is_missing_unknown_or_out_of_range_is_refused_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    trees = [
        {"nonsense": {}},
        {"standart": {}},
        {"kn": {}},
        {"rescore": {}},
        knn(field=GONE),
        knn(k=GONE),
        knn(field=GONE, k=GONE),
        knn(field=GONE, k=GONE, query_vector=GONE),
        knn(query_vector=GONE),
        knn(k=0, num_candidates=0),
        knn(k=11),
        knn(k=10_001, num_candidates=GONE),
        knn(k=10_001, num_candidates=10_002),
        knn(num_candidates=10_001),
        knn(k=10_000, num_candidates=GONE),
        knn(k=10_000, num_candidates=10_000),
        knn(visit_percentage=100),
        knn(visit_percentage=100.1),
        rescorer(retriever=GONE),
        rescorer(rescore=GONE),
        rescorer(retriever=GONE, rescore=GONE),
        standard(min_score="x", nonsense=1),
        standard(nonsense=1, min_score="x"),
        standard(query=3, nonsense=1),
        knn(field=GONE, k="x"),
        rescorer(retriever=knn(k="x")),
        rescorer(retriever=standard(search_after=[1])),
        rescorer(retriever=standard(terminate_after=1)),
        rescorer(retriever=standard(terminate_after=1, search_after=[1])),
        rescorer(retriever=rescorer(retriever=standard(nonsense=1))),
    ]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_windows_and_sizes_are_held_against_each_other_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    small, large = {**RESCORE, "window_size": 5}, {**RESCORE, "window_size": 30}
    trees = [
        rescorer(rescore=small),
        rescorer(rescore=[large, small]),
        rescorer(rescore={**RESCORE, "window_size": -1}),
        rescorer(retriever=rescorer(rescore=small), rescore=large),
        rescorer(retriever=rescorer(rescore=large), rescore=small),
        rescorer(retriever=rescorer(retriever=rescorer(rescore=small), rescore=large), rescore=RESCORE),
        standard(),
    ]
    sizes: list[dict[str, int]] = [{}, *({"size": size} for size in (0, 5, 6, 20, 31))]
    assert differing(es, index, [{"retriever": tree, **size} for tree in trees for size in sizes]) == []


def test_what_may_not_stand_beside_a_retriever_is_refused_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    beside: list[dict[str, Any]] = [
        {"query": MATCH},
        {"knn": {"field": "vector", "query_vector": [1, 0], "k": 1, "num_candidates": 2}},
        {"sort": ["_score"], "query": MATCH},
        {"search_after": [1], "sort": ["number"]},
        {"terminate_after": 5},
        {"rescore": {"query": {"rescore_query": MATCH}}, "query": MATCH, "terminate_after": 1},
        {
            "from": 5,
            "size": 20,
            "min_score": 0.1,
            "indices_boost": [{index: 2.0}],
            "track_scores": True,
            "stats": ["a"],
            "version": True,
        },
    ]
    assert differing(es, index, [{"retriever": rescorer(), **more} for more in beside]) == []
    body = {"retriever": rescorer(retriever=rescorer()), "size": 1}
    assert here(body, scroll=True) == there(es, index, body, scroll="1m") != []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_misspelt_key_is_answered_with_elasticsearchs_own_suggestion(
    es: Elasticsearch, index: str, data: st.DataObject
) -> None:
    wrap, model = data.draw(st.sampled_from([(standard, Standard), (knn, Knn), (rescorer, Rescorer)]))
    known = {field.alias or name for name, field in model.model_fields.items()}
    letters = list(data.draw(st.sampled_from(sorted(known))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(letters)))
        letters[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from("aeiknrst_"), max_size=2)
        )
    word = "".join(letters)
    assume(word not in known)
    body = {"retriever": wrap(**{word: 1}), "size": 0}
    ((_, sentence),) = here(body)
    assert f"unknown field [{word}]" in sentence
    assert sentence in [reason for _, reason in there(es, index, body)]


# --- who runs it --------------------------------------------------------------------------------------------


def test_only_retrievers_decide_whether_we_are_needed() -> None:
    assert not needs_us(knn())
    assert not needs_us(rescorer())
    assert not needs_us({"rule": {"ruleset_ids": ["r"], "retriever": LEAF}})
    assert not needs_us(standard(query={"match": {"text_similarity_reranker": {"rrf": {}}}}))
    assert not needs_us(standard(query={"pinned": {"ids": ["1"], "organic": {"match_all": {}}}}))
    assert not needs_us(None)
    assert not needs_us([rrf()])


@pytest.mark.parametrize(
    "tree", [rrf(), linear(), pinned(), reranker(), {"rrf": {}}, {"linear": {"retrievers": LEAF}}]
)
def test_a_compound_of_ours_needs_us_at_any_depth(tree: dict[str, Any]) -> None:
    kind = next(iter(tree))
    for body in (
        tree,
        rescorer(retriever=tree),
        {"rule": {"retriever": tree}},
        {"diversify": {"retriever": rescorer(retriever=tree)}},
    ):
        assert composes(body)
        assert needs_us(body)
        assert not composes(body, [kind])
    inside = {"rrf": {"retrievers": [LEAF, {"retriever": tree, "weight": 2}]}}
    assert composes(inside, ["rrf"]) == (kind != "rrf")
    assert not composes(inside, ["rrf", "linear", "pinned", "text_similarity_reranker"])


def test_a_vector_that_is_made_here_needs_us_wherever_it_is_asked_for() -> None:
    mine, theirs = (
        knn(query_vector=GONE, query_vector_builder=BUILDER),
        knn(query_vector=GONE, query_vector_builder={"lookup": {"id": "1"}}),
    )
    deep = rescorer(retriever={"rrf": {"retrievers": [theirs, {"retriever": mine}, LEAF]}})
    assert list(builders(deep)) == [mine["knn"]]
    assert not composes(mine)
    assert needs_us(mine)
    assert not needs_us(theirs)
    assert needs_us(deep, ["rrf"])
    assert not needs_us(deep, ["rrf", "query_vector_builder"])
    assert list(builders(deep, ["query_vector_builder"])) == []
    assert list(builders(knn(query_vector_builder="nonsense"))) == []


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


# --- the search around it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["query", "knn", "search_after", "terminate_after", "sort", "rescore", "rank"]
)
def test_what_elasticsearch_refuses_beside_a_retriever_is_refused(key: str) -> None:
    with pytest.raises(InvalidSearchError) as caught:
        read_request({"retriever": reranker(), key: []})
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


@pytest.mark.parametrize("key", ["size", "from"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (-1, "parameter cannot be negative, found [-1]"),
        ("-2", "parameter cannot be negative, found [-2]"),
        ("many", "parameter must be a non-negative integer, found [many]"),
        (True, "parameter must be a non-negative integer, found [True]"),
        (2.5, "parameter must be a non-negative integer, found [2.5]"),
        ([1], "parameter must be a non-negative integer, found [[1]]"),
    ],
)
def test_a_size_that_is_not_a_count_is_refused(key: str, value: Any, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request({"retriever": reranker(), key: value})
    assert str(caught.value) == f"[{key}] {fault}"


def test_sizes_are_those_given_and_may_be_strings() -> None:
    def counts(**body: Any) -> tuple[int, int | None]:
        request = read_request({"retriever": reranker(rank_window_size=50), **body})
        return request.offset, request.size

    assert counts() == (0, None)
    assert counts(size=0) == (0, 0)
    assert counts(**{"from": "7", "size": "3"}) == (7, 3)


@pytest.mark.parametrize("value", [True, "x", [1]])
def test_a_least_score_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        read_request({"retriever": reranker(), "min_score": value})
    assert str(caught.value) == f"[min_score] must be a number, found [{value}]"


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
    assert request == SearchRequest(FOUND, 3, 4, 0.5, common, {**page, **common})
    assert request.explain
    assert not read_request({"retriever": LEAF, "explain": False}).explain
    assert read_request({"retriever": LEAF}) == SearchRequest(FOUND, 0, None, None, {}, {})


def test_a_request_is_held_to_the_trees_rules_and_to_who_runs_what() -> None:
    with pytest.raises(RetrieverParsingError, match="cannot be used in children"):
        read_request({"retriever": rrf(standard(terminate_after=1))})
    assert isinstance(read_request({"retriever": rrf()}, ["rrf"]).retriever, Native)
    assert isinstance(read_request({"retriever": rrf()}, ["linear"]).retriever, Rrf)

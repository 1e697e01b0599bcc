"""What no retriever and no leaf of a tree may hold: each fault with its place, its sentence and its type."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import (
    BUILDER,
    CONTENT,
    GONE,
    ILLEGAL,
    LEAF,
    MATCH,
    NOT_A_NUMBER,
    PARSING,
    knn,
    linear,
    pinned,
    reranker,
    rescorer,
    rrf,
    standard,
)
from tree_faults import (
    CHUNKS,
    FIRST,
    MADE,
    UNKNOWN,
    assert_refused,
    failed,
    failed_build,
    fault,
    no_number,
    wrong_type,
)

from es_rerank.errors import RetrieverParsingError, error_body
from es_rerank.retrievers.grammar.parsing import parse

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
]


@pytest.mark.parametrize(("body", "path", "sentence", "kind", "cause"), FAULTS)
def test_a_fault_has_its_place_sentence_and_type(
    body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None
) -> None:
    assert_refused(body, path, sentence, kind, cause)


def test_a_fault_is_answered_as_elasticsearch_answers_its_own() -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        parse(knn(k="x"))
    reason = {"type": CONTENT, "reason": "[retriever.knn] [knn] failed to parse field [k]"}
    caused_by = {"type": NOT_A_NUMBER, "reason": 'For input string: "x"'}
    assert error_body(caught.value) == {
        "error": {"root_cause": [reason], **reason, "caused_by": caused_by},
        "status": 400,
    }

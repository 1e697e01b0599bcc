"""What a retriever over others may not hold: each fault with its place, its sentence and its type."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import (
    CONTENT,
    GONE,
    ILLEGAL,
    LEAF,
    PARSING,
    RESCORE,
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
    NO_PINS,
    assert_refused,
    failed,
    failed_build,
    fault,
    no_number,
    wrong_type,
)

FAULTS = [
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
def test_a_fault_of_a_compound_has_its_place_sentence_and_type(
    body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None
) -> None:
    assert_refused(body, path, sentence, kind, cause)

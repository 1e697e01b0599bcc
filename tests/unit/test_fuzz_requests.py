"""The fuzzer draws the same requests from the same seed, and knows what is wrong with an answer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from fuzzing.attacks import attack
from fuzzing.judging import fault_of, places_in
from fuzzing.running import Outcome
from fuzzing.sending import Answer, End

from es_rerank.dialects.table import PATHS
from es_rerank.dialects.vectors import BY_PATH

ONE = replace(attack(1, 0, "i"), style="elasticsearch", method="POST", target=b"/_search", framed=True)
FAULT = {"type": "parsing_exception", "reason": "r"}
ERROR = {"error": {"root_cause": [FAULT], **FAULT}, "status": 400}


def answered(status: int, body: object, kind: str = "application/json") -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("answered", status, {"content-type": kind}, data)


def test_the_same_seed_and_number_give_the_same_request() -> None:
    first, again, other = ([attack(seed, n, "i").data for n in range(300)] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_every_route_is_attacked() -> None:
    routes = Counter(attack(3, number, "i").route for number in range(1500))
    assert {
        *("/{index}/_search", "/_search", "/{index}/_msearch", "/_msearch", "/rescore", *PATHS),
        *("/_inference/rerank", "/_inference/text_embedding", "/_rerank/v1/score", "/_rerank/v1/embed"),
        *("/_rerank/v1/passages", "/_rerank/v1/info", "HEAD /{index}", "/_pit", "/{index}/_pit", "no route"),
        *("other searches", "/info", "/_inference", "/v1/models", "/health", *BY_PATH),
    } <= routes.keys()


@pytest.mark.parametrize(
    "answer",
    [
        answered(500, {**ERROR, "status": 500}),
        answered(502, {**ERROR, "status": 502}),
        answered(503, b"busy", "text/plain"),
        answered(400, b"no", "text/plain"),
        answered(400, {**ERROR, "status": 404}),
        answered(400, {"error": "no"}),
        answered(400, {"detail": "Bad Request"}),
        answered(200, b'{"a": NaN}'),
        answered(200, b'{"a": "\xed\xa0\x80"}'),
        answered(200, b'{"a": '),
    ],
)
def test_a_wrong_answer_is_a_find(answer: Answer) -> None:
    assert fault_of(ONE, answer) is not None


@pytest.mark.parametrize("end", ["cut", "late", "broken"])
def test_no_answer_is_a_find_unless_the_request_was_no_http(end: End) -> None:
    assert fault_of(ONE, Answer(end)) == end
    assert fault_of(replace(ONE, framed=False), Answer(end)) is None


def test_a_right_answer_is_none() -> None:
    right = [answered(200, {}), answered(400, ERROR), answered(504, {**ERROR, "status": 504})]
    assert [fault_of(ONE, answer) for answer in right] == [None] * 3
    tei = replace(ONE, target=b"/rerank?model=a", style="tei")
    assert fault_of(tei, answered(422, {"error": "e", "error_type": "Validation"})) is None
    assert fault_of(tei, answered(422, ERROR)) is not None
    weaviate = replace(ONE, target=b"/weaviate/rerank")
    assert fault_of(weaviate, answered(400, {"error": "e"})) is None
    assert fault_of(weaviate, answered(400, {"error": "e", "error_type": "Validation"})) is not None


def test_a_place_is_the_type_and_the_innermost_line_of_ours() -> None:
    log = (
        "2026-01-01 [error] unexpected TypeError in POST /rescore\n"
        '  File "/x/es_rerank/sidecar/app.py", line 3, in one\n'
        '  File "/x/es_rerank/scores.py", line 7, in two\n'
        '  File "/y/numpy/core.py", line 9, in three\n'
        "builtins.TypeError\nbecause of\n"
        '  File "/x/es_rerank/types.py", line 1, in four\nbuiltins.KeyError\n'
    )
    assert places_in(log + log) == ["TypeError in es_rerank/scores.py:7 two"] * 2
    assert places_in("nothing of note") == []


def test_memory_grows_when_the_last_quarter_takes_more_than_the_second() -> None:
    flat = [100.0, 200.0] + [300.0] * 30
    assert not Outcome(rss_mib=flat).grows
    assert Outcome(rss_mib=[*flat[:16], *(400.0 + size for size in range(16))]).grows

"""Each line that a host writes is a message that the SDK reads, or is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR

from es_rerank.mcp_server.messages import read_message

REQUEST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}


def changed(**members: Any) -> str:
    return json.dumps(REQUEST | members)


@pytest.mark.parametrize(
    ("line", "numbers", "code"),
    [
        ("this is no JSON", [None], PARSE_ERROR),
        ('{"jsonrpc": "2.0", "id": 7, "method": "x"', [None], PARSE_ERROR),
        ("[" * 5_000, [None], PARSE_ERROR),
        ('{"a":' * 5_000, [None], PARSE_ERROR),
        ('{"a": "\\ud800", "b":' * 5_000, [None], PARSE_ERROR),
        ("x" * 3_000_000, [None], PARSE_ERROR),
        ('{"id": "\\ud800", "method": "x", "jsonrpc": "2.0"}', [None], PARSE_ERROR),
        ("null", [None], INVALID_REQUEST),
        ("7", [None], INVALID_REQUEST),
        ('"\\ud800"', [None], INVALID_REQUEST),
        ("[]", [None], INVALID_REQUEST),
        ("{}", [None], INVALID_REQUEST),
        (f"[{changed()}, {changed(id='a')}, 3]", [7, "a"], INVALID_REQUEST),
        ('{"jsonrpc": "2.0"}', [None], INVALID_REQUEST),
        (changed(jsonrpc="1.0"), [7], INVALID_REQUEST),
        (changed(jsonrpc=None), [7], INVALID_REQUEST),
        (changed(method=3), [7], INVALID_REQUEST),
        (changed(method=None, id="x"), ["x"], INVALID_REQUEST),
        (changed(params=[1]), [7], INVALID_PARAMS),
        (changed(params="\ud800"), [7], INVALID_PARAMS),
        (changed(id=None), [None], INVALID_REQUEST),
        (changed(id=True), [None], INVALID_REQUEST),
        (changed(id=1.5), [None], INVALID_REQUEST),
        (changed(id=[]), [None], INVALID_REQUEST),
        (changed(id={}), [None], INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": 7, "result": 3}', [None], INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": 7, "error": 3}', [None], INVALID_REQUEST),
    ],
)
def test_what_cannot_be_read_is_answered_with_its_id(
    line: str, numbers: list[int | str | None], code: int
) -> None:
    message, refusals = read_message(line)
    assert message == ""
    assert [(refusal.id, refusal.error.code) for refusal in refusals] == [
        (number, code) for number in numbers
    ]
    for refusal in refusals:
        assert '"id":' in refusal.model_dump_json(by_alias=True, exclude_unset=True)


@pytest.mark.parametrize(
    "line",
    [
        changed(),
        changed(id="7"),
        changed(id=10**30),
        changed(params={"query": "\U0001f600 \\ud800"}),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        '{"jsonrpc": "2.0", "id": 7, "result": {}}',
    ],
)
def test_a_message_is_handed_on_as_it_is(line: str) -> None:
    message, refusals = read_message(line)
    assert not refusals
    assert json.loads(message) == json.loads(line)


def test_half_a_surrogate_pair_is_replaced_wherever_it_stands() -> None:
    arguments = {"query": "half \ud83d", "whole": "\U0001f600", "\udc00": ["\ud83d", "\udc00"]}
    message, refusals = read_message(changed(params={"name": "search", "arguments": arguments}))
    assert not refusals
    assert json.loads(message)["params"]["arguments"] == {
        "query": "half \ufffd",
        "whole": "\U0001f600",
        "\ufffd": ["\ufffd", "\ufffd"],
    }

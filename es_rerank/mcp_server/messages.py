"""Messages of JSON-RPC as hosts write them: which are handed on to the SDK, and what the others are answered.

The SDK's server drops what it cannot read, and a host would wait for an answer for ever. Pure functions.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mcp_types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from mcp_types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError
from pydantic_core import from_json

from ..text.pairs import well_formed


class Read(NamedTuple):
    """A message that the SDK can read, or else what its writer is answered."""

    message: str
    refusals: tuple[JSONRPCError, ...] = ()


def read_message(line: str) -> Read:
    """Read a line. Half a surrogate pair in it, which JSON can write and UTF-8 cannot, becomes U+FFFD."""
    line = mended(line)
    try:
        value = from_json(line)
    except ValueError:
        return Read("", (_refusal(None, "the message is not JSON", PARSE_ERROR),))
    if isinstance(value, list):
        said = "several messages in an array are not read; send each in a line of its own"
        numbers = [number for number in map(_number_of, value) if number is not None]
        return Read("", tuple(_refusal(number, said) for number in numbers or (None,)))
    said, code = _wrong_with(value, line)
    return Read("", (_refusal(_number_of(value), said, code),)) if said else Read(line)


def mended(line: str) -> str:
    """Return a message without half surrogate pairs, and as it is if it has none or is not JSON.

    They stay in the id of a message: an answer to another id would be none.
    """
    if "\\ud" not in line and "\\uD" not in line:
        return line
    try:
        value = json.loads(line)
        plain = well_formed(json.dumps(value, ensure_ascii=False))
        number = value.get("id") if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return line
    return line if isinstance(number, str) and number != well_formed(number) else plain


def _wrong_with(value: Any, line: str) -> tuple[str, int]:  # noqa: ANN401 any JSON value
    """Return what is wrong with a message, in words and as a code; no words if nothing is."""
    if isinstance(value, dict) and "method" in value:
        if "id" in value and _number_of(value) is None:
            return "the id of a request must be a string or an integer", INVALID_REQUEST
        if not isinstance(value.get("params", {}), dict):
            return "params must be an object", INVALID_PARAMS
    try:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return "this is no message of JSON-RPC 2.0", INVALID_REQUEST
    return "", 0


def _number_of(value: Any) -> str | int | None:  # noqa: ANN401 any JSON value
    """Return the id of a request. That of an answer is not one of its writer's."""
    number = value.get("id") if isinstance(value, dict) and "method" in value else None
    return number if isinstance(number, str | int) and not isinstance(number, bool) else None


def _refusal(number: str | int | None, said: str, code: int = INVALID_REQUEST) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=number, error=ErrorData(code=code, message=said))

"""Converts request bodies to plain JSON values: bytes as Elasticsearch reads them, Python objects as the
elasticsearch client writes them.

The client accepts dates, UUIDs, decimals, numpy values and pandas values in a body. Elasticsearch accepts
neither NaN nor infinities nor an object that has a key twice.
"""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8
from json import JSONDecodeError
from typing import Any, NoReturn

from elasticsearch import AsyncElasticsearch, Elasticsearch

from ...defaults import MAX_DEPTH, MAX_KEYS
from ...errors import RequestError, RetrieverParsingError
from .faults import CONTENT, JSON, PARSING, token_of

_SCALARS = frozenset({str, int, float, bool, type(None)})
"""The types that JSON returns. They are compared exactly, not with ``isinstance``: ``numpy.float64`` is a
subclass of ``float`` and ``IntEnum`` is a subclass of ``int``, but JSON returns neither."""

_TOO_DEEP = f"the body has over {MAX_DEPTH} levels of objects and lists; send it with fewer levels"

_SHOWN = 100
"""Most characters of the caller's text that an error message repeats."""


_MOST_DIGITS = 1_000
"""Most digits of a number, as in Elasticsearch 9.5. The time to read one grows with their square."""

_NO_DIGITS = "-+.eE"
"""What a number of JSON holds besides digits."""


def as_json(value: Any, client: Elasticsearch | AsyncElasticsearch) -> Any:  # noqa: ANN401 whatever the client takes
    """Return a body as the plain JSON values that the client would send.

    A body that holds only plain JSON values is returned unchanged, not copied. The client's own serializer
    does the conversion, so a serializer that the user gave to the client is used here too. Raises the
    client's SerializationError when the serializer cannot convert a value, and RetrieverParsingError when the
    body holds NaN, an infinity, or a key twice. Raises RequestError when it has too many levels.
    """
    if _is_plain(value):
        return value
    try:
        return read_json(client.transport.serializers.dumps(value, "application/json"))
    except RecursionError as error:
        raise RequestError(_TOO_DEEP) from error


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 any JSON value
    """Return the JSON value in a text.

    Bytes are UTF-8: in another encoding, what was counted in them would not be what is parsed. Raises
    RetrieverParsingError, with Elasticsearch's types, when the text is not JSON or holds more than one value,
    NaN, an infinity, a number beyond the range of 64-bit floats, or a key twice in one object. Raises
    RequestError for an object with more than 10,000 keys.
    """
    try:
        if isinstance(text, bytes):
            text = text.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass")
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_not_a_number,
            parse_float=_finite,
            parse_int=_integer,
        )
    except JSONDecodeError as error:
        if error.msg == "Extra data":
            raise RetrieverParsingError(
                "the request body is not JSON: unexpected text after its first value, "
                f"at character {error.pos}"
            ) from error
        ends = error.pos >= len(error.doc.rstrip())
        raise _not_json(str(error), "e_o_f" if ends else "parse") from error
    except (ValueError, RecursionError) as error:
        raise _not_json(str(error)) from error


def token_fault(value: Any) -> RetrieverParsingError:  # noqa: ANN401
    """Return the error for a body that is a JSON value but no object."""
    return RetrieverParsingError(
        f"the request body must be a JSON object: Expected [START_OBJECT] but found [{token_of(value)}]",
        kind=PARSING,
    )


def _not_json(reason: str, kind: str = "parse") -> RetrieverParsingError:
    return RetrieverParsingError(
        f"the request body is not JSON: {reason}",
        kind=CONTENT.replace("parse", kind),
        cause=(JSON.replace("parse", kind), reason),
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise RequestError(
            f"an object of the request body has {len(pairs)} keys, at most {MAX_KEYS} are read; send fewer"
        )
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _not_json(f"Duplicate field '{twice[:_SHOWN]}'")
    return found


def _not_a_number(name: str) -> NoReturn:
    raise _not_json(f"Non-standard token '{name}': JSON holds only finite numbers")


def _checked(text: str) -> str:
    digits = len(text) if len(text) <= _MOST_DIGITS else len(text) - sum(map(text.count, _NO_DIGITS))
    if digits > _MOST_DIGITS:
        raise _not_json(f"Number value length ({digits}) exceeds the maximum allowed ({_MOST_DIGITS})")
    return text


def _integer(text: str) -> int:
    return int(_checked(text))


def _finite(text: str) -> float:
    number = float(_checked(text))
    if math.isinf(number):
        raise _not_json(f"the number {text[:_SHOWN]} is beyond the range of 64-bit floats")
    return number


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        kind = type(part)
        if kind is dict or kind is list:
            if depth > MAX_DEPTH:
                raise RequestError(_TOO_DEEP)
            if kind is dict and not all(type(key) is str for key in part):
                return False
            waiting.extend((below, depth + 1) for below in (part.values() if kind is dict else part))
        elif kind is float and not math.isfinite(part):
            _not_a_number("NaN" if math.isnan(part) else "Infinity" if part > 0 else "-Infinity")
        elif kind not in _SCALARS:
            return False
    return True

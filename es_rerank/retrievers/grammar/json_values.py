"""What the elasticsearch client takes in a body, as the JSON that it sends: dates, UUIDs, decimals, numpy and pandas values."""

from __future__ import annotations

import json
from typing import Any

from elasticsearch import AsyncElasticsearch, Elasticsearch

_SCALARS = frozenset({str, int, float, bool, type(None)})
"""Exact types: ``numpy.float64`` is a ``float``, and an ``IntEnum`` an ``int``, but neither is what JSON gives back."""


def as_json(value: Any, client: Elasticsearch | AsyncElasticsearch) -> Any:  # noqa: ANN401 whatever the client takes
    """Return a body as the client would send it, as plain JSON values; one that is plain already is returned itself.

    The client's own serializer writes it, so that a serializer that the user gave to the client counts here as well.
    Raises the client's SerializationError for a value that it cannot send.
    """
    if _is_plain(value):
        return value
    return json.loads(client.transport.serializers.dumps(value, "application/json"))


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    waiting = [value]
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind is dict:
            if not all(type(key) is str for key in part):
                return False
            waiting.extend(part.values())
        elif kind is list:
            waiting.extend(part)
        elif kind not in _SCALARS:
            return False
    return True

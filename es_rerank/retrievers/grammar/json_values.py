"""Converts request bodies to plain JSON values, as the elasticsearch client does before it sends them.

The client accepts dates, UUIDs, decimals, numpy values and pandas values in a body.
"""

from __future__ import annotations

import json
from typing import Any

from elasticsearch import AsyncElasticsearch, Elasticsearch

_SCALARS = frozenset({str, int, float, bool, type(None)})
"""The types that JSON returns. They are compared exactly, not with ``isinstance``: ``numpy.float64`` is a
subclass of ``float`` and ``IntEnum`` is a subclass of ``int``, but JSON returns neither."""


def as_json(value: Any, client: Elasticsearch | AsyncElasticsearch) -> Any:  # noqa: ANN401 whatever the client takes
    """Return a body as the plain JSON values that the client would send.

    A body that holds only plain JSON values is returned unchanged, not copied. The client's own serializer
    does the conversion, so a serializer that the user gave to the client is used here too. Raises the
    client's SerializationError when the serializer cannot convert a value.
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

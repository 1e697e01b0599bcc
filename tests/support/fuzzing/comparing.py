"""Asks Elasticsearch itself: a search that it refuses must not be answered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .attacks import Attack
from .json_texts import written
from .sending import Answer, send

_LEAF: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}


def plain(attack: Attack) -> Attack | None:
    """Return the same search with one plain retriever in place of its tree, which every Elasticsearch reads.

    None for what is no search with a tree in a body.
    """
    if not attack.framed or not attack.route.endswith("_search"):
        return None
    try:
        body = json.loads(attack.body)
    except ValueError:
        return None
    if not isinstance(body, dict) or not {"retriever", "rank"} & body.keys():
        return None
    if "rank" in body:  # an older way to write a tree
        body = {key: body[key] for key in body if key not in {"rank", "query", "sub_searches", "knn"}}
    body.pop("indices_boost", None)  # es-rerank does not look whether its indices exist
    data = written({**body, "retriever": _LEAF})
    headers = [entry for entry in attack.headers if entry[0] not in {b"Content-Length", b"Transfer-Encoding"}]
    headers.append((b"Content-Length", b"%d" % len(data)))
    return replace(attack, body=data, headers=tuple(headers), chunked=False)


async def refused(elasticsearch: str, attack: Attack, answer: Answer) -> str | None:
    """Return why Elasticsearch refuses a search that was answered with 200, None if it does not."""
    asked = plain(attack) if answer.status == 200 else None
    if asked is None:
        return None
    own = await send(elasticsearch, asked)
    if not 400 <= own.status < 500:
        return None
    try:
        error = json.loads(own.body)["error"]
        return f"Elasticsearch refuses it: {error['root_cause'][0]['type']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return f"Elasticsearch refuses it with {own.status}"

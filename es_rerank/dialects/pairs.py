"""vLLM's ``/score``: pairs of texts in, one score for each pair out, in the order of the pairs.

Source: vllm-project/vllm, ``entrypoints/pooling/score/protocol.py``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from ..errors import RequestError
from .documents import not_read_in, query_in, texts_in
from .options import options_in
from .reading import OF_SCORES
from .request import Asked, Scored, usage

NAMES = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
"""The names of the two sides in vLLM's versions."""


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a request asks for: one query for all texts, or one for each text. Raises RequestError."""
    given = [names for names in NAMES if all(body.get(name) is not None for name in names)]
    others = {name for names in NAMES for name in names}.difference(*given)
    if len(given) != 1 or any(body.get(name) is not None for name in others):
        written = " or ".join(f"[{first}] and [{second}]" for first, second in NAMES)
        raise RequestError(f"the request must hold {written}, and only two of these keys")
    first, second = given[0]
    options = options_in(body, given[0], OF_SCORES)
    fields = options.pop("rank_fields", None)
    queries, _ = texts_in(body[first], first)
    texts, documents = texts_in(body[second], second, fields)
    options["ignored"] = tuple(sorted({*options["ignored"], *not_read_in(documents, second, fields)}))
    for place, query in enumerate(queries):
        query_in(query, f"{first}.{place}")
    if len(queries) not in (1, len(texts)):
        raise RequestError(
            f"[{first}] has {len(queries)} texts and [{second}] has {len(texts)}; send one in [{first}], "
            "or as many as in the other"
        )
    return Asked(tuple(queries), tuple(texts), tuple(documents), **options)


def write(asked: Asked, scored: Scored, version: str) -> dict[str, Any]:  # noqa: ARG001 one form
    """Return the answer: one row for each pair, in the order of the pairs."""
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": scored.model,
        "data": [
            {"index": place, "object": "score", "score": float(scored.values[place])}
            for place in range(len(asked.texts))
        ],
        "usage": usage(scored.tokens),
    }

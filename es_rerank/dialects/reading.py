"""Reads a request with one query and a list of texts, which most formats have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import AmbiguousRequestError
from .documents import not_read_in, query_in, texts_in
from .options import options_in
from .request import Asked

OF_SCORES = ("model", "raw_scores", "whole", "chunks", "rank_fields")
"""What every format can be asked for."""

OF_RANKING = (*OF_SCORES, "top_n", "with_texts")
"""What a format can be asked for that returns the best texts first."""


def check_one_of(body: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Check that a request holds one of ``keys`` at most. Raises AmbiguousRequestError."""
    given = [key for key in keys if body.get(key) is not None]
    if len(given) > 1:
        written = " and ".join(f"[{key}]" for key in given)
        raise AmbiguousRequestError(f"the request holds {written}; send one of them")


def asked_in(body: Mapping[str, Any], key: str, honoured: tuple[str, ...]) -> Asked:
    """Return what a request asks for whose texts are in ``key``. Raises RequestError."""
    options = options_in(body, ("query", key), honoured)
    query = query_in(body.get("query"))
    fields = options.pop("rank_fields", None)
    texts, documents = texts_in(body.get(key), key, fields)
    options["ignored"] = tuple(sorted({*options["ignored"], *not_read_in(documents, key, fields)}))
    return Asked((query,), tuple(texts), tuple(documents), **options)

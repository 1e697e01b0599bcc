"""The searches of an ``_msearch``: who runs which, and the answers in their order. Pure."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError

from ..errors import RequestError
from .client_answers import response
from .filter_path import selected
from .parameters import given
from .tree import needs_us


@dataclass(frozen=True, slots=True)
class Batch:
    """The searches of an ``_msearch``: those that Elasticsearch runs, by position, and those that we do."""

    theirs: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]
    ours: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]

    @classmethod
    def of(cls, searches: Iterable[Mapping[str, Any]], elasticsearch_runs: Collection[str]) -> Batch:
        """Return pairs of header and body, taken apart.

        Raises RequestError for a header without a body.
        """
        lines = list(searches)
        if len(lines) % 2:
            raise RequestError("[searches] must alternate between a header and a body; the last header has no body")
        pairs = dict(enumerate(zip(lines[::2], lines[1::2], strict=True)))
        ours = {i: pair for i, pair in pairs.items() if needs_us(pair[1].get("retriever"), elasticsearch_runs)}
        return cls({i: pair for i, pair in pairs.items() if i not in ours}, ours)

    def arguments(self, position: int, index: str | Sequence[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return one of our searches as the arguments of ``search``."""
        header, body = self.ours[position]
        shared = given(options, ("typed_keys", "rest_total_hits_as_int", "ccs_minimize_roundtrips"))
        return {"index": header.get("index", index), "body": dict(body), **shared, **{key: value for key, value in header.items() if key != "index"}}

    def joined(self, theirs: Sequence[Any], ours: Mapping[int, Any], began: float, options: Mapping[str, Any]) -> ObjectApiResponse[Any]:
        """Return all answers in the order of the searches."""
        answers = {**dict(zip(self.theirs, theirs, strict=True)), **ours}
        took = round((time.monotonic() - began) * 1000)
        body = {"took": took, "responses": [answers[i] for i in sorted(answers)]}
        return response(selected(body, options.get("filter_path")), took)


def item(answer: ObjectApiResponse[Any] | ApiError) -> dict[str, Any]:
    """Return one answer, or one error, as an item of ``_msearch``."""
    if isinstance(answer, ApiError):
        body: dict[str, Any] = answer.body
        return {**body, "status": answer.status_code}
    return {**answer.body, "status": 200}


def unfiltered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without ``filter_path``, which is about the joined answer."""
    return {key: value for key, value in options.items() if key != "filter_path"}

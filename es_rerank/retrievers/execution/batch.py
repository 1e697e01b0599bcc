"""The searches of an ``_msearch``: who runs which, and the answers in their order. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError

from ...errors import RequestError
from ..grammar.parameters import OF_HEADERS, given
from ..grammar.tree import needs_us
from ..response.client_answers import response
from ..response.filter_path import FilterPath, check_filter_path, selected

_SHOWN = 100
"""Characters of a caller's key that a message repeats."""

_HEADER = frozenset({"index", *OF_HEADERS})
"""What Elasticsearch documents for the line before each search."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The searches of an ``_msearch``: those that Elasticsearch runs, by position, and those that we do."""

    theirs: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]
    ours: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]

    @classmethod
    def of(
        cls,
        searches: Iterable[Mapping[str, Any]],
        elasticsearch_runs: Collection[str],
        as_json: Callable[[Any], Any],
        filter_path: FilterPath,
    ) -> Batch:
        """Return pairs of header and body, taken apart; ``as_json`` makes plain JSON values of them.

        Raises RequestError for a header without a body, for a header of one of our searches that Elasticsearch would
        not take, and for a ``filter_path`` that is too long.
        """
        check_filter_path(filter_path)
        lines = as_json(list(searches))
        if len(lines) % 2:
            raise RequestError(
                "[searches] must alternate between a header and a body; the last header has no body"
            )
        pairs = dict(enumerate(zip(lines[::2], lines[1::2], strict=True)))
        ours = {
            i: pair for i, pair in pairs.items() if needs_us(pair[1].get("retriever"), elasticsearch_runs)
        }
        for header, _ in ours.values():
            _check_header(header)
        return cls({i: pair for i, pair in pairs.items() if i not in ours}, ours)

    def arguments(
        self, position: int, index: str | Sequence[str] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return one of our searches as the arguments of ``search``."""
        header, body = self.ours[position]
        shared = given(options, ("typed_keys", "rest_total_hits_as_int", "ccs_minimize_roundtrips"))
        return {
            "index": header.get("index", index),
            "body": dict(body),
            **shared,
            **{key: value for key, value in header.items() if key != "index"},
        }

    def joined(
        self, theirs: Sequence[Any], ours: Mapping[int, Any], began: float, options: Mapping[str, Any]
    ) -> ObjectApiResponse[Any]:
        """Return all answers in the order of the searches."""
        answers = {**dict(zip(self.theirs, theirs, strict=True)), **ours}
        took = round((time.monotonic() - began) * 1000)
        body = {"took": took, "responses": [answers[i] for i in sorted(answers)]}
        return response(selected(body, options.get("filter_path")), took)


def _check_header(header: Mapping[str, Any]) -> None:
    """Raise RequestError for a key that is no parameter of a search in an ``_msearch``, and for a value of the wrong kind."""
    for key, value in header.items():
        if key not in _HEADER:
            raise RequestError(
                f"key [{key[:_SHOWN]}] is not supported in the metadata section; it may hold {', '.join(sorted(_HEADER))}"
            )
        values = value if isinstance(value, list) else [value]
        kinds: tuple[type, ...] = (str,) if key == "index" else (str, int, float)
        if value is not None and not all(isinstance(each, kinds) for each in values):
            raise RequestError(
                f"[{key}] in the metadata section must be a name or a list of names, found {type(value).__name__}"
            )


def item(answer: ObjectApiResponse[Any] | ApiError) -> dict[str, Any]:
    """Return one answer, or one error, as an item of ``_msearch``."""
    if isinstance(answer, ApiError):
        body: dict[str, Any] = answer.body
        return {**body, "status": answer.status_code}
    return {**answer.body, "status": 200}


def unfiltered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without ``filter_path``, which is about the joined answer."""
    return {key: value for key, value in options.items() if key != "filter_path"}

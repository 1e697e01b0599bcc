"""Splits an ``_msearch`` between es-rerank and Elasticsearch, and joins the answers in order. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, ConnectionTimeout

from ...defaults import MAX_RETRIEVERS_OF_MSEARCH
from ...errors import DeadlineError, RequestError, TooLargeError
from ..grammar.parameters import OF_HEADERS, OF_INDICES, OF_MSEARCH, as_arguments, check_parameters, given
from ..grammar.unparsed_tree import needs_es_rerank, size_of, tree_of
from ..response.client_answers import client_error, response
from ..response.filter_path import check_filter_path, selected
from .scoring import MORE_TIME

_MOST_HERE = 1_000
"""Most searches of one ``_msearch`` that es-rerank runs itself."""

AT_ONCE = 4
"""Searches of one ``_msearch`` that run side by side, so that requests of other callers run between them."""

_SHOWN = 100
"""Most characters of a caller's key that an error message repeats."""

_INDEX = ("index", "indices")
_HEADER = frozenset({*_INDEX, *OF_HEADERS})
"""The keys that Elasticsearch reads in the header line before each search."""

_OF_EACH = (
    *OF_INDICES,
    *OF_MSEARCH,
    "routing",
    "search_type",
    "_slice",
    "route_slice",
    "ccs_minimize_roundtrips",
    "include_named_queries_score",
    "rest_total_hits_as_int",
    "typed_keys",
)
"""The parameters of an ``_msearch`` that are those of each of its searches, where a header has no other."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The searches of an ``_msearch``, as (header, body) by their position in the request.

    ``forwarded`` are the searches that Elasticsearch runs, ``run_here`` the searches that es-rerank runs.
    """

    forwarded: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]
    run_here: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]

    @classmethod
    def of(
        cls,
        searches: Iterable[Mapping[str, Any]],
        elasticsearch_runs: Collection[str],
        as_json: Callable[[Any], Any],
        options: Mapping[str, Any],
    ) -> Batch:
        """Return the batch for the lines of an ``_msearch``, which alternate between header and body.

        ``as_json`` converts the lines to plain JSON values. ``options`` are the other arguments. Raises
        RequestError when the last header has no body, when a search for es-rerank has a header or an option
        that Elasticsearch would refuse, and when ``filter_path`` is too long.
        """
        check_filter_path(options.get("filter_path"))
        lines = as_json(list(searches))
        if len(lines) % 2:
            raise RequestError(
                "[searches] must alternate between a header and a body; the last header has no body"
            )
        pairs = dict(enumerate(zip(lines[::2], lines[1::2], strict=True)))
        run_here = {
            i: pair for i, pair in pairs.items() if needs_es_rerank(tree_of(pair[1]), elasticsearch_runs)
        }
        if len(run_here) > _MOST_HERE:
            raise TooLargeError(
                f"{len(run_here)} searches of the msearch request need es-rerank, at most {_MOST_HERE} are "
                "run; send them in parts"
            )
        if sum(size_of(tree_of(body)) for _, body in run_here.values()) > MAX_RETRIEVERS_OF_MSEARCH:
            raise TooLargeError(
                f"the searches of the msearch request have over {MAX_RETRIEVERS_OF_MSEARCH} retrievers "
                "together; send it in parts"
            )
        if run_here:
            check_parameters(options)
            for header, _ in pairs.values():
                _check_names(header)
        for header, _ in run_here.values():
            _check_header(header)
            check_parameters(header)
        return cls({i: pair for i, pair in pairs.items() if i not in run_here}, run_here)

    def arguments(
        self, position: int, index: str | Sequence[str] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the search at ``position``, one of ``run_here``, as the arguments of
        ``RerankClient.search``.
        """
        header, body = self.run_here[position]
        named = next((header[key] for key in _INDEX if key in header), index)
        own = {key: value for key, value in header.items() if key not in _INDEX and value is not None}
        return {
            "index": [str(name) for name in named] if isinstance(named, (list, tuple)) else named,
            "body": dict(body),
            **given(options, _OF_EACH),
            **own,
        } | ({"index": str(named)} if isinstance(named, (int, float)) else {})

    def joined(
        self,
        forwarded: ObjectApiResponse[Any] | ApiError | None,
        run_here: Mapping[int, ObjectApiResponse[Any] | ApiError],
        began: float,
        options: Mapping[str, Any],
    ) -> ObjectApiResponse[Any]:
        """Return one response with all answers in the order of the searches, and all their warnings.

        ``forwarded``: Elasticsearch's answer to the forwarded searches, None if there are none; an error is
        the answer to each of them. ``run_here``: the answers of es-rerank, by position. ``began``: the start
        of the work, in seconds of ``time.monotonic()``.
        """
        if isinstance(forwarded, ApiError):
            answers = dict.fromkeys(self.forwarded, _item(forwarded))
        else:
            responses = [] if forwarded is None else forwarded["responses"]
            answers = dict(zip(self.forwarded, responses, strict=True))
        answers |= {i: _item(answer) for i, answer in run_here.items()}
        took = round((time.monotonic() - began) * 1000)
        body = {"took": took, "responses": [answers[i] for i in sorted(answers)]}
        warnings = [
            answer.meta.headers["warning"]
            for answer in (forwarded, *run_here.values())
            if answer is not None and "warning" in answer.meta.headers
        ]
        return response(
            selected(body, options.get("filter_path")), took, ", ".join(dict.fromkeys(warnings)) or None
        )


def _check_names(header: Mapping[str, Any]) -> None:
    """Raise RequestError for an index without a name: Elasticsearch 9.5 answers the whole ``_msearch`` with
    status 500.
    """
    for key in _INDEX:
        if isinstance(header.get(key), list) and None in header[key]:
            raise RequestError(f"[{key}] in the metadata section must name an index, found null")


def _check_header(header: Mapping[str, Any]) -> None:
    """Check the header of a search in an ``_msearch``.

    Raises RequestError for an unknown key and for a value of the wrong type.
    """
    for key, value in header.items():
        if key not in _HEADER:
            raise RequestError(
                f"key [{key[:_SHOWN]}] is not supported in the metadata section; "
                f"it may hold {', '.join(sorted(_HEADER))}"
            )
        values = value if isinstance(value, list) else [value]
        kinds = (str,) if isinstance(value, list) and key not in _INDEX else (str, int, float)
        may_lack = value is None and key not in _INDEX
        if not may_lack and not all(isinstance(entry, kinds) for entry in values):
            raise RequestError(
                f"[{key}] in the metadata section must be a name or a list of names, "
                f"found {type(value).__name__}"
            )


def _item(answer: ObjectApiResponse[Any] | ApiError) -> dict[str, Any]:
    """Return an answer or an error in the form that it has in the ``responses`` of an ``_msearch``."""
    if isinstance(answer, ApiError):
        body: dict[str, Any] = answer.body
        return {**body, "status": answer.status_code}
    return {**answer.body, "status": 200}


def late(error: ConnectionTimeout) -> ApiError:
    """Return the answer to a search of an ``_msearch`` to which Elasticsearch did not answer in time.

    The other searches have their answers.
    """
    return client_error(DeadlineError(f"Elasticsearch did not answer in time: {error.message}; {MORE_TIME}"))


def unfiltered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as elasticsearch-py spells them, without ``filter_path``, which applies to the
    joined answer, not to each part.
    """
    return as_arguments({key: value for key, value in options.items() if key != "filter_path"})

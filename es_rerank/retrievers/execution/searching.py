"""The part of a search that the blocking and the asynchronous client share: everything except the I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

from elastic_transport import ApiResponse, ObjectApiResponse
from elasticsearch import ApiError

from ...defaults import PLUGIN_USE, TIMEOUT_S, PluginUse
from ...errors import InvalidSearchError, RequestError
from ..grammar.body_values import read_body_value
from ..grammar.parameters import (
    ALIASES,
    FORMATTING,
    SEARCH_PARAMETERS,
    as_arguments,
    check_parameters,
    given,
    split_parameters,
    url_parameters,
)
from ..grammar.plugin_names import only_inside
from ..grammar.rank import with_retriever
from ..grammar.request import read_request
from ..grammar.tree import RETRIEVERS_RUN_HERE, VECTOR_BUILDER, FirstStage, Query
from ..grammar.unparsed_tree import has_retriever_run_here, needs_es_rerank, size_of, tree_of
from ..grammar.values import read_value
from ..planning.index_schema import IndexSchema, SearchDefaults
from ..planning.search_defaults import (
    agreed,
    filled,
    lacks_field,
    short_form_defaults,
    usable,
    vector_default,
)
from ..planning.short_form import check_query, nothing_for, retriever_for
from ..response.answer import SearchStats
from ..response.client_answers import response
from ..response.completeness import Completeness
from ..response.filter_path import FilterPath, check_filter_path, selected
from .commands import Context, FindVersion, Forward, Steps, closed
from .inside import inside_steps, with_block
from .mappings import (
    MovedError,
    check_indices,
    indices_of_pit,
    look_for_move,
    schema_for,
    whole_schema,
)
from .plugin_info import PluginCache
from .product import VersionCheck
from .served import Embedders, Rerankers, ServedModels
from .steps import search_steps
from .vectors import vector_steps

T = TypeVar("T")

_OF_THE_INDEX = (400, 404)
"""Statuses of a search that does not fit its index: vectors of other dimensions, no such field or index."""

AsJson = Callable[[Any], Any]
"""Converts a body to plain JSON values (see ``json_values.as_json``)."""


@dataclass(frozen=True, slots=True)
class Searching:
    """The settings of a client, and the steps of its searches.

    ``timeout_s``: the default timeout of a search in seconds, None for no limit. ``elasticsearch_runs``: the
    parts of a tree that Elasticsearch runs itself. ``plugin``: when a search runs inside Elasticsearch.
    """

    served: ServedModels
    timeout_s: float | None = TIMEOUT_S
    elasticsearch_runs: frozenset[str] = frozenset()
    plugin: PluginUse = PLUGIN_USE
    plugins: PluginCache = field(default_factory=PluginCache)
    version: VersionCheck = field(default_factory=VersionCheck)

    def context(
        self, index: str | Sequence[str] | None, parameters: Mapping[str, Any], timeout_s: float | None
    ) -> Context:
        """Return the context of one search. Its deadline is ``timeout_s`` from now."""
        expression = index if isinstance(index, str) or index is None else ",".join(index)
        allowed = self.timeout_s if timeout_s is None else timeout_s
        deadline = None if allowed is None else time.monotonic() + allowed
        return Context(
            expression,
            url_parameters(parameters),
            self.served,
            SearchStats(),
            deadline,
            self.elasticsearch_runs,
            self.plugin,
            self.plugins,
            self.version,
        )

    def search(
        self, context: Context, tree: Mapping[str, Any] | None, arguments: dict[str, Any], as_json: AsJson
    ) -> Steps[ObjectApiResponse[Any]]:
        """Run a search in Elasticsearch or in es-rerank, and return the response.

        Elasticsearch runs the search as a whole if it can, by itself or with its plugin. If only query
        vectors are missing, es-rerank computes them and Elasticsearch runs the rest. In all other cases
        es-rerank runs the tree.
        """
        tree = as_json(tree)
        if not needs_es_rerank(tree, self.elasticsearch_runs):
            whole_answer: ObjectApiResponse[Any] = yield Forward(arguments)
            return whole_answer
        size_of(tree)
        keys, parameters = split_parameters(
            {key: value for key, value in arguments.items() if key not in ("index", "body", "retriever")}
        )
        check_parameters(arguments)
        check_filter_path(arguments.get("filter_path"))
        written: Mapping[str, Any] = arguments.get("body") or {}
        for key in written.keys() & keys.keys():
            read_body_value(key, as_json(written[key]))  # Elasticsearch reads it, though another goes before
        rest = {**written, **keys}
        in_body = rest.pop("retriever", None)
        if in_body is None and arguments.get("retriever") is None:
            whole = _fused_by_rank(rest, arguments, as_json)
            tree = whole["retriever"]
        else:
            whole = as_json(rest) | {"retriever": tree}  # the tree is plain already
        if has_retriever_run_here(tree, self.elasticsearch_runs):
            scroll = "scroll" in parameters
            return (
                yield from _looking_again(
                    lambda: self._composed(context, whole, arguments.get("filter_path"), scroll=scroll),
                    context,
                )
            )
        if arguments.get("q") is not None:
            raise InvalidSearchError.of(["cannot specify [retriever] and [query]"])
        if "_slice" in parameters:  # the client of Elasticsearch 8 cannot send it on
            raise RequestError("a search whose query vector is made here does not support [_slice]")
        return (yield from _looking_again(lambda: self._with_vectors(context, whole, arguments), context))

    def _with_vectors(
        self, context: Context, body: dict[str, Any], arguments: dict[str, Any]
    ) -> Steps[ObjectApiResponse[Any]]:
        """Run a tree in which Elasticsearch lacks only query vectors."""
        inside: ApiResponse[Any] | None = yield from inside_steps(body, context)
        if inside is not None:
            shown = selected(inside.body, arguments.get("filter_path"))
            return ObjectApiResponse(body=shown, meta=inside.meta)
        if not context.version.asked:
            yield FindVersion()
        tree = yield from vector_steps(dict(body["retriever"]), context, given(body, ["pit"]))
        query_parameters = {
            key: value
            for key, value in arguments.items()
            if ALIASES.get(key, key) in SEARCH_PARAMETERS | FORMATTING
        }
        answer: ObjectApiResponse[Any] = yield Forward(
            {**as_arguments(query_parameters), "index": context.index, "body": {**body, "retriever": tree}},
            bounded=True,
        )
        hits = answer.body.get("hits", {}).get("hits", [])  # a filter_path may have left them out
        if found := {hit["_index"] for hit in hits if "_index" in hit}:
            check_indices(context, found)
        else:
            yield from look_for_move(context)
        return answer

    def _composed(
        self, context: Context, body: dict[str, Any], filter_path: FilterPath, *, scroll: bool = False
    ) -> Steps[ObjectApiResponse[Any]]:
        """Run a tree that Elasticsearch cannot run by itself: inside by its plugin, or else outside.

        The body is checked before the first request, in the same way for both. A tree that can run only
        inside is checked by Elasticsearch, if it has the plugin.
        """
        runs, tree = context.elasticsearch_runs, body["retriever"]
        if lacks_field(tree, runs) and (defaults := (yield from _defaults(body, context))) is not None:
            tree = filled(tree, defaults, runs)
            body = {**body, "retriever": tree}
        request = None
        if self.plugin == "never" or not only_inside(tree, runs):
            request = read_request(body, runs, scroll=scroll)
        root = None if request is None else request.retriever
        inside: ApiResponse[Any] | None = yield from inside_steps(body, context, needed=request is None)
        if inside is not None:
            shown = selected(with_block(inside, tree, root, context), filter_path)
            return ObjectApiResponse(body=shown, meta=inside.meta)
        answer = yield from search_steps(request or read_request(body, runs, scroll=scroll), context)
        return response(selected(answer, filter_path), answer["took"])

    def short_form(
        self,
        context: Context,
        query: str,
        page: tuple[int, int],
        window: int,
        choices: dict[str, Any],
        options: Mapping[str, Any],
        as_json: AsJson,
    ) -> Steps[ObjectApiResponse[Any]]:
        """Build the tree of the short form from the mapping, then search.

        ``page`` is (from, size). It does not change the window, so that the pages of a search join to its
        window: past the window a page is empty. ``choices`` are the keyword arguments of ``retriever_for``.
        Raises RequestError when ``size`` is larger than the window.
        """
        check_query(query)
        check_parameters(options)
        page = read_body_value("from", page[0]), read_body_value("size", page[1])
        window = read_value("rerank", "rank_window_size", window, "window")
        if page[1] > window:
            raise RequestError(
                f"size [{page[1]}] is larger than the window of {window} hits that are reranked; "
                f"give a window of {page[1]} or more, or a smaller size"
            )
        check_filter_path(options.get("filter_path"))
        context.elasticsearch_runs = ()  # the built tree needs no licence
        keys, _ = split_parameters(options)

        def built() -> Steps[ObjectApiResponse[Any]]:
            schema = yield from whole_schema(context, context.index or "_all")
            nothing = schema.known and not schema.indices
            chosen = _chosen(schema, choices, context)
            tree = nothing_for(window) if nothing else retriever_for(query, schema, window=window, **chosen)
            whole = as_json({**keys, "retriever": tree, "from": page[0], "size": page[1]})
            return (yield from self._composed(context, whole, options.get("filter_path")))

        return (yield from _looking_again(built, context))

    def with_credentials(self) -> Searching:
        """Return a copy that knows no plugin, because other credentials may not read what it says."""
        return replace(self, plugins=PluginCache())


def _defaults(body: Mapping[str, Any], context: Context) -> Steps[SearchDefaults | None]:
    """Return what the indices of a search record. Raises IndexMismatchError when they do not agree."""
    pit = given(body, ["pit"])
    expression = ",".join((yield from indices_of_pit(pit))) if pit else context.index
    if not expression:
        return None
    return _served(agreed((yield from schema_for(context, expression, (), whole=True))), context)


def _served(defaults: SearchDefaults | None, context: Context) -> SearchDefaults | None:
    """Return defaults without a reranker that is not served. The answer says so."""
    if defaults is None:
        return None
    defaults, told = usable(defaults, context.served.rerankers)
    context.stats.warn(told)
    return defaults


def _chosen(schema: IndexSchema, choices: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return the arguments of ``retriever_for``, with what the indices record if no field is named."""
    if choices.get("field") is not None:
        return choices
    vectors = choices["first_stage"] != "bm25" and not choices["vector_field"]
    defaults = _served(short_form_defaults(schema, vectors=vectors), context)
    if defaults is None:
        return choices
    return choices | {
        "field": list(defaults.field),
        "vector_field": choices["vector_field"] or vector_default(defaults, choices["first_stage"]),
        "inference_id": choices["inference_id"] or defaults.inference_id,
    }


def _fused_by_rank(body: dict[str, Any], arguments: Mapping[str, Any], as_json: AsJson) -> dict[str, Any]:
    """Return a body that fuses by ``rank`` as one with a ``retriever``."""
    if arguments.get("q") is not None:
        raise InvalidSearchError.of(["cannot specify [retriever] and [query]"])
    return with_retriever(as_json(body))


def _looking_again(steps: Callable[[], Steps[T]], context: Context) -> Steps[T]:
    """Run the steps of a search; once more if its indices changed between the look and the hits."""
    try:
        return (yield from _telling_move(steps, context))
    except MovedError:
        yield from closed(context)
        context.schema, context.moved = None, True
        context.stats.parts = Completeness()
        return (yield from steps())


def _telling_move(steps: Callable[[], Steps[T]], context: Context) -> Steps[T]:
    """Run the steps of a search. An error that its indices caused, because they changed, is a MovedError."""
    try:
        return (yield from steps())
    except ApiError as error:
        if error.status_code in _OF_THE_INDEX:
            yield from look_for_move(context)
        raise


def searching(
    reranker: Rerankers,
    embedder: Embedders,
    timeout_s: float | None,
    elasticsearch_runs: Collection[str],
    plugin: PluginUse,
) -> Searching:
    """Return the ``Searching`` of a client from the arguments of its constructor.

    A single model is served under its own name. Raises RequestError when ``timeout_s`` is not positive,
    when ``elasticsearch_runs`` holds an unknown name, when ``plugin`` is an unknown word, and when a name
    means two embedders.
    """
    if plugin not in get_args(PluginUse):
        raise RequestError(f"plugin is [{plugin}]; it may be {', '.join(get_args(PluginUse))}")
    if timeout_s is not None and not timeout_s > 0:
        raise RequestError(
            f"a timeout of {timeout_s} seconds leaves no time to search; give a positive number or None"
        )
    served = ServedModels.of(reranker, embedder)
    return Searching(served, timeout_s, check_runs(elasticsearch_runs), plugin)


def check_runs(elasticsearch_runs: Collection[str]) -> frozenset[str]:
    """Return ``elasticsearch_runs`` as a set of checked names.

    Raises RequestError for a name that is neither a kind of retriever in ``RETRIEVERS_RUN_HERE`` nor
    ``query_vector_builder``.
    """
    unknown = sorted(set(elasticsearch_runs) - RETRIEVERS_RUN_HERE - {VECTOR_BUILDER})
    if unknown:
        raise RequestError(
            f"elasticsearch_runs names [{', '.join(unknown)}]; "
            f"it may name {', '.join(sorted(RETRIEVERS_RUN_HERE))} and {VECTOR_BUILDER}"
        )
    return frozenset(elasticsearch_runs)


def search_arguments(
    index: str | Sequence[str] | None,
    retriever: Mapping[str, Any] | None,
    body: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return (arguments for ``Elasticsearch.search``, retriever tree).

    The tree comes from ``retriever``, from the body, or from ``rank``. It is None if there is none. Raises
    RetrieverParsingError for ``rank`` and ``retriever`` together.
    """
    given: dict[str, Any] = {"index": index, **options}
    if retriever is not None:
        given["retriever"] = retriever
    if body is not None:
        given["body"] = dict(body)
    written = {key: value for key, value in given.items() if value is not None}
    return given, tree_of({**(body or {}), **written})


def short_form_choices(
    first_stage: FirstStage,
    field: str | Sequence[str] | None,
    vector_field: str | None,
    query_vector: Sequence[float] | None,
    filters: Query | Sequence[Query] | None,
    inference_id: str | None,
    min_probability: float | None,
) -> dict[str, Any]:
    """Return the keyword arguments of ``retriever_for``. A single filter becomes a list."""
    listed = [filters] if isinstance(filters, Mapping) else list(filters or ())
    return {
        "first_stage": first_stage,
        "field": field,
        "vector_field": vector_field,
        "query_vector": query_vector,
        "filters": listed,
        "inference_id": inference_id,
        "min_probability": min_probability,
    }

"""``RerankClient`` and ``AsyncRerankClient``: an elasticsearch client whose searches may be reranked."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.exceptions import HTTP_EXCEPTIONS

from .errors import EsRerankError, RequestError, error_body, outcome_of
from .models import Embedder, Reranker
from .retrievers.answer import Account
from .retrievers.filter_path import selected
from .retrievers.request import DEFAULT_SIZE, read_request
from .retrievers.run import Connection, arun, run
from .retrievers.short_form import DEFAULT_WINDOW, check_query, retriever_for
from .retrievers.steps import Context, Forward, MappingCache, ReadMapping, Served, Steps, search_steps, vector_steps
from .retrievers.tree import OURS, VECTOR_BUILDER, FirstStage, Query, composes, needs_us

DEFAULT_TIMEOUT_S = 8.0
"""Deadline of a search that names none: under the official client's request timeout of 10 s."""

# How elasticsearch-py spells body keys and query parameters that are Python keywords or private names.
_ALIASES = {
    "from_": "from",
    "source": "_source",
    "source_includes": "_source_includes",
    "source_excludes": "_source_excludes",
    "source_exclude_vectors": "_source_exclude_vectors",
}

# The query parameters of _search that a request may carry beside its body; everything else is a body key.
SEARCH_PARAMETERS = frozenset(
    {
        "_source_exclude_vectors",
        "_source_excludes",
        "_source_includes",
        "allow_no_indices",
        "allow_partial_search_results",
        "batched_reduce_size",
        "ccs_minimize_roundtrips",
        "expand_wildcards",
        "force_synthetic_source",
        "ignore_throttled",
        "ignore_unavailable",
        "include_named_queries_score",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "preference",
        "request_cache",
        "rest_total_hits_as_int",
        "routing",
        "scroll",
        "search_type",
        "typed_keys",
    }
)

# They shape how an answer is written, and an answer here is not text.
_FORMATTING = frozenset({"error_trace", "filter_path", "human", "pretty"})

_CREDENTIALS = frozenset({"api_key", "basic_auth", "bearer_auth", "headers"})


@dataclass(frozen=True, slots=True)
class _Searching:
    """What both clients share: models, deadline, what Elasticsearch runs, and everything but the I/O."""

    served: Served
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    elasticsearch_runs: frozenset[str] = frozenset()
    mappings: MappingCache = field(default_factory=MappingCache)

    def context(self, index: str | Sequence[str] | None, parameters: Mapping[str, Any], timeout_s: float | None) -> Context:
        expression = index if isinstance(index, str) or index is None else ",".join(index)
        allowed = self.timeout_s if timeout_s is None else timeout_s
        deadline = None if allowed is None else time.monotonic() + allowed
        return Context(expression, _written(parameters), self.served, self.mappings, Account(), deadline, self.elasticsearch_runs)

    def search(self, context: Context, tree: Mapping[str, Any] | None, arguments: dict[str, Any]) -> Steps[ObjectApiResponse[Any]]:
        """Decide who runs a search: Elasticsearch, whole; Elasticsearch with vectors made here; or us."""
        if not needs_us(tree, self.elasticsearch_runs):
            whole_answer: ObjectApiResponse[Any] = yield Forward(arguments)
            return whole_answer
        keys, parameters = split_parameters({key: value for key, value in arguments.items() if key not in ("index", "body", "retriever")})
        whole = {**(arguments.get("body") or {}), **keys, "retriever": tree}
        if not composes(tree, self.elasticsearch_runs):
            body = {**whole, "retriever": (yield from vector_steps(dict(tree or {}), context))}
            others = {key: value for key, value in arguments.items() if _ALIASES.get(key, key) in SEARCH_PARAMETERS | _FORMATTING}
            native_answer: ObjectApiResponse[Any] = yield Forward({**others, "index": context.index, "body": body})
            return native_answer
        answer = yield from search_steps(read_request(whole, self.elasticsearch_runs, scroll="scroll" in parameters), context)
        return response(selected(answer, arguments.get("filter_path")), answer["took"])

    def short_form(
        self, context: Context, query: str, page: tuple[int, int], window: int, choices: dict[str, Any], options: Mapping[str, Any]
    ) -> Steps[ObjectApiResponse[Any]]:
        """Build the tree from what the index is, then search; ``page`` is (from, size)."""
        check_query(query)
        facts = yield ReadMapping(context.index or "_all")
        tree = retriever_for(query, facts, window=max(window, sum(page)), **choices)
        keys, _ = split_parameters(options)
        answer = yield from search_steps(read_request({**keys, "retriever": tree, "from": page[0], "size": page[1]}), context)
        return response(selected(answer, options.get("filter_path")), answer["took"])

    def with_credentials(self) -> _Searching:
        """Return the same for other credentials, which may not see the mappings that these have read."""
        return replace(self, mappings=MappingCache())


def searching(
    reranker: Reranker | Mapping[str, Reranker] | None, embedder: Embedder | None, timeout_s: float | None, elasticsearch_runs: Collection[str]
) -> _Searching:
    """Return what a client searches with; a single reranker is known by its own name.

    Raises RequestError for a deadline that leaves no time, and for names that are no retrievers.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise RequestError(f"a timeout of {timeout_s} seconds leaves no time to search; give a positive number or None")
    rerankers = {reranker.name: reranker} if isinstance(reranker, Reranker) else dict(reranker or {})
    return _Searching(Served(rerankers, embedder), timeout_s, check_runs(elasticsearch_runs))


def check_runs(elasticsearch_runs: Collection[str]) -> frozenset[str]:
    """Return the names of what Elasticsearch runs.

    Raises RequestError for a name that is neither a retriever of ours nor the vector builder.
    """
    unknown = sorted(set(elasticsearch_runs) - OURS - {VECTOR_BUILDER})
    if unknown:
        raise RequestError(f"elasticsearch_runs names [{', '.join(unknown)}]; it may name {', '.join(sorted(OURS))} and {VECTOR_BUILDER}")
    return frozenset(elasticsearch_runs)


def search_arguments(
    index: str | Sequence[str] | None, retriever: Mapping[str, Any] | None, body: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return (what was given, as ``Elasticsearch.search`` takes it; the retriever tree, wherever it stands)."""
    given: dict[str, Any] = {"index": index, **options}
    if retriever is not None:
        given["retriever"] = retriever
    if body is not None:
        given["body"] = dict(body)
    return given, retriever if retriever is not None else (body or {}).get("retriever")


def split_parameters(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (body keys, query parameters) of keyword arguments as elasticsearch-py spells them; None means not given.

    A query in the address (``q``) is a query beside the body's retriever, and refused as one.
    """
    given = {_ALIASES.get(key, key): value for key, value in options.items() if value is not None and key not in _FORMATTING}
    if "q" in given:
        given["query"] = given.pop("q")
    return {key: value for key, value in given.items() if key not in SEARCH_PARAMETERS}, {
        key: value for key, value in given.items() if key in SEARCH_PARAMETERS
    }


def _written(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return query parameters as an address takes them."""
    return {
        key: str(value).lower() if isinstance(value, bool) else ",".join(value) if isinstance(value, (list, tuple)) else value
        for key, value in parameters.items()
    }


def response(body: dict[str, Any], took_ms: int) -> ObjectApiResponse[Any]:
    """Return a body as the elasticsearch client's own response type; its meta is that of our own answer."""
    return ObjectApiResponse(body=body, meta=_meta(200, took_ms / 1000))


def _meta(status: int, seconds: float = 0.0) -> ApiResponseMeta:
    headers = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
    return ApiResponseMeta(status, "1.1", headers, seconds, NodeConfig("http", "es-rerank", 0))


def client_error(error: EsRerankError) -> ApiError:
    """Return an error that is both ours and the elasticsearch client's: whoever catches either catches it.

    Its status, ``meta`` and ``body`` are what the sidecar answers for the same fault.
    """
    status = outcome_of(error).status
    both = _both(type(error), HTTP_EXCEPTIONS.get(status, ApiError))  # type: ignore[arg-type]  # classes are hashable
    made: ApiError = both.__new__(both, error.message)
    made.__dict__.update(error.__dict__, body=error_body(error), meta=_meta(status), errors=(), _ours=error)
    return made


@functools.cache
def _both(ours: type[EsRerankError], theirs: type[ApiError]) -> type[ApiError]:
    def __str__(self: Any) -> str:  # noqa: ANN401, N807 our own sentence
        return str(self.message)

    def error(self: Any) -> str:  # noqa: ANN401 Elasticsearch's name for the fault, where its own client has it
        return str(self.body["error"]["type"])

    def __reduce__(self: Any) -> tuple[Any, ...]:  # noqa: ANN401, N807 survives a process boundary
        return client_error, (self._ours,)

    names = {"__module__": ours.__module__, "__doc__": ours.__doc__, "__str__": __str__, "__reduce__": __reduce__, "error": property(error)}
    return type(ours.__name__, (ours, theirs), names)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The searches of an ``_msearch``: those that Elasticsearch runs, by position, and those that we do."""

    theirs: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]
    ours: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]

    @classmethod
    def of(cls, searches: Iterable[Mapping[str, Any]], elasticsearch_runs: Collection[str]) -> _Batch:
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
        shared = {key: options[key] for key in ("typed_keys", "rest_total_hits_as_int", "ccs_minimize_roundtrips") if key in options}
        return {"index": header.get("index", index), "body": dict(body), **shared, **{key: value for key, value in header.items() if key != "index"}}

    def joined(self, theirs: Sequence[Any], ours: Mapping[int, Any], began: float, options: Mapping[str, Any]) -> ObjectApiResponse[Any]:
        """Return all answers in the order of the searches."""
        answers = {**dict(zip(self.theirs, theirs, strict=True)), **ours}
        took = round((time.monotonic() - began) * 1000)
        body = {"took": took, "responses": [answers[i] for i in sorted(answers)]}
        return response(selected(body, options.get("filter_path")), took)


def _item(answer: ObjectApiResponse[Any] | EsRerankError | ApiError) -> dict[str, Any]:
    """Return one answer, or one error, as an item of ``_msearch``."""
    if isinstance(answer, ApiError):
        body: dict[str, Any] = answer.body
        return {**body, "status": answer.status_code}
    if isinstance(answer, EsRerankError):
        return error_body(answer)
    return {**answer.body, "status": 200}


class RerankClient(Elasticsearch):
    """Wraps an ``Elasticsearch`` client: the same client, with searches that may be fused and reranked.

    ``reranker`` is one reranker or a table from ``inference_id`` to reranker, the first being the default. ``embedder``
    makes the vectors of ``query_vector_builder``. ``timeout_s`` is the deadline of a search in seconds, None for none.
    ``elasticsearch_runs`` names what a licensed cluster is to run itself: kinds of retriever among ``rrf``, ``linear``,
    ``text_similarity_reranker`` and ``pinned``, and ``query_vector_builder``; a retriever over one that is run here is
    run here too. Errors of the elasticsearch client pass through unchanged; our own are both ``EsRerankError`` and its
    ``ApiError``, with status and body.

        es = RerankClient(Elasticsearch("http://localhost:9200"), reranker=load_reranker(), embedder=load_embedder())
        es.rerank("who signed the treaty", index="articles")
    """

    def __init__(
        self,
        client: Elasticsearch,
        *,
        reranker: Reranker | Mapping[str, Reranker] | None = None,
        embedder: Embedder | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        elasticsearch_runs: Collection[str] = (),
    ) -> None:
        # The wrapped client's transport, options and namespaces are this client's: only what is defined below differs.
        self.__dict__.update(vars(client))
        self._client = client
        self._connection = Connection(client)
        self._searching = searching(reranker, embedder, timeout_s, elasticsearch_runs)

    def __enter__(self) -> Self:
        return self

    def options(self, **options: Any) -> RerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options (``api_key``, ``headers``, …), as ``Elasticsearch.options`` does."""
        other = RerankClient(self._client.options(**options))
        other._searching = self._searching.with_credentials() if _CREDENTIALS & set(options) else self._searching
        return other

    def search(
        self,
        *,
        index: str | Sequence[str] | None = None,
        retriever: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search; a retriever that needs a fusion, a reranker or a vector made here is run by us, all else by Elasticsearch.

        Takes what ``Elasticsearch.search`` takes. ``timeout_s`` overrides the client's deadline. Raises RequestError
        and its kin for a tree or a body that cannot be served, DeadlineError when time ran out and the tree does not
        allow failures, and the elasticsearch client's own errors unchanged.
        """
        try:
            arguments, tree = search_arguments(index, retriever, body, options)
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            return run(self._searching.search(context, tree, arguments), self._connection, context)
        except EsRerankError as error:
            raise client_error(error) from error

    def msearch(
        self,
        *,
        searches: Sequence[Mapping[str, Any]] | None = None,
        index: str | Sequence[str] | None = None,
        body: Sequence[Mapping[str, Any]] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Run several searches; those that need us here, the others in one request to Elasticsearch.

        Takes what ``Elasticsearch.msearch`` takes and answers in its order, an error in the place of its search.
        ``timeout_s`` is the deadline of each search that is run here.
        """
        began = time.monotonic()
        try:
            batch = _Batch.of(searches or body or (), self._searching.elasticsearch_runs)
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.ours:
            return self._client.msearch(searches=searches or body, index=index, **options)
        theirs = [line for pair in batch.theirs.values() for line in pair]
        answered = self._client.msearch(searches=theirs, index=index, **_unfiltered(options))["responses"] if theirs else []
        ours = {i: _item(self._answer(timeout_s, batch.arguments(i, index, options))) for i in batch.ours}
        return batch.joined(answered, ours, began, options)

    def _answer(self, timeout_s: float | None, arguments: dict[str, Any]) -> ObjectApiResponse[Any] | ApiError:
        try:
            return self.search(timeout_s=timeout_s, **arguments)
        except ApiError as error:
            return error

    def rerank(
        self,
        query: str,
        *,
        index: str | Sequence[str],
        size: int = DEFAULT_SIZE,
        from_: int = 0,
        window: int = DEFAULT_WINDOW,
        first_stage: FirstStage = "knn",
        field: str | Sequence[str] | None = None,
        vector_field: str | None = None,
        query_vector: Sequence[float] | None = None,
        filter: Query | Sequence[Query] | None = None,  # noqa: A002 Elasticsearch's own word
        inference_id: str | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search an index for a question and rerank the first ``window`` hits; the tree is built for you.

        ``first_stage``: ``knn``, ``bm25``, or ``hybrid``, which fuses the two (rrf). On an index of ``es-rerank ingest``
        nothing else need be said. On your own index name ``field`` (what is read) and give ``query_vector`` (from the
        model that filled ``vector_field``). A reranker that fails or is late leaves the first-stage order, marked in the
        answer.
        """
        try:
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            choices = short_form_choices(first_stage, field, vector_field, query_vector, filter, inference_id)
            return run(self._searching.short_form(context, query, (from_, size), window, choices, options), self._connection, context)
        except EsRerankError as error:
            raise client_error(error) from error


class AsyncRerankClient(AsyncElasticsearch):
    """``RerankClient`` for ``AsyncElasticsearch``: the same arguments, the same answers."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        *,
        reranker: Reranker | Mapping[str, Reranker] | None = None,
        embedder: Embedder | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        elasticsearch_runs: Collection[str] = (),
    ) -> None:
        # The wrapped client's transport, options and namespaces are this client's: only what is defined below differs.
        self.__dict__.update(vars(client))
        self._client = client
        self._connection = Connection(client)
        self._searching = searching(reranker, embedder, timeout_s, elasticsearch_runs)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    def options(self, **options: Any) -> AsyncRerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options, as ``AsyncElasticsearch.options`` does."""
        other = AsyncRerankClient(self._client.options(**options))
        other._searching = self._searching.with_credentials() if _CREDENTIALS & set(options) else self._searching
        return other

    async def search(
        self,
        *,
        index: str | Sequence[str] | None = None,
        retriever: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search as ``RerankClient.search`` does."""
        try:
            arguments, tree = search_arguments(index, retriever, body, options)
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            return await arun(self._searching.search(context, tree, arguments), self._connection, context)
        except EsRerankError as error:
            raise client_error(error) from error

    async def msearch(
        self,
        *,
        searches: Sequence[Mapping[str, Any]] | None = None,
        index: str | Sequence[str] | None = None,
        body: Sequence[Mapping[str, Any]] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Run several searches as ``RerankClient.msearch`` does, ours and Elasticsearch's side by side."""
        began = time.monotonic()
        try:
            batch = _Batch.of(searches or body or (), self._searching.elasticsearch_runs)
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.ours:
            return await self._client.msearch(searches=searches or body, index=index, **options)
        answered, *ours = await asyncio.gather(
            self._theirs([line for pair in batch.theirs.values() for line in pair], index, _unfiltered(options)),
            *(self._answer(timeout_s, batch.arguments(i, index, options)) for i in batch.ours),
        )
        return batch.joined(answered, {i: _item(each) for i, each in zip(batch.ours, ours, strict=True)}, began, options)

    async def _theirs(self, searches: list[Any], index: str | Sequence[str] | None, options: Mapping[str, Any]) -> list[Any]:
        if not searches:
            return []
        answer = await self._client.msearch(searches=searches, index=index, **options)
        responses: list[Any] = answer["responses"]
        return responses

    async def _answer(self, timeout_s: float | None, arguments: dict[str, Any]) -> ObjectApiResponse[Any] | ApiError:
        try:
            return await self.search(timeout_s=timeout_s, **arguments)
        except ApiError as error:
            return error

    async def rerank(
        self,
        query: str,
        *,
        index: str | Sequence[str],
        size: int = DEFAULT_SIZE,
        from_: int = 0,
        window: int = DEFAULT_WINDOW,
        first_stage: FirstStage = "knn",
        field: str | Sequence[str] | None = None,
        vector_field: str | None = None,
        query_vector: Sequence[float] | None = None,
        filter: Query | Sequence[Query] | None = None,  # noqa: A002 Elasticsearch's own word
        inference_id: str | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search and rerank as ``RerankClient.rerank`` does."""
        try:
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            choices = short_form_choices(first_stage, field, vector_field, query_vector, filter, inference_id)
            return await arun(self._searching.short_form(context, query, (from_, size), window, choices, options), self._connection, context)
        except EsRerankError as error:
            raise client_error(error) from error


def _unfiltered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without ``filter_path``, which is about the joined answer."""
    return {key: value for key, value in options.items() if key != "filter_path"}


def short_form_choices(
    first_stage: FirstStage,
    field: str | Sequence[str] | None,
    vector_field: str | None,
    query_vector: Sequence[float] | None,
    filters: Query | Sequence[Query] | None,
    inference_id: str | None,
) -> dict[str, Any]:
    """Return the short form's choices as ``retriever_for`` takes them; a single filter becomes a list."""
    listed = [filters] if isinstance(filters, Mapping) else list(filters or ())
    return {
        "first_stage": first_stage,
        "field": field,
        "vector_field": vector_field,
        "query_vector": query_vector,
        "filters": listed,
        "inference_id": inference_id,
    }

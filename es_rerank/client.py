"""``RerankClient`` and ``AsyncRerankClient``: an elasticsearch client whose searches may be reranked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import AsyncElasticsearch, Elasticsearch

from .errors import RequestError
from .models import Embedder, Reranker
from .retrievers.answer import Account
from .retrievers.request import DEFAULT_SIZE, read_request
from .retrievers.run import arun, run
from .retrievers.short_form import DEFAULT_WINDOW, check_query, retriever_for
from .retrievers.steps import Context, Forward, MappingCache, ReadMapping, Served, Steps, search_steps, vector_steps
from .retrievers.tree import FirstStage, Query, needs_us, reranks

DEFAULT_TIMEOUT_S = 8.0
"""Deadline of a search that names none: under the official client's request timeout of 10 s."""

# How elasticsearch-py spells body keys that are Python keywords or private names.
_ALIASES = {"from_": "from", "source": "_source"}

# The query parameters of _search that a request may carry beside its body; everything else is a body key.
SEARCH_PARAMETERS = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "expand_wildcards",
        "ignore_throttled",
        "ignore_unavailable",
        "preference",
        "request_cache",
        "routing",
        "search_type",
    }
)


def served_models(reranker: Reranker | Mapping[str, Reranker] | None, embedder: Embedder | None) -> Served:
    """Return the models as a table; a single reranker is known by its own name."""
    if isinstance(reranker, Reranker):
        return Served({reranker.name: reranker}, embedder)
    return Served(dict(reranker or {}), embedder)


class _Base:
    """What both clients share: everything but the I/O."""

    def __init__(self, served: Served, timeout_s: float | None, mappings: MappingCache) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise RequestError(f"a timeout of {timeout_s} seconds leaves no time to search; give a positive number or None")
        self._served = served
        self._timeout_s = timeout_s
        self._mappings = mappings

    def _context(self, index: str | Sequence[str] | None, parameters: dict[str, Any], timeout_s: float | None) -> Context:
        expression = index if isinstance(index, str) or index is None else ",".join(index)
        allowed = self._timeout_s if timeout_s is None else timeout_s
        deadline = None if allowed is None else time.monotonic() + allowed
        return Context(expression, parameters, self._served, self._mappings, Account(), deadline)

    def _search(self, context: Context, tree: Mapping[str, Any] | None, arguments: dict[str, Any]) -> Steps[ObjectApiResponse[Any]]:
        """Decide who runs a search: Elasticsearch, whole; Elasticsearch with vectors made here; or us."""
        if not needs_us(tree):
            whole_answer: ObjectApiResponse[Any] = yield Forward(arguments)
            return whole_answer
        keys, _ = split_parameters({key: value for key, value in arguments.items() if key not in ("index", "body", "retriever")})
        whole = {**(arguments.get("body") or {}), **keys, "retriever": tree}
        if not reranks(tree):
            body = {**whole, "retriever": (yield from vector_steps(dict(tree or {}), context))}
            native_answer: ObjectApiResponse[Any] = yield Forward({"index": context.index, "body": body, **context.parameters})
            return native_answer
        return response((yield from search_steps(read_request(whole), context)))

    def _short_form(
        self, context: Context, query: str, page: tuple[int, int], window: int, choices: dict[str, Any], keys: dict[str, Any]
    ) -> Steps[ObjectApiResponse[Any]]:
        """Build the tree from what the index is, then search; ``page`` is (from, size)."""
        check_query(query)
        facts = yield ReadMapping()
        tree = retriever_for(query, facts, window=max(window, sum(page)), **choices)
        return response((yield from search_steps(read_request({**keys, "retriever": tree, "from": page[0], "size": page[1]}), context)))


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
    """Return (body keys, query parameters) of keyword arguments as elasticsearch-py spells them; None means not given."""
    given = {_ALIASES.get(key, key): value for key, value in options.items() if value is not None}
    return {key: value for key, value in given.items() if key not in SEARCH_PARAMETERS}, {
        key: value for key, value in given.items() if key in SEARCH_PARAMETERS
    }


def response(body: dict[str, Any]) -> ObjectApiResponse[Any]:
    """Return a body as the elasticsearch client's own response type; its meta is that of our own answer."""
    meta = ApiResponseMeta(
        200,
        "1.1",
        HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"}),
        body["took"] / 1000,
        NodeConfig("http", "es-rerank", 0),
    )
    return ObjectApiResponse(body=body, meta=meta)


class RerankClient(_Base):
    """Wraps an ``Elasticsearch`` client; every method but ``search``, ``rerank`` and ``options`` is the client's own.

    ``reranker`` is one reranker or a table from ``inference_id`` to reranker, the first being the default. ``embedder``
    makes the vectors of ``query_vector_builder``. ``timeout_s`` is the deadline of a search in seconds, None for none.
    Errors of the elasticsearch client pass through unchanged.

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
    ) -> None:
        super().__init__(served_models(reranker, embedder), timeout_s, MappingCache())
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the client has
        return getattr(self._client, name)

    def options(self, **options: Any) -> RerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options (``api_key``, ``headers``, …), as ``Elasticsearch.options`` does."""
        other = RerankClient(self._client.options(**options), timeout_s=self._timeout_s)
        other._served = self._served
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
        """Search; a retriever with ``text_similarity_reranker`` at its root is run by us, all else by Elasticsearch.

        Takes what ``Elasticsearch.search`` takes. ``timeout_s`` overrides the client's deadline. Raises RequestError
        and its kin for a tree or a body that cannot be served, DeadlineError when time ran out and the tree does not
        allow failures, and the elasticsearch client's own errors unchanged.
        """
        arguments, tree = search_arguments(index, retriever, body, options)
        context = self._context(index, split_parameters(options)[1], timeout_s)
        return run(self._search(context, tree, arguments), self._client, context)

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

        On an index of ``es-rerank ingest`` nothing else need be said. On your own index name ``field`` (what is read)
        and give ``query_vector`` (from the model that filled ``vector_field``). A reranker that fails or is late
        leaves the first-stage order, marked in the answer.
        """
        keys, parameters = split_parameters(options)
        context = self._context(index, parameters, timeout_s)
        choices = short_form_choices(first_stage, field, vector_field, query_vector, filter, inference_id)
        return run(self._short_form(context, query, (from_, size), window, choices, keys), self._client, context)


class AsyncRerankClient(_Base):
    """``RerankClient`` for ``AsyncElasticsearch``: the same arguments, the same answers."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        *,
        reranker: Reranker | Mapping[str, Reranker] | None = None,
        embedder: Embedder | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(served_models(reranker, embedder), timeout_s, MappingCache())
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the client has
        return getattr(self._client, name)

    def options(self, **options: Any) -> AsyncRerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options, as ``AsyncElasticsearch.options`` does."""
        other = AsyncRerankClient(self._client.options(**options), timeout_s=self._timeout_s)
        other._served = self._served
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
        arguments, tree = search_arguments(index, retriever, body, options)
        context = self._context(index, split_parameters(options)[1], timeout_s)
        return await arun(self._search(context, tree, arguments), self._client, context)

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
        keys, parameters = split_parameters(options)
        context = self._context(index, parameters, timeout_s)
        choices = short_form_choices(first_stage, field, vector_field, query_vector, filter, inference_id)
        return await arun(self._short_form(context, query, (from_, size), window, choices, keys), self._client, context)


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

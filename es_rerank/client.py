"""``RerankClient`` and ``AsyncRerankClient``: an elasticsearch client whose searches may be reranked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch

from .errors import EsRerankError
from .models import Embedder, Reranker
from .retrievers.execution.batch import Batch, item, unfiltered
from .retrievers.execution.run import Connection, arun, run
from .retrievers.execution.searching import DEFAULT_TIMEOUT_S, search_arguments, searching, short_form_choices
from .retrievers.grammar.parameters import split_parameters
from .retrievers.grammar.tree import FirstStage, Query
from .retrievers.planning.short_form import DEFAULT_SIZE, DEFAULT_WINDOW
from .retrievers.response.client_answers import client_error

_CREDENTIALS = frozenset({"api_key", "basic_auth", "bearer_auth", "headers"})


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
        other._searching = (
            self._searching.with_credentials() if _CREDENTIALS & set(options) else self._searching
        )
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
            steps = self._searching.search(context, tree, arguments, self._connection.as_json)
            return run(steps, self._connection, context)
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
            batch = Batch.of(
                searches or body or (),
                self._searching.elasticsearch_runs,
                self._connection.as_json,
                options.get("filter_path"),
            )
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.ours:
            return self._client.msearch(searches=searches or body, index=index, **options)
        theirs = [line for pair in batch.theirs.values() for line in pair]
        answered = (
            self._client.msearch(searches=theirs, index=index, **unfiltered(options))["responses"]
            if theirs
            else []
        )
        ours = {i: item(self._answer(timeout_s, batch.arguments(i, index, options))) for i in batch.ours}
        return batch.joined(answered, ours, began, options)

    def _answer(
        self, timeout_s: float | None, arguments: dict[str, Any]
    ) -> ObjectApiResponse[Any] | ApiError:
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
            steps = self._searching.short_form(
                context, query, (from_, size), window, choices, options, self._connection.as_json
            )
            return run(steps, self._connection, context)
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
        other._searching = (
            self._searching.with_credentials() if _CREDENTIALS & set(options) else self._searching
        )
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
            steps = self._searching.search(context, tree, arguments, self._connection.as_json)
            return await arun(steps, self._connection, context)
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
            batch = Batch.of(
                searches or body or (),
                self._searching.elasticsearch_runs,
                self._connection.as_json,
                options.get("filter_path"),
            )
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.ours:
            return await self._client.msearch(searches=searches or body, index=index, **options)
        answered, *ours = await asyncio.gather(
            self._theirs(
                [line for pair in batch.theirs.values() for line in pair], index, unfiltered(options)
            ),
            *(self._answer(timeout_s, batch.arguments(i, index, options)) for i in batch.ours),
        )
        return batch.joined(
            answered, {i: item(each) for i, each in zip(batch.ours, ours, strict=True)}, began, options
        )

    async def _theirs(
        self, searches: list[Any], index: str | Sequence[str] | None, options: Mapping[str, Any]
    ) -> list[Any]:
        if not searches:
            return []
        answer = await self._client.msearch(searches=searches, index=index, **options)
        responses: list[Any] = answer["responses"]
        return responses

    async def _answer(
        self, timeout_s: float | None, arguments: dict[str, Any]
    ) -> ObjectApiResponse[Any] | ApiError:
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
            steps = self._searching.short_form(
                context, query, (from_, size), window, choices, options, self._connection.as_json
            )
            return await arun(steps, self._connection, context)
        except EsRerankError as error:
            raise client_error(error) from error

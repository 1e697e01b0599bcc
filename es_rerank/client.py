"""``RerankClient`` and ``AsyncRerankClient``: elasticsearch clients that can also fuse and rerank."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self, cast

from elastic_transport import ObjectApiResponse
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    ConnectionTimeout,
    Elasticsearch,
    UnsupportedProductError,
)

from .defaults import PLUGIN_USE, SIZE, TIMEOUT_S, WINDOW, PluginUse
from .errors import EsRerankError
from .header_names import WITHOUT_IDENTITY
from .observation import stage
from .off_loop import is_large, off_loop
from .retrievers.execution.batch import AT_ONCE, Batch, late, unfiltered
from .retrievers.execution.run import Connection, arun, run
from .retrievers.execution.searching import search_arguments, searching, short_form_choices
from .retrievers.execution.served import Embedders, Rerankers
from .retrievers.execution.unread import as_bytes, whole
from .retrievers.grammar.parameters import split_parameters
from .retrievers.grammar.tree import FirstStage, Query
from .retrievers.response.client_answers import answer_to, client_error, ignored_by, strict, whole_characters

_CREDENTIALS = frozenset({"api_key", "basic_auth", "bearer_auth"})


def _changes_credentials(options: Mapping[str, Any]) -> bool:
    headers = options.get("headers") or {}
    telling = any(name.lower() not in WITHOUT_IDENTITY for name in headers)
    return bool(_CREDENTIALS & set(options)) or telling


class RerankClient(Elasticsearch):
    """An ``Elasticsearch`` client that can also fuse and rerank. All other methods work as before.

    ``reranker`` is one reranker, or a mapping from ``inference_id`` to reranker whose first entry is the
    default. ``embedder`` computes the vectors for ``query_vector_builder``; it may be a mapping too, from
    ``model_id``. A search that names none uses the one that its indices record, else the default.
    ``timeout_s`` is the timeout of a search in seconds, None for no limit. ``elasticsearch_runs`` names what
    a licensed cluster runs itself:
    ``rrf``, ``linear``, ``text_similarity_reranker``, ``pinned``, ``query_vector_builder``. es-rerank still
    runs such a retriever if a retriever below it runs in es-rerank. Errors of the elasticsearch client are
    raised unchanged. Errors of es-rerank are both ``EsRerankError`` and the elasticsearch client's
    ``ApiError``, with status and body. If ``ignore_status`` has their status, they are returned as an answer.

    ``plugin`` says when a search runs inside Elasticsearch, by its plugin es-rerank, in one request: ``auto``
    (if all nodes have the plugin, and it can run the tree with the models of this client), ``always`` (else
    RequestError or SearchError) or ``never``. A client without models uses those of the plugin. The
    ``rerank`` block of such an answer has ``inside: true`` and lacks ``candidates``, ``truncated``,
    ``cached`` and ``capped``.

        elasticsearch = Elasticsearch("http://localhost:9200")
        es = RerankClient(elasticsearch, reranker=load_reranker(), embedder=load_embedder())
        es.rerank("who signed the treaty", index="articles")
    """

    def __init__(
        self,
        client: Elasticsearch,
        *,
        reranker: Rerankers = None,
        embedder: Embedders = None,
        timeout_s: float | None = TIMEOUT_S,
        elasticsearch_runs: Collection[str] = (),
        plugin: PluginUse = PLUGIN_USE,
    ) -> None:
        # This client shares the transport, options and namespaces of the wrapped client. Only the methods
        # below differ.
        self.__dict__.update(vars(client))
        self._client = client
        self._connection = Connection(strict(client))
        self._searching = searching(reranker, embedder, timeout_s, elasticsearch_runs, plugin)

    def __enter__(self) -> Self:
        return self

    def options(self, **options: Any) -> RerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options (``api_key``, …): see ``Elasticsearch.options``."""
        other = RerankClient(self._client.options(**options))
        other._searching = (
            self._searching.with_credentials() if _changes_credentials(options) else self._searching
        )
        return other

    @whole_characters
    def search(
        self,
        *,
        index: str | Sequence[str] | None = None,
        retriever: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search, with fusion, reranking and query vectors computed by es-rerank if the retriever needs them.

        Elasticsearch runs all other searches. The arguments are those of ``Elasticsearch.search``.
        ``timeout_s`` (seconds) replaces the timeout of the client. Raises RequestError or one of its
        subclasses when the tree or the body is not valid. Raises DeadlineError when the deadline passes and
        the tree does not allow rerank failures. Raises the errors of the elasticsearch client unchanged.
        """
        try:
            arguments, tree = search_arguments(index, retriever, body, options)
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            steps = self._searching.search(context, tree, arguments, self._connection.as_json)
            return run(steps, self._connection, context)
        except (EsRerankError, ApiError) as error:
            return answer_to(error, self._client)

    @whole_characters
    def msearch(
        self,
        *,
        searches: Sequence[Mapping[str, Any]] | None = None,
        index: str | Sequence[str] | None = None,
        body: Sequence[Mapping[str, Any]] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Run several searches and return their answers in order.

        es-rerank runs the searches that need it. All others go to Elasticsearch in one request. The arguments
        are those of ``Elasticsearch.msearch``. A failed search has its error as its answer. ``timeout_s``
        (seconds) is the timeout of each search that es-rerank runs, and of the one request. Raises
        RequestError when ``searches`` is not valid.
        """
        if ignored_by(self._client):
            try:  # here each search raises its error, which is its answer
                return self.options(ignore_status=()).msearch(
                    searches=searches, index=index, body=body, timeout_s=timeout_s, **options
                )
            except ApiError as error:
                return answer_to(error, self._client)
        began = time.monotonic()
        try:
            batch = Batch.of(
                searches or body or (),
                self._searching.elasticsearch_runs,
                self._connection.as_json,
                options,
            )
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.run_here:
            return self._client.msearch(searches=searches or body, index=index, **options)
        forwarded = [line for pair in batch.forwarded.values() for line in pair]
        answer_of_elasticsearch = self._forward(forwarded, index, timeout_s, unfiltered(options))
        answers_here = {
            i: self._answer(timeout_s, batch.arguments(i, index, options)) for i in batch.run_here
        }
        return batch.joined(answer_of_elasticsearch, answers_here, began, options)

    def _forward(
        self,
        searches: list[Any],
        index: str | Sequence[str] | None,
        timeout_s: float | None,
        options: Mapping[str, Any],
    ) -> ObjectApiResponse[Any] | ApiError | None:
        if not searches:
            return None
        client = self._client if timeout_s is None else self._connection.within(timeout_s)
        try:
            with stage("elasticsearch"):
                return client.msearch(searches=searches, index=index, **options)
        except ConnectionTimeout as error:
            return late(error)

    def _answer(
        self, timeout_s: float | None, arguments: dict[str, Any]
    ) -> ObjectApiResponse[Any] | ApiError:
        try:
            return self.search(timeout_s=timeout_s, **arguments)
        except UnsupportedProductError:
            raise  # what another server says is no answer
        except ApiError as error:
            return error
        except ConnectionTimeout as error:
            return late(error)

    @whole_characters
    def rerank(
        self,
        query: str,
        *,
        index: str | Sequence[str],
        size: int = SIZE,
        from_: int = 0,
        window: int = WINDOW,
        first_stage: FirstStage = "knn",
        field: str | Sequence[str] | None = None,
        vector_field: str | None = None,
        query_vector: Sequence[float] | None = None,
        filter: Query | Sequence[Query] | None = None,  # noqa: A002 Elasticsearch's own word
        inference_id: str | None = None,
        min_probability: float | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search an index for a question and rerank the first ``window`` hits. Builds the retriever tree
        itself.

        ``first_stage`` is ``knn``, ``bm25``, or ``hybrid``, which fuses both with rrf. An index that
        ``es-rerank ingest`` filled needs no other arguments. For any other index, give ``field`` (the text
        for the reranker) and ``query_vector`` (from the embedder that filled ``vector_field``). If the
        reranker fails or is late, the hits keep the first-stage order and the ``rerank`` block of the answer
        says so. Hits with a smaller probability than ``min_probability`` are left out. ``timeout_s``
        (seconds) replaces the timeout of the client. Raises RequestError or one of its subclasses when the
        arguments do not fit the index.
        """
        try:
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            choices = short_form_choices(
                first_stage, field, vector_field, query_vector, filter, inference_id, min_probability
            )
            steps = self._searching.short_form(
                context, query, (from_, size), window, choices, options, self._connection.as_json
            )
            return run(steps, self._connection, context)
        except (EsRerankError, ApiError) as error:
            return answer_to(error, self._client)


class AsyncRerankClient(AsyncElasticsearch):
    """The asynchronous ``RerankClient``: wraps an ``AsyncElasticsearch``, with the same arguments and
    answers.
    """

    def __init__(
        self,
        client: AsyncElasticsearch,
        *,
        reranker: Rerankers = None,
        embedder: Embedders = None,
        timeout_s: float | None = TIMEOUT_S,
        elasticsearch_runs: Collection[str] = (),
        plugin: PluginUse = PLUGIN_USE,
    ) -> None:
        # This client shares the transport, options and namespaces of the wrapped client. Only the methods
        # below differ.
        self.__dict__.update(vars(client))
        self._client = client
        self._connection = Connection(strict(client))
        self._searching = searching(reranker, embedder, timeout_s, elasticsearch_runs, plugin)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    def options(self, **options: Any) -> AsyncRerankClient:  # noqa: ANN401 passed through to elasticsearch
        """Return a client with other transport options (see ``AsyncElasticsearch.options``)."""
        other = AsyncRerankClient(self._client.options(**options))
        other._searching = (
            self._searching.with_credentials() if _changes_credentials(options) else self._searching
        )
        return other

    @whole_characters
    async def search(
        self,
        *,
        index: str | Sequence[str] | None = None,
        retriever: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search as ``RerankClient.search`` does. Raises the same errors."""
        try:
            arguments, tree = search_arguments(index, retriever, body, options)
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            steps = self._searching.search(context, tree, arguments, self._connection.as_json)
            return await arun(steps, self._connection, context, large=is_large(arguments))
        except (EsRerankError, ApiError) as error:
            return answer_to(error, self._client)

    @whole_characters
    async def msearch(
        self,
        *,
        searches: Sequence[Mapping[str, Any]] | None = None,
        index: str | Sequence[str] | None = None,
        body: Sequence[Mapping[str, Any]] | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Run several searches as ``RerankClient.msearch`` does, all at the same time. Raises the same
        errors.
        """
        if ignored_by(self._client):
            try:  # here each search raises its error, which is its answer
                return await self.options(ignore_status=()).msearch(
                    searches=searches, index=index, body=body, timeout_s=timeout_s, **options
                )
            except ApiError as error:
                return answer_to(error, self._client)
        began = time.monotonic()
        try:
            batch = await off_loop(
                Batch.of,
                searches or body or (),
                self._searching.elasticsearch_runs,
                self._connection.as_json,
                options,
            )
        except EsRerankError as error:
            raise client_error(error) from error
        if not batch.run_here:
            return await self._client.msearch(searches=searches or body, index=index, **options)
        turn = asyncio.Semaphore(AT_ONCE)
        forwarded = [line for pair in batch.forwarded.values() for line in pair]
        answer_of_elasticsearch, answers_here = await asyncio.gather(
            self._forward(forwarded, index, timeout_s, unfiltered(options)),
            asyncio.gather(
                *(self._in_turn(turn, timeout_s, batch.arguments(i, index, options)) for i in batch.run_here)
            ),
        )
        items = dict(zip(batch.run_here, answers_here, strict=True))
        return await off_loop(batch.joined, answer_of_elasticsearch, items, began, options)

    async def _in_turn(
        self, turn: asyncio.Semaphore, timeout_s: float | None, arguments: dict[str, Any]
    ) -> ObjectApiResponse[Any] | ApiError:
        async with turn:
            await asyncio.sleep(0)  # other tasks of the event loop run between two searches
            return await self._answer(timeout_s, arguments)

    async def _forward(
        self,
        searches: list[Any],
        index: str | Sequence[str] | None,
        timeout_s: float | None,
        options: Mapping[str, Any],
    ) -> ObjectApiResponse[Any] | ApiError | None:
        if not searches:
            return None
        client = self._client if timeout_s is None else self._connection.within(timeout_s)
        try:
            with stage("elasticsearch"):
                lines = await off_loop(as_bytes, searches)
                sent: list[Any] = [lines]
                answer, _ = await whole(await client.msearch(searches=sent, index=index, **options))
                return cast("ObjectApiResponse[Any]", answer)
        except ConnectionTimeout as error:
            return late(error)

    async def _answer(
        self, timeout_s: float | None, arguments: dict[str, Any]
    ) -> ObjectApiResponse[Any] | ApiError:
        try:
            return await self.search(timeout_s=timeout_s, **arguments)
        except UnsupportedProductError:
            raise  # what another server says is no answer
        except ApiError as error:
            return error
        except ConnectionTimeout as error:
            return late(error)

    @whole_characters
    async def rerank(
        self,
        query: str,
        *,
        index: str | Sequence[str],
        size: int = SIZE,
        from_: int = 0,
        window: int = WINDOW,
        first_stage: FirstStage = "knn",
        field: str | Sequence[str] | None = None,
        vector_field: str | None = None,
        query_vector: Sequence[float] | None = None,
        filter: Query | Sequence[Query] | None = None,  # noqa: A002 Elasticsearch's own word
        inference_id: str | None = None,
        min_probability: float | None = None,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 passed through to elasticsearch
    ) -> ObjectApiResponse[Any]:
        """Search and rerank as ``RerankClient.rerank`` does. Raises the same errors."""
        try:
            context = self._searching.context(index, split_parameters(options)[1], timeout_s)
            choices = short_form_choices(
                first_stage, field, vector_field, query_vector, filter, inference_id, min_probability
            )
            steps = self._searching.short_form(
                context, query, (from_, size), window, choices, options, self._connection.as_json
            )
            return await arun(steps, self._connection, context)
        except (EsRerankError, ApiError) as error:
            return answer_to(error, self._client)

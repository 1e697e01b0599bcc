"""Clients of an Elasticsearch that is a script: it records requests and answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from elastic_transport import (
    ApiResponseMeta,
    BaseAsyncNode,
    BaseNode,
    HttpHeaders,
    NodeConfig,
)
from elastic_transport._node import NodeApiResponse
from elasticsearch import AsyncElasticsearch, Elasticsearch

from es_rerank import AsyncRerankClient, RerankClient


@dataclass(slots=True)
class Reply:
    """An answer of Elasticsearch; an exception is raised instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(slots=True)
class Script:
    """What Elasticsearch answers, and what it was asked: (method and path, body).

    ``headers``: those of the requests of asynchronous clients, with names in lower case.
    """

    answer: Callable[[str, Any], Reply]
    asked: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def reply(self, config: NodeConfig, method: str, target: str, body: bytes | None) -> NodeApiResponse:
        sent = None if body is None else [json.loads(line) for line in body.decode().splitlines()]
        request = f"{method} {target.partition('?')[0]}"
        self.asked.append((request, sent[0] if sent and len(sent) == 1 else sent))
        reply = self.answer(*self.asked[-1])
        if reply.error is not None:
            raise reply.error
        headers = {
            "x-elastic-product": "Elasticsearch",
            "content-type": "application/json",
            **reply.headers,
        }
        meta = ApiResponseMeta(reply.status, "1.1", HttpHeaders(headers), 0.0, config)
        return NodeApiResponse(meta, json.dumps(reply.body).encode())

    def client(self, **options: Any) -> RerankClient:
        """Return a blocking client of this Elasticsearch."""
        script = self

        class Node(BaseNode):
            def perform_request(
                self, method: str, target: str, body: bytes | None = None, *args: Any, **kwargs: Any
            ) -> NodeApiResponse:
                return script.reply(self.config, method, target, body)

        return RerankClient(Elasticsearch("http://scripted:9200", node_class=Node, max_retries=0), **options)

    def search(self, asynchronous: bool, retriever: Any, **options: Any) -> Any:
        """Search once with a client of either kind."""
        arguments = {"index": "articles", "retriever": retriever}
        if not asynchronous:
            return self.client(**options).search(**arguments)

        async def search() -> Any:
            async with self.async_client(**options) as client:
                return await client.search(**arguments)

        return asyncio.run(search())

    def async_client(self, **options: Any) -> AsyncRerankClient:
        """Return an asynchronous client of this Elasticsearch."""
        script = self

        class Node(BaseAsyncNode):
            async def perform_request(  # type: ignore[override]
                self, method: str, target: str, body: bytes | None = None, *args: Any, **kwargs: Any
            ) -> NodeApiResponse:
                sent = args[0] if args else kwargs.get("headers")
                script.headers.append({name.lower(): value for name, value in (sent or {}).items()})
                return script.reply(self.config, method, target, body)

            async def close(self) -> None:  # type: ignore[override]
                """There is no connection."""

        return AsyncRerankClient(
            AsyncElasticsearch("http://scripted:9200", node_class=Node, max_retries=0), **options
        )

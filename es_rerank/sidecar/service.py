"""What the sidecar holds while it runs: the models, the way to Elasticsearch, and whether it is ready."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from elasticsearch import AsyncElasticsearch, TransportError

from ..client import DEFAULT_TIMEOUT_S, AsyncRerankClient
from ..errors import ModelError, TooLargeError
from ..models import Embedder, Reranker
from ..types import Scores

_CREDENTIALS_KEPT = 256
"""Clients kept at a time, one per Authorization header: each has read mappings that another caller may not see."""

_READY_S = 2.0
"""How long readiness waits for Elasticsearch."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask: body in bytes, documents in one rerank request, seconds for one search."""

    body_bytes: int = 16 * 1024 * 1024
    documents: int = 1_000
    timeout_s: float = DEFAULT_TIMEOUT_S


@dataclass(slots=True)
class Service:
    """Models and clients of one running sidecar. ``load`` is called once, off the event loop, before it is ready."""

    elasticsearch: AsyncElasticsearch
    load: Callable[[], tuple[Reranker, Embedder | None]]
    limits: Limits = field(default_factory=Limits)
    fault: str = "the model is still loading"
    _models: tuple[Reranker, Embedder | None] | None = None
    _clients: OrderedDict[str, AsyncRerankClient] = field(default_factory=OrderedDict)

    async def start(self) -> None:
        """Load the models and score one pair, so that the first caller does not pay for it."""
        try:
            reranker, embedder = await asyncio.to_thread(self.load)
            await reranker.ascore("ready", ["steady"])
        except ModelError as error:
            self.fault = error.message
            raise
        self._models, self.fault = (reranker, embedder), ""

    async def close(self) -> None:
        """Close the connections to Elasticsearch."""
        await self.elasticsearch.close()

    @property
    def reranker(self) -> Reranker:
        """The served model.

        Raises ModelError while it is loading.
        """
        if self._models is None:
            raise ModelError(f"no model is served: {self.fault}")
        return self._models[0]

    def client(self, authorization: str | None) -> AsyncRerankClient:
        """Return a client that carries the caller's own credentials to Elasticsearch, and no others."""
        reranker, key = self.reranker, hashlib.sha256((authorization or "").encode()).hexdigest()
        if key not in self._clients:
            inner = self.elasticsearch.options(headers={"authorization": authorization}) if authorization else self.elasticsearch
            embedder = self._models[1] if self._models else None
            self._clients[key] = AsyncRerankClient(inner, reranker=reranker, embedder=embedder, timeout_s=self.limits.timeout_s)
        self._clients.move_to_end(key)
        while len(self._clients) > _CREDENTIALS_KEPT:
            self._clients.popitem(last=False)
        return self._clients[key]

    async def score(self, query: str, texts: list[str], timeout_s: float | None = None) -> Scores:
        """Score texts against a query within the limits.

        Raises TooLargeError for more documents than one request may hold.
        """
        if len(texts) > self.limits.documents:
            raise TooLargeError(
                f"{len(texts)} documents are more than one request may hold ({self.limits.documents}, setting max_documents); send them in parts"
            )
        deadline = time.monotonic() + (timeout_s or self.limits.timeout_s)
        return await self.reranker.ascore(query, texts, deadline=deadline)

    async def faults(self) -> list[str]:
        """Return why requests cannot be served now; empty when they can."""
        found = [self.fault] if self._models is None else []
        try:
            # Any HTTP answer will do, a 401 or a 405 too: the callers bring their own credentials.
            await self.elasticsearch.options(request_timeout=_READY_S, max_retries=0, ignore_status=range(400, 600)).perform_request("GET", "/_cluster/health")
        except TransportError as error:
            found.append(f"Elasticsearch does not answer: {error.message}")
        return found

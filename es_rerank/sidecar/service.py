"""What the sidecar holds while it runs: the models, the way to Elasticsearch, and whether it is ready."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from elasticsearch import AsyncElasticsearch, TransportError

from ..addresses import masked_in
from ..client import AsyncRerankClient
from ..errors import DeadlineError, EsRerankError, ModelError, TooLargeError
from ..models import Embedder, LoadedReranker, LongTextReranker, Reranker
from ..retrievers.execution.commands import Served
from ..retrievers.execution.searching import DEFAULT_TIMEOUT_S
from ..types import Scores
from .upstream import Upstream

_CREDENTIALS = ("authorization", "es-secondary-authorization", "es-security-runas-user")
"""What decides in Elasticsearch what a caller may see."""

_CREDENTIALS_KEPT = 256
"""Clients kept at a time, one per set of credentials: each has read mappings that another caller may not see."""

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
    """Models and clients of one running sidecar. ``load`` is called once, off the event loop, before it is ready; it
    returns the rerankers by the names under which they are served, the default first, and the embedder.

    ``api_key_hashes``: SHA-256 of the keys that rerank, embedding and inference paths ask for; none lets everyone ask.
    ``elasticsearch_runs``: retrievers that a licensed cluster runs itself. ``pass_through``: whether paths that are not
    served here go to Elasticsearch.
    """

    elasticsearch: AsyncElasticsearch
    load: Callable[[], tuple[Mapping[str, Reranker], Embedder | None]]
    limits: Limits = field(default_factory=Limits)
    api_key_hashes: tuple[str, ...] = ()
    elasticsearch_runs: frozenset[str] = frozenset()
    pass_through: bool = False
    fault: str = "the model is still loading"
    _models: Served | None = None
    upstream: Upstream = field(init=False)
    _clients: OrderedDict[str, AsyncRerankClient] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        node = next(iter(self.elasticsearch.transport.node_pool.all()))
        self.upstream = Upstream(node.base_url, node.config.ca_certs)

    async def start(self) -> None:
        """Load the models and score one pair with each that runs here, so that the first caller does not pay for it."""
        try:
            rerankers, embedder = await asyncio.to_thread(self.load)
            for reranker in rerankers.values():
                if isinstance(
                    reranker, LongTextReranker
                ):  # others are services: a pair costs money, and they may come later
                    await reranker.ascore("ready", ["steady"])
        except EsRerankError as error:
            self.fault = masked_in(error.message)
            raise
        self._models, self.fault = Served(rerankers, embedder), ""

    async def close(self) -> None:
        """Close the connections to Elasticsearch and to rerank services."""
        for reranker in self._models.rerankers.values() if self._models else ():
            if isinstance(reranker, LoadedReranker):
                await reranker.aclose()
        await self.elasticsearch.close()
        await self.upstream.close()

    def models(self) -> Served:
        """Return the rerankers by name, the default first, and the embedder.

        Raises ModelError while they are loading.
        """
        if self._models is None:
            raise ModelError(f"no model is served: {self.fault}")
        return self._models

    def served(self, inference_id: str) -> Reranker:
        """Return the reranker that an inference id names; Elastic's default id names the first.

        Raises UnknownModelError for any other, ModelError while models are loading.
        """
        return self.models().reranker(inference_id)

    def embedder(self, inference_id: str) -> Embedder:
        """Return the embedder that an inference id names.

        Raises UnknownModelError for any other, RequestError where none is served, ModelError while models are loading.
        """
        return self.models().embedder_for(inference_id)

    def client(self, headers: Mapping[str, str]) -> AsyncRerankClient:
        """Return a client that carries the caller's own credentials to Elasticsearch, and no others."""
        carried = {name: headers[name] for name in _CREDENTIALS if name in headers}
        key = hashlib.sha256(repr(carried).encode()).hexdigest()
        if key not in self._clients:
            served = self.models()
            inner = self.elasticsearch.options(headers=carried) if carried else self.elasticsearch
            self._clients[key] = AsyncRerankClient(
                inner,
                reranker=served.rerankers,
                embedder=served.embedder,
                timeout_s=self.limits.timeout_s,
                elasticsearch_runs=self.elasticsearch_runs,
            )
        self._clients.move_to_end(key)
        while len(self._clients) > _CREDENTIALS_KEPT:
            self._clients.popitem(last=False)
        client = self._clients[key]
        return client.options(opaque_id=headers["x-opaque-id"]) if "x-opaque-id" in headers else client

    def check_documents(self, count: int) -> None:
        """Raise TooLargeError for more documents than one request may hold."""
        if count > self.limits.documents:
            raise TooLargeError(
                f"{count} documents are more than one request may hold ({self.limits.documents}, setting max_documents); send them in parts"
            )

    async def score(
        self, query: str, texts: list[str], timeout_s: float | None, reranker: Reranker
    ) -> Scores:
        """Score texts against a query within the limits.

        Raises TooLargeError for more documents than one request may hold.
        """
        self.check_documents(len(texts))
        deadline = time.monotonic() + (self.limits.timeout_s if timeout_s is None else timeout_s)
        return await reranker.ascore(query, texts, deadline=deadline)

    async def score_all(
        self, query: str, texts: list[str], timeout_s: float | None, reranker: Reranker
    ) -> Scores:
        """Score as ``score`` does, every text or none; raises DeadlineError besides when time ran out before the last."""
        scores = await self.score(query, texts, timeout_s, reranker)
        if not scores.done.all():
            raise DeadlineError(
                f"the deadline came when {int(scores.done.sum())} of {len(scores)} texts were scored; send fewer or allow more time"
            )
        return scores

    async def faults(self) -> list[str]:
        """Return why requests cannot be served now; empty when they can."""
        found = [self.fault] if self._models is None else []
        try:
            # Any HTTP answer will do, a 401 or a 405 too: the callers bring their own credentials.
            await self.elasticsearch.options(
                request_timeout=_READY_S, max_retries=0, ignore_status=range(400, 600)
            ).perform_request("GET", "/_cluster/health")
        except TransportError as error:
            found.append(f"Elasticsearch does not answer: {error.message}")
        return found

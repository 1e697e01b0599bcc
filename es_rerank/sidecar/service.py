"""The state of a running sidecar: the models, the connections to Elasticsearch, and whether it is ready."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import structlog
from cachetools import LRUCache
from elasticsearch import AsyncElasticsearch

from ..addresses import masked, masked_in
from ..caller import as_a_whole
from ..client import AsyncRerankClient
from ..defaults import (
    LOG_FORMAT,
    LONGEST_S,
    MAX_BODY_BYTES,
    MAX_DOCUMENTS,
    PLUGIN_USE,
    TIMEOUT_S,
    LogFormat,
    PluginUse,
)
from ..engine.pool import Pool
from ..errors import DeadlineError, EsRerankError, LoadingError, ModelError
from ..models import (
    AsyncEmbedder,
    CuttingEmbedder,
    Embedder,
    HostedEmbedder,
    LoadedReranker,
    LongTextReranker,
    Reranker,
    Vectors,
)
from ..models.unblocked import aembed
from ..models.wrappers.cached import ScoreCache
from ..observation import reranking
from ..retrievers.execution.served import Embedders, ServedModels
from ..types import BoolArray, Scores
from .access.keys import KEY, Keys, too_many_documents
from .record import elapsed_s, onward, tell_models
from .server.connections import Connections
from .upstream.following import Following
from .upstream.forwarding import IDLE_S, Upstream
from .upstream.headers import carried, of_the_caller
from .upstream.readiness import Readiness, node_of

_LOG = structlog.get_logger("es_rerank.sidecar")

_CREDENTIALS_KEPT = 256
"""Most clients that are kept, one for each set of credentials. They are separate because each keeps what the
plugin says, which other callers may not be allowed to read. A client that is removed is not closed: all
clients share the connections of ``Service.elasticsearch``."""

_FIRST_TEXTS = (
    ["steady"],
    [f"{number} {'steady as she goes over the hills and far away to the sea ' * 6}" for number in range(8)],
)
"""What each model reads before the first request. The first run of a model is slow; the others, passages of
about a hundred tokens, show how long a token takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one request: bytes of its body, documents to rerank, and in seconds its default timeout, its
    longest one, and the longest time without a byte where it has no timeout.
    """

    body_bytes: int = MAX_BODY_BYTES
    documents: int = MAX_DOCUMENTS
    timeout_s: float = TIMEOUT_S
    longest_s: float = LONGEST_S
    idle_s: float = IDLE_S


@dataclass(frozen=True, slots=True)
class Observing:
    """What the sidecar tells of itself.

    ``log_requests``: whether each request has a line in the log, in ``log_format``. ``trace_texts``: whether
    spans hold queries, texts and names of indices. ``keys``: those that ``/metrics`` asks for, if any.
    ``tracer_provider``: where spans go, a TracerProvider of OpenTelemetry; None for that of the process.
    """

    log_requests: bool = False
    log_format: LogFormat = LOG_FORMAT
    trace_texts: bool = False
    keys: Keys = field(default_factory=Keys)
    tracer_provider: Any = None


@dataclass(slots=True)
class Service:
    """The models and clients of one running sidecar.

    ``load``: returns (rerankers by served name, the default first; embedders likewise, or one embedder, or
    None). It is called once, in a thread, before the sidecar is ready. ``api_key_hashes``,
    ``api_keys_file``: the keys for the rerank, embedding and inference paths; without both, these paths need
    no key. ``elasticsearch_runs``: retrievers that a licensed cluster runs itself. ``pass_through``: whether
    other paths are forwarded to Elasticsearch. ``plugin``: when a search runs inside Elasticsearch.
    ``load_error``: why no model will ever be served. ``stopping``: whether the sidecar ends soon.
    ``pool``: the threads that all local models share, None if there is no such pool.
    ``following``: how the address of a local node is found again, None for an address that was given.
    ``cache``: the scores that are kept, None if none are. ``connections``: those of the web server, if it is
    the sidecar's own. ``observing``: what the sidecar tells of itself.
    """

    elasticsearch: AsyncElasticsearch
    load: Callable[[], tuple[Mapping[str, Reranker], Embedders]]
    limits: Limits = field(default_factory=Limits)
    api_key_hashes: tuple[str, ...] = ()
    elasticsearch_runs: frozenset[str] = frozenset()
    pass_through: bool = False
    plugin: PluginUse = PLUGIN_USE
    load_error: EsRerankError | None = None
    stopping: bool = False
    pool: Pool | None = None
    api_keys_file: Path | None = None
    cache: ScoreCache | None = None
    connections: Connections | None = None
    observing: Observing = field(default_factory=Observing)
    following: Following | None = None
    keys: Keys = field(init=False)
    _models: ServedModels | None = None
    upstream: Upstream = field(init=False)
    readiness: Readiness = field(init=False)
    _clients: LRUCache[str, AsyncRerankClient] = field(default_factory=lambda: LRUCache(_CREDENTIALS_KEPT))

    def __post_init__(self) -> None:
        self.keys = Keys(self.api_key_hashes, self.api_keys_file)
        self.readiness = Readiness(lambda: self.elasticsearch)
        self.upstream = self._upstream()

    def _upstream(self) -> Upstream:
        node = node_of(self.elasticsearch)
        return Upstream(node.base_url, node.config.ca_certs, idle_s=self.limits.idle_s)

    async def start(self) -> None:
        """Load the models, and run some texts through each local model.

        So the first request is not slow, and it is known from the beginning how long a token takes.

        Raises the EsRerankError of a model that cannot be loaded.
        """
        began = time.monotonic()
        try:
            served = ServedModels.of(*await asyncio.to_thread(self.load))
            for reranker in served.rerankers.values():
                # Other rerankers are services: scoring costs money, and the service may start later than the
                # sidecar.
                if isinstance(reranker, LongTextReranker):
                    for texts in _FIRST_TEXTS:
                        await reranker.ascore("ready", texts)
            for embedder in served.embedders.values():
                if not isinstance(embedder, HostedEmbedder) and isinstance(embedder, AsyncEmbedder):
                    for texts in _FIRST_TEXTS:
                        await embedder.aembed(texts)
        except EsRerankError as error:
            self.load_error = error
            raise
        except Exception as error:
            self.load_error = ModelError(
                f"unexpected {type(error).__name__} while the model was loading; the log has the details"
            )
            raise
        self._models = served
        seconds = round(time.monotonic() - began, 1)
        _LOG.info(
            "ready: the models are loaded", models=[*served.rerankers, *served.embedders], seconds=seconds
        )

    async def close(self) -> None:
        """Close the connections to Elasticsearch and to services, and end the threads of the models.

        Work that still waits is not done: the process would end only after it.
        """
        for reranker in self._models.rerankers.values() if self._models else ():
            if isinstance(reranker, LoadedReranker):
                await reranker.aclose()
        for embedder in self._models.embedders.values() if self._models else ():
            if isinstance(embedder, HostedEmbedder):
                await embedder.aclose()
        if self.pool is not None:
            await asyncio.to_thread(self.pool.close)
        await self.elasticsearch.close()
        await self.upstream.close()

    async def follow(self) -> None:
        """If the local node is now at another address, use that for all requests that follow.

        What is known of the node that was there, its plugin for example, is forgotten.
        """
        if self.following is None:
            return
        before = self.elasticsearch
        url = await self.following.moved_from(node_of(before).base_url)
        if url is None or self.elasticsearch is not before:
            return  # the node is where it was, or another request has moved already
        self.elasticsearch = self.following.connect(url)
        forwarding, self.upstream = self.upstream, self._upstream()
        self._clients.clear()
        self.readiness = Readiness(lambda: self.elasticsearch)
        _LOG.info("the local Elasticsearch is at another address now", url=masked(url))
        # Nothing answers at the old address, so that no request that still waits there loses an answer.
        await before.close()
        await forwarding.close()

    @property
    def fault(self) -> str:
        """Why no model is served; empty if they are."""
        if self._models is not None:
            return ""
        if self.load_error is None:
            return "the model is still loading"
        return masked_in(self.load_error.message)

    def models(self) -> ServedModels:
        """Return the rerankers and the embedders by name, the defaults first.

        Raises LoadingError while the models are loading, ModelError if loading failed.
        """
        if self._models is None:
            raise (LoadingError if self.load_error is None else ModelError)(
                f"no model is served: {self.fault}"
            )
        return self._models

    def served(self, inference_id: str) -> Reranker:
        """Return the reranker that an inference id names. Elastic's default id names the first reranker.

        Raises UnknownModelError when no reranker has this id, and what ``models`` raises.
        """
        return self.models().reranker(inference_id)

    def embedder(self, inference_id: str | None) -> Embedder:
        """Return the embedder that an inference id names. None names the default.

        Raises UnknownModelError when no embedder has this name, RequestError when none is served, and what
        ``models`` raises.
        """
        return self.models().embedder_for(inference_id)

    def client(self, headers: Mapping[str, str]) -> AsyncRerankClient:
        """Return a client that sends the caller's own credentials to Elasticsearch, and no other credentials.

        It sends all other headers of the caller that are not about one body or connection too. ``headers``
        are the headers of the caller's request. Raises RequestError for headers that cannot be sent on, and
        what ``models`` raises.
        """
        sent = dict(onward(list(carried(headers.items()).items())))
        credentials = of_the_caller(sent)
        key = hashlib.sha256(repr(sorted(credentials.items())).encode()).hexdigest()
        client = self._clients.get(key)
        if client is None:
            served = self.models()
            inner = self.elasticsearch.options(headers=credentials) if credentials else self.elasticsearch
            client = self._clients[key] = AsyncRerankClient(
                inner,
                reranker=served.rerankers,
                embedder=served.embedders,
                timeout_s=self.limits.timeout_s,
                elasticsearch_runs=self.elasticsearch_runs,
                plugin=self.plugin,
            )
        named = {name: value for name, value in sent.items() if name not in credentials}
        return client.options(headers=named) if named else client

    @property
    def most_documents(self) -> int:
        """The limit of documents in one request: that of the sidecar, or that of the caller's key if it is
        less.
        """
        key = KEY.get()
        own = None if key is None else key.most_documents
        return self.limits.documents if own is None else min(own, self.limits.documents)

    def allowed_s(self, wanted_s: float | None) -> float:
        """Return the seconds until the deadline of a request that wants ``wanted_s``; None means the default.

        The time counts from the head of the request: its body may have taken some of it, or all. A deadline
        above the limit of the caller's key is shortened to it, as the default one is.
        """
        seconds = self.limits.timeout_s if wanted_s is None else wanted_s
        key = KEY.get()
        if key is not None and key.max_timeout_ms is not None:
            seconds = min(seconds, key.max_timeout_ms / 1000)
        return max(seconds - elapsed_s(), 0.0)

    def deadline(self, wanted_s: float | None) -> float:
        """Return the deadline of a request that wants ``wanted_s`` seconds, in the time of ``monotonic``."""
        return time.monotonic() + self.allowed_s(wanted_s)

    def longest_s(self, wanted_s: float | None) -> float:
        """Return the seconds that Elasticsearch may take for a request that it answers as a whole.

        Without a wish of the caller that is the longest deadline, because Elasticsearch has none of its own.
        No key bounds it: the paths of these requests need none.
        """
        return self.limits.longest_s if wanted_s is None else wanted_s

    def check_documents(self, count: int) -> None:
        """Raise TooLargeError if ``count`` is over the limit of documents in one request."""
        if count > self.most_documents:
            raise too_many_documents(count, self.most_documents)
        tell_models(count)

    async def score(
        self, query: str, texts: list[str], timeout_s: float | None, reranker: Reranker
    ) -> Scores:
        """Return the scores of texts for a query. ``timeout_s`` is in seconds; None means the default
        timeout.

        Some texts may be without a score when the deadline passes. Raises TooLargeError when there are too
        many texts.
        """
        self.check_documents(len(texts))
        deadline = self.deadline(timeout_s)
        with reranking(reranker.name, query, texts) as tell:
            scores = await reranker.ascore(query, texts, deadline=deadline)
            tell(scores)
        return scores

    async def score_all(
        self, query: str, texts: list[str], timeout_s: float | None, reranker: Reranker
    ) -> Scores:
        """Return the scores of all texts, as ``score`` does.

        Raises TooLargeError when there are too many texts, OverloadError at once when they would not be
        scored in time because of the work that waits, DeadlineError when the deadline passes before all are
        scored.
        """
        with as_a_whole():
            scores = await self.score(query, texts, timeout_s, reranker)
        if not scores.done.all():
            raise too_late(int(scores.done.sum()), len(scores))
        return scores

    async def embed(
        self,
        texts: list[str],
        purpose: Literal["query", "passage"],
        timeout_s: float | None,
        embedder: Embedder,
    ) -> Vectors:
        """Return one vector for each text, in order. ``timeout_s`` is in seconds; None means the default
        timeout.

        Raises TooLargeError when there are too many texts, OverloadError when too much work waits,
        DeadlineError when the deadline passes before all are embedded.
        """
        vectors, _ = await self.embed_cut(texts, purpose, timeout_s, embedder)
        return vectors

    async def embed_cut(
        self,
        texts: list[str],
        purpose: Literal["query", "passage"],
        timeout_s: float | None,
        embedder: Embedder,
    ) -> tuple[Vectors, BoolArray]:
        """Return what ``embed`` returns, and which texts were cut; none, where the embedder does not tell."""
        self.check_documents(len(texts))
        deadline = self.deadline(timeout_s)
        if isinstance(embedder, CuttingEmbedder):
            return await embedder.aembed_cut(texts, purpose=purpose, deadline=deadline)
        vectors = await aembed(embedder, texts, purpose=purpose, deadline=deadline)
        return vectors, np.zeros(len(texts), dtype=np.bool_)

    async def faults(self) -> list[str]:
        """Return the reasons why the sidecar is not ready; an empty list if it is ready."""
        reasons = ["the sidecar is stopping"] if self.stopping else []
        reasons += [self.fault] if self._models is None else []
        return reasons + (await self.readiness.found()).faults

    def is_ready(self) -> bool:
        """Return whether ``/readyz`` would answer 200, by what was found of Elasticsearch last."""
        found = self.readiness.last
        return not self.stopping and self._models is not None and found is not None and not found.faults

    async def warnings(self) -> list[str]:
        """Return what may go wrong although the sidecar is ready: an old version, if it is told."""
        return (await self.readiness.found()).warnings


def too_late(done: int, wanted: int) -> DeadlineError:
    """Return the error of a request of which ``done`` of ``wanted`` texts were scored in time."""
    return DeadlineError(
        f"the deadline came when {done} of {wanted} texts were scored; send fewer or allow more time"
    )

"""Whether Elasticsearch can serve searches, asked once for all who want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from elastic_transport import ApiResponse, BaseAsyncNode
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    SerializationError,
    TransportError,
    UnsupportedProductError,
)

from ...addresses import masked, said_of
from ...retrievers.execution.product import PRODUCT_HEADER, foreign, is_foreign, too_old
from .forwarding import CHECK

_ANSWER_S = 2.0
"""How long each of the two questions may take, in seconds."""

_WAIT = {"wait_for_status": "yellow", "timeout": "1s", "master_timeout": "1s"}
"""An index that was just made is red for a moment."""

_KEPT_S = 1.0
_FAULT_KEPT_S = 0.25
"""How long an answer is kept, in seconds: a fault for less, so that a sidecar is ready again soon."""

_VERSION_KEPT_S = 60.0
"""How long the version is kept, in seconds: a node keeps it as long as it runs."""

_OVERLOADED = 429

# Every shard is skipped but one, which the aggregation needs: one small task for one thread of a search pool.
_SEARCH = {"size": 0, "query": {"match_none": {}}, "aggs": {"one": {"filter": {"match_none": {}}}}}
_ONE_SHARD = {"pre_filter_shard_size": "1", "request_cache": "false"}


class Found(NamedTuple):
    """Why Elasticsearch cannot serve searches, and what may go wrong although it can."""

    faults: list[str]
    warnings: list[str]


class Readiness:
    """Asks Elasticsearch for its health and for one small search, without credentials.

    Many callers at once cause one question, and its answer is kept for a moment. ``client`` gives the client
    that is used now.
    """

    def __init__(
        self, client: Callable[[], AsyncElasticsearch], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._asking: asyncio.Task[Found] | None = None
        self._until = self._version_until = 0.0
        self._old: list[str] = []
        self.last: Found | None = None
        """What was found last, however long ago; None if nobody has asked yet."""

    async def found(self) -> Found:
        """Return what was found at most a second ago. It takes six seconds at most."""
        if self._asking is None or (self._asking.done() and self._clock() >= self._until):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def look(self, patience_s: float) -> None:
        """Ask as ``found`` does, and wait at most so many seconds. ``last`` has the answer when it comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.found()

    async def _ask(self) -> Found:
        faults = await self._faults()
        warnings = [] if faults else await self._warnings()
        self._until = self._clock() + (_FAULT_KEPT_S if faults else _KEPT_S)
        self.last = Found(faults, warnings)
        return self.last

    async def _faults(self) -> list[str]:
        try:
            health = await self._answer("GET", "/_cluster/health", _WAIT)
            fault = self._fault_of_health(health)
            if fault is None:
                fault = _fault_of_search(await self._answer("POST", "/_search", _ONE_SHARD, _SEARCH))
        except (UnsupportedProductError, SerializationError):
            fault = self._foreign()
        except TransportError as error:
            fault = f"Elasticsearch does not answer: {said_of(error.message)}"
        return [] if fault is None else [fault]

    def _fault_of_health(self, answer: ApiResponse[Any]) -> str | None:
        """Return what is wrong by the answer for the cluster's health.

        Elasticsearch is there too when it refuses the question (401, 403, 410 of serverless): this request
        has no credentials, but the callers have.
        """
        meta, body = answer.meta, answer.body
        if is_foreign(meta.status, meta.headers):
            return self._foreign()
        if meta.status >= 500 and PRODUCT_HEADER not in meta.headers:
            return f"Elasticsearch does not answer: a server in front of it says {meta.status}"
        if isinstance(body, Mapping) and body.get("status") == "red":
            lost = body.get("unassigned_primary_shards")
            return "the cluster is red" + (f": {lost} primary shards are not assigned" if lost else "")
        return _refused(answer, "to be asked for its health")

    async def _warnings(self) -> list[str]:
        if self._clock() >= self._version_until:
            try:
                old = too_old((await self._answer("GET", "/", {})).body)
            except (ApiError, TransportError):
                old = None
            self._old = [] if old is None else [old]
            self._version_until = self._clock() + _VERSION_KEPT_S
        return self._old

    async def _answer(
        self, method: str, path: str, parameters: Mapping[str, str], body: object = None
    ) -> ApiResponse[Any]:
        """Return what Elasticsearch answers, whatever its status."""
        brief = self._client().options(
            request_timeout=_ANSWER_S, max_retries=0, ignore_status=range(400, 600)
        )
        headers = {"accept": "application/json", "content-type": "application/json"}
        return await brief.perform_request(method, path, params=parameters, headers=headers, body=body)

    def _foreign(self) -> str:
        return f"{foreign(masked(node_of(self._client()).base_url))}; {CHECK}"


def node_of(client: AsyncElasticsearch) -> BaseAsyncNode:
    """Return the one node that a client of the sidecar has."""
    return next(iter(client.transport.node_pool.all()))  # type: ignore[return-value] # of an asynchronous client


def _refused(answer: ApiResponse[Any], what: str) -> str | None:
    """Return that Elasticsearch cannot do something now; None for what it does, or would for others."""
    status = answer.meta.status
    if status < 500 and status != _OVERLOADED:
        return None
    kind = _kind(answer.body)
    if kind == "master_not_discovered_exception":
        return "the cluster has no elected master"
    return f"Elasticsearch refuses {what}: {status}" + (f" ({kind})" if kind else "")


def _fault_of_search(answer: ApiResponse[Any]) -> str | None:
    """Return why no search can be served: an error of the server, or no shard that answers."""
    refused = _refused(answer, "a search")
    if refused is not None or answer.meta.status >= 400:
        return refused
    shards = answer.body.get("_shards") if isinstance(answer.body, Mapping) else None
    if not isinstance(shards, Mapping) or not shards.get("failed"):
        return None
    if shards.get("successful", 0) > shards.get("skipped", 0):
        return None
    failures = shards.get("failures") or [{}]
    return f"no shard answers a search ({_kind({'error': failures[0].get('reason')})})"


def _kind(body: Any) -> str | None:  # noqa: ANN401 any JSON value may arrive
    error = body.get("error") if isinstance(body, Mapping) else None
    kind = error.get("type") if isinstance(error, Mapping) else None
    return kind if isinstance(kind, str) else None

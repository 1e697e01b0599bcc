"""Runs the steps of a search. Only this module talks to Elasticsearch and to models.

``run`` uses a blocking client, ``arun`` an asynchronous client. They differ only in what they await.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar, cast

from cachetools import LRUCache
from elastic_transport import ApiResponse
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    Elasticsearch,
    TransportError,
    UnsupportedProductError,
)

from ...caches import SharedCache
from ...caller import as_a_whole
from ...models.unblocked import aembed
from ...models.wrappers.wrapped import ascored_after, scored_after
from ...observation import reranking
from ...off_loop import is_large, off_loop
from ...text.watch import Watch
from ...types import Scores
from ..grammar.json_values import as_json
from ..planning.long_texts import achunks, ain_parts, chunks, in_parts
from .admission import aadmit, admit
from .commands import (
    LOOK,
    AdmitTexts,
    ChunkTexts,
    Command,
    Context,
    EmbedQuery,
    EsRequest,
    FindPlugin,
    FindVersion,
    Forward,
    ScoreTexts,
    SearchInside,
    SplitLongTexts,
    Steps,
)
from .driver import Driver
from .leaf_failures import as_failure, failure_of
from .plugin_info import PluginInfo, not_asked, plugin_info
from .points_in_time import aclose_pit, close_pit
from .product import check_form
from .telling import tell_end, tell_error, tell_trouble
from .unread import as_bytes, whole, whole_error

T = TypeVar("T")
C = TypeVar("C", bound=Elasticsearch | AsyncElasticsearch)

_SIDECAR_SHARE = 0.8
"""Share of the time left that the plugin's sidecar may take. The rest is for the searches around it."""

_BOUNDED_KEPT = 64
"""Most clients that a connection keeps, one for each request timeout."""

_FIND_S = 2.0
"""How long a search waits for what Elasticsearch says about its plugin, in seconds."""

_FEW_RESULTS = 200
"""Scores, or documents with their texts, that the steps rank in about a millisecond."""

_JSON = {"accept": "application/json", "content-type": "application/json"}
_LINES = {"accept": "application/json", "content-type": "application/x-ndjson"}


class Connection(Generic[C]):
    """A client of Elasticsearch, with copies of it for the request timeouts that were used.

    ``Elasticsearch.options`` creates a client with all its namespaces, which takes 0.1 ms. Timeouts are
    rounded up to quarters of a second, so that a few copies are enough for all requests.
    """

    def __init__(self, client: C) -> None:
        self.client = client
        # A copy that is removed is not closed: all copies share the connections of ``client``.
        self._bounded: SharedCache[int, C] = SharedCache(LRUCache(_BOUNDED_KEPT))

    def as_json(self, body: Any) -> Any:  # noqa: ANN401 whatever the client takes
        """Return a body as the plain JSON values that the client sends (see ``json_values.as_json``)."""
        return as_json(body, self.client)

    def within(self, timeout_s: float | None) -> C:
        """Return the client for a request with a timeout of ``timeout_s``, rounded up to a quarter of a
        second.
        """
        if timeout_s is None:
            return self.client
        quarters = math.ceil(timeout_s * 4)
        bounded = self._bounded.get(quarters)
        if bounded is None:
            bounded = cast("C", self.client.options(request_timeout=quarters / 4))
            self._bounded.put(quarters, bounded)
        return bounded


def run(steps: Steps[T], connection: Connection[Elasticsearch], context: Context) -> T:
    """Run the steps with a blocking client and return their result. Raises the errors of the steps."""
    try:
        driver = Driver(steps, context)
        with context.admission:
            driver.start()
            while not driver.finished:
                try:
                    with driver.timed():
                        result = _perform(driver.command, connection, context)
                except Exception as error:  # noqa: BLE001 the steps handle the error or raise it again
                    driver.fail(error)
                else:
                    driver.give(result)
        value: T = driver.result
        tell_end(context.stats)
        return value
    except Exception as error:
        tell_error(error)
        raise
    finally:
        if context.opened:
            close_pit(connection.client, context.opened)


def _perform(command: Command, connection: Connection[Elasticsearch], context: Context) -> Any:  # noqa: ANN401, PLR0911 each command has its own result
    match command:
        case EmbedQuery(text, model):
            return context.served.embedder_for(model).embed([text], purpose="query")[0].tolist()
        case AdmitTexts():
            return admit(command, context)
        case SplitLongTexts(query, candidates, model):
            return in_parts(context.served.reranker(model), query, candidates, context.deadline)
        case ChunkTexts(query, texts, chunking, size):
            return chunks(query, texts, chunking, size, Watch(context.deadline))
        case ScoreTexts(query, texts, model):
            reranker = context.served.reranker(model)
            with as_a_whole(wanted=command.whole), reranking(reranker.name, query, texts) as tell:
                scores = scored_after(reranker, query, texts, command.first_stage, context.deadline)
                tell(scores)
            context.admission.close()
            return scores
        case FindPlugin(again=False) if (found := context.plugins.get()) is not None:
            return found
    try:
        return _result_of(command, _sent(command, connection, context), context)
    except (ApiError, TransportError) as error:
        return _instead_of(error, command, context)


async def arun(
    steps: Steps[T], connection: Connection[AsyncElasticsearch], context: Context, *, large: bool = False
) -> T:
    """Run the steps with an asynchronous client and return their result. Raises the errors that the steps
    raise.

    ``large``: whether the steps work on a large request. They then run beside the event loop, and so they do
    from the first large result of a command on.
    """
    try:
        driver = Driver(steps, context)
        with context.admission:
            await _advanced(driver.start, large=large)
            while not driver.finished:
                try:
                    with driver.timed():
                        result = await _aperform(driver.command, connection, context)
                except Exception as error:  # noqa: BLE001 the steps handle the error or raise it again
                    await _advanced(partial(driver.fail, error), large=large)
                else:
                    large = large or _is_large(result)
                    await _advanced(partial(driver.give, result), large=large)
        value: T = driver.result
        tell_end(context.stats)
        return value
    except Exception as error:
        tell_error(error)
        raise
    finally:
        if context.opened:
            # If the caller has left, this task is cancelled. ``shield`` closes the point in time all the
            # same.
            await asyncio.shield(aclose_pit(connection.client, context.opened))


async def _advanced(step: Callable[[], None], *, large: bool) -> None:
    """Advance the steps of a search, beside the event loop if they work on what is ``large``.

    If the caller is cancelled, the piece of work that runs is awaited: a point in time that it opens is known
    only then.
    """
    if not large:
        step()
        return
    piece = asyncio.ensure_future(off_loop(step))
    try:
        await asyncio.shield(piece)
    except asyncio.CancelledError:
        await asyncio.wait({piece})
        if not piece.cancelled():
            piece.exception()  # so that asyncio does not report it
        raise


def _is_large(result: Any) -> bool:  # noqa: ANN401 each command has its own result
    """Whether the steps may take over a millisecond for the result of a command."""
    if isinstance(result, (list, Scores)):
        return len(result) > _FEW_RESULTS
    return is_large(result.body if isinstance(result, ApiResponse) else result)


async def _aperform(command: Command, connection: Connection[AsyncElasticsearch], context: Context) -> Any:  # noqa: ANN401, PLR0911 each command has its own result
    match command:
        case EmbedQuery(text, model):
            embedder = context.served.embedder_for(model)
            vectors = await aembed(embedder, [text], purpose="query", deadline=context.deadline)
            return vectors[0].tolist()
        case AdmitTexts():
            return await aadmit(command, context)
        case SplitLongTexts(query, candidates, model):
            return await ain_parts(context.served.reranker(model), query, candidates, context.deadline)
        case ChunkTexts(query, texts, chunking, size):
            return await achunks(query, texts, chunking, size, context.deadline)
        case ScoreTexts(query, texts, model):
            reranker = context.served.reranker(model)
            with as_a_whole(wanted=command.whole), reranking(reranker.name, query, texts) as tell:
                scores = await ascored_after(reranker, query, texts, command.first_stage, context.deadline)
                tell(scores)
            context.admission.close()
            return scores
        case FindPlugin(again=False) if (found := context.plugins.get()) is not None:
            return found
    try:
        command, sent_bytes = await _written(command)
        answer, received_bytes = await whole(await _sent(command, connection, context))
        result_of = partial(_result_of, command, answer, context, sent_bytes, received_bytes)
        return await off_loop(result_of) if is_large(answer.body) else result_of()
    except ApiError as error:
        return _instead_of(await whole_error(error), command, context)
    except TransportError as error:
        return _instead_of(error, command, context)


async def _written(command: Command) -> tuple[Command, int | None]:
    """Return a request whose large body is written as bytes, and their number; None for a small one."""
    if isinstance(command, Forward) and command.bounded and is_large(body := command.arguments.get("body")):
        data = await off_loop(as_bytes, body)
        return replace(command, arguments={**command.arguments, "body": data}), len(data)
    if isinstance(command, SearchInside) and is_large(command.body):
        data = await off_loop(as_bytes, command.body)
        return replace(command, body=data), len(data)
    if isinstance(command, EsRequest) and is_large(command.body):
        data = await off_loop(as_bytes, command.body)
        return replace(command, body=data, lines=isinstance(command.body, list)), len(data)
    return command, None


def _sent(command: Command, connection: Connection[Any], context: Context) -> Any:  # noqa: ANN401
    """Send the request of a command. Returns the response (asynchronous client: an awaitable of it)."""
    if isinstance(command, Forward):
        client = connection.within(context.remaining_s()) if command.bounded else connection.client
        return client.search(**command.arguments)
    if isinstance(command, FindPlugin | FindVersion):
        left = context.remaining_s()
        brief = connection.within(_FIND_S if left is None else min(left, _FIND_S))
        path, endpoint = (
            ("/_es_rerank", "es_rerank.info") if isinstance(command, FindPlugin) else ("/", "info")
        )
        return brief.options(max_retries=0).perform_request(
            "GET", path, headers={"accept": "application/json"}, endpoint_id=endpoint
        )
    bounded = connection.within(context.remaining_s())
    if isinstance(command, SearchInside):
        return bounded.options(retry_on_status=(), retry_on_timeout=False).perform_request(
            "POST",
            command.path,
            params=command.parameters or None,
            headers=_JSON | _time_for_the_sidecar(context),
            body=command.body,
            endpoint_id="search",
        )
    assert isinstance(command, EsRequest)  # noqa: S101 all other commands were handled
    headers = _LINES if command.has_lines else _JSON
    return bounded.perform_request(
        command.method,
        command.path,
        params=command.parameters or None,
        headers=headers,
        body=command.body,
        endpoint_id=_ENDPOINTS.get(command.stage, "search"),
    )


def _time_for_the_sidecar(context: Context) -> dict[str, str]:
    """Return the header that bounds a call of the plugin's sidecar, so that a tree that allows rerank
    failures has its first stage before the deadline. Empty without a deadline.
    """
    left = context.remaining_s()
    return {} if left is None else {"x-rerank-timeout-ms": str(max(1, int(left * 1000 * _SIDECAR_SHARE)))}


_ENDPOINTS = {"point_in_time": "open_point_in_time", LOOK: "indices.get"}


def _result_of(
    command: Command,
    answer: Any,  # noqa: ANN401 each command has its own answer
    context: Context,
    sent_bytes: int | None = None,
    received_bytes: int | None = None,
) -> Any:  # noqa: ANN401 each command has its own result
    """Count a response of Elasticsearch in the statistics, and return the result of the command.

    ``sent_bytes`` and ``received_bytes``: the sizes of the bodies, None where they are not known.

    Raises ApiError when the request held several searches and some of them failed, SearchError when the
    response is not of Elasticsearch's form.
    """
    if isinstance(command, Forward):
        context.stats.forwarded = True
        return answer
    body: Any = answer.body
    if isinstance(command, FindPlugin):
        return context.plugins.put(plugin_info(answer.meta.status, body))
    if isinstance(command, FindVersion):
        return context.version.put(body)
    stats = context.stats
    stats.requests += 1
    # Elasticsearch streams large answers without a content-length. Their size is measured by writing the JSON
    # again.
    stats.received_bytes += received_bytes or int(answer.meta.headers.get("content-length") or _size(body))
    assert isinstance(command, EsRequest | SearchInside)  # noqa: S101 all other commands were handled
    stats.sent_bytes += sent_bytes or (0 if command.body is None else _size(command.body))
    if isinstance(command, SearchInside):
        check_form(body, search=True)
        stats.parts.see("elasticsearch", body)
        return answer
    check_form(
        body,
        search=command.path.endswith("/_search"),
        several=command.has_lines,
        pit=command.method == "POST" and command.stage == "point_in_time",
    )
    if command.has_lines:
        failed = {i: item for i, item in enumerate(body["responses"]) if "error" in item}
        if failed:
            raise failure_of(command.places, failed, answer.meta)
    if command.stage != LOOK:
        stats.parts.see(command.stage, body)
    return body


def _size(body: Any) -> int:  # noqa: ANN401 any JSON value
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


def _instead_of(error: ApiError | TransportError, command: Command, context: Context) -> PluginInfo | None:
    """Return the result of a command that Elasticsearch answered with an error.

    A plugin that cannot be found is none, and a version that is not told is not known. Raises ``error`` in
    all other cases, and where the server is not Elasticsearch.
    """
    if isinstance(error, UnsupportedProductError):
        tell_trouble(error)
        raise error
    if isinstance(command, FindVersion):
        context.version.put(None)
        return None
    if isinstance(command, FindPlugin):
        said = plugin_info(error.status_code, error.body) if isinstance(error, ApiError) else not_asked(error)
        return context.plugins.put(said)
    tell_trouble(error)
    if isinstance(command, EsRequest) and isinstance(error, ApiError):
        raise as_failure(error, command.places) from error
    raise error

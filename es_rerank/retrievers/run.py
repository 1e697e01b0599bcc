"""Running the steps of a search: the only place that talks to Elasticsearch and to models.

``run`` does it with a blocking client, ``arun`` with an asynchronous one; nothing else differs between them.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, TypeVar

from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch

from .answer import Account
from .facts import IndexFacts, facts_of
from .steps import Context, Effect, Embed, Forward, ReadMapping, Score, Search, Steps

T = TypeVar("T")


def run(steps: Steps[T], client: Elasticsearch, context: Context) -> T:
    """Do the steps with a blocking client and return their result."""
    started = time.monotonic()
    try:
        effect = next(steps)
        while True:
            began = time.monotonic()
            try:
                result = _perform(effect, client, context)
            except Exception as error:  # noqa: BLE001 handed to the steps, which allow it or let it through
                effect = steps.throw(error)
            else:
                _charge(context.account, effect, began, started)
                effect = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


def _perform(effect: Effect, client: Elasticsearch, context: Context) -> Any:  # noqa: ANN401 each effect has its own result
    match effect:
        case Search(body, _):
            return _received(client.options(**context.remaining()).search(index=_index(context, body), body=body, **context.parameters), context)
        case Forward(arguments):
            return client.search(**arguments)
        case ReadMapping():
            return _cached(context) or _kept(context, _mapping(client, context))
        case Embed(text, model):
            return context.served.embedder_for(model).embed([text], purpose="query")[0].tolist()
        case Score(query, texts, model):
            return context.served.reranker(model).score(query, texts, deadline=context.deadline)


def _mapping(client: Elasticsearch, context: Context) -> Any:  # noqa: ANN401
    try:
        return client.options(**context.remaining()).indices.get_mapping(index=context.index)
    except ApiError as error:
        return _unreadable(error)


async def arun(steps: Steps[T], client: AsyncElasticsearch, context: Context) -> T:
    """Do the steps with an asynchronous client and return their result."""
    started = time.monotonic()
    try:
        effect = next(steps)
        while True:
            began = time.monotonic()
            try:
                result = await _aperform(effect, client, context)
            except Exception as error:  # noqa: BLE001 handed to the steps, which allow it or let it through
                effect = steps.throw(error)
            else:
                _charge(context.account, effect, began, started)
                effect = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def _aperform(effect: Effect, client: AsyncElasticsearch, context: Context) -> Any:  # noqa: ANN401 each effect has its own result
    match effect:
        case Search(body, _):
            return _received(await client.options(**context.remaining()).search(index=_index(context, body), body=body, **context.parameters), context)
        case Forward(arguments):
            return await client.search(**arguments)
        case ReadMapping():
            return _cached(context) or _kept(context, await _amapping(client, context))
        case Embed(text, model):
            embedder = context.served.embedder_for(model)
            return (await asyncio.to_thread(embedder.embed, [text], purpose="query"))[0].tolist()
        case Score(query, texts, model):
            return await context.served.reranker(model).ascore(query, texts, deadline=context.deadline)


async def _amapping(client: AsyncElasticsearch, context: Context) -> Any:  # noqa: ANN401
    try:
        return await client.options(**context.remaining()).indices.get_mapping(index=context.index)
    except ApiError as error:
        return _unreadable(error)


def _unreadable(error: ApiError) -> None:
    """A mapping that may not be read (401, 403) is unknown, not an error; anything else is Elasticsearch's to say."""
    if error.status_code not in (401, 403):
        raise error


def _index(context: Context, body: dict[str, Any]) -> str | None:
    return None if "pit" in body else context.index


def _cached(context: Context) -> IndexFacts | None:
    return IndexFacts() if context.index is None else context.mappings.get(context.index)


def _kept(context: Context, answer: Any) -> IndexFacts:  # noqa: ANN401
    index = context.index or ""
    if answer is None:
        return IndexFacts(index)
    _received(answer, context)
    return context.mappings.put(facts_of(answer.body, index))


def _received(answer: Any, context: Context) -> dict[str, Any]:  # noqa: ANN401
    """Count a response of Elasticsearch and return its body."""
    body: dict[str, Any] = answer.body
    # Elasticsearch streams large answers without a length; their size is that of the same JSON written again.
    length = answer.meta.headers.get("content-length") or len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())
    context.account.requests += 1
    context.account.received_bytes += int(length)
    return body


_STAGES = {Forward: "elasticsearch", ReadMapping: "mapping", Embed: "embed", Score: "rerank"}


def _charge(account: Account, effect: Effect, began: float, started: float) -> None:
    stage = effect.stage if isinstance(effect, Search) else _STAGES[type(effect)]
    now = time.monotonic()
    account.seconds[stage] = account.seconds.get(stage, 0.0) + now - began
    account.seconds["total"] = now - started

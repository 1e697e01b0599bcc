"""Closes a point in time whose search failed, was cancelled, or lost its caller."""

from __future__ import annotations

from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, TransportError

from .commands import closing

_JSON = {"accept": "application/json", "content-type": "application/json"}


def close_pit(client: Elasticsearch, pit: str) -> None:
    """Close a point in time after a failure. If closing fails too, Elasticsearch closes it after
    ``KEEP_ALIVE``.
    """
    request = closing(pit)
    try:
        client.options(request_timeout=1.0).perform_request(
            request.method, request.path, headers=_JSON, body=request.body
        )
    except (ApiError, TransportError):
        return


async def aclose_pit(client: AsyncElasticsearch, pit: str) -> None:
    """Do the same with an asynchronous client."""
    request = closing(pit)
    try:
        await client.options(request_timeout=1.0).perform_request(
            request.method, request.path, headers=_JSON, body=request.body
        )
    except (ApiError, TransportError):
        return

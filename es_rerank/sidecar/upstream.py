"""Forwards requests to Elasticsearch and its answers to the caller, as unchanged bytes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable

import aiohttp
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from yarl import URL

from ..addresses import masked
from ..errors import RequestError, UnreachableError
from ..retrievers.execution.product import foreign, is_foreign

# RFC 9110 section 7.6.1: these headers apply to one connection, not to the request.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"expect", "host", "x-rerank-timeout-ms"})

_WHOLE_BYTES = 1 << 16
"""Answers up to this number of bytes are returned in one piece. Larger answers are streamed."""

_CONNECT_S = 5.0

CHECK = "check --elasticsearch-url of the sidecar and, for https, ES_RERANK_ELASTICSEARCH_CA_CERTS"


class Upstream:
    """Forwards requests to one Elasticsearch over persistent connections. Sends only the caller's own
    credentials.

    ``ca_certs``: a file with the CA certificates that verify an ``https`` server. Without it the CA
    certificates of the system are used.
    """

    def __init__(self, base_url: str, ca_certs: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_certs) if base_url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, request: Request, body: bytes | AsyncIterator[bytes], *, again: bool = False
    ) -> Response:
        """Return Elasticsearch's answer to a request, with unchanged status, headers and bytes.

        ``again`` allows a second try if the connection was closed. Set it only for requests that change
        nothing. Raises UnreachableError when Elasticsearch does not answer, and when a server that is not
        Elasticsearch accepts the request.
        """
        query = request.scope["query_string"]
        path = request.scope.get("raw_path") or request.url.path.encode()
        target = URL(
            self._base_url + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else ""),
            encoded=True,
        )
        headers = _without(request.headers.items(), _HOP_BY_HOP | _OURS | _length_headers(request, body))
        try:
            reply = await self._open(request.method, target, headers, body, again=again)
            if reply.ok and is_foreign(reply.status, reply.headers):
                reply.close()
                raise UnreachableError(f"{foreign(masked(self._base_url))}; {CHECK}")
            return await _response(reply)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(
                f"Elasticsearch does not answer: {error or type(error).__name__}; {CHECK}"
            ) from error
        except ValueError as error:  # of aiohttp, before anything is sent
            raise RequestError(f"a header of the request cannot be sent to Elasticsearch: {error}") from error

    async def _open(
        self,
        method: str,
        target: URL,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes],
        *,
        again: bool,
    ) -> aiohttp.ClientResponse:
        session = self._connected()
        try:
            return await session.request(
                method, target, headers=headers, data=body or None, allow_redirects=False
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not again:
                raise
            return await session.request(
                method, target, headers=headers, data=body or None, allow_redirects=False
            )

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def _length_headers(request: Request, body: bytes | AsyncIterator[bytes]) -> frozenset[str]:
    """Return the headers about the length that must not be forwarded.

    The length of bytes is written by the HTTP client. Were the caller's own length sent with other bytes,
    Elasticsearch would take the next request on the connection for the rest of the body (request smuggling:
    RFC 9112 section 11.2).
    """
    streamed = not isinstance(body, bytes) and "transfer-encoding" not in request.headers
    return frozenset() if streamed else frozenset({"content-length"})


def _without(headers: Iterable[tuple[str, str]], names: frozenset[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]


async def _response(reply: aiohttp.ClientResponse) -> Response:
    headers = [
        (name.lower(), value)
        for name, value in reply.raw_headers
        if name.decode("latin-1").lower() not in _HOP_BY_HOP
    ]
    if reply.method == "HEAD" or (reply.content_length is not None and reply.content_length <= _WHOLE_BYTES):
        whole = Response(await reply.read(), reply.status)
        whole.raw_headers = headers
        return whole
    streamed = StreamingResponse(_chunks(reply), reply.status)
    streamed.raw_headers = headers
    return streamed


async def _chunks(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with reply:
        async for chunk in reply.content.iter_any():
            yield chunk

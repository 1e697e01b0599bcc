"""Forwards requests to Elasticsearch and its answers to the caller, as unchanged bytes."""

from __future__ import annotations

import asyncio
import errno
import functools
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from yarl import URL

from ...addresses import masked
from ...errors import DeadlineError, RequestError, UnreachableError
from ...observation import stage, trouble
from ...retrievers.execution.product import foreign, is_foreign
from ...retrievers.execution.telling import of_status
from ..record import onward, tell_forwarded
from ..reset import reset
from .headers import OF_THE_CONNECTION, forwarded

_WHOLE_BYTES = 1 << 16
"""Answers up to this number of bytes are returned in one piece. Larger answers are streamed."""

_CONNECT_S = 5.0

IDLE_S = 600.0
"""Most seconds without a byte from Elasticsearch, or to it, where a request has no deadline. Most requests
that take Elasticsearch longer have a form that does not wait (``wait_for_completion=false``)."""

CHECK = "check --elasticsearch-url of the sidecar and, for https, ES_RERANK_ELASTICSEARCH_CA_CERTS"

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

_LOG = structlog.get_logger("es_rerank.sidecar")


class BrokenAnswerError(Exception):
    """Raised when an answer of Elasticsearch breaks off after its head was sent on.

    Only the end of the connection can tell the caller. The log has the reason.
    """


class Upstream:
    """Forwards requests to one Elasticsearch over persistent connections. Sends only the caller's own
    credentials.

    ``ca_certs``: a file with the CA certificates that verify an ``https`` server. Without it the CA
    certificates of the system are used. ``idle_s``: see ``IDLE_S``.
    """

    def __init__(self, base_url: str, ca_certs: str | None = None, *, idle_s: float = IDLE_S) -> None:
        self.base_url = base_url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_certs) if base_url.startswith("https:") else True
        self._idle_s = idle_s
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        request: Request,
        body: bytes | AsyncIterator[bytes],
        *,
        again: bool = False,
        within_s: float | None = None,
    ) -> Response:
        """Return Elasticsearch's answer to a request, with unchanged status, headers and bytes.

        ``again`` allows a second try if the connection was closed. Set it only for requests that change
        nothing. ``within_s``: most seconds of waiting for Elasticsearch until its answer is complete. Without
        it, only the time is bounded in which no byte is sent or received. Raises DeadlineError after that
        time, UnreachableError when Elasticsearch does not answer, and when a server that is not
        Elasticsearch accepts the request.
        """
        query = request.scope["query_string"]
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        target = self._target(path.decode("latin-1"), query.decode("latin-1"))
        unsent = _length_headers(request, body)
        patience = _Patience(within_s, self._idle_s)
        tell_forwarded()
        try:
            with patience.spent(), stage("elasticsearch"):
                sent = onward(forwarded(request.headers.items()))
                headers = [pair for pair in sent if pair[0].lower() not in unsent]
                async with asyncio.timeout(patience.left) as timer:
                    data = body if isinstance(body, bytes) else _noted(body, timer, patience)
                    reply = await self._open(request.method, target, headers, data, again=again)
                    if reply.ok and is_foreign(reply.status, reply.headers):
                        reply.close()
                        raise UnreachableError(f"{foreign(masked(self.base_url))}; {CHECK}")
                    whole = await reply.read() if _is_short(reply) else None
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and timer.expired():
                trouble("timeout")
                raise patience.error() from error
            trouble("unreachable")
            raise unreachable(error, str(error) or type(error).__name__) from error
        except ValueError as error:  # of aiohttp, before anything is sent
            raise RequestError(f"a header of the request cannot be sent to Elasticsearch: {error}") from error
        if reply.status >= 400:
            trouble(of_status(reply.status))
        answer = (
            StreamingResponse(_chunks(reply, patience), reply.status)
            if whole is None
            else Response(whole, reply.status)
        )
        answer.raw_headers = [
            (name.lower(), value)
            for name, value in reply.raw_headers
            if name.decode("latin-1").lower() not in OF_THE_CONNECTION
        ]
        return answer

    def _target(self, path: str, query: str) -> URL:
        """Return the URL of a request. Its path and query are sent as they are, whatever they hold: read
        again as parts of a URL, they could be another path than the one that was checked.
        """
        base = URL(self.base_url, encoded=True)
        return URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=base.raw_path.rstrip("/") + path,
            query_string=query,
            encoded=True,
        )

    async def _open(
        self,
        method: str,
        target: URL,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes],
        *,
        again: bool,
    ) -> aiohttp.ClientResponse:
        ask = functools.partial(
            self._connected().request,
            method,
            target,
            headers=headers,
            data=body or None,
            allow_redirects=False,
        )
        try:
            return await ask()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not again:
                raise
            return await ask()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=_Connector(limit=0, ssl=self._tls),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class _Connector(aiohttp.TCPConnector):
    """Ends a connection at once when a request is given up whose body Elasticsearch has not taken.

    Closing it would wait until Elasticsearch takes the rest, and one that is stuck never does.
    """

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:  # noqa: ANN401 aiohttp's own types
        transport = protocol.transport
        super()._release(key, protocol, should_close=should_close)
        if transport is not None and transport.is_closing() and transport.get_write_buffer_size():
            reset(transport)


def unreachable(error: BaseException, reason: str) -> UnreachableError:
    """Return the error for a request that Elasticsearch did not answer, for ``reason``.

    ``error`` is the error of a client. It tells when this process, and not Elasticsearch, is the cause.
    """
    if _lacks_descriptors(error):
        return UnreachableError(
            "the sidecar has no file descriptor left for a connection to Elasticsearch; "
            "raise its limit (ulimit -n, LimitNOFILE) or send fewer requests at once"
        )
    return UnreachableError(f"Elasticsearch does not answer: {reason}; {CHECK}")


def _lacks_descriptors(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that no file descriptor is left."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno in _NO_DESCRIPTORS:
            return True
        causes = (one.__cause__, one.__context__, *getattr(one, "errors", ()))
        waiting.extend(cause for cause in causes if isinstance(cause, BaseException))
    return False


class _Patience:
    """How long a request still waits for Elasticsearch.

    With ``within_s`` that is a time which only waiting uses up, so that a caller who reads slowly is not cut
    off. Without it each wait may take ``idle_s``.
    """

    def __init__(self, within_s: float | None, idle_s: float) -> None:
        self._within_s, self._idle_s, self._spent_s = within_s, idle_s, 0.0

    @property
    def left(self) -> float:
        """The seconds that the next wait may take."""
        return self._idle_s if self._within_s is None else max(0.0, self._within_s - self._spent_s)

    @property
    def of_each_wait(self) -> bool:
        """Whether each wait has the whole time."""
        return self._within_s is None

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Count the time of the block as waiting."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent_s += time.monotonic() - began

    def error(self) -> DeadlineError:
        """Return the error for a wait that took too long."""
        if self._within_s is None:
            return DeadlineError(
                f"Elasticsearch sent and took nothing for {self._idle_s:g} seconds; for work that takes it "
                "longer, send a request that does not wait (wait_for_completion=false)"
            )
        return DeadlineError(
            f"Elasticsearch has not answered within {self._within_s:g} seconds; allow more time with "
            "X-Rerank-Timeout-Ms, or make the search smaller"
        )


async def _noted(
    body: AsyncIterator[bytes], timer: asyncio.Timeout, patience: _Patience
) -> AsyncIterator[bytes]:
    """Yield the chunks of a body; where each wait has a time of its own, each chunk begins it again."""
    loop = asyncio.get_running_loop()
    async for chunk in body:
        if patience.of_each_wait:
            timer.reschedule(loop.time() + patience.left)
        yield chunk
    if patience.of_each_wait:
        timer.reschedule(loop.time() + patience.left)


def _length_headers(request: Request, body: bytes | AsyncIterator[bytes]) -> frozenset[str]:
    """Return the headers about the length that must not be forwarded.

    The length of bytes is written by the HTTP client. Were the caller's own length sent with other bytes,
    Elasticsearch would take the next request on the connection for the rest of the body (request smuggling:
    RFC 9112 section 11.2).
    """
    streamed = not isinstance(body, bytes) and "transfer-encoding" not in request.headers
    return frozenset() if streamed else frozenset({"content-length"})


def _is_short(reply: aiohttp.ClientResponse) -> bool:
    length = reply.content_length
    return reply.method == "HEAD" or (length is not None and length <= _WHOLE_BYTES)


async def _chunks(reply: aiohttp.ClientResponse, patience: _Patience) -> AsyncIterator[bytes]:
    async with reply:
        while True:
            try:
                with patience.spent():
                    async with asyncio.timeout(patience.left):
                        chunk = await reply.content.readany()
            except TimeoutError as error:
                _LOG.warning("an answer was cut off", reason=patience.error().message)
                raise BrokenAnswerError from error
            except aiohttp.ClientError as error:
                _LOG.warning("an answer of Elasticsearch broke off", reason=type(error).__name__)
                raise BrokenAnswerError from error
            if not chunk:
                return
            yield chunk

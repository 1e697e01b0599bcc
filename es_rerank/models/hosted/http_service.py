"""The base class of models over HTTP: deadlines, retries, errors, and one connection pool for all callers."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr

from ...bounded_answers import HEADERS, Bound, LongAnswerError, bounded_async
from ...defaults import LONGEST_S
from ...errors import OverloadError, RemoteModelError, SettingsError
from ...forks import in_every_child
from ..closeable import Closeable
from .answers import FEW_BYTES, reason
from .background import BackgroundLoop
from .retrying import TransientError, retried, retry_after
from .secrets import secrets_of

T = TypeVar("T")

SERVICE_TIMEOUT_S = 60.0
"""How long one request may take, its retries included, in a call without a deadline."""

CONCURRENCY = 4
"""Most requests of one call that run at the same time."""

_BOUND: ContextVar[Bound] = ContextVar("es_rerank_bound_of_answer", default=Bound(FEW_BYTES))  # noqa: B039 a tuple
"""How much of an answer is read: an SDK that uses the HTTP client cannot hand it on."""


class HttpService(Closeable):
    """Asks a service over HTTP. Subclasses build and send one request.

    A request that fails in a transient way is sent again, but never after the deadline. Safe to share between
    threads and event loops: all of them use the same connections, and a forked child opens its own.
    ``timeout_s`` is the time that one request may take, its retries included, in a call without a deadline.
    ``credentials`` are user and password of basic authentication, ``secrets`` what else no message repeats.
    Raises SettingsError for a key that no HTTP
    header can carry.
    """

    key_setting: str
    """The name of the setting that holds the key, for messages."""
    answered: str = "scores"
    """What the service is asked for, for messages."""
    transient: frozenset[int]
    """HTTP statuses besides 429 after which the request is sent again."""

    def __init__(
        self,
        *,
        name: str,
        service: str,
        api_key: SecretStr | None,
        timeout_s: float,
        concurrency: int,
        credentials: tuple[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        if api_key is not None and not _fits_a_header(api_key.get_secret_value()):
            raise SettingsError(
                f"the key for {service} is empty or holds characters that no HTTP header can carry; check "
                f"{self.key_setting}"
            )
        if timeout_s <= 0 or concurrency < 1:
            raise SettingsError(
                f"timeout_s must be over 0 and concurrency at least 1, found {timeout_s:g} and {concurrency}"
            )
        self._name, self._service, self._key = name, service, api_key
        self._timeout_s, self._concurrency = timeout_s, concurrency
        self._credentials = credentials
        self._secrets = secrets_of(api_key.get_secret_value() if api_key else None, credentials, secrets)
        self._loop = BackgroundLoop(f"es-rerank {name}")
        self._connect()
        in_every_child(self._disconnect)

    def _connect(self) -> None:
        """Make the HTTP client, which belongs to one event loop; it opens connections when it needs them."""
        # Redirects are not followed: they would send text to an address that the user did not name.
        self._http = httpx.AsyncClient(
            auth=self._credentials,
            timeout=self._timeout_s,
            headers=HEADERS,
            event_hooks=bounded_async(_BOUND.get),
        )
        self._connected = True

    def _disconnect(self) -> None:
        """Stop using the parent's connections in a forked child.

        The next call makes new ones. Making them here would cost every child 60 ms.
        """
        self._connected = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service})"

    @property
    def name(self) -> str:
        """The name under which the model is served."""
        return self._name

    def close(self) -> None:
        """Close the connections; calls that are waiting fail."""
        self._loop.close(self._close_connections)

    async def _close_connections(self) -> None:
        if self._connected:  # otherwise the connections are the parent's
            await self._http.aclose()

    async def _in_time(self, ask: Callable[[float], Awaitable[T]], deadline: float | None) -> T | None:
        """Call ``ask`` with the seconds left and return its result; None when the deadline comes first."""
        if passed(deadline):
            return None
        end = time.monotonic() + self._timeout_s if deadline is None else deadline
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await retried(ask, end)
        except TimeoutError as error:
            if deadline is not None:
                return None
            fault = str(error) or f"did not answer within {self._timeout_s:g} seconds"
            message = (
                f"{self._service} {fault}; see whether it is overloaded, or give it more time (timeout_s)"
            )
            raise RemoteModelError(message, service=self._service) from error

    @contextmanager
    def _over_the_network(self, bound: Bound) -> Iterator[None]:
        """Turn failures of the connection into TimeoutError, TransientError or RemoteModelError.

        Answers in it are read up to ``bound``.
        """
        before = _BOUND.set(bound)
        try:
            yield
        except LongAnswerError as error:
            raise RemoteModelError(
                f"{self._service} cannot be asked: {error}, where {self.answered} have less; check its "
                "address",
                service=self._service,
            ) from error
        except httpx.TimeoutException as error:
            raise TimeoutError from error
        except httpx.RequestError as error:
            broken = isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))
            fault = (
                f"{'cannot be reached' if broken else 'cannot be asked'}: "
                f"{str(error) or type(error).__name__}"
            )
            failure = RemoteModelError(
                f"{self._service} {fault}; check its address and that it runs", service=self._service
            )
            raise (TransientError(failure) if broken else failure) from error
        finally:
            _BOUND.reset(before)

    def _said(self, status: int, body: object) -> str:
        """Return what a service answered instead; if it repeats a key or a password, that is masked."""
        return f"answered {status}: {reason(body, self._secrets)}"

    def _refusal(self, status: int, headers: Mapping[str, str], body: object) -> Exception:
        """Return the exception for an answer that is an error."""
        message = f"{self._service} {self._said(status, body)}"
        wait_s = retry_after(headers.get("retry-after"))
        if status in range(300, 400) and "location" in headers:
            message += f"; it redirects to {_place(headers['location'])}, and redirects are not followed"
        if status == 429:
            if wait_s and wait_s > LONGEST_S:
                message += f"; it takes requests again in {wait_s:.0f} seconds"
            return TransientError(
                OverloadError(message, retry_after_s=max(1, math.ceil(min(wait_s or 0, LONGEST_S)))), wait_s
            )
        if status in {401, 403}:
            message += f"; check the key (setting {self.key_setting})"
        error = RemoteModelError(message, service=self._service, status=status)
        return TransientError(error, wait_s) if status in self.transient else error


def service_address(url: str, named: str) -> httpx.URL:
    """Return ``url`` as an HTTP address.

    Raises SettingsError when it is not one. The message says which setting, ``named``, holds it, and hides
    credentials.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(
            f"the address that {named} names cannot be read ({error}); write http://HOST:PORT"
        ) from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise SettingsError(
            f"the address that {named} names must begin with http:// or https:// and hold a host, found "
            f"{address!r}; write http://HOST:PORT"
        )
    return address


def request_batches(
    positions: Sequence[int], texts: Sequence[str], size: int, most_bytes: float
) -> Iterator[list[int]]:
    """Yield the positions in batches of at most ``size`` texts and ``most_bytes`` bytes of JSON.

    A text that is longer than ``most_bytes`` is a batch of its own.
    """
    batch: list[int] = []
    total = 0
    for position in positions:
        length = len(json.dumps(texts[position], ensure_ascii=False).encode())
        if batch and (len(batch) == size or total + length > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(position)
        total += length
    if batch:
        yield batch


async def all_done(works: Iterator[Coroutine[Any, Any, None]]) -> None:
    """Await all of ``works``; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__


def passed(deadline: float | None) -> bool:
    """Whether a moment of ``time.monotonic()`` has come; False for None."""
    return deadline is not None and time.monotonic() >= deadline


def _place(location: str) -> str:
    """Return where a redirect leads, without user and query: both may hold a secret."""
    try:
        return ascii(str(httpx.URL(location).copy_with(userinfo=b"", query=None)))[1:-1][:200]
    except httpx.InvalidURL:
        return "an address that cannot be read"


def _fits_a_header(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and key.strip() == key

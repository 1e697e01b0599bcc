"""Asks an Elasticsearch for its health, version and licence.

It works with the minimal distribution and with a user of few privileges too.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ..addresses import has_credentials, masked, masked_in
from ..bounded_answers import HEADERS, Bound, bounded
from ..errors import UnreachableError
from ..retrievers.execution.product import foreign, is_foreign
from .record import Distribution

_TOLERATED = frozenset({403, 405, 410})
"""HTTP status codes that leave an answer unknown: 403 if this user may not make the call, 405 if this
distribution does not have it, 410 if serverless does not. The node itself is healthy."""

_INTERVAL_S = 0.2

_BOUND = Bound(1 << 22)
"""Most bytes of an answer: what a node says of itself has some 50,000."""


class _ForeignError(Exception):
    """The server is not Elasticsearch."""


class Health(NamedTuple):
    """What a node reports about itself. A value is None if the node does not report it."""

    status: str | None
    version: str | None
    node_id: str | None
    licence: str | None
    distribution: Distribution | None = None


def probe(
    url: str, *, api_key: str | None = None, ca_certs: Path | None = None, timeout_s: float = 5.0
) -> Health:
    """Return the health, version and licence of the node at ``url``.

    ``timeout_s`` is the maximum time in seconds for each answer. ``ca_certs`` is a file with the certificate
    authorities to trust, None for the public ones. Raises UnreachableError when nothing answers at ``url``,
    when the server refuses the request, and when it is not an Elasticsearch.
    """
    headers = HEADERS | ({"Authorization": f"ApiKey {api_key}"} if api_key else {})
    try:
        # Like the elasticsearch client, this ignores the proxies in the environment (trust_env=False).
        verify = ssl.create_default_context(cafile=ca_certs) if ca_certs else True
        with httpx.Client(
            base_url=url,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            verify=verify,
            event_hooks=bounded(lambda: _BOUND),
        ) as http:
            health = _ask(http, "/_cluster/health")
            version, node_id = _identity(http)
            licence = _ask(http, "/_license").get("license", {}).get("type")
            distribution = _distribution(http)
    except _ForeignError as error:
        raise UnreachableError(foreign(masked(url)), url=masked(url)) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as error:
        raise UnreachableError(
            f"no Elasticsearch answers at {masked(url)} ({_cause(error, url)})",
            url=masked(url),
        ) from error
    return Health(health.get("status"), version, node_id, licence, distribution)


def _cause(error: Exception, url: str) -> str:
    """Return what is wrong. An address that cannot be parsed is quoted in parts, which may be of its
    password.
    """
    unreadable = has_credentials(url) and not isinstance(error, (httpx.HTTPError, OSError))
    return type(error).__name__ if unreadable else masked_in(str(error)) or type(error).__name__


def await_health(url: str, *, deadline: float, dead: Callable[[], bool]) -> Health | None:
    """Wait until the health of the node at ``url`` is yellow or green, and return its health.

    Returns None at ``deadline``, a moment of ``time.monotonic()``, and as soon as ``dead`` returns true.
    """
    while time.monotonic() < deadline and not dead():
        try:
            health = probe(url)
        except UnreachableError:
            health = None
        if health is not None and health.status in {"yellow", "green"}:
            return health
        time.sleep(_INTERVAL_S)
    return None


def _ask(http: httpx.Client, path: str) -> dict[str, Any]:
    answer = http.get(path)
    if is_foreign(answer.status_code, answer.headers):
        raise _ForeignError
    if answer.status_code in _TOLERATED:
        return {}
    # The health API answers 408 when the awaited health was not reached in time. The body is complete
    # nevertheless.
    if answer.status_code != httpx.codes.REQUEST_TIMEOUT:
        answer.raise_for_status()
    body = answer.json()
    if not isinstance(body, dict):
        # ValueError and not TypeError: the value comes from the server and not from a caller.
        raise ValueError(f"{path} answered {type(body).__name__}, not an object")  # noqa: TRY004 see above
    return body


def _distribution(http: httpx.Client) -> Distribution | None:
    """Return which distribution it is: the stripped one has no root page and answers 405."""
    status = http.get("/").status_code
    if status == httpx.codes.METHOD_NOT_ALLOWED:
        return "stripped"
    return "full" if status == httpx.codes.OK else None


def _identity(http: httpx.Client) -> tuple[str | None, str | None]:
    nodes = _ask(http, "/_nodes/_local").get("nodes", {})
    for node_id, node in nodes.items():
        return node.get("version"), node_id
    version = _ask(http, "/").get("version", {})
    # Serverless has no version, and states a number that old clients accept.
    return None if version.get("build_flavor") == "serverless" else version.get("number"), None

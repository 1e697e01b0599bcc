"""Asks an Elasticsearch how it is, through calls that the stripped distribution and a least-privilege user can make, too."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ..addresses import masked, masked_in
from ..errors import UnreachableError

_TOLERATED = frozenset({403, 405})
"""Not allowed to this user, or absent in this distribution: the answer is unknown, the node is not at fault."""

_INTERVAL_S = 0.2


class Health(NamedTuple):
    """What a node says of itself; None where it does not say."""

    status: str | None
    version: str | None
    node_id: str | None
    licence: str | None


def probe(
    url: str, *, api_key: str | None = None, ca_certs: Path | None = None, timeout_s: float = 5.0
) -> Health:
    """Ask the node at ``url`` for its health, version and licence, waiting up to ``timeout_s`` seconds for each answer.

    ``ca_certs``: a file with the CA to trust, else the public ones are.

    Raises UnreachableError when nothing answers there, or what answers refuses us or is no Elasticsearch.
    """
    headers = {"Authorization": f"ApiKey {api_key}"} if api_key else {}
    try:
        # Proxies of the environment are left aside, as the elasticsearch client leaves them.
        verify = ssl.create_default_context(cafile=ca_certs) if ca_certs else True
        with httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, trust_env=False, verify=verify
        ) as http:
            health = _ask(http, "/_cluster/health")
            version, node_id = _identity(http)
            licence = _ask(http, "/_license").get("license", {}).get("type")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise UnreachableError(
            f"no Elasticsearch answers at {masked(url)} ({masked_in(str(error)) or type(error).__name__})",
            url=masked(url),
        ) from error
    return Health(health.get("status"), version, node_id, licence)


def await_health(url: str, *, deadline: float, dead: Callable[[], bool]) -> Health | None:
    """Ask until the node at ``url`` can serve its shards, and return its health.

    Returns None at ``deadline`` (of ``time.monotonic``), or at once when ``dead`` says that it never will.
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
    if answer.status_code in _TOLERATED:
        return {}
    # 408 is health's way to say that the wait was in vain; its body is complete.
    if answer.status_code != httpx.codes.REQUEST_TIMEOUT:
        answer.raise_for_status()
    body = answer.json()
    if not isinstance(body, dict):
        raise ValueError(f"{path} answered {type(body).__name__}, not an object")  # noqa: TRY004 what arrives is a value, not a caller's type
    return body


def _identity(http: httpx.Client) -> tuple[str | None, str | None]:
    nodes = _ask(http, "/_nodes/_local").get("nodes", {})
    for node_id, node in nodes.items():
        return node.get("version"), node_id
    return _ask(http, "/").get("version", {}).get("number"), None

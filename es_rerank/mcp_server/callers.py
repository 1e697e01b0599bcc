"""Which callers over HTTP are served: where they say they are, and whether they have a key.

Both are checked before anything else of a request, its path too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from mcp_types import INVALID_REQUEST
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..caller import CALLER, Caller, during
from ..errors import RequestError
from ..sidecar.access.admission import peer_of
from ..sidecar.access.authority import sent_key
from ..sidecar.access.keys import Key, Keys
from ..sidecar.record import tell_key

_PLACE = re.compile(
    r"(\[[0-9a-f:.]+\]|[0-9a-z_](?:[0-9a-z_.-]*[0-9a-z_])?)\.?(?::([0-9]{0,5}))?", re.IGNORECASE
)
"""Host and port, as in the header ``Host``: https://www.rfc-editor.org/rfc/rfc9110#section-7.2."""

_ORIGIN = re.compile(r"https?://([^/?#\\@\s]+)", re.IGNORECASE)
"""The origin of a page: https://www.rfc-editor.org/rfc/rfc6454#section-6.2. Group 1 is its host and port."""


class Place(NamedTuple):
    """A host and a port of it, None for any port."""

    host: str
    port: int | None = None


def place_of(given: str) -> Place | None:
    """Return the place that ``HOST`` or ``HOST:PORT`` names, None if the text is neither.

    Names of hosts are compared without case and without a final dot, which says that they are whole. An IPv6
    address stands in brackets, and can be written in several ways.
    """
    found = _PLACE.fullmatch(given)
    if found is None:
        return None
    host, port = found[1].lower(), found[2]
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    if port and int(port) > 65_535:
        return None
    return Place(host, int(port) if port else None)


def named_place(name: str) -> Place:
    """Return the place of ``--allowed-host``. Raises RequestError if it is none."""
    place = place_of(name)
    if place is None:
        raise RequestError(f"--allowed-host {name!r} is not HOST or HOST:PORT; write it as docs.example.org")
    return place


def refused(status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the answer to a request that holds no call which could be answered."""
    error = {"code": INVALID_REQUEST, "message": said}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status, headers)


class Admitted:
    """A middleware that serves only callers who may call.

    ``places``: those that ``Host`` and ``Origin`` may name. ``on_loopback``: they may name the addresses of
    this machine too. Without both they are not checked. What they hold is neither logged nor answered.
    """

    def __init__(self, app: ASGIApp, keys: Keys, places: Sequence[Place], *, on_loopback: bool) -> None:
        self._app, self._keys = app, keys
        self._places, self._on_loopback = frozenset(places), on_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        key = sent_key(request, self._keys) if self._keys.asked else None
        if key is not None:
            tell_key(key.name)
        wrong = self._misplaced(request) or self._unknown(key)
        if wrong is not None:
            await wrong(scope, receive, send)
            return
        with during(CALLER, peer_of(scope) if key is None else Caller(f"key {key.name}")):
            await self._app(scope, receive, send)

    def _misplaced(self, request: Request) -> JSONResponse | None:
        if not (self._places or self._on_loopback):
            return None
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            return refused(421, "Host is no name of this server; --allowed-host NAME allows a further one")
        if not all(self._is_own(origin) for origin in origins):
            return refused(403, "Origin is no page of this server; --allowed-host NAME allows a further one")
        return None

    def _unknown(self, key: Key | None) -> JSONResponse | None:
        if not self._keys.asked or (key is not None and not key.expired):
            return None
        said = "the key has expired" if key else "a key is missing or wrong: send Authorization: Bearer KEY"
        return refused(401, said, {"WWW-Authenticate": "Bearer"})

    def _is_own(self, origin: str) -> bool:
        found = _ORIGIN.fullmatch(origin)
        return found is not None and self._is_here(found[1])

    def _is_here(self, given: str) -> bool:
        place = place_of(given)
        if place is None:
            return False
        if place in self._places or Place(place.host) in self._places:
            return True
        return self._on_loopback and _is_this_machine(place.host)


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

"""Which headers of a caller's request go on to Elasticsearch, and which of them say who the caller is.

======================================  ==================  ====================================
header                                  forwarded searches  searches that es-rerank runs
======================================  ==================  ====================================
of one connection, for the sidecar      not sent            not sent
of the body and the answer's format     sent                not sent: each request has its own
of the client program                   sent                not sent: the program is es-rerank
all others, known or not                sent                sent with each request of the search
======================================  ==================  ====================================

Elasticsearch decides by some of the last kind: ``Authorization`` and others of its security, and whatever a
custom realm or a server in front of it reads. So all go on, and Elasticsearch gets the same from both kinds
of search.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from starlette.types import Scope

from ...errors import RequestError
from ...header_names import WITHOUT_IDENTITY

OF_THE_CONNECTION = frozenset(
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
"""RFC 9110 section 7.6.1: these headers apply to one connection, not to the request."""

TIMEOUT_HEADER = "x-rerank-timeout-ms"
"""The deadline of a request in milliseconds. It becomes the time that Elasticsearch may take."""

USER_HEADER = "x-rerank-user"
"""The header by which the plugin tells users apart: a digest of Elasticsearch's user, or the word ``none``
where Elasticsearch has no security."""

_OURS = frozenset({"expect", "host", "http2-settings", TIMEOUT_HEADER, USER_HEADER})
"""These are about the request to the sidecar."""

_OF_THE_PROGRAM = frozenset({"user-agent", "x-elastic-client-meta"})

_OF_THE_BODY = ("accept", "content-", "digest", "if-", "range", "repr-digest", "sec-", "want-")
"""How the names of headers begin that are about one body or its answer, or about the page in a browser that
sends it. A search that es-rerank runs sends other bodies than the caller, and reads the answers itself."""

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""RFC 9110 section 5.5 allows none of these in a value."""

_LISTS = frozenset({"tracestate", "x-forwarded-for"})
"""Headers that may be sent in several lines, which together are one list (RFC 9110 section 5.3)."""


def forwarded(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a request that Elasticsearch answers as a whole, for a client that writes UTF-8.

    Raises RequestError for a value that cannot be sent on.
    """
    sent = []
    for name, value in headers:
        if not _is_forwarded(name.lower()):
            continue
        if CONTROL.search(value):
            raise RequestError(
                f"header [{name}] holds a control character and cannot be sent to Elasticsearch"
            )
        sent.append((name, _as_sent(value)))
    return sent


def _as_sent(value: str) -> str:
    """Return the text whose UTF-8 are the bytes that the caller sent; ``value`` is those bytes as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def carried(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers that go with each request of a search that es-rerank runs, names in lower case.

    Raises RequestError, as Elasticsearch does, for a header in several lines whose value is one.
    """
    found: dict[str, str] = {}
    for name, value in forwarded(headers):
        key = name.lower()
        if not _is_carried(key):
            continue
        if key not in found:
            found[key] = value
        elif key in _LISTS:
            found[key] += f",{value}"
        else:
            raise RequestError(f"multiple values for single-valued header [{name}].")
    return found


def of_the_caller(carried_headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by which Elasticsearch, or a server in front of it, may know the caller.

    That is each header that is not known to say only where a request comes from.
    """
    return {name: value for name, value in carried_headers.items() if name not in WITHOUT_IDENTITY}


def known_by(scope: Scope) -> bytes:
    """Return the digest of all that tells who the caller of a request is, empty if nothing does."""
    told = [
        (name, value)
        for name, value in sorted(scope.get("headers", ()))
        if _tells_the_caller(name.decode("latin-1").lower())
    ]
    return hashlib.sha256(repr(told).encode()).digest() if told else b""


def _is_forwarded(name: str) -> bool:
    return name not in OF_THE_CONNECTION and name not in _OURS


def _is_carried(name: str) -> bool:
    return _is_forwarded(name) and name not in _OF_THE_PROGRAM and not name.startswith(_OF_THE_BODY)


def _tells_the_caller(name: str) -> bool:
    return _is_carried(name) and name not in WITHOUT_IDENTITY

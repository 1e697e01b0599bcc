"""The target of a request: what stands between its method and ``HTTP/1.1``."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import Scope

_FIRST_LINE = re.compile(rb"(?:\r\n)*([A-Z]+) (?:https?://[^/ ?]*)?(/[^ ?\r\n]*)[ ?]")
_ORIGIN = re.compile(rb"https?://[^/]*", re.IGNORECASE)


def to_origin_form(scope: Scope) -> None:
    """Take scheme and host off the path of a request: a server must accept ``GET http://host/path`` as
    ``GET /path`` (RFC 9112, 3.2.2), and this one serves all its paths for every host.
    """
    origin = _ORIGIN.match(scope["raw_path"])
    if origin is not None:
        scope["raw_path"] = scope["raw_path"][origin.end() :] or b"/"
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))


def first_line(head: bytes) -> tuple[str, bytes]:
    """Return the method and the path of the request that begins with ``head``; nothing where it does not hold
    them yet.
    """
    found = _FIRST_LINE.match(head)
    return ("", b"") if found is None else (found[1].decode("ascii"), found[2])

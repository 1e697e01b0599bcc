"""What an answer says about the server that gave it: whether it is Elasticsearch, and which version. No I/O.

Every answer of Elasticsearch has the header ``X-Elastic-Product``. The official clients refuse a server that
answers with a status 2xx and without it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from ...errors import SearchError

PRODUCT_HEADER = "x-elastic-product"
PRODUCT = "Elasticsearch"

OLDEST = (9, 1)
"""The oldest Elasticsearch that es-rerank supports: (major, minor)."""

_TELLING = frozenset({*range(200, 400), 404, 405, 410})
"""Statuses that say which server answers. A server in front of Elasticsearch may give others by itself: to a
caller without rights, for a body that is too large, or because Elasticsearch does not answer."""

_NUMBER = re.compile(r"(\d+)\.(\d+)")

_LOG = logging.getLogger(__name__)


def foreign(url: str) -> str:
    """Return the sentence about a server at ``url`` that is not Elasticsearch."""
    return f"what answers at {url} is not Elasticsearch: its answers lack the header X-Elastic-Product"


def is_foreign(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer comes from a server that is not Elasticsearch.

    ``headers`` has its keys in lower case or ignores case.
    """
    return headers.get(PRODUCT_HEADER) != PRODUCT and status in _TELLING


def too_old(root: Any) -> str | None:  # noqa: ANN401 any JSON value may arrive
    """Return the sentence about a version that is not supported, from the body of ``GET /``; None for others.

    Serverless states a version that it does not have, and one that cannot be read is not known.
    """
    version = root.get("version") if isinstance(root, Mapping) else None
    if not isinstance(version, Mapping) or version.get("build_flavor") == "serverless":
        return None
    return older(version.get("number"))


def older(number: Any) -> str | None:  # noqa: ANN401 any JSON value may arrive
    """Return the sentence about a version number below ``OLDEST``; None for others and for no number."""
    found = _NUMBER.match(number) if isinstance(number, str) else None
    if found is None or (int(found[1]), int(found[2])) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    return (
        f"this is Elasticsearch {number}, and es-rerank supports {oldest} and later: a search may be refused "
        "or answered differently"
    )


def check_form(body: Any, *, search: bool = False, several: bool = False, pit: bool = False) -> None:  # noqa: ANN401 any JSON value may arrive
    """Check that an answer has what is read of it.

    ``search``, ``several`` and ``pit``: it is that of a search, of several searches, of opening a point in
    time. Raises SearchError if it lacks what Elasticsearch always sends.
    """
    right = isinstance(body, dict)
    if right and pit:
        right = isinstance(body.get("id"), str)
    if right and several:
        items = body.get("responses")
        right = isinstance(items, list) and all(
            isinstance(item, dict) and ("error" in item or _has_hits(item)) for item in items
        )
    if right and search:
        right = _has_hits(body)
    if not right:
        raise SearchError(
            "an answer of Elasticsearch lacks what each of them has; a server in front of it may have "
            "changed or written it"
        )


def _has_hits(body: Mapping[str, Any]) -> bool:
    hits = body.get("hits")
    return isinstance(hits, dict) and isinstance(hits.get("hits"), list)


class VersionCheck:
    """Remembers that a client has asked its Elasticsearch for its version."""

    def __init__(self) -> None:
        self.asked = False

    def put(self, root: Any) -> None:  # noqa: ANN401 any JSON value may arrive
        """Take note of the body of ``GET /``, None if there is none. Logs one line for an old version."""
        self.asked = True
        if (sentence := too_old(root)) is not None:
            _LOG.warning("%s", sentence)

"""The versions of Elasticsearch that the nodes of a cluster run."""

from __future__ import annotations

import re

from elasticsearch import ApiError, Elasticsearch

from .patience import BUSY, own


def node_versions(client: Elasticsearch) -> list[tuple[int, ...]]:
    """Return (major, minor) of each node, () of one whose version is no number; none if they are not told.

    Raises the client's errors of a cluster that is busy.
    """
    try:
        nodes = own(client.nodes.info(filter_path="nodes.*.version")).get("nodes", {})
    except ApiError as error:
        if error.status_code in BUSY:
            raise
        return []
    return [_version(node.get("version", "")) for node in nodes.values()]


def _version(text: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()

"""How a vector is written into a document: packed where Elasticsearch reads that, as numbers where it does not."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from elasticsearch import ApiError, Elasticsearch

from es_rerank.types import FloatArray

PACKED_SINCE = (9, 3)
"""First version that reads float32 in base64, big-endian: https://github.com/elastic/elasticsearch/pull/137072"""

Written = Callable[[FloatArray], str | list[float]]


def written_for(client: Elasticsearch) -> Written:
    """Return how vectors are written for this cluster.

    Packed vectors are a quarter of the bytes; 6000 passages of 384 dimensions in nested fields were indexed in 2.0 s
    instead of 3.6 s on a single node. Where the cluster does not tell its versions, numbers are always right.
    """
    try:
        nodes = client.nodes.info(filter_path="nodes.*.version").get("nodes", {})
    except ApiError:
        return as_numbers
    versions = [_version(node.get("version", "")) for node in nodes.values()]
    return packed if versions and min(versions) >= PACKED_SINCE else as_numbers


def packed(vector: FloatArray) -> str:
    """Return float32, big-endian, in base64 (``elasticsearch.helpers.pack_dense_vector``, which older clients lack)."""
    return base64.b64encode(vector.astype(">f4").tobytes()).decode()


def as_numbers(vector: FloatArray) -> list[float]:
    """Return the vector as a list of numbers."""
    return [float(value) for value in vector]


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()

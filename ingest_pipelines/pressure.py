"""Tells a request that Elasticsearch has no memory for now from one that it never has the memory for."""

from __future__ import annotations

import re
from typing import Any

_SIZES = re.compile(r"_operation_bytes=(\d+), max_\w+_bytes=(\d+)")
"""What Elasticsearch says of the memory for indexing (``indexing_pressure.memory.limit``)."""


def never_fits(error: Any) -> str | None:  # noqa: ANN401 any JSON value
    """Return why a request that was refused (429) is refused however often it comes; None if it may pass.

    ``error`` is what Elasticsearch says of it, or the error of its client.
    """
    found = _SIZES.search(str(getattr(error, "body", error)))
    if found is None or int(found[1]) <= int(found[2]):
        return None
    return (
        f"Elasticsearch needs {found[1]} bytes of memory for it and takes at most {found[2]}, which is a "
        "tenth of its heap; split the document, or give Elasticsearch a larger heap (es-rerank up --heap-mb; "
        "its setting is indexing_pressure.memory.limit)"
    )

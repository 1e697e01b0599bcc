"""The defaults of limits and options. Settings, client, sidecar and commands take them from here."""

from __future__ import annotations

from typing import Literal

PluginUse = Literal["auto", "always", "never"]
"""When a search runs inside Elasticsearch, by its plugin: if the plugin can run it, always, or never."""

PLUGIN_USE: PluginUse = "auto"
"""The default: inside Elasticsearch if its plugin can run the search, else outside."""

SIZE = 10
"""How many hits a search returns, as in Elasticsearch."""

WINDOW = 50
"""How many first-stage hits are reranked."""

MOST_WINDOW = 10_000
"""The largest window: Elasticsearch's default for ``index.max_result_window``."""

TIMEOUT_MS = 8_000
"""Deadline of one search in milliseconds: below the official client's default request timeout of 10 s."""

TIMEOUT_S = TIMEOUT_MS / 1000
"""The same in seconds."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Largest request body that the sidecar reads, in bytes."""

MAX_DOCUMENTS = 1_000
"""Most documents in one rerank request to the sidecar."""

CACHED_SCORES = 100_000
"""Most scores in the cache; an entry takes about 300 bytes, so a full cache takes about 30 MB."""

MOST_POSITIONS = 1_000
"""Most positions of truncated texts in a header of the sidecar's ``/rerank``. More would exceed the 8 kB that
servers and proxies allow for headers. So a ``remote:`` reranker sends at most as many texts to a sidecar."""

HOST = "127.0.0.1"
"""Address on which the sidecar listens."""

PORT = 8080
"""Port on which the sidecar listens."""

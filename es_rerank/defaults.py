"""The defaults of limits and options. Settings, client, sidecar and commands take them from here."""

from __future__ import annotations

from typing import Literal

PluginUse = Literal["auto", "always", "never"]
"""When a search runs inside Elasticsearch, by its plugin: if the plugin can run it, always, or never."""

PLUGIN_USE: PluginUse = "auto"
"""The default: inside Elasticsearch if its plugin can run the search, else outside."""

LogFormat = Literal["console", "json"]
"""How the sidecar writes its log: text, or JSON in the names of the Elastic Common Schema (ECS)."""

LOG_FORMAT: LogFormat = "console"
"""The default: text."""

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

LONGEST_MS = 300_000
"""Longest deadline that a caller may ask for, in milliseconds, and the deadline of a search that the sidecar
sends on to Elasticsearch where its caller names none."""

LONGEST_S = LONGEST_MS / 1000
"""The same in seconds."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Largest request body that the sidecar reads, in bytes."""

MAX_DEPTH = 200
"""Most levels of brackets in a body that is parsed. A query of Elasticsearch has at most 30 levels of queries
(``indices.query.bool.max_nested_depth``), which are 90 of brackets, and a document 20 levels of objects
(``index.mapping.depth.limit``). Elasticsearch's own parser takes 1,000, and Python's stack 1,000 calls."""

MAX_VALUES = 1_000_000
"""Most values in a body that is parsed: the hits of a largest window, 1,000, with vectors of 768 numbers. A
``terms`` query has at most 65,536 (``index.max_terms_count``), a vector 4,096."""

MAX_KEYS = 10_000
"""Most keys of one object in a body that is parsed: ten times ``index.mapping.total_fields.limit``."""

MAX_OPTIONS = 50
"""Most keys of a request to a model: rerank, rescore, embedding or inference. None has as many."""

MAX_RETRIEVERS = 1_000
"""Most retrievers in a tree: each leaf is a search of its own."""

MAX_LEVELS = 32
"""Most retrievers above one another: twice the rounds in which Elasticsearch rewrites a search."""

MAX_WINDOWS = 200_000
"""Most documents in all lists of a tree together: six fusions of two leaves with the largest window."""

MAX_RETRIEVERS_OF_MSEARCH = 10_000
"""Most retrievers in all trees of one ``_msearch``."""

MAX_QUERY_CHARACTERS = 65_536
"""Longest query text of a model, in characters: models read 512 tokens, few read 8,192."""

MAX_TEXT_CHARACTERS = 1_000_000
"""Longest text of one document that is read, in characters: a book of 400 pages."""

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

MAX_CONNECTIONS = 1_000
"""Most connections of callers that the sidecar keeps open. Fewer where the process may open fewer files."""

MAX_HEADER_BYTES = 16 * 1024
"""Most bytes of request line and headers, as in Elasticsearch."""

MAX_HEADERS = 100
"""Most headers of a request."""

HEADER_TIMEOUT_MS = 20_000
"""Longest time for the request line and headers, in milliseconds."""

BODY_TIMEOUT_MS = 20_000
"""Longest time without a byte of a body, in milliseconds."""

BODY_BYTES_PER_S = 16 * 1024
"""Least rate of a body, in bytes a second, after the time above: 16 MiB may take 17 minutes."""

WRITE_TIMEOUT_MS = 20_000
"""Longest time in which a caller reads no byte of its answer, in milliseconds."""

IDLE_TIMEOUT_MS = 75_000
"""Longest time between two requests on a connection, in milliseconds: nginx's default, longer than the 60
seconds that common load balancers keep a connection."""

DRAIN_DELAY_MS = 1_000
"""How long a stopping sidecar still serves while ``/readyz`` says so, in milliseconds."""

DRAIN_MS = 8_000
"""How long a stopping sidecar waits for running requests, in milliseconds: the deadline of a search. With the
delay, all callers have an answer before the 10 seconds after which ``docker stop`` kills. The process may
take 3 seconds more (``END_S`` of the sidecar)."""

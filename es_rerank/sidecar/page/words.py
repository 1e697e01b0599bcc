"""What the page says of the sidecar as a whole, and of the groups of paths."""

from __future__ import annotations

from importlib.metadata import version

INFO = {
    "title": "es-rerank sidecar",
    "version": version("es-rerank"),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "description": """\
Send the searches of any Elasticsearch client to this address, or ask the models of the sidecar in the formats
of other rerank and embedding servers.

* **Examples.** Each request on this page works as it stands, if an index `articles` with the fields `title`
  and `text` is there. Only the id of a point in time must be one that `POST /{index}/_pit` has just given.
  The answers are those of the bundled models.
* **API keys.** Searches carry Elasticsearch's own `Authorization`. The paths that use the models directly
  need a key of the sidecar if it has keys (`Authorization: Bearer KEY`).
* **Headers.** Every answer has `X-Elastic-Product: Elasticsearch`, which Elasticsearch's clients ask for. The
  caller's `X-Opaque-Id` comes back. An answer has Elasticsearch's own media type where `Accept` asks for it.
* **Errors.** Each path answers errors in the format of its API. Every path may also answer 405 for another
  method, 408 for a request that comes too slowly, 431 for too long headers, and 503 while the sidecar stops
  or all its connections are busy.
* **Other paths.** With `--pass-through` the sidecar sends every other request on to Elasticsearch. Without
  it, they get 501. `_async_search`, `_search/template`, `_msearch/template`, `_query`, `_rank_eval` and
  `_fleet/_fleet_search` are among them; a retriever that es-rerank runs is refused there (400).
""",
}
"""The ``info`` of the document. The licence is named by its SPDX identifier."""

TAGS = {
    "rerank": "Rerank texts, in the formats of other servers: text-embeddings-inference (TEI), Cohere, Jina, "
    "Voyage, vLLM, llama.cpp, infinity, NVIDIA and Weaviate.",
    "embeddings": "Turn texts into vectors, in the formats of OpenAI, Cohere and text-embeddings-inference.",
    "inference": "Elasticsearch's inference API for the served models.",
    "Elasticsearch": "Searches and points in time, as in Elasticsearch. es-rerank runs the retriever trees "
    "that Elasticsearch cannot run under its licence.",
    "rescore": "Rerank a response that Elasticsearch gave before.",
    "models": "Which models are served.",
    "health": "Probes for load balancers and orchestrators.",
    "status": "Figures and the state of the sidecar, for operators.",
    "plugin": "The internal API of the plugin in Elasticsearch. It may change with each release.",
}
"""The groups of paths in the order of the page."""

"""Elastic's retriever syntax, on every licence, with any cross-encoder, at the speed the hardware allows.

>>> from elasticsearch import Elasticsearch
>>> from es_rerank import RerankClient, load_embedder, load_reranker
>>> official = Elasticsearch("http://localhost:9200")
>>> es = RerankClient(official, reranker=load_reranker(), embedder=load_embedder())
>>> es.rerank("who signed the treaty", index="articles")  # doctest: +SKIP
"""

import importlib
import typing

from .errors import DeadlineError, EsRerankError, ModelError, OverloadError, RequestError, SearchError

if typing.TYPE_CHECKING:
    from .client import AsyncRerankClient, RerankClient
    from .models import Embedder, Reranker
    from .models.load import load_embedder, load_reranker
    from .retrievers.planning.passages import passages_of
    from .text.prompt import assemble_prompt
    from .types import Blend, Calibration, Passage, Scores

__all__ = [
    "AsyncRerankClient",
    "Blend",
    "Calibration",
    "DeadlineError",
    "Embedder",
    "EsRerankError",
    "ModelError",
    "OverloadError",
    "Passage",
    "RequestError",
    "RerankClient",
    "Reranker",
    "Scores",
    "SearchError",
    "assemble_prompt",
    "load_embedder",
    "load_reranker",
    "passages_of",
]

_HOMES = {
    "AsyncRerankClient": ".client",
    "Blend": ".types",
    "Calibration": ".types",
    "Embedder": ".models",
    "Passage": ".types",
    "RerankClient": ".client",
    "Reranker": ".models",
    "Scores": ".types",
    "assemble_prompt": ".text.prompt",
    "load_embedder": ".models.load",
    "load_reranker": ".models.load",
    "passages_of": ".retrievers.planning.passages",
}
"""The home of each public name that is imported on its first use, so that ``import es_rerank`` is quick."""


if not typing.TYPE_CHECKING:  # a type checker reads the imports above, and reports a name that is not there

    def __getattr__(name: str) -> object:
        """Import a public name on its first use (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name], __name__), name)
        return value

    def __dir__() -> list[str]:
        """Return all names, those too that are not imported yet."""
        return sorted({*globals(), *__all__})

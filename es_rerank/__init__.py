"""Elastic's retriever syntax, on every licence, with any cross-encoder, at the speed the hardware allows.

>>> from elasticsearch import Elasticsearch
>>> from es_rerank import RerankClient, load_embedder, load_reranker
>>> es = RerankClient(Elasticsearch("http://localhost:9200"), reranker=load_reranker(), embedder=load_embedder())
>>> es.rerank("who signed the treaty", index="articles")  # doctest: +SKIP
"""

from .client import AsyncRerankClient, RerankClient
from .errors import DeadlineError, EsRerankError, ModelError, OverloadError, RequestError, SearchError
from .models import Embedder, Reranker
from .models.load import load_embedder, load_reranker
from .retrievers.planning.passages import passages_of
from .text.prompt import assemble_prompt
from .types import Calibration, Passage, Scores

__all__ = [
    "AsyncRerankClient",
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

"""Records in an index which reranker its searches take (see ``mapping.SEARCH_DEFAULTS``)."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from es_rerank.retrievers.planning.index_schema import recorded_defaults

from .mapping import SEARCH_DEFAULTS
from .patience import Patience


def reranker_for(
    client: Elasticsearch, name: str, patience: Patience, *, named: str | None, rebuild: bool
) -> str | None:
    """Return the reranker to record in the index that a run writes: the one that is ``named``, else in a
    ``rebuild`` the one of the current version. None to change nothing.
    """
    return named if named is not None or not rebuild else recorded_reranker(client, name, patience)


def recorded_reranker(client: Elasticsearch, name: str, patience: Patience) -> str | None:
    """Return the reranker that the index or alias ``name`` records, None if it records none or is missing."""
    try:
        states: dict[str, Any] = patience.call(lambda: client.indices.get_mapping(index=name)).body
    except NotFoundError:
        return None
    records = [recorded_defaults(state["mappings"].get("_meta", {})) for state in states.values()]
    return next((record.inference_id for record in records if record is not None), None)


def record_reranker(client: Elasticsearch, index: str, reranker: str | None, patience: Patience) -> None:
    """Record a reranker in an index, if another one or none is recorded. All other records stay. None
    changes nothing.
    """
    if reranker is None or recorded_reranker(client, index, patience) == reranker:
        return
    answer = patience.call(lambda: client.indices.get_mapping(index=index))
    meta = answer[index]["mappings"].get("_meta", {})
    search = meta.get("search") if recorded_defaults(meta) is not None else SEARCH_DEFAULTS
    meta = {**meta, "search": {**search, "inference_id": reranker}}
    patience.call(lambda: client.indices.put_mapping(index=index, meta=meta))

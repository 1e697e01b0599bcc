"""Searches through the plugin of a test node, and what its answers say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from waiting import until

_HOUSE_WORK = frozenset(
    {"management", "flush", "refresh", "warmer", "merge", "force_merge", "cluster_coordination"}
)


def filled(es: Elasticsearch, index: str, documents: int = 6, shards: int = 2, replicas: int = 0) -> str:
    """Make an index. A first stage by ``n`` gives 0, 1, 2, …; the scripted sidecar's best are the last."""
    es.indices.create(
        index=index,
        settings={"number_of_shards": shards, "number_of_replicas": replicas},
        mappings={"properties": {"text": {"type": "text"}, "n": {"type": "long"}}},
    )
    actions = (
        {"_id": str(n), "text": f"document of relevance {n}", "n": documents - n} for n in range(documents)
    )
    bulk(es, actions, index=index, refresh="wait_for")
    return index


def first_stage() -> dict[str, Any]:
    """Return a retriever whose order is that of ``n``, descending."""
    by_n = {"query": {"match_all": {}}, "field_value_factor": {"field": "n"}, "boost_mode": "replace"}
    return {"standard": {"query": {"function_score": by_n}}}


def rerank(child: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """Return ``es_rerank`` over a child, by default the first stage. A parameter of None is left out."""
    wanted = {"retriever": child or first_stage(), "field": "text", "inference_text": "what"}
    return {"es_rerank": wanted | {name: value for name, value in parameters.items() if value is not None}}


def search(url: str, index: str, retriever: dict[str, Any], **body: Any) -> httpx.Response:
    """Search, and return the answer whatever its status is."""
    return httpx.post(f"{url}/{index}/_search", json={"retriever": retriever, **body}, timeout=120)


def ids(answer: httpx.Response) -> list[str]:
    """Return the ids of the hits of an answer."""
    assert answer.status_code == 200, answer.text
    return [hit["_id"] for hit in answer.json()["hits"]["hits"]]


def reason(answer: httpx.Response) -> str:
    """Return the sentence of an error."""
    sentence: str = answer.json()["error"]["root_cause"][0]["reason"]
    assert "\n" not in sentence, sentence
    return sentence


@contextmanager
def cluster_settings(es: Elasticsearch, **values: Any) -> Iterator[None]:
    """Set dynamic settings ``es_rerank.*`` until the block ends."""
    names = {f"es_rerank.{name}": value for name, value in values.items()}
    es.cluster.put_settings(persistent=names)
    try:
        yield
    finally:
        es.cluster.put_settings(persistent=dict.fromkeys(names))


def until_asked(url: str) -> None:
    """Wait until the plugin of a node asks its sidecar: after failures it does not for a while."""
    until(lambda: bool(info(url)["sidecar"]["status"] == "ok"), "the sidecar is asked again")


def info(url: str) -> dict[str, Any]:
    """Return what ``GET /_es_rerank`` says."""
    said: dict[str, Any] = httpx.get(f"{url}/_es_rerank", timeout=60).json()
    return said


def busy_threads(es: Elasticsearch) -> dict[str, int]:
    """Return how many threads of each pool work and how many tasks wait for one, on all nodes.

    Idle pools are left out, and those of house work; one of them answers this very question.
    """
    busy: dict[str, int] = {}
    for node in es.nodes.stats(metric="thread_pool")["nodes"].values():
        for name, pool in node["thread_pool"].items():
            if name not in _HOUSE_WORK and pool["active"] + pool["queue"]:
                busy[name] = busy.get(name, 0) + pool["active"] + pool["queue"]
    return busy

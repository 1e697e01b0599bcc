"""Readiness over a real cluster that becomes red, and blocks that concern one index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from elasticsearch import Elasticsearch
from own_nodes import own_node
from waiting import until
from waiting_sidecar import Sidecar, waiting_sidecar


def _asked(sidecar: Sidecar) -> Callable[[], httpx.Response]:
    return lambda: httpx.get(f"{sidecar.url}/readyz", timeout=60)


@pytest.mark.node
@pytest.mark.long
def test_a_red_cluster_is_not_ready_until_it_is_whole_again(tmp_path: Path) -> None:
    """An index that cannot be read, because of a block, makes no cluster unready; a lost shard does."""
    state = tmp_path / "state"
    folder = tmp_path / "sidecar"
    folder.mkdir()
    with own_node(state, {}, plugin=False) as node:
        url = node.start(512)
        with waiting_sidecar(folder, url=url) as sidecar, Elasticsearch(url, request_timeout=60) as es:
            ready = _asked(sidecar)
            until(lambda: ready().status_code == 200)
            es.indices.create(index="whole", settings={"number_of_replicas": 0})
            es.indices.create(index="blocked", settings={"number_of_replicas": 0})
            es.indices.put_settings(index="blocked", settings={"index.blocks.read": True})
            assert ready().status_code == 200
            es.indices.create(
                index="lost",
                settings={"number_of_replicas": 0, "index.routing.allocation.require._name": "nobody"},
                wait_for_active_shards=0,
            )
            until(lambda: ready().status_code == 503)
            assert ready().json()["reasons"] == ["the cluster is red: 1 primary shards are not assigned"]
            assert httpx.get(f"{sidecar.url}/healthz").status_code == 200
            es.indices.delete(index="lost")
            until(lambda: ready().status_code == 200)

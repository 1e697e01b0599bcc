"""The plugin in real Elasticsearches: built, installed, removed, and started by ``up``."""

from __future__ import annotations

from elasticsearch import Elasticsearch


def test_the_node_with_the_plugin_says_how_it_is(plugin_es: Elasticsearch, plugin_sidecar: str) -> None:
    said = plugin_es.perform_request("GET", "/_es_rerank", headers={"accept": "application/json"}).body
    assert said["sidecar"]["url"] == plugin_sidecar
    assert said["sidecar"]["status"] == "ok", said
    assert said["nodes_without_plugin"] == []

"""The plugin in a cluster: trees across three nodes, one that is killed, and one without the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import BadRequestError, Elasticsearch
from own_nodes import OwnNode, own_node
from plugin_searches import filled, first_stage, ids, info, reason, rerank, search
from scripted_sidecar import ScriptedSidecar, right, scripted
from server import reserved_port
from waiting import until

from es_rerank.node.process import SettingValue

pytestmark = pytest.mark.node

HEAP_MB = 320
DOCUMENTS = 30
WINDOW = 20
FIRST_STAGE = [str(number) for number in range(DOCUMENTS)]
RERANKED = FIRST_STAGE[:WINDOW][::-1]


@dataclass
class Cluster:
    """Nodes with the plugin, which ask one sidecar, and the settings with which a further node joins them."""

    state: Path
    fake: ScriptedSidecar
    transport_port: int
    nodes: list[OwnNode] = field(default_factory=list)

    def settings(self, name: str, **more: SettingValue) -> dict[str, SettingValue]:
        return {
            "node.name": name,
            "discovery.type": "multi-node",
            "discovery.seed_hosts": [f"127.0.0.1:{self.transport_port}"],
            **more,
        }

    @property
    def es(self) -> Elasticsearch:
        """A client of the first node, to be closed by the caller."""
        return Elasticsearch(self.nodes[0].url, request_timeout=120)

    def names(self) -> set[str]:
        """Return the names of the nodes of the cluster, as the first one sees them; none without a master."""
        answer = httpx.get(f"{self.nodes[0].url}/_cat/nodes?format=json&h=name", timeout=60)
        return {node["name"] for node in answer.json()} if answer.status_code == 200 else set()

    def settled(self, index: str) -> None:
        """Wait until all copies of the shards of an index are at their place."""
        with self.es as es:
            es.cluster.health(
                index=index, wait_for_status="green", wait_for_no_relocating_shards=True, timeout="100s"
            )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes with the plugin."""
    with ExitStack() as stack:
        port, fake = stack.enter_context(reserved_port()), stack.enter_context(scripted())
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), fake, port)
        address: dict[str, SettingValue] = {"es_rerank.url": f"http://127.0.0.1:{fake.port}"}
        for name in ("one", "two", "three"):
            first: dict[str, SettingValue] = {"transport.port": port} if name == "one" else {}
            masters: dict[str, SettingValue] = {"cluster.initial_master_nodes": ["one", "two", "three"]}
            settings = cluster.settings(name, **address, **first, **masters)
            cluster.nodes.append(stack.enter_context(own_node(cluster.state / name, settings)))
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda node: node.start(HEAP_MB), cluster.nodes))
        until(lambda: cluster.names() == {"one", "two", "three"}, "the three nodes are one cluster")
        yield cluster


@pytest.fixture
def fake(cluster: Cluster) -> ScriptedSidecar:
    """The sidecar, which answers rightly."""
    cluster.fake.forget()
    return cluster.fake


@pytest.fixture
def articles(cluster: Cluster) -> Iterator[str]:
    """An index whose shards are on all nodes of the cluster, each twice."""
    with cluster.es as es:
        yield filled(es, "articles", DOCUMENTS, shards=2 * len(cluster.names()), replicas=1)
        es.indices.delete(index="articles")


def nodes_of(cluster: Cluster, index: str) -> set[str]:
    """Return the names of the nodes that hold shards of an index."""
    path = f"{cluster.nodes[0].url}/_cat/shards/{index}?format=json&h=node"
    return {shard["node"] for shard in httpx.get(path, timeout=60).json()}


def by_relevance() -> dict[str, Any]:
    """Return a retriever whose order is the reverse of the first stage's."""
    tree = first_stage()
    tree["standard"]["query"]["function_score"]["field_value_factor"]["modifier"] = "reciprocal"
    return tree


def scores(answer: httpx.Response) -> list[tuple[str, float]]:
    return [(hit["_id"], round(hit["_score"], 5)) for hit in answer.json()["hits"]["hits"]]


def has_hit_fields(answer: httpx.Response) -> list[bool]:
    return ["rerank.probability" in hit.get("fields", {}) for hit in answer.json()["hits"]["hits"]]


def trees() -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return retrievers over all documents, each with the ids that it gives, best first."""
    fused = {"es_rrf": {"retrievers": [first_stage(), first_stage()], "rank_window_size": WINDOW}}
    reranked = rerank(rank_window_size=WINDOW)
    both = {"es_rrf": {"retrievers": [reranked, first_stage()], "rank_window_size": WINDOW}}
    sums = {
        "es_linear": {
            "retrievers": [
                {"retriever": reranked, "weight": 2.0, "normalizer": "minmax"},
                {"retriever": first_stage(), "weight": 1.0, "normalizer": "minmax"},
            ],
            "rank_window_size": WINDOW,
        }
    }
    return {
        "fusion": (fused, FIRST_STAGE[:WINDOW]),
        "reranked fusion": (rerank(fused, rank_window_size=WINDOW), RERANKED),
        "two rerankers": (rerank(reranked, rank_window_size=5), RERANKED[:5]),
        "sum with a reranker": (sums, RERANKED),
        "reranked fusion of a reranker": (rerank(both, rank_window_size=WINDOW), RERANKED),
        "minimum score": (rerank(fused, rank_window_size=WINDOW, min_score=0.105), RERANKED[:10]),
        "reverse": (rerank(by_relevance(), rank_window_size=WINDOW), FIRST_STAGE[::-1][:WINDOW]),
    }


def check_trees(urls: list[str], index: str, *, with_fields: bool) -> None:
    """Each tree gives the same answer whichever node is asked."""
    for name, (tree, wanted) in trees().items():
        size = 5 if name == "two rerankers" else WINDOW
        answers = [search(url, index, tree, size=size) for url in urls]
        for answer in answers:
            assert ids(answer) == wanted, name
            assert answer.json()["_shards"]["failed"] == 0
            assert scores(answer) == scores(answers[0]), name
            if name != "fusion":
                assert has_hit_fields(answer) == [with_fields] * len(wanted), name
    opposite = {"retrievers": [first_stage(), by_relevance()], "rank_window_size": DOCUMENTS}
    fused = search(urls[0], index, {"es_rrf": opposite}, size=4)
    assert set(ids(fused)) == {"0", "1", "28", "29"}, "first or second in one list, last in the other"


@pytest.mark.long
def test_trees_across_three_nodes(cluster: Cluster, fake: ScriptedSidecar, articles: str) -> None:
    cluster.settled(articles)
    assert nodes_of(cluster, articles) == {"one", "two", "three"}
    check_trees([node.url for node in cluster.nodes], articles, with_fields=True)
    for node in cluster.nodes:
        assert info(node.url)["nodes_without_plugin"] == []


@pytest.mark.long
def test_a_node_without_the_plugin_joins(cluster: Cluster, fake: ScriptedSidecar) -> None:
    with own_node(cluster.state / "bare", cluster.settings("bare"), plugin=False) as bare, cluster.es as es:
        es.ingest.put_pipeline(id="passages", processors=[{"es_rerank_passages": {}}])
        bare.start(HEAP_MB)
        until(lambda: "bare" in cluster.names(), "the node joined")
        filled(es, "mixed", DOCUMENTS, shards=8)
        cluster.settled("mixed")
        assert "bare" in nodes_of(cluster, "mixed")
        urls = [node.url for node in cluster.nodes]
        until(lambda: all(info(url)["nodes_without_plugin"] == ["bare"] for url in urls), "it is named")
        check_trees(urls, "mixed", with_fields=False)
        refused = search(bare.url, "mixed", rerank())
        assert refused.status_code == 400
        assert "unknown retriever [es_rerank]" in reason(refused)
        with pytest.raises(BadRequestError, match="es_rerank_passages"):
            es.ingest.put_pipeline(id="passages-2", processors=[{"es_rerank_passages": {}}])
        es.index(index="mixed", id="new", document={"text": "relevance 98", "n": 99}, pipeline="passages")
        assert es.get(index="mixed", id="new")["_source"]["passages"][0]["text"] == "relevance 98"
        es.indices.delete(index="mixed")
    until(lambda: "bare" not in cluster.names(), "the node left")
    tree, wanted = trees()["reranked fusion"]
    with cluster.es as es:
        filled(es, "plugged", DOCUMENTS, shards=6)
        until(lambda: all(_have_fields(url, "plugged", tree) for url in urls), "hits have fields again")
        assert ids(search(urls[0], "plugged", tree, size=WINDOW)) == wanted
        es.indices.delete(index="plugged")


def _have_fields(url: str, index: str, tree: dict[str, Any]) -> bool:
    return has_hit_fields(search(url, index, tree, size=WINDOW)) == [True] * WINDOW


@pytest.mark.long
def test_a_node_is_killed_in_a_search(cluster: Cluster, fake: ScriptedSidecar, articles: str) -> None:
    """Last in this file: the cluster has two nodes afterwards."""
    cluster.settled(articles)
    *left, victim = cluster.nodes
    fake.usual = fake.held()
    tree, wanted = trees()["reranked fusion"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(search, left[0].url, articles, tree, size=WINDOW)
        try:
            until(lambda: fake.now == 1, "the search waits for the sidecar")
            victim.kill()
            until(lambda: cluster.names() == {"one", "two"}, "the cluster noticed it")
        finally:
            fake.release()
        answer = waiting.result()
    fake.usual = right
    if answer.status_code == 200:
        found = answer.json()
        # Elasticsearch fills the page with other documents of the first stage, which have no score.
        kept = [hit["_id"] for hit in found["hits"]["hits"] if hit["_score"] > 0]
        assert kept == [name for name in wanted if name in kept], "the order is right"
        assert kept == [hit["_id"] for hit in found["hits"]["hits"]][: len(kept)]
        assert len(kept) == WINDOW or found["_shards"]["failed"] > 0, found["_shards"]
    else:
        assert answer.status_code >= 500, answer.text
        assert reason(answer)
    for node in left:
        after = search(node.url, articles, tree, size=WINDOW)
        assert ids(after) == wanted
        assert after.json()["_shards"]["failed"] == 0

"""Searches of the clients and of the gateway, inside an Elasticsearch with the plugin and outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from app_client import app_client
from drawn_trees import PROPERTIES, documents, search
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import AsyncRerankClient, RerankClient, load_embedder, load_reranker
from es_rerank.errors import IndexMismatchError, RequestError
from es_rerank.models import Embedder, Reranker
from es_rerank.node import Node
from es_rerank.retrievers.execution.plugin_info import PluginInfo
from es_rerank.retrievers.execution.run import Connection, run
from es_rerank.retrievers.execution.searching import Searching, searching
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker

INDEX = "test-inside"
LEAF = {"standard": {"query": {"match": {"text": "treaty king"}}}}
RRF = {"rrf": {"retrievers": [LEAF, {"standard": {"query": {"match": {"title": "moon"}}}}]}}
RERANKED = {
    "text_similarity_reranker": {"retriever": RRF, "field": "text", "inference_text": "the king of the moon"}
}

# Documents without a text are named in a header, which the client of Elasticsearch repeats as a warning.
pytestmark = pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")


class Models(NamedTuple):
    reranker: Reranker
    embedder: Embedder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A reranker and an embedder with the names and weights of those that the plugin's sidecar serves."""
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


@pytest.fixture(scope="module")
def models(folders: tuple[Path, Path]) -> Models:
    return Models(load_reranker(folders[0]), load_embedder(folders[1]))


@pytest.fixture(scope="module")
def filled(plugin_es: Elasticsearch, plugin_sidecar: str) -> Iterator[Elasticsearch]:
    plugin_es.options(ignore_status=404).indices.delete(index=INDEX)
    plugin_es.indices.create(
        index=INDEX,
        mappings={"properties": PROPERTIES},
        settings={"number_of_shards": 2, "number_of_replicas": 0},
    )
    operations: list[Any] = []
    for place, document in enumerate(documents(7, 80)):
        operations += [{"index": {"_id": str(place)}}, document]
    assert not plugin_es.bulk(index=INDEX, operations=operations, refresh=True)["errors"]
    yield plugin_es
    plugin_es.indices.delete(index=INDEX)


@pytest.fixture(scope="module")
def ways(filled: Elasticsearch, models: Models) -> tuple[RerankClient, RerankClient]:
    """A client whose searches run inside, and one whose searches run outside."""
    return (
        RerankClient(filled, reranker=models.reranker, embedder=models.embedder, plugin="always"),
        RerankClient(filled, reranker=models.reranker, embedder=models.embedder, plugin="never"),
    )


def ranking(answer: Any) -> list[tuple[str, float]]:
    """Return ids and scores, hits of an equal score in the order of their ids."""
    hits = [(hit["_id"], round(hit["_score"], 5)) for hit in answer["hits"]["hits"] if hit["_score"] > 1e-9]
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))


def assert_same(inside: Any, outside: Any) -> None:
    here, there = ranking(inside), ranking(outside)
    assert [name for name, _ in here] == [name for name, _ in there]
    assert [score for _, score in here] == pytest.approx([score for _, score in there], abs=1e-6)


@pytest.mark.parametrize("number", range(20))
def test_a_drawn_tree_gives_the_same_by_either_way(
    ways: tuple[RerankClient, RerankClient], number: int
) -> None:
    body = search(1000 + number)
    inside, outside = (client.search(index=INDEX, body=body) for client in ways)
    assert inside["rerank"]["inside"] is True
    assert "inside" not in outside["rerank"]
    assert inside["rerank"]["requests"] <= 2, "the search, and a look at the mapping"
    assert inside["hits"]["total"] == outside["hits"]["total"]
    assert_same(inside, outside)
    for key in ("status", "window", "model", "score"):
        assert inside["rerank"].get(key) == outside["rerank"].get(key)


def test_hits_say_what_the_reranker_said(ways: tuple[RerankClient, RerankClient]) -> None:
    inside, outside = (client.search(index=INDEX, retriever=RERANKED, size=5) for client in ways)
    for here, there in zip(inside["hits"]["hits"], outside["hits"]["hits"], strict=True):
        names = [name for name in there["fields"] if name.startswith("rerank.")]
        assert sorted(here["fields"]) == sorted(names)
        for name in names:
            (said,), (expected,) = here["fields"][name], there["fields"][name]
            assert said == (expected if name == "rerank.passage" else pytest.approx(expected, abs=1e-6)), name


def test_the_short_form_runs_inside(ways: tuple[RerankClient, RerankClient]) -> None:
    inside, outside = (
        client.rerank("the king", index=INDEX, field="text", first_stage="bm25", size=5) for client in ways
    )
    assert inside["rerank"]["inside"] is True
    assert inside["rerank"]["status"] == outside["rerank"]["status"] == "reranked"
    assert_same(inside, outside)


def test_auto_is_inside_where_the_models_are_the_same(filled: Elasticsearch, models: Models) -> None:
    same = RerankClient(filled, reranker=models.reranker, embedder=models.embedder)
    other = RerankClient(filled, reranker=WordOverlapReranker(), embedder=models.embedder)
    none = RerankClient(filled)
    assert same.search(index=INDEX, retriever=RERANKED)["rerank"]["inside"] is True
    assert none.search(index=INDEX, retriever=RERANKED)["rerank"]["model"] == models.reranker.name
    answer = other.search(index=INDEX, retriever=RERANKED)
    assert "inside" not in answer["rerank"]
    assert answer["rerank"]["model"] == "word-overlap"
    assert other.search(index=INDEX, retriever=RRF)["rerank"]["inside"] is True, "a fusion needs no model"


def test_what_a_page_asks_for_stays(ways: tuple[RerankClient, RerankClient]) -> None:
    arguments: dict[str, Any] = {
        "index": INDEX,
        "retriever": RERANKED,
        "source": ["title"],
        "from_": 1,
        "size": 3,
        "aggs": {"groups": {"terms": {"field": "group"}}},
        "routing": "a",
        "filter_path": "hits.hits._source,hits.hits._id,aggregations,rerank.status",
    }
    inside, outside = (client.search(**arguments) for client in ways)
    assert inside == outside
    assert set(inside.body) == {"hits", "aggregations", "rerank"}


def test_a_point_in_time_of_the_caller(
    filled: Elasticsearch, ways: tuple[RerankClient, RerankClient]
) -> None:
    pit = filled.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    inside, outside = (client.search(pit={"id": pit}, retriever=RERANKED) for client in ways)
    assert_same(inside, outside)
    assert inside["pit_id"] == outside["pit_id"]
    filled.close_point_in_time(id=pit)
    for client in ways:
        with pytest.raises(BadRequestError, match=r"\[indices\] cannot be used with point in time"):
            client.search(index=INDEX, pit={"id": pit}, retriever=RERANKED)


def test_searches_of_one_msearch(ways: tuple[RerankClient, RerankClient]) -> None:
    lines: list[Any] = [
        {"index": INDEX},
        {"retriever": RERANKED},
        {},
        {"query": {"match_all": {}}},
        {},
        {"retriever": RRF},
    ]
    inside, outside = (client.msearch(index=INDEX, searches=lines)["responses"] for client in ways)
    assert [answer.get("rerank", {}).get("inside") for answer in inside] == [True, None, True]
    for here, there in zip(inside, outside, strict=True):
        assert_same(here, there)


async def test_the_asynchronous_client(plugin_node: Node, filled: Elasticsearch, models: Models) -> None:
    async with AsyncRerankClient(
        AsyncElasticsearch(plugin_node.url),
        reranker=models.reranker,
        embedder=models.embedder,
        plugin="always",
    ) as client:
        answer = await client.search(index=INDEX, retriever=RERANKED)
    outside = RerankClient(filled, reranker=models.reranker, plugin="never")
    assert_same(answer, outside.search(index=INDEX, retriever=RERANKED))


def test_names_of_the_plugin_in_the_callers_tree(ways: tuple[RerankClient, RerankClient]) -> None:
    mixed = {"es_rrf": {"retrievers": [RRF, LEAF]}}
    below = {"rrf": {"retrievers": [{"es_rrf": RRF["rrf"]}, LEAF]}}
    alone = {"es_rrf": {"retrievers": [{"es_rrf": RRF["rrf"]}, LEAF]}}
    inside, outside = ways
    expected = inside.search(index=INDEX, retriever={"rrf": {"retrievers": [RRF, LEAF]}})
    for client, tree in (
        (inside, mixed),
        (inside, below),
        (inside, alone),
        (outside, below),
        (outside, alone),
    ):
        assert_same(client.search(index=INDEX, retriever=tree), expected)
    with pytest.raises(RequestError, match=r"\[es_rrf\] is run by Elasticsearch alone"):
        outside.search(index=INDEX, retriever=mixed)


def test_what_the_plugin_lacks_runs_outside_or_is_an_error(
    filled: Elasticsearch, ways: tuple[RerankClient, RerankClient], models: Models
) -> None:
    auto = RerankClient(filled, reranker=models.reranker, embedder=models.embedder)
    tree = {"pinned": {"ids": ["3"], "retriever": RRF}}
    assert "inside" not in auto.search(index=INDEX, retriever=tree)["rerank"]
    with pytest.raises(RequestError, match=r"the plugin has no retriever \[pinned\]"):
        ways[0].search(index=INDEX, retriever=tree)


def test_eight_levels_run_inside_and_nine_outside(filled: Elasticsearch) -> None:
    client = RerankClient(filled)
    trees: list[Any] = [LEAF]
    for _ in range(9):
        trees.append({"rrf": {"retrievers": [trees[-1], LEAF]}})
    assert client.search(index=INDEX, retriever=trees[8])["rerank"]["inside"] is True
    assert "inside" not in client.search(index=INDEX, retriever=trees[9])["rerank"]


def test_eight_rerankers_run_inside(ways: tuple[RerankClient, RerankClient]) -> None:
    tree: dict[str, Any] = LEAF
    for number in range(8):
        tree = {
            "text_similarity_reranker": {
                "retriever": tree,
                "field": "text",
                "inference_text": f"the king {number}",
            }
        }
    inside, outside = (client.search(index=INDEX, retriever=tree) for client in ways)
    assert_same(inside, outside)


def test_vectors_of_another_embedder_are_the_same_error(
    plugin_es: Elasticsearch, plugin_index: str, ways: tuple[RerankClient, RerankClient]
) -> None:
    mappings = {"_meta": {"managed_by": "es-rerank", "embedder": "another"}, "properties": PROPERTIES}
    plugin_es.indices.create(index=plugin_index, mappings=mappings)
    builder = {"text_embedding": {"model_text": "the king"}}
    leaf = {"knn": {"field": "vector", "k": 3, "num_candidates": 5, "query_vector_builder": builder}}
    for client in ways:
        for tree in (leaf, {"rrf": {"retrievers": [leaf, LEAF]}}):
            with pytest.raises(IndexMismatchError, match=r"holds vectors of \[another\]"):
                client.search(index=plugin_index, retriever=tree)


def test_vectors_of_the_second_embedder_are_searched_with_it(
    plugin_es: Elasticsearch, plugin_index: str, models: Models, tmp_path: Path
) -> None:
    folder = reseal(tiny_bi_encoder(tmp_path, dims=6, seed=1), name="second")
    properties = {"vector": {"type": "dense_vector", "dims": 6, "similarity": "cosine"}}
    plugin_es.indices.create(
        index=plugin_index, mappings={"_meta": {"embedder": "second"}, "properties": properties}
    )
    with load_embedder(folder) as second:
        for place, vector in enumerate(second.embed(["the king", "the moon", "it rained"])):
            plugin_es.index(index=plugin_index, id=str(place), document={"vector": vector.tolist()})
        plugin_es.indices.refresh(index=plugin_index)
        served = {"first": models.embedder, "b": second}
        for plugin in ("always", "never"):
            for own in (served, {}):  # a client without models takes those of the plugin's sidecar
                client = RerankClient(plugin_es, embedder=own, plugin=plugin)
                for name in (None, "b" if own else "second", "second"):
                    if not own and plugin == "never":
                        continue
                    named = {} if name is None else {"model_id": name}
                    builder = {"text_embedding": {"model_text": "the king", **named}}
                    knn = {"field": "vector", "k": 3, "num_candidates": 9, "query_vector_builder": builder}
                    for tree in ({"knn": knn}, {"rrf": {"retrievers": [{"knn": knn}]}}):
                        hits = client.search(index=plugin_index, retriever=tree)["hits"]["hits"]
                        assert hits[0]["_id"] == "0"
                        if "knn" in tree:
                            assert hits[0]["_score"] == pytest.approx(1, abs=1e-5)


def test_a_query_vector_alone_is_made_inside(ways: tuple[RerankClient, RerankClient]) -> None:
    builder = {"text_embedding": {"model_text": "the king"}}
    leaf = {"knn": {"field": "vector", "k": 3, "num_candidates": 50, "query_vector_builder": builder}}
    inside, outside = (client.search(index=INDEX, retriever=leaf) for client in ways)
    assert_same(inside, outside)
    assert "rerank" not in inside.body


def test_errors_of_elasticsearch_pass_through(ways: tuple[RerankClient, RerankClient]) -> None:
    wrong: dict[str, Any] = {"standard": {"query": {"no_such_query": {}}}}
    answers = []
    for client in ways:
        with pytest.raises(BadRequestError) as caught:
            client.search(index=INDEX, retriever={"rrf": {"retrievers": [wrong, LEAF]}})
        answers.append(str(caught.value))
    assert all("no_such_query" in text for text in answers)


def with_old_knowledge(es: Elasticsearch, client: Searching, index: str, tree: Any) -> Any:
    """Search an Elasticsearch without the plugin, which had one when it was asked last."""
    client.plugins.put(PluginInfo(models=("word-overlap",), embedders=("tiny",)))
    connection, context = Connection(es), client.context(index, {}, None)
    arguments = {"index": index, "retriever": tree}
    return run(client.search(context, tree, arguments, connection.as_json), connection, context)


def test_a_plugin_that_is_gone_is_forgotten_at_once(es: Elasticsearch, index: str) -> None:
    es.index(index=index, document={"text": "the king"}, refresh=True)
    for tree in (RRF, RERANKED):
        steps = searching(WordOverlapReranker(), None, None, (), "auto")
        answer = with_old_knowledge(es, steps, index, tree)
        assert "inside" not in answer["rerank"]
        known = steps.plugins.get()
        assert known is not None
        assert known.fault == "Elasticsearch does not know the retrievers of the plugin es-rerank"


def test_a_vector_builder_that_is_gone_is_forgotten_too(es: Elasticsearch, index: str) -> None:
    es.indices.create(index=index, mappings={"properties": PROPERTIES})
    builder = {"text_embedding": {"model_text": "the king"}}
    leaf = {"knn": {"field": "vector", "k": 3, "num_candidates": 5, "query_vector_builder": builder}}
    with pytest.raises(RequestError, match="needs an embedder and none is configured"):
        with_old_knowledge(es, searching(None, None, None, (), "auto"), index, leaf)


def test_a_node_without_the_plugin_runs_everything_outside(es: Elasticsearch, index: str) -> None:
    es.index(index=index, document={"text": "the king"}, refresh=True)
    answer = RerankClient(es, reranker=WordOverlapReranker()).search(index=index, retriever=RERANKED)
    assert "inside" not in answer["rerank"]
    with pytest.raises(BadRequestError, match="unknown retriever"):
        RerankClient(es).search(index=index, retriever={"es_rrf": RRF["rrf"]})


# -- the gateway ---------------------------------------------------------------------------------------------


@pytest.fixture
async def gateway(
    plugin_node: Node, filled: Elasticsearch, folders: tuple[Path, Path]
) -> AsyncIterator[httpx.AsyncClient]:
    def load() -> tuple[dict[str, Reranker], Embedder]:
        reranker = load_reranker(folders[0])  # the service closes it
        return {reranker.name: reranker}, load_embedder(folders[1])

    service = Service(AsyncElasticsearch(plugin_node.url, max_retries=0), load)
    async with app_client(service) as client:
        yield client


async def test_the_gateway_searches_inside(
    gateway: httpx.AsyncClient, ways: tuple[RerankClient, RerankClient]
) -> None:
    answer = await gateway.post(f"/{INDEX}/_search", json={"retriever": RERANKED, "size": 5})
    assert answer.json()["rerank"]["inside"] is True
    assert_same(answer.json(), ways[1].search(index=INDEX, retriever=RERANKED, size=5))


async def test_the_gateway_forwards_names_of_the_plugin(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post(f"/{INDEX}/_search", json={"retriever": {"es_rrf": RRF["rrf"]}})
    assert answer.status_code == 200
    assert "rerank" not in answer.json()


async def test_the_gateway_passes_warnings_on(gateway: httpx.AsyncClient, plugin_es: Elasticsearch) -> None:
    plugin_es.index(index=INDEX, id="empty", document={"title": "moon"}, refresh=True)
    try:
        tree = {**RERANKED["text_similarity_reranker"], "rank_window_size": 100}
        tree["retriever"] = {"standard": {"query": {"match": {"title": "moon"}}}}
        body = {"retriever": {"text_similarity_reranker": tree}}
        answer = await gateway.post(f"/{INDEX}/_search", json=body)
        lines = f"{{}}\n{json.dumps(body)}\n"
        answers = await gateway.post(
            f"/{INDEX}/_msearch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
    finally:
        plugin_es.delete(index=INDEX, id="empty", refresh=True)
    assert "documents have no text in [text]" in answer.headers["warning"]
    assert answer.json()["rerank"]["status"] == "reranked"
    assert answers.headers["warning"] == answer.headers["warning"]


UNKEPT: dict[str, Any] = {
    "title": {"type": "text"},
    "text": {"type": "text"},
    "stored": {"type": "text", "store": True},
    "word": {"type": "keyword", "ignore_above": 12},
}


@pytest.fixture(scope="module")
def unkept(filled: Elasticsearch) -> Iterator[str]:
    """Two indices, of which one keeps ``_source`` and one keeps nothing of it."""
    names = ("test-inside-kept", "test-inside-unkept")
    filled.options(ignore_status=404).indices.delete(index=",".join(names))
    for name in names:
        source = {"enabled": name == names[0]}
        filled.indices.create(index=name, mappings={"_source": source, "properties": UNKEPT})
        for place, text in enumerate(("the king", "a moon", "king of the moon")):
            each = dict.fromkeys(UNKEPT, text)
            filled.index(index=name, id=f"{name[12]}{place}", document=each, refresh=True)
        filled.index(index=name, id=f"{name[12]}bare", document={"title": "bare"}, refresh=True)
    yield ",".join(names)
    filled.indices.delete(index=",".join(names))


@pytest.mark.parametrize("field", ["text", "stored", "word", ["title", "text"], ["title", "stored"]], ids=str)
@pytest.mark.parametrize("part", ["both", "unkept"])
def test_what_cannot_be_read_is_the_same_by_either_way(
    ways: tuple[RerankClient, RerankClient], unkept: str, field: Any, part: str
) -> None:
    leaf: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    tree = {**RERANKED["text_similarity_reranker"], "field": field, "retriever": leaf}
    where = unkept if part == "both" else unkept.rpartition(",")[2]
    inside, outside = (
        client.search(index=where, retriever={"text_similarity_reranker": tree}) for client in ways
    )
    assert inside["rerank"]["inside"] is True
    assert inside["rerank"]["status"] == outside["rerank"]["status"]
    assert inside["rerank"].get("reason") == outside["rerank"].get("reason")
    assert inside["rerank"].get("without_text", 0) == outside["rerank"]["without_text"]
    assert_same(inside, outside)


def test_failed_shards_are_counted_by_either_way(
    ways: tuple[RerankClient, RerankClient], filled: Elasticsearch
) -> None:
    name = "test-inside-long"
    filled.options(ignore_status=404).indices.delete(index=name)
    filled.indices.create(index=name, mappings={"properties": {"text": {"type": "long"}}})
    filled.index(index=name, document={"text": 1}, refresh=True)
    where = f"{INDEX},{name}"
    try:
        for tree in (RRF, RERANKED):
            inside, outside = (client.search(index=where, retriever=tree) for client in ways)
            for answer in (inside, outside):
                assert answer["_shards"]["failed"] == 1
                assert answer["rerank"]["status"] == "partial"
                assert (
                    "1 of 3 shards failed in the first stage: failed to create" in answer["rerank"]["reason"]
                )
            for client in ways:
                with pytest.raises(BadRequestError):
                    client.search(index=where, retriever=tree, allow_partial_search_results=False)
    finally:
        filled.indices.delete(index=name)

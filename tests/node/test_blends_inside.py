"""Each kind of first stage has its blend, which is the same inside Elasticsearch and outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from plugin_searches import until_asked
from server import sidecar
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_embedder, load_reranker
from es_rerank.models import Embedder
from es_rerank.models.contracts import CalibrationRecord
from es_rerank.node import Node
from es_rerank.types import Blend, Calibration, Scores

QUERY = "the king of the river"
EMBEDDER = "tiny-中 embedder"
CALIBRATION = Calibration(
    0.5,
    -1.0,
    {
        "dense": Blend(1.0, 3.0, 0.5),
        f"dense:{EMBEDDER}": Blend(0.5, 0.2, -0.5),
        # A window whose correlation is below 1 is left alone: all of them are.
        "bm25": Blend(1.0, 2.0, -1.0, 1.0, 0.75, -0.25),
        "hybrid": Blend(0.7, 0.1, 0.25),
        f"hybrid:{EMBEDDER}": Blend(0.9, 5.0, 0.75),
    },
)
PLAIN, RECORDED, OTHER = "blends-plain", "blends-recorded", "blends-other"
META: dict[str, dict[str, Any]] = {
    PLAIN: {},
    RECORDED: {"_meta": {"embedder": EMBEDDER}},
    OTHER: {"_meta": {"embedder": "another"}},
}
WORDS = ("king", "river", "treaty", "moon", "the", "of", "forest", "night")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("blends")
    record = CalibrationRecord.of(CALIBRATION)
    return (
        tiny_cross_encoder(folder / "reranker", calibration=record),
        reseal(tiny_bi_encoder(folder / "embedder"), name=EMBEDDER),
    )


@pytest.fixture(scope="module")
def address(
    plugin_node: Node,
    sidecar_port: int,
    folders: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    log = tmp_path_factory.mktemp("blends-log") / "log"
    with sidecar(plugin_node.url, *folders, log, sidecar_port) as (url, _):
        until_asked(plugin_node.url)
        yield url


@pytest.fixture(scope="module")
def embedder(folders: tuple[Path, Path]) -> Embedder:
    return load_embedder(folders[1])


@pytest.fixture(scope="module")
def clients(
    plugin_es: Elasticsearch, folders: tuple[Path, Path], embedder: Embedder, address: str
) -> Iterator[tuple[RerankClient, RerankClient]]:
    """A client whose searches run inside, and one whose searches run outside."""
    assert address
    texts = [
        " ".join(WORDS[(number * step + number // 8) % 8] for step in range(2 + number % 5))
        for number in range(40)
    ]
    vectors = embedder.embed(texts)
    for index, meta in META.items():
        plugin_es.options(ignore_status=404).indices.delete(index=index)
        vector = {"type": "dense_vector", "dims": embedder.dims, "similarity": "cosine"}
        plugin_es.indices.create(
            index=index,
            mappings={**meta, "properties": {"text": {"type": "text"}, "vector": vector}},
            settings={"number_of_shards": 1, "number_of_replicas": 0},
        )
        operations: list[Any] = []
        for number, text in enumerate(texts):
            operations += [{"index": {"_id": f"{index}-{number}"}}]
            operations += [{"text": text, "vector": vectors[number].tolist()}]
        assert not plugin_es.bulk(index=index, operations=operations, refresh=True)["errors"]
    reranker = load_reranker(folders[0])
    yield (
        RerankClient(plugin_es, reranker=reranker, embedder=embedder, plugin="always"),
        RerankClient(plugin_es, reranker=reranker, embedder=embedder, plugin="never"),
    )
    plugin_es.indices.delete(index=",".join(META))


def knn(vector: list[float] | None = None) -> dict[str, Any]:
    source: dict[str, Any] = {"query_vector_builder": {"text_embedding": {"model_text": QUERY}}}
    if vector is not None:
        source = {"query_vector": vector}
    return {"knn": {"field": "vector", "k": 12, "num_candidates": 40, **source}}


MATCH: dict[str, Any] = {"match": {"text": QUERY}}
BM25 = {"standard": {"query": MATCH}}
FILTER = {"standard": {"query": {"bool": {"filter": [{"match": {"text": "king"}}]}}}}


def rrf(*children: dict[str, Any]) -> dict[str, Any]:
    return {"rrf": {"retrievers": list(children), "rank_window_size": 15}}


def linear(child: dict[str, Any]) -> dict[str, Any]:
    return {"linear": {"retrievers": [{"retriever": child, "weight": 2.0}], "rank_window_size": 12}}


def reranked(child: dict[str, Any], **more: Any) -> dict[str, Any]:
    wanted = {
        "retriever": child,
        "field": "text",
        "inference_text": QUERY,
        "rank_window_size": 12,
        "blend": True,
        **more,
    }
    return {"text_similarity_reranker": wanted}


def exact(source: str, vector: list[float]) -> dict[str, Any]:
    script = {"source": source, "params": {"v": vector}}
    return {"standard": {"query": {"script_score": {"query": MATCH, "script": script}}}}


def trees(vector: list[float]) -> list[tuple[str, dict[str, Any], str]]:
    """Index, child of the reranker, and the key of the blend that counts."""
    own, hybrid = f"dense:{EMBEDDER}", f"hybrid:{EMBEDDER}"
    within = {"knn": {"field": "vector", "query_vector": vector, "k": 12, "num_candidates": 40}}
    return [
        (PLAIN, knn(vector), "dense"),
        (PLAIN, knn(), own),
        (RECORDED, knn(), own),
        (RECORDED, knn(vector), own),
        (f"{RECORDED},{PLAIN}", knn(vector), own),
        (f"{RECORDED},{OTHER}", knn(vector), "dense"),
        (OTHER, knn(vector), "dense"),
        (RECORDED, BM25, "bm25"),
        (PLAIN, {"standard": {"query": {"bool": {"must": [MATCH], "filter": [MATCH]}}}}, "bm25"),
        (RECORDED, rrf(knn(vector), BM25), hybrid),
        (PLAIN, rrf(knn(), BM25), hybrid),
        (PLAIN, rrf(BM25, BM25), "hybrid"),
        (PLAIN, linear(knn(vector)), "hybrid"),
        (PLAIN, reranked(knn(vector), blend=False), "hybrid"),
        (PLAIN, FILTER, "dense"),
        (PLAIN, {"standard": {"query": within}}, "dense"),
        (PLAIN, {"standard": {"query": {"bool": {"should": [MATCH, within]}}}}, "hybrid"),
        (RECORDED, {"standard": {"query": within}}, own),
        (RECORDED, rrf(BM25, BM25), hybrid),
        (RECORDED, reranked(BM25, blend=False), hybrid),
        (RECORDED, {"rescorer": {"retriever": BM25, "rescore": _rescored()}}, "bm25"),
    ]


def _rescored() -> dict[str, Any]:
    return {"window_size": 12, "query": {"rescore_query": {"match": {"text": "moon"}}}}


def shown(answer: Any) -> dict[str, tuple[Any, ...]]:
    return {
        hit["_id"]: (
            pytest.approx(hit["_score"], abs=1e-6),
            pytest.approx(hit["fields"]["rerank.logit"][0], abs=1e-5),
            pytest.approx(hit["fields"]["rerank.probability"][0], abs=1e-6),
        )
        for hit in answer["hits"]["hits"]
    }


@pytest.mark.parametrize("number", range(21))
def test_the_blend_of_a_first_stage_is_the_same_inside_and_outside(
    clients: tuple[RerankClient, RerankClient], embedder: Embedder, number: int
) -> None:
    vector = embedder.embed([QUERY], purpose="query")[0].tolist()
    assert len(trees(vector)) == 21
    check_same(clients, *trees(vector)[number])


@pytest.mark.parametrize(
    "source", ["cosineSimilarity(params.v, 'vector') + 1.0", "_score * 2 + 0 * params.v.length"]
)
def test_a_script_over_vectors_has_the_blend_for_vectors(
    clients: tuple[RerankClient, RerankClient],
    plugin_es: Elasticsearch,
    embedder: Embedder,
    source: str,
) -> None:
    known = {each["language"] for each in plugin_es.get_script_languages()["language_contexts"]}
    if "painless" not in known:
        pytest.skip("this Elasticsearch has no painless, in which scripts compare vectors")
    vector = embedder.embed([QUERY], purpose="query")[0].tolist()
    check_same(clients, PLAIN, exact(source, vector), "dense")


def check_same(
    clients: tuple[RerankClient, RerankClient], index: str, child: dict[str, Any], key: str
) -> None:
    """Check that a reranker over ``child`` uses the blend ``key`` on both ways, with the same scores."""
    here, there = (client.search(index=index, retriever=reranked(child), size=12) for client in clients)
    assert here["rerank"]["inside"] is True
    assert here["rerank"]["blend"] == there["rerank"]["blend"] == key
    assert shown(here) == shown(there)
    scores = [hit["_score"] for hit in here["hits"]["hits"]]
    assert len(scores) >= 5
    assert scores == sorted(scores, reverse=True)
    assert here["rerank"].get("order") == there["rerank"].get("order")
    assert ("order" in here["rerank"]) == (key == "bm25")


def test_a_window_that_is_left_alone_keeps_the_order_of_its_first_stage_and_says_so(
    clients: tuple[RerankClient, RerankClient],
) -> None:
    for client in clients:
        answer = client.search(index=RECORDED, retriever=reranked(BM25), size=12)
        fields = [hit["fields"] for hit in answer["hits"]["hits"]]
        assert answer["rerank"]["status"] == "reranked"
        assert answer["rerank"]["order"] == "first_stage"
        first_stage = [each["rerank.first_stage_score"][0] for each in fields]
        assert first_stage == sorted(first_stage, reverse=True)
        assert all(each["rerank.logit"] and each["rerank.probability"] for each in fields)


def test_without_blend_nothing_is_told_of_one(clients: tuple[RerankClient, RerankClient]) -> None:
    for client in clients:
        block = client.search(index=RECORDED, retriever=reranked(BM25, blend=False), size=12)["rerank"]
        assert block["score"] == "probability"
        assert not {"blend", "order"} & set(block)


def test_a_blend_that_did_not_count_is_not_named(plugin_es: Elasticsearch, clients: object) -> None:
    assert clients

    class Broken:
        name, calibration = "broken", CALIBRATION

        def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
            raise RuntimeError("out of order")

        async def ascore(
            self, query: str, passages: Sequence[str], *, deadline: float | None = None
        ) -> Scores:
            return self.score(query, passages, deadline=deadline)

    client = RerankClient(plugin_es, reranker=Broken(), plugin="never")
    asked = reranked(BM25, allow_rerank_failures=True)
    block = client.search(index=RECORDED, retriever=asked, size=12)["rerank"]
    assert block["status"] == "first_stage"
    assert not {"blend", "order"} & set(block)


def test_a_plugin_that_tells_no_kind_gets_the_blend_for_vectors(address: str) -> None:
    body = {
        "query": QUERY,
        "blend": True,
        "documents": [
            {"passages": [{"text": text}], "first_stage_score": score}
            for text, score in (("the king", 2.0), ("a river", 1.0), ("moon", 0.5))
        ],
    }
    url = f"{address}/_rerank/v1/score"
    assert httpx.post(url, json=body).json()["blend"] == "dense"
    told = {"first_stage": "hybrid", "recorded_embedders": [], "vector_models": [None]}
    assert httpx.post(url, json=body | told).json()["blend"] == f"hybrid:{EMBEDDER}"
    alone = httpx.post(url, json=body | {"first_stage": "bm25"}).json()
    assert (alone["blend"], alone["order"]) == ("bm25", "first_stage")
    assert [document["index"] for document in alone["documents"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({}, "dense"),
        ({"first_stage": "bm25"}, "bm25"),
        ({"first_stage": "knn", "embedder": EMBEDDER}, f"dense:{EMBEDDER}"),
        ({"embedder": EMBEDDER}, f"dense:{EMBEDDER}"),
        ({"first_stage": "hybrid", "embedder": "another"}, "hybrid"),
    ],
)
def test_a_rescore_says_where_its_hits_come_from(address: str, told: dict[str, str], key: str) -> None:
    hits = [
        {"_id": text, "_index": PLAIN, "_score": score, "_source": {"text": text}}
        for text, score in (("the king", 2.0), ("a river", 1.0), ("moon", 0.5))
    ]
    asked = {"query": QUERY, "field": "text", "response": {"hits": {"hits": hits}}, **told}
    answer = httpx.post(f"{address}/rescore", json=asked).json()
    assert answer["rerank"]["blend"] == key
    if key == "bm25":
        assert answer["rerank"]["order"] == "first_stage"
        assert [hit["_id"] for hit in answer["hits"]["hits"]] == [hit["_id"] for hit in hits]

"""Drawn requests through the gateway give what Elasticsearch, the plugin and a separate calculation give."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from differences import assert_same_answer, assert_same_bytes, assert_same_rest
from drawn_requests import SEED, Drawn, drawn, is_plain
from drawn_trees import ALIAS, empty, fill
from elasticsearch import Elasticsearch
from independent import Documents, Tree
from independent_answers import answer
from independent_models import LIMIT, PairModel, TextModel
from plugin_bodies import inside
from plugin_searches import until_asked
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.node import Node

Body = dict[str, Any]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each drawn request a test of its own; ``--drawn`` says how many there are."""
    numbers = range(metafunc.config.getoption("drawn"))
    if "plain_number" in metafunc.fixturenames:
        metafunc.parametrize("plain_number", [number for number in numbers if is_plain(number)])
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", [number for number in numbers if not is_plain(number)])


@dataclass(frozen=True)
class Doors:
    """The ways to an answer: the node with the plugin, a gateway that runs trees itself, the calculation."""

    node: httpx.Client
    gateway: httpx.Client
    documents: Documents
    pairs: PairModel
    texts: TextModel

    def through_gateway(self, request: Drawn) -> httpx.Response:
        return _sent(self.gateway, request)

    def from_node(self, request: Drawn) -> httpx.Response:
        return _sent(self.node, request)

    def inside(self, body: Body) -> Body:
        """The plugin's answer."""
        found = self.node.post(f"/{ALIAS}/_search", json=inside(body))
        assert found.status_code == 200, found.text
        result: Body = found.json()
        return result

    def tree(self) -> Tree:
        return Tree(self.node, ALIAS, self.documents, self.pairs, self.texts)


def _sent(client: httpx.Client, request: Drawn) -> httpx.Response:
    return client.request(
        request.method, request.path, params=request.params, content=request.content, headers=request.headers
    )


@pytest.fixture(scope="module")
def doors(
    plugin_node: Node, plugin_es: Elasticsearch, sidecar_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("differential")
    models = (
        tiny_cross_encoder(folder / "reranker", max_length=LIMIT),
        tiny_bi_encoder(folder / "embedder", max_length=LIMIT),
    )
    outside = {"ES_RERANK_PLUGIN": "never"}
    with sidecar(plugin_node.url, *models, folder / "log", sidecar_port, environment=outside) as (url, _):
        until_asked(plugin_node.url)
        fill(plugin_es)
        with (
            httpx.Client(base_url=plugin_node.url, timeout=60) as node,
            httpx.Client(base_url=url, timeout=60) as gateway,
        ):
            documents = Documents.read(node, ALIAS)
            yield Doors(node, gateway, documents, PairModel(models[0]), TextModel(models[1]))
        empty(plugin_es)


def test_a_plain_request_has_elasticsearchs_answer_byte_for_byte(doors: Doors, plain_number: int) -> None:
    request = shown(plain_number)
    assert_same_bytes(doors.through_gateway(request), doors.from_node(request))


def test_a_tree_gives_the_same_outside_inside_and_by_a_separate_calculation(
    doors: Doors, number: int
) -> None:
    request = shown(number)
    body = request.search
    assert body is not None
    outside, within = answered(doors.through_gateway(request)), doors.inside(body)
    assert not outside["rerank"].get("inside")

    assert_same_answer(body, outside, answer(replace(doors.tree(), outside=True), body))
    assert_same_answer(body, within, answer(doors.tree(), body))
    assert_same_rest(body, within, outside)
    for found in (outside, within):
        assert found["_shards"]["failed"] == 0


def shown(number: int) -> Drawn:
    """Return a drawn request. A test that fails shows it."""
    request = drawn(number)
    request_line = f"{request.method} {request.path} {request.params}"
    sys.stdout.write(f"request {number} of the seed {SEED}: {request_line}\n{request.content}\n")
    return request


def answered(response: httpx.Response) -> Body:
    """Return the answer of a search, also when it is the only one of several."""
    assert response.status_code == 200, response.text
    found: Body = response.json()
    if "responses" in found:
        (found,) = found["responses"]
        assert found.pop("status") == 200, found
    return found


@pytest.mark.parametrize(("count", "least"), [(200, 3), (2000, 30)])
def test_the_drawn_requests_have_every_feature(count: int, least: int) -> None:
    requests = [drawn(number) for number in range(count)]
    plain = [request for request in requests if request.search is None]
    trees = [request for request in requests if request.search is not None]
    for word in (
        *("'q'", "filter_path", "aggs", "sort", "knn", "retriever", "rescorer", "highlight", "collapse"),
        *("/_msearch", "'/_search'", "GET", "POST", "no_such", "drawn-trees-none", "match_al", "inner_hits"),
    ):
        assert sum(word in str(request) for request in plain) >= least, word
    for word in (
        *("'standard'", "'knn'", "'rrf'", "'linear'", "'text_similarity_reranker'", "'text_embedding'"),
        *("'filter'", "'weight'", "'minmax'", "'l2_norm'", "'min_score'", "'rank_constant'", "'similarity'"),
        *("'from'", "'size'", "'collapse'", "'post_filter'", "'top_hits'", "'fields'", "'sort'", "/_msearch"),
        *(
            "'passages.text'",
            "'passages.vector'",
            "['title', 'text']",
            "'chunking_settings'",
            "'chunk_rescorer'",
        ),
        *("'first'", "'mean'", "'max'", "'top_k_mean'", "'aggs'", "'_source': ['title'", "GET", "title^2.5"),
    ):
        assert sum(word in str(request) for request in trees) >= least, word


KING: Body = {"standard": {"query": {"match": {"text": "king"}}}}
LEAST: list[Body] = [
    {"rrf": {"retrievers": [KING], "min_score": 0.0145}},
    {"rrf": {"retrievers": [{"standard": {**KING["standard"], "min_score": 0.3}}]}},
    {"rrf": {"retrievers": [{"linear": {"retrievers": [{"retriever": KING}], "min_score": 0.3}}]}},
]


@pytest.mark.parametrize("tree", LEAST)
def test_the_bodys_min_score_is_without_effect_beside_one_in_the_tree(doors: Doors, tree: Body) -> None:
    without, beside = {"retriever": tree}, {"retriever": tree, "min_score": 0.0155}
    found = answered(doors.through_gateway(Drawn("POST", f"/{ALIAS}/_search", {}, json.dumps(beside))))
    assert len(found["hits"]["hits"]) > 5
    assert_same_answer(without, found, doors.inside(without))
    assert_same_answer(beside, found, doors.inside(beside))


def test_the_bodys_min_score_counts_where_the_tree_has_none(doors: Doors) -> None:
    body: Body = {"retriever": {"rrf": {"retrievers": [KING]}}, "min_score": 0.0155}
    found = answered(doors.through_gateway(Drawn("POST", f"/{ALIAS}/_search", {}, json.dumps(body))))
    assert len(found["hits"]["hits"]) == found["hits"]["total"]["value"] == 4
    assert_same_answer(body, found, doors.inside(body))


@pytest.mark.parametrize("field", ["passages.text", ["title", "passages.text"]])
def test_a_reranker_above_a_knn_reads_the_passages_with_the_nearest_vectors(
    doors: Doors, field: str | list[str]
) -> None:
    knn = {"field": "passages.vector", "k": 20, "num_candidates": 50, "query_vector": [0.1] * 8}
    reranker = {
        "retriever": {"knn": knn},
        "field": field,
        "inference_text": "river dog moon",
        "chunk_rescorer": {"size": 1},
        "rank_window_size": 20,
    }
    body: Body = {"retriever": {"text_similarity_reranker": reranker}, "size": 20, "_source": False}
    found = answered(doors.through_gateway(Drawn("POST", f"/{ALIAS}/_search", {}, json.dumps(body))))
    assert_same_answer(body, found, answer(doors.tree(), body))
    assert_same_rest(body, doors.inside(body), found)
    # Above a fusion the same documents are read by BM25, so that other passages are scored.
    reranker["retriever"] = {"rrf": {"retrievers": [{"knn": knn}], "rank_window_size": 20}}
    by_words = passages_of(doors.inside(body))
    assert by_words.keys() == passages_of(found).keys()
    assert by_words != passages_of(found)


def passages_of(found: Body) -> dict[str, str]:
    """Return the best passage of each hit, by id."""
    return {hit["_id"]: hit["fields"]["rerank.passage"][0]["text"] for hit in found["hits"]["hits"]}


def _kept_out(**filters: Any) -> list[Body]:
    """Return two leaves: one whose filter keeps most documents out, and one of all documents."""
    return [{"standard": {**KING["standard"], **filters}}, {"standard": {"query": {"match_all": {}}}}]


NONE = {"term": {"group": "none"}}
MARKED: list[Body] = [
    {"rrf": {"retrievers": _kept_out(filter=NONE)}},
    {"rrf": {"retrievers": [{"rrf": {"retrievers": [KING], "filter": NONE}}, *_kept_out()[1:]]}},
    {"rrf": {"retrievers": _kept_out(filter={"match": {"text": "moon"}})}},
    {"linear": {"retrievers": [{"retriever": leaf} for leaf in _kept_out(min_score=99)]}},
]


@pytest.mark.parametrize("tree", MARKED)
def test_words_of_a_leaf_are_marked_also_where_it_does_not_match(doors: Doors, tree: Body) -> None:
    body = {"retriever": tree, "highlight": {"fields": {"text": {}}}, "_source": False}
    found = answered(doors.through_gateway(Drawn("POST", f"/{ALIAS}/_search", {}, json.dumps(body))))
    assert any("<em>king</em>" in str(hit.get("highlight")) for hit in found["hits"]["hits"])
    assert_same_rest(body, doors.inside(body), found)


# -- the comparison can fail ---------------------------------------------------------------------------------


def tree_with(word: str) -> Body:
    """Return the first drawn tree that has a word and whose page is not empty."""
    bodies = (drawn(number).search for number in range(2000))
    return next(body for body in bodies if body and word in json.dumps(body) and "from" not in body)


@pytest.mark.parametrize("wrong", ["rank_constant", "model", "places"])
def test_a_wrong_calculation_is_found(doors: Doors, tmp_path: Path, wrong: str) -> None:
    if wrong == "rank_constant":
        body = {"retriever": {"rrf": {"retrievers": [{"standard": {"query": {"match": {"text": "king"}}}}]}}}
        tree = replace(doors.tree(), rank_constant=61)
    elif wrong == "model":
        body = tree_with("text_similarity_reranker")
        tree = replace(
            doors.tree(), pairs=PairModel(tiny_cross_encoder(tmp_path / "other", 1, max_length=LIMIT))
        )
    else:
        body = tree_with("stats")
        other = {key: {**source, "number": 51} for key, source in doors.documents.sources.items()}
        tree = replace(doors.tree(), documents=replace(doors.documents, sources=other))
    found = doors.inside(body)
    assert_same_answer(body, found, answer(doors.tree(), body))
    with pytest.raises(AssertionError):
        assert_same_answer(body, found, answer(tree, body))


def test_a_changed_byte_is_found(doors: Doors) -> None:
    request = Drawn("GET", f"/{ALIAS}/_search", {"q": "king", "size": "1"})
    there = doors.from_node(request)
    assert_same_bytes(there, doors.through_gateway(request))
    plain = {name: value for name, value in there.headers.items() if name != "content-encoding"}
    changed = httpx.Response(200, headers=plain, content=there.content.replace(b"king", b"kinG"))
    with pytest.raises(AssertionError):
        assert_same_bytes(there, changed)

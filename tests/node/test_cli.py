"""The program as a person runs it on a real Elasticsearch: each fault is one sentence on stderr,
a remedy in it, and an exit code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import fault, run
from corpus import EMBEDDER, fill
from elasticsearch import Elasticsearch
from tiny_models import model_options
from tls import behind_tls

from es_rerank.node import Node


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return model_options(tmp_path_factory.mktemp("models"))


def test_search_prints_the_response(es: Elasticsearch, node: Node, index: str, models: list[str]) -> None:
    fill(es, index)
    vector = json.dumps(EMBEDDER.embed(["who signed"])[0].tolist())
    done = run(
        "search",
        index,
        "who signed the treaty",
        "--query-vector",
        vector,
        "--size",
        "2",
        "--elasticsearch-url",
        node.url,
        "--json",
        *models,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert len(answer["hits"]["hits"]) == 2
    assert answer["rerank"]["status"] == "reranked"
    shown = run(
        "search",
        index,
        "who signed the treaty",
        "--first-stage",
        "bm25",
        "--filter",
        '{"range":{"metadata.year":{"gte":2021}}}',
        "--elasticsearch-url",
        node.url,
        *models,
    )
    assert shown.returncode == 0, shown.stderr
    assert "a2" in shown.stdout
    assert "a0" not in shown.stdout


def test_the_command_searches_an_index_of_ones_own(
    es: Elasticsearch, node: Node, index: str, models: list[str], tmp_path: Path
) -> None:
    properties = {
        "title": {"type": "text"},
        "content": {"type": "text"},
        "embedding": {"type": "dense_vector", "dims": EMBEDDER.dims},
    }
    es.indices.create(index=index, mappings={"properties": properties})
    for title, content in (("Peace", "the king signed it"), ("Dogs", "a dog barks")):
        vector = EMBEDDER.embed([f"{title} {content}"])[0].tolist()
        chunk = {"title": title, "content": content, "embedding": vector}
        es.index(index=index, id=title, document=chunk, refresh=True)
    asked = tmp_path / "vector.json"
    asked.write_text(json.dumps(EMBEDDER.embed(["who signed the peace"])[0].tolist()))
    named = ("--field", "title", "--field", "content", "--query-vector", f"@{asked}")
    done = run("search", index, "who signed", *named, "--elasticsearch-url", node.url, "--json", *models)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert {hit["_id"] for hit in answer["hits"]["hits"]} == {"Peace", "Dogs"}
    assert answer["rerank"]["status"] == "reranked"


def test_the_command_keeps_the_first_stage_where_the_reranker_fails(
    es: Elasticsearch, node: Node, index: str, models: list[str]
) -> None:
    fill(es, index)
    gone = ("--reranker", "remote:http://127.0.0.1:9", *models[models.index("--embedder") :][:2])
    question = ("search", index, "who signed the treaty", "--first-stage", "bm25", "--json")
    done = run(*question, "--elasticsearch-url", node.url, *gone)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["hits"]["hits"]
    assert answer["rerank"]["status"] == "first_stage"
    assert "cannot be reached" in answer["rerank"]["reason"]


def test_a_wrong_index(node: Node, models: list[str]) -> None:
    sentence = fault(run("search", "no-such-index", "q", "--elasticsearch-url", node.url, *models))
    assert "no-such-index" in sentence
    assert "es-rerank ingest" in sentence


def test_a_missing_model_folder(node: Node, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for command in (["search", "any", "q"], ["serve", "--port", "0"]):
        sentence = fault(run(*command, "--reranker", gone, "--elasticsearch-url", node.url))
        assert gone in sentence
        assert "export" in sentence


def test_a_mapping_without_vectors(es: Elasticsearch, node: Node, index: str, models: list[str]) -> None:
    es.indices.create(index=index, mappings={"properties": {"content": {"type": "text"}}})
    sentence = fault(run("search", index, "q", "--elasticsearch-url", node.url, *models))
    assert "no dense_vector field" in sentence
    assert "bm25" in sentence


@pytest.mark.parametrize("query", ["", "  "])
def test_an_empty_query(node: Node, models: list[str], query: str) -> None:
    assert "query is empty" in fault(run("search", "any", query, "--elasticsearch-url", node.url, *models))


def test_a_bad_query_vector_and_a_bad_filter(node: Node, models: list[str]) -> None:
    for option, value in (
        ("--query-vector", '{"a": 1}'),
        ("--query-vector", "@/no/such/file"),
        ("--filter", "year > 3"),
        ("--filter", "[]"),
    ):
        assert option in fault(
            run("search", "any", "q", option, value, "--elasticsearch-url", node.url, *models)
        )


def test_a_taken_port(node: Node, models: list[str]) -> None:
    port = node.url.rsplit(":", 1)[1].strip("/")
    assert "choose another --port" in fault(
        run("serve", "--port", port, "--elasticsearch-url", node.url, *models)
    )


def test_https_with_a_ca_of_its_own(
    es: Elasticsearch, node: Node, index: str, models: list[str], tmp_path: Path
) -> None:
    fill(es, index)
    with behind_tls(node.url, tmp_path) as (url, ca):
        asked = ("search", index, "who signed", "--first-stage", "bm25", "--elasticsearch-url", url, *models)
        assert "is not trusted" in (sentence := fault(run(*asked)))
        assert "ES_RERANK_ELASTICSEARCH_CA_CERTS" in sentence
        assert run(*asked, ES_RERANK_ELASTICSEARCH_CA_CERTS=str(ca)).returncode == 0
        doctor = ("doctor", "--elasticsearch-url", url, "--json", "--no-speed")
        assert json.loads(run(*doctor).stdout)["checks"][0]["status"] == "fail"
        trusted = json.loads(run(*doctor, ES_RERANK_ELASTICSEARCH_CA_CERTS=str(ca)).stdout)
        assert trusted["checks"][0]["status"] != "fail"
        assert trusted["version"] == node.version

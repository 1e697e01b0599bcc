"""The program as a person runs it: each fault is one sentence on stderr, a remedy in it, and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus import EMBEDDER, fill
from elasticsearch import Elasticsearch
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from tls import behind_tls

from es_rerank.node import Node


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "es_rerank", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [
        "--reranker",
        str(tiny_cross_encoder(folder / "r")),
        "--embedder",
        str(tiny_bi_encoder(folder / "e")),
    ]


def fault(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a failed command."""
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


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


def test_an_unreachable_elasticsearch(models: list[str]) -> None:
    sentence = fault(run("search", "any", "q", "--elasticsearch-url", "http://127.0.0.1:9", *models))
    assert "http://127.0.0.1:9" in sentence
    assert "es-rerank up" in sentence


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


def test_credentials_in_the_address_are_not_lent_to_callers(models: list[str]) -> None:
    sentence = fault(
        run("serve", "--port", "0", "--elasticsearch-url", "http://elastic:secret@127.0.0.1:9", *models)
    )
    assert "callers send their own Authorization" in sentence
    assert "secret" not in sentence


def test_two_rerankers_of_one_name(models: list[str], tmp_path: Path) -> None:
    sentence = fault(
        run(
            "serve",
            "--port",
            "0",
            "--elasticsearch-url",
            "http://127.0.0.1:9",
            *models,
            "--reranker",
            str(tiny_cross_encoder(tmp_path)),
        )
    )
    assert (
        "two rerankers are called tiny-cross-encoder; give one of them another name, as in OTHER=MODEL"
        in sentence
    )


@pytest.mark.parametrize("model", ["cohere:", "remote:"])
def test_a_service_without_a_name(model: str) -> None:
    assert "names nothing behind the colon" in fault(
        run("serve", "--port", "0", "--elasticsearch-url", "http://127.0.0.1:9", "--reranker", model)
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
        doctor = ("doctor", "--elasticsearch-url", url, "--json")
        assert json.loads(run(*doctor).stdout)["checks"][0]["status"] == "fail"
        assert (
            json.loads(run(*doctor, ES_RERANK_ELASTICSEARCH_CA_CERTS=str(ca)).stdout)["checks"][0]["status"]
            == "ok"
        )


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_cas(models: list[str], tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    for command in (["search", "any", "q"], ["serve", "--port", "0"]):
        done = run(
            *command,
            "--elasticsearch-url",
            "https://127.0.0.1:9",
            *models,
            ES_RERANK_ELASTICSEARCH_CA_CERTS=str(file),
        )
        assert "ES_RERANK_ELASTICSEARCH_CA_CERTS" in (sentence := fault(done))
        assert str(file) in sentence


def test_an_unknown_setting() -> None:
    assert "ES_RERANK_WIDNOW: no such setting" in fault(run("search", "any", "q", ES_RERANK_WIDNOW="3"))


def test_no_command_needs_an_extra_to_be_found() -> None:
    extras = [
        "bm25s",
        "torch",
        "transformers",
        "safetensors",
        "sentence_transformers",
        "onnx",
        "optimum",
        "cohere",
        "openai",
        "langchain_core",
    ]
    code = f"import sys, es_rerank.cli.app; print([name for name in {extras} if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_training_without_its_extra(tmp_path: Path) -> None:
    assert "es-rerank[train]" in fault(run("train", str(tmp_path), str(tmp_path / "out")))

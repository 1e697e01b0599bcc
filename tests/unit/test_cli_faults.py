"""Faults that the program finds before it needs a server: one sentence on stderr, a remedy in it,
and an exit code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import fault, run
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import BadRequestError
from tiny_models import model_options, tiny_cross_encoder

from es_rerank.cli.output import as_known


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return model_options(tmp_path_factory.mktemp("models"))


def test_an_unreachable_elasticsearch(models: list[str]) -> None:
    sentence = fault(run("search", "any", "q", "--elasticsearch-url", "http://127.0.0.1:9", *models))
    assert "http://127.0.0.1:9" in sentence
    assert "es-rerank up" in sentence


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


def test_an_error_of_a_tree_says_why_its_leaves_failed() -> None:
    why = {"type": "query_shard_exception", "reason": 'failed to create query: For input string: "abc"'}
    failed = {"type": "search_phase_execution_exception", "reason": "all shards failed"}
    leaves = [
        {**failed, "failed_shards": [{"shard": 0, "index": "a", "reason": why}] * 2},
        {**failed, "failed_shards": [{"shard": 0, "index": "a", "reason": why}]},
        {"type": "index_closed_exception", "reason": "closed"},
    ]
    above = "[rrf] search failed - retrievers '[standard]' returned errors."
    body = {"error": {"type": "status_exception", "reason": above, "suppressed": leaves}, "status": 400}
    meta = ApiResponseMeta(400, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "localhost", 9200))
    known = as_known(BadRequestError("status_exception", meta, body))
    assert str(known) == (
        'Elasticsearch answered 400: failed to create query: For input string: "abc"; closed'
    )
    others: list[Any] = ["<html>", {"error": "no"}, {"error": {"type": "x", "reason": "y"}}, None, []]
    for other in others:
        assert "answered 400: BadRequestError" in str(as_known(BadRequestError("x", meta, other)))

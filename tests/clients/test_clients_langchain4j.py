"""LangChain4j's scoring models, in a process of Java, ask the sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from asked_by_clients import DOCUMENTS, KEY, NEEDS_KEY, QUERY
from built_clients import answers_of, java
from client_table import client

from es_rerank.settings import BUNDLED_EMBEDDER

POM = "tests/clients/langchain4j/pom.xml"
TEXTS = [*DOCUMENTS, "No other test asks about this sentence, so that no score of it is kept."]

Answers = dict[str, Any]


@pytest.fixture(scope="module")
def request_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("langchain4j") / "request.json"
    path.write_text(json.dumps({"query": QUERY, "documents": TEXTS}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answers(keyed_sidecar: str, request_file: Path) -> Answers:
    """What each model understood."""
    found: Answers = answers_of(java("langchain4j"), keyed_sidecar, KEY, request_file)
    return found


@pytest.fixture(scope="module")
def scores(answers: Answers, keyed_sidecar: str) -> list[float]:
    """What ``POST /rerank`` says about ``TEXTS``, asked after the models."""
    body, headers = {"query": QUERY, "texts": TEXTS}, {"Authorization": f"Bearer {KEY}"}
    rows = httpx.post(f"{keyed_sidecar}/rerank", json=body, headers=headers, timeout=60).json()
    return [score for _, score in sorted((row["index"], row["score"]) for row in rows)]


@pytest.fixture(scope="module")
def vectors(keyed_sidecar: str) -> list[list[float]]:
    """The vectors of ``TEXTS`` as Elasticsearch's inference API gives them."""
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"{keyed_sidecar}/_inference/text_embedding/{BUNDLED_EMBEDDER}"
    found = httpx.post(url, json={"input": TEXTS}, headers=headers, timeout=60).raise_for_status().json()
    return [row["embedding"] for row in found["text_embedding"]]


@client("LangChain4j, JinaScoringModel", "Jina", "langchain4j-jina", POM)
def test_jina_scores_and_tokens(answers: Answers, scores: list[float]) -> None:
    assert answers["jina"]["scores"] == scores
    assert min(scores) > 0
    assert scores.index(max(scores)) == 2
    assert max(scores) < 1
    prompt, total = answers["jina"]["tokens"]
    assert prompt == total > len(TEXTS)


@client("LangChain4j, CohereScoringModel", "Cohere v1", "langchain4j-cohere", POM)
def test_cohere_scores_with_and_without_a_model(answers: Answers, scores: list[float]) -> None:
    for name in ("cohere", "cohere without a model"):
        assert answers[name]["scores"] == scores
        assert answers[name]["tokens"] == [1, 1]  # it takes Cohere's search units for tokens


@client("LangChain4j, VoyageAiScoringModel", "Voyage", "langchain4j-voyage-ai", POM)
def test_voyage_scores_with_and_without_truncation(answers: Answers, scores: list[float]) -> None:
    for name in ("voyage", "voyage truncating"):
        assert answers[name]["scores"] == scores
        assert len(answers[name]["tokens"]) == 2


@client("LangChain4j, OpenAiEmbeddingModel", "OpenAI embeddings", "langchain4j-open-ai", POM)
def test_openai_embeds(answers: Answers, vectors: list[list[float]]) -> None:
    assert_embedded(answers["openai embeddings"], vectors)


@client("LangChain4j, JinaEmbeddingModel", "Jina embeddings", "langchain4j-jina", POM)
def test_jina_embeds(answers: Answers, vectors: list[list[float]]) -> None:
    assert_embedded(answers["jina embeddings"], vectors)


@client("LangChain4j, CohereEmbeddingModel", "Cohere embeddings", "langchain4j-cohere", POM)
def test_cohere_embeds(answers: Answers, vectors: list[list[float]]) -> None:
    assert_embedded(answers["cohere embeddings"], vectors)


@client("LangChain4j, VoyageAiEmbeddingModel", "Voyage embeddings", "langchain4j-voyage-ai", POM)
def test_voyage_embeds(answers: Answers, vectors: list[list[float]]) -> None:
    assert_embedded(answers["voyage embeddings"], vectors)


def assert_embedded(found: Any, vectors: list[list[float]]) -> None:
    assert "error" not in found, found
    for vector, expected in zip(found["vectors"], vectors, strict=True):
        assert vector == pytest.approx(expected, abs=1e-6)
    assert found["tokens"][-1] > len(TEXTS)


def test_a_wrong_key_is_refused_with_the_reason(keyed_sidecar: str, request_file: Path) -> None:
    refused = answers_of(java("langchain4j"), keyed_sidecar, "wrong", request_file)
    assert len(refused) == 9
    for name, found in refused.items():
        assert NEEDS_KEY in found["error"], name

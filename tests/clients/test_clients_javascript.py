"""Clients in JavaScript, in a process of Node.js, ask the sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from asked_by_clients import DOCUMENTS, KEY, NEEDS_KEY, QUERY, assert_ranked
from built_clients import answers_of, javascript
from client_table import client

from es_rerank.settings import BUNDLED_EMBEDDER

pytestmark = pytest.mark.long  # npm fetches 170 MB

PACKAGES = "tests/clients/ai_sdk/package.json"

Answers = dict[str, Any]
Ranking = list[tuple[int, float]]
Vectors = list[list[float]]


@pytest.fixture(scope="module")
def request_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ai_sdk") / "request.json"
    path.write_text(json.dumps({"query": QUERY, "documents": DOCUMENTS}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answers(keyed_sidecar: str, request_file: Path) -> Answers:
    """What each client understood."""
    found: Answers = answers_of(javascript("ai_sdk"), keyed_sidecar, KEY, request_file)
    return found


def in_order(ranking: Ranking) -> list[str]:
    return [DOCUMENTS[index] for index, _ in ranking]


@pytest.fixture(scope="module")
def vectors(keyed_sidecar: str) -> Vectors:
    """The vectors of ``DOCUMENTS`` as Elasticsearch's inference API gives them."""
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"{keyed_sidecar}/_inference/text_embedding/{BUNDLED_EMBEDDER}"
    found = httpx.post(url, json={"input": DOCUMENTS}, headers=headers, timeout=60).raise_for_status().json()
    return [row["embedding"] for row in found["text_embedding"]]


@client("Vercel AI SDK, @ai-sdk/cohere", "Cohere v2", "@ai-sdk/cohere", PACKAGES)
def test_ai_sdk_with_cohere(answers: Answers, ranking: Ranking) -> None:
    for name in ("AI SDK", "AI SDK, all options"):
        assert_ranked(answers[name]["rows"], ranking)
        assert answers[name]["documents"] == in_order(ranking)
    assert_ranked(answers["AI SDK, best two"]["rows"], ranking, 2)
    # It writes an object as JSON, which the model reads as it is.
    objects = answers["AI SDK, objects"]
    assert objects["documents"][0] == {"number": ranking[0][0], "text": DOCUMENTS[ranking[0][0]]}
    assert sorted(index for index, _ in objects["rows"]) == list(range(len(DOCUMENTS)))


@client("Vercel AI SDK, voyage-ai-provider", "Voyage", "voyage-ai-provider", PACKAGES)
def test_ai_sdk_with_voyage(answers: Answers, ranking: Ranking) -> None:
    assert_ranked(answers["AI SDK, Voyage"]["rows"], ranking)
    assert answers["AI SDK, Voyage"]["documents"] == in_order(ranking)
    assert_ranked(answers["AI SDK, Voyage, best two"]["rows"], ranking, 2)


@client("LangChain.js, CohereRerank", "Cohere v1", "@langchain/cohere", PACKAGES)
def test_langchain_js(answers: Answers, ranking: Ranking) -> None:
    assert_ranked(answers["LangChain"]["rows"], ranking)


@client("LlamaIndex.TS, CohereRerank", "Cohere v1", "@llamaindex/cohere", PACKAGES)
def test_llama_index_ts(answers: Answers, ranking: Ranking) -> None:
    assert_ranked(answers["LlamaIndex"]["rows"], ranking)


@client("Cohere's client for JavaScript", "Cohere v1 and v2", "cohere-ai", PACKAGES)
def test_coheres_client(answers: Answers, ranking: Ranking) -> None:
    assert_ranked(answers["cohere-ai, v1"]["rows"], ranking)
    assert answers["cohere-ai, v1"]["documents"] == in_order(ranking)
    assert_ranked(answers["cohere-ai, v2"]["rows"], ranking)


@client("Voyage's client for JavaScript", "Voyage", "voyageai", PACKAGES)
def test_voyages_client(answers: Answers, ranking: Ranking) -> None:
    assert_ranked(answers["voyageai"]["rows"], ranking)
    assert answers["voyageai"]["documents"] == in_order(ranking)
    assert answers["voyageai"]["tokens"] >= 0  # 0 where all scores are kept from before


@client(
    "Vercel AI SDK, @ai-sdk/openai-compatible", "OpenAI embeddings", "@ai-sdk/openai-compatible", PACKAGES
)
def test_ai_sdk_embeds(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["AI SDK, embeddings"], vectors)


@client("Vercel AI SDK, embeddings of @ai-sdk/cohere", "Cohere embeddings", "@ai-sdk/cohere", PACKAGES)
def test_ai_sdk_embeds_as_cohere(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["AI SDK, embeddings of Cohere"], vectors)


@client("Vercel AI SDK, voyage-ai-provider", "Voyage embeddings", "voyage-ai-provider", PACKAGES)
def test_ai_sdk_embeds_as_voyage(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["AI SDK, embeddings of Voyage"], vectors)


@client("Cohere's client for JavaScript", "Cohere embeddings", "cohere-ai", PACKAGES)
def test_coheres_client_embeds(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["cohere-ai, embeddings"], vectors)


@client("OpenAI's client for JavaScript", "OpenAI embeddings", "openai", PACKAGES)
def test_openais_client_embeds(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["openai, embeddings"], vectors)


@client("Voyage's client for JavaScript", "Voyage embeddings", "voyageai", PACKAGES)
def test_voyages_client_embeds(answers: Answers, vectors: Vectors) -> None:
    assert_embedded(answers["voyageai, embeddings"], vectors)


def assert_embedded(found: Any, vectors: Vectors) -> None:
    assert "error" not in found, found
    for vector, expected in zip(found["vectors"], vectors, strict=True):
        assert vector == pytest.approx(expected, abs=1e-6)
    assert found["tokens"] > len(DOCUMENTS)


def test_a_wrong_key_is_refused_with_the_reason(keyed_sidecar: str, request_file: Path) -> None:
    refused = answers_of(javascript("ai_sdk"), keyed_sidecar, "wrong", request_file)
    for name, found in refused.items():
        assert NEEDS_KEY in found["error"], name

"""LiteLLM asks the sidecar by each of its providers whose address can be changed."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
    NO_QUERY,
    OUTCOMES,
    TOO_MANY,
    assert_ranked,
    assert_refused,
    assert_vectors,
    outcomes,
)
from client_table import client

Ranking = list[tuple[int, float]]

PROVIDERS = (
    "cohere",
    "infinity",
    "huggingface",
    "hosted_vllm",
    "jina_ai",
    "voyage",
    "together_ai",
    "azure_ai",
    "litellm_proxy",
    "scaleway",
)


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("apis", "litellm_calls.py", open_sidecar, keyed_sidecar)


@client("LiteLLM, cohere/", "Cohere v2", "litellm", "apis")
@client("LiteLLM, azure_ai/, litellm_proxy/", "Cohere v1", "litellm", "apis")
@client("LiteLLM, infinity/ with return_documents=False", "infinity", "litellm", "apis")
@client("LiteLLM, huggingface/", "TEI", "litellm", "apis")
@client("LiteLLM, hosted_vllm/", "vLLM", "litellm", "apis")
@client("LiteLLM, jina_ai/, together_ai/, scaleway/", "Jina", "litellm", "apis")
@client("LiteLLM, voyage/", "Voyage", "litellm", "apis")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_litellm_ranks(provider: str, got: OUTCOMES, ranking: Ranking) -> None:
    indices = got[f"{provider} indices"]
    assert_ranked(indices["results"], ranking)
    assert indices["id"]
    assert indices["meta"]["billed_units"]
    if provider == "infinity":
        return
    for case, top in (("strings", None), ("open", None), ("async", None), ("top", 2)):
        answer = got[f"{provider} {case}"]
        assert_ranked(answer["results"], ranking, top)
        assert answer["documents"] == [DOCUMENTS[place] for place, _ in ranking[:top]]


def test_litellm_reads_no_documents_by_its_provider_infinity(got: OUTCOMES) -> None:
    """It sends the same bytes as its provider hosted_vllm, and cannot read documents that this one reads."""
    assert_refused(got["infinity strings"], "APIError", "document.text", status=500)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_litellm_raises_its_own_exceptions(provider: str, got: OUTCOMES) -> None:
    assert_refused(got[f"{provider} wrong key"], "AuthenticationError", NEEDS_KEY, status=401)
    tei = provider == "huggingface"
    assert_refused(
        got[f"{provider} no query"],
        "APIError" if tei else "BadRequestError",
        NO_QUERY,
        status=422 if tei else 400,
    )
    assert_refused(got[f"{provider} too many"], "APIError", TOO_MANY, status=413)


@client(
    "LiteLLM, embeddings of openai/, hosted_vllm/, infinity/, jina_ai/, voyage/",
    "OpenAI embeddings",
    "litellm",
    "apis",
)
@pytest.mark.parametrize(
    "case",
    [
        "openai embedding",
        "openai aembedding",
        "hosted_vllm embedding",
        "infinity embedding",
        "jina_ai embedding",
        "voyage embedding",
    ],
)
def test_litellm_embeds(case: str, got: OUTCOMES, open_sidecar: str) -> None:
    assert_vectors(got[case]["embeddings"], open_sidecar, DOCUMENTS)
    assert got[case]["tokens"] > len(DOCUMENTS)

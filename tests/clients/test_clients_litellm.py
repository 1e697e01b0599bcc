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
    scores_of,
)
from client_table import client

Ranking = list[tuple[int, float]]

CASES = (("strings", None), ("objects", None), ("open", None), ("async", None), ("top", 2), ("indices", None))

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
@client("LiteLLM, infinity/", "infinity", "litellm", "apis")
@client("LiteLLM, huggingface/", "TEI", "litellm", "apis")
@client("LiteLLM, hosted_vllm/", "vLLM", "litellm", "apis")
@client("LiteLLM, jina_ai/, together_ai/, scaleway/", "Jina", "litellm", "apis")
@client("LiteLLM, voyage/", "Voyage", "litellm", "apis")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_litellm_ranks(provider: str, got: OUTCOMES, ranking: Ranking) -> None:
    for case, top in CASES:
        answer = got[f"{provider} {case}"]
        assert_ranked(answer["results"], ranking, top)
        assert answer["id"]
        assert answer["meta"]["billed_units"]
        wanted = [DOCUMENTS[place] for place, _ in ranking[:top]]
        # Its provider scaleway does not send that no documents are wanted.
        without = case == "indices" and provider != "scaleway"
        assert answer["documents"] == ([None] * len(wanted) if without else wanted)


@pytest.mark.parametrize("provider", ["cohere", "azure_ai", "hosted_vllm", "huggingface"])
def test_litellm_sends_every_option(provider: str, got: OUTCOMES, open_sidecar: str) -> None:
    answer = got[f"{provider} every option"]
    assert [place for place, _ in answer["results"]] == [
        place for place, _ in scores_of(open_sidecar, DOCUMENTS)
    ]


@client("LiteLLM, nvidia_nim/ranking/", "NVIDIA", "litellm", "apis")
def test_litellms_nvidia_gives_logits(got: OUTCOMES, open_sidecar: str) -> None:
    logits = scores_of(open_sidecar, DOCUMENTS, raw=True)
    for case, top in CASES:
        rows = got[f"nvidia_nim {case}"]["results"]
        assert [place for place, _ in rows] == [place for place, _ in logits[:top]]
        assert [score for _, score in rows] == pytest.approx([score for _, score in logits[:top]], abs=1e-4)
    assert_refused(got["nvidia_nim wrong key"], "AuthenticationError", NEEDS_KEY, status=401)


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


@client("LiteLLM, embeddings of cohere/", "Cohere embeddings", "litellm", "apis")
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
        "infinity embedding where it reranks",
        "jina_ai embedding",
        "voyage embedding",
        "cohere embedding",
    ],
)
def test_litellm_embeds(case: str, got: OUTCOMES, open_sidecar: str) -> None:
    assert_vectors(got[case]["embeddings"], open_sidecar, DOCUMENTS)
    assert got[case]["tokens"] > len(DOCUMENTS)

"""LlamaIndex's node postprocessors and embeddings ask the sidecar."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
    NO_QUERY,
    OUTCOMES,
    QUERY,
    TOO_MANY,
    assert_ranked,
    assert_refused,
    assert_vectors,
    outcomes,
)
from client_table import client

Ranking = list[tuple[int, float]]

pytestmark = pytest.mark.long  # its packages are many


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("llama_index", "llama_index_calls.py", open_sidecar, keyed_sidecar)


@client("LlamaIndex, CohereRerank", "Cohere v2", "llama-index-postprocessor-cohere-rerank", "llama_index")
@pytest.mark.parametrize(("case", "top"), [("cohere", None), ("cohere_top", 2), ("cohere_async", None)])
def test_llama_indexs_cohere_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


@client(
    "LlamaIndex, TextEmbeddingInference (reranking)",
    "TEI",
    "llama-index-postprocessor-tei-rerank",
    "llama_index",
)
@pytest.mark.parametrize(
    ("case", "top"),
    [
        ("tei", None),
        ("tei_top", 2),
        ("tei_at_an_address_with_a_slash", None),
        ("tei_async", None),
        ("tei_token_without_scheme", None),
    ],
)
def test_llama_indexs_tei_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    """It puts its token into the header as it is: with or without the word Bearer."""
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


@client("LlamaIndex, JinaRerank", "Jina", "llama-index-postprocessor-jinaai-rerank", "llama_index")
@pytest.mark.parametrize(("case", "top"), [("jina", None), ("jina_top", 2)])
def test_llama_indexs_jina_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


@client(
    "LlamaIndex, XinferenceRerank",
    "Xinference",
    "llama-index-postprocessor-xinference-rerank",
    "llama_index",
)
@pytest.mark.parametrize(("case", "top"), [("xinference", None), ("xinference_top", 2)])
def test_llama_indexs_xinference_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    """It sends no key."""
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


@client(
    "LlamaIndex, TextEmbeddingsInference (embeddings)",
    "TEI embeddings",
    "llama-index-embeddings-text-embeddings-inference",
    "llama_index",
)
def test_llama_indexs_tei_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    for case in ("tei_embeds", "tei_embeds_async"):
        assert_vectors(got[case], open_sidecar, DOCUMENTS)
    assert_vectors(got["tei_embeds_a_query"], open_sidecar, [QUERY])


@client(
    "LlamaIndex, OpenAILikeEmbedding",
    "OpenAI embeddings",
    "llama-index-embeddings-openai-like",
    "llama_index",
)
def test_llama_indexs_openai_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    assert_vectors(got["openai_like"], open_sidecar, DOCUMENTS)


def test_llama_index_shows_the_exceptions_of_the_vendors(got: OUTCOMES) -> None:
    assert_refused(got["cohere_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)
    assert_refused(got["cohere_no_query"], "BadRequestError", NO_QUERY, status=400)
    assert_refused(got["cohere_too_many"], "ApiError", TOO_MANY, status=413)
    # It reads an error as a list of scores, and counts them.
    assert_refused(got["tei_wrong_key"], "AssertionError")
    assert_refused(got["jina_wrong_key"], "RuntimeError", NEEDS_KEY)
    assert_refused(got["jina_no_query"], "RuntimeError", NO_QUERY)
    assert_refused(got["jina_too_many"], "RuntimeError", TOO_MANY)
    assert_refused(got["xinference_no_query"], "Exception", "status code 400", NO_QUERY)

"""OpenAI's own package asks the sidecar for embeddings and for the models that it serves."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
    OUTCOMES,
    assert_refused,
    assert_vectors,
    outcomes,
)
from client_table import client


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("apis", "openai_calls.py", open_sidecar, keyed_sidecar)


@client("OpenAI's Python SDK, embeddings", "OpenAI embeddings", "openai", "apis")
@pytest.mark.parametrize(
    ("case", "count"),
    [("as_base64", 5), ("as_floats", 5), ("one_text", 1), ("with_key", 5), ("asynchronous", 5)],
)
def test_openai_embeds(case: str, count: int, got: OUTCOMES, open_sidecar: str) -> None:
    answer = got[case]
    assert answer["object"] == "list"
    assert answer["indices"] == list(range(count))
    assert_vectors(answer["embeddings"], open_sidecar, DOCUMENTS[:count])
    assert answer["usage"][0] == answer["usage"][1] > count
    assert answer["embeddings"] == got["as_floats"]["embeddings"][:count], "base64 holds the same numbers"


@client("OpenAI's Python SDK, models", "OpenAI models", "openai", "apis")
def test_openai_lists_models(got: OUTCOMES) -> None:
    named = got["models"]
    assert {row["object"] for row in named} == {"model"}
    assert len({row["id"] for row in named}) == len(named) >= 2, "a reranker and an embedder"
    assert got["models_with_key"] == [row["id"] for row in named]
    assert got["as_floats"]["model"] in got["models_with_key"]


def test_openai_raises_its_own_exceptions(got: OUTCOMES) -> None:
    assert_refused(got["wrong_key"], "AuthenticationError", NEEDS_KEY, status=401)
    assert_refused(got["no_texts"], "BadRequestError", "input", status=400)
    assert_refused(got["too_many"], "APIStatusError", "61", status=413)
    assert_refused(got["tokens"], "BadRequestError", "input", status=400)

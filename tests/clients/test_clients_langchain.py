"""LangChain's document compressors of Cohere and Voyage and its embeddings ask the sidecar."""

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
    scores_of,
)
from client_table import client

Ranking = list[tuple[int, float]]


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("langchain", "langchain_calls.py", open_sidecar, keyed_sidecar)


@client("LangChain, CohereRerank", "Cohere v2", "langchain-cohere", "langchain")
@pytest.mark.parametrize(
    ("case", "top"),
    [("cohere_default_top", 3), ("cohere_all", None), ("cohere_open", 3), ("cohere_async", 3)],
)
def test_langchains_cohere_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["sources"] == [f"page {place}" for place, _ in ranking[:top]]


def test_langchains_dicts_are_ranked_as_the_yaml_that_it_sends(got: OUTCOMES, open_sidecar: str) -> None:
    both = [f"title: page {place}\ntext: {text}\n" for place, text in enumerate(DOCUMENTS)]
    assert_ranked(got["cohere_dicts"]["results"], scores_of(open_sidecar, both))
    text_only = [f"text: {text}\n" for text in DOCUMENTS]
    assert_ranked(got["cohere_dict_fields"]["results"], scores_of(open_sidecar, text_only))


@client("LangChain, VoyageAIRerank", "Voyage", "langchain-voyageai", "langchain")
@pytest.mark.parametrize(("case", "top"), [("voyage", None), ("voyage_top", 2), ("voyage_async", None)])
def test_langchains_voyage_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["sources"] == [f"page {place}" for place, _ in ranking[:top]]
    assert all(isinstance(count, int) for count in got[case]["tokens"])


@client("LangChain, OpenAIEmbeddings", "OpenAI embeddings", "langchain-openai", "langchain")
def test_langchains_openai_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    for case in ("openai_documents", "openai_async"):
        assert_vectors(got[case], open_sidecar, DOCUMENTS)
    assert_vectors(got["openai_query"], open_sidecar, [QUERY])


@client("LangChain, CohereEmbeddings", "Cohere embeddings", "langchain-cohere", "langchain")
def test_langchains_cohere_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    for case in ("cohere_documents", "cohere_documents_async"):
        assert_vectors(got[case], open_sidecar, DOCUMENTS)
    assert_vectors(got["cohere_query"], open_sidecar, [QUERY], "search")


def test_langchain_shows_the_exceptions_of_the_vendors(got: OUTCOMES) -> None:
    assert_refused(got["cohere_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)
    assert_refused(got["cohere_no_query"], "BadRequestError", NO_QUERY, status=400)
    assert_refused(got["cohere_too_many"], "ApiError", TOO_MANY, status=413)
    assert_refused(got["voyage_wrong_key"], "AuthenticationError", NEEDS_KEY, status=401)
    assert_refused(got["voyage_no_query"], "InvalidRequestError", NO_QUERY, status=400)

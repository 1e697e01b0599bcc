"""Elasticsearch's own Python client calls the inference API of the sidecar."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asked_by_clients import (
    DOCUMENTS,
    KEY,
    NEEDS_KEY,
    QUERY,
    TOO_MANY,
    assert_ranked,
    assert_vectors,
    embedder_of,
)
from client_table import client
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    BadRequestError,
    Elasticsearch,
    NotFoundError,
)

Ranking = list[tuple[int, float]]

ENDPOINT = ".rerank-v1-elasticsearch"


@pytest.fixture
def keyed(keyed_sidecar: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(keyed_sidecar, api_key=KEY, request_timeout=60) as caller:
        yield caller


@client(
    "Elasticsearch's Python client, inference", "Elasticsearch inference", "elasticsearch", "pyproject.toml"
)
def test_elasticsearchs_client_ranks_and_embeds(
    keyed: Elasticsearch, open_sidecar: str, ranking: Ranking
) -> None:
    found = keyed.inference.rerank(
        inference_id=ENDPOINT, query=QUERY, input=list(DOCUMENTS), return_documents=True
    )
    assert_ranked([(row["index"], row["relevance_score"]) for row in found["rerank"]], ranking)
    assert [row["text"] for row in found["rerank"]] == [DOCUMENTS[place] for place, _ in ranking]
    top = keyed.inference.rerank(inference_id=ENDPOINT, query=QUERY, input=list(DOCUMENTS), top_n=2)
    assert_ranked([(row["index"], row["relevance_score"]) for row in top["rerank"]], ranking, 2)
    told = keyed.inference.inference(
        task_type="rerank", inference_id=ENDPOINT, query=QUERY, input=list(DOCUMENTS)
    )
    assert_ranked([(row["index"], row["relevance_score"]) for row in told["rerank"]], ranking)
    vectors = keyed.inference.text_embedding(inference_id=embedder_of(open_sidecar), input=list(DOCUMENTS))
    assert_vectors([row["embedding"] for row in vectors["text_embedding"]], open_sidecar, DOCUMENTS)


async def test_elasticsearchs_asynchronous_client_ranks(open_sidecar: str, ranking: Ranking) -> None:
    async with AsyncElasticsearch(open_sidecar, request_timeout=60) as caller:
        found = await caller.inference.rerank(inference_id=ENDPOINT, query=QUERY, input=list(DOCUMENTS))
    assert_ranked([(row["index"], row["relevance_score"]) for row in found["rerank"]], ranking)


def test_elasticsearchs_client_raises_its_own_exceptions(keyed: Elasticsearch, keyed_sidecar: str) -> None:
    def ask(caller: Elasticsearch, query: str = QUERY, texts: int = 1, endpoint: str = ENDPOINT) -> None:
        caller.inference.rerank(inference_id=endpoint, query=query, input=["a text"] * texts)

    with (
        Elasticsearch(keyed_sidecar, api_key="not the key", request_timeout=60) as stranger,
        pytest.raises(AuthenticationException, match=NEEDS_KEY),
    ):
        ask(stranger)
    with pytest.raises(BadRequestError, match="query"):
        ask(keyed, query="")
    with pytest.raises(ApiError, match=TOO_MANY.replace("(", r"\(").replace(")", r"\)")):
        ask(keyed, texts=61)
    with pytest.raises(NotFoundError, match="no-such-model"):
        ask(keyed, endpoint="no-such-model")

"""Every row of the README's conformance tables, on a real Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conformance import EXAMPLES, FEATURES, INDICES, README, Example, Feature, ids, written
from corpus import Broken
from elasticsearch import ApiError, Elasticsearch

from es_rerank import RerankClient
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder, WordOverlapReranker

SERVED = (
    "my-rerank-model",
    "my-other-more-expensive-rerank-model",
    "my-elastic-rerank",
    "my-cohere-rerank-model",
    "my-msmarco-minilm-model",
    "elastic-rerank",
)


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[RerankClient]:
    """The indices of Elastic's examples, on one shard as there,
    and models under the names that the examples use.
    """
    es = Elasticsearch(node.url, request_timeout=60)
    for name, (properties, documents) in INDICES.items():
        es.options(ignore_status=404).indices.delete(index=name)
        es.indices.create(
            index=name,
            mappings={"properties": properties},
            settings={"number_of_shards": 1, "number_of_replicas": 0},
        )
        for each, source in documents.items():
            es.index(index=name, id=each, document=source)
        es.indices.refresh(index=name)
    rerankers = {name: WordOverlapReranker(name) for name in SERVED} | {"broken": Broken()}
    yield RerankClient(es, reranker=rerankers, embedder=HashEmbedder(3))
    for name in INDICES:
        es.indices.delete(index=name)
    es.close()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.page}: {example.heading}")
def test_an_example_of_the_documentation(client: RerankClient, example: Example) -> None:
    if example.refused:
        quoted = example.refused.split("«")[1].split("»")[0]
        with pytest.raises(ApiError) as caught:
            client.search(index=example.index, body=example.body)
        assert quoted in str(caught.value.body)
        return
    answer = client.search(index=example.index, body=example.body)
    assert example.check(answer), answer.body
    if example.order is not None:
        assert ids(answer) == example.order
    if example.scores is not None:
        assert [hit["_score"] for hit in answer["hits"]["hits"]] == example.scores
        assert answer["hits"]["max_score"] == example.scores[0]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{feature.of}: {feature.what}")
def test_a_feature_of_the_reference(client: RerankClient, feature: Feature) -> None:
    arguments: dict[str, Any] = {"index": feature.index, "body": feature.body, **feature.parameters}
    if feature.refused:
        with pytest.raises(ApiError) as caught:
            client.search(**arguments)
        assert caught.value.status_code == feature.status
        assert feature.refused in caught.value.body["error"]["reason"]
        return
    answer = client.search(**arguments)
    assert feature.check(answer), answer.body


def test_the_readme_shows_these_rows() -> None:
    readme = README.read_text(encoding="utf-8")
    assert written(readme) == readme, "run: python tests/support/conformance.py"

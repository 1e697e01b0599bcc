"""Every row of the README's conformance tables, on a real Elasticsearch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from conformance import (
    EXAMPLES,
    FEATURES,
    INDICES,
    README,
    Example,
    Feature,
    ids,
    said_by_rerankers,
    written,
)
from corpus import Broken
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from plugin_bodies import inside
from plugin_searches import until_asked
from server import serving

from es_rerank import RerankClient
from es_rerank.models import Reranker
from es_rerank.node import Node
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker

SERVED = (
    "my-rerank-model",
    "my-other-more-expensive-rerank-model",
    "my-elastic-rerank",
    "my-cohere-rerank-model",
    "my-msmarco-minilm-model",
    "elastic-rerank",
)


EMBEDDER = HashEmbedder(3)

SMALLEST = 1e-30
"""Elasticsearch raises the score of a ranked document to the smallest number above 0."""


def rerankers() -> dict[str, Reranker]:
    """Models under the names that the examples use."""
    return {name: WordOverlapReranker(name) for name in SERVED} | {"broken": Broken()}


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[RerankClient]:
    """The indices of the examples on a node without the plugin, and their models."""
    with Elasticsearch(node.url, request_timeout=60) as es:
        fill(es)
        yield RerankClient(es, reranker=rerankers(), embedder=EMBEDDER)
        empty(es)


@pytest.fixture(scope="module")
def plugin(plugin_es: Elasticsearch, plugin_node: Node, sidecar_port: int) -> Iterator[Elasticsearch]:
    """The same indices on the node with the plugin, whose sidecar serves the same models."""
    fill(plugin_es)
    service = Service(AsyncElasticsearch(plugin_node.url), lambda: (rerankers(), EMBEDDER))
    with serving(create_app(service), sidecar_port):
        until_asked(plugin_node.url)
        yield plugin_es
    empty(plugin_es)


def fill(es: Elasticsearch) -> None:
    """Make the indices of Elastic's examples, on one shard as there."""
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


def empty(es: Elasticsearch) -> None:
    for name in INDICES:
        es.indices.delete(index=name)


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


@pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.page}: {example.heading}")
def test_an_example_of_the_documentation_inside(plugin: Elasticsearch, example: Example) -> None:
    differs = example.inside
    quoted = example.refused.split("«")[1].split("»")[0] if example.refused else None
    if differs.refused if differs else quoted:
        with pytest.raises(ApiError) as caught:
            plugin.search(index=example.index, body=inside(example.body))
        assert_says(caught.value, differs.refused if differs else None, quoted)
        return
    answer = shown(plugin.search(index=example.index, body=inside(example.body)).body)
    assert (differs or example).check(answer), answer
    if example.order is not None:
        assert ids(answer) == example.order
    if example.scores is not None:
        assert [hit["_score"] for hit in answer["hits"]["hits"]] == example.scores


# A failed reranker is named in a header, which the client of Elasticsearch repeats as a warning.
@pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{feature.of}: {feature.what}")
def test_a_feature_of_the_reference_inside(plugin: Elasticsearch, feature: Feature) -> None:
    arguments: dict[str, Any] = {
        "index": feature.index,
        "body": inside(feature.body),
        **feature.parameters,
    }
    differs = feature.inside
    if differs.refused if differs else feature.refused:
        with pytest.raises(ApiError) as caught:
            plugin.search(**arguments)
        assert caught.value.status_code == feature.status
        assert_says(caught.value, differs.refused if differs else None, feature.refused)
        return
    answer = shown(plugin.search(**arguments).body)
    assert (differs or feature).check(answer), answer


def assert_says(error: ApiError, own: str | None, outside: str | None) -> None:
    """The error holds the plugin's own sentence, else that of outside, with the plugin's names in it."""
    if own:
        assert own in str(error.body)
        return
    names = {"es_rrf": "rrf", "es_linear": "linear", "es_rerank": "text_similarity_reranker"}
    text = re.sub("es_rrf|es_linear|es_rerank", lambda found: names[found[0]], str(error.body))
    assert outside
    assert outside in text


def shown(answer: Any) -> Any:
    """Return an answer of the plugin as the checks read it: with 0 for the smallest score, and a ``rerank``
    block with the status that its hits show.
    """
    for hit in answer["hits"].get("hits", []):
        hit["_score"] = 0.0 if hit["_score"] < SMALLEST else hit["_score"]
    if "hits" in answer["hits"]:
        answer["rerank"] = {"status": "reranked" if said_by_rerankers(answer) else "first_stage"}
    return answer


def test_the_readme_shows_these_rows() -> None:
    readme = README.read_text(encoding="utf-8")
    assert written(readme) == readme, "run: python tests/support/conformance.py"

"""Where stores of frameworks are tried: a node and its gateway, and what a store gave at each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from client_environments import answer_of
from elasticsearch import Elasticsearch
from independent import Documents, Tree
from independent_models import PairModel, TextModel
from plugin_searches import until_asked
from server import sidecar
from store_bodies import QUESTION, assert_refused, hybrid, store_documents
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from whole_distribution import whole

from es_rerank.node import Node

Found = list[list[Any]]
Ranked = list[tuple[str, float]]


@dataclass(frozen=True)
class Place:
    """A node, its gateway, and the models of the gateway. ``inside``: whether the node has our plugin."""

    node: str
    gateway: str
    pairs: PairModel
    texts: TextModel
    inside: bool


@contextmanager
def placed(node: Node, folder: Path, plugin_port: int | None = None) -> Iterator[Place]:
    """Run a gateway with tiny models before a node, at the port that its plugin asks if it has one."""
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    with (
        whole(node.url, node.version) as url,
        sidecar(url, *models, folder / "log", plugin_port or 0, ["--pass-through"]) as (gateway, _),
    ):
        if plugin_port is not None:
            until_asked(node.url)
        inside = plugin_port is not None
        yield Place(url, gateway, PairModel(models[0]), TextModel(models[1]), inside)


@dataclass(frozen=True)
class Got:
    """What the users of a store got in each case: through the gateway, and from Elasticsearch itself."""

    place: Place
    index: str
    through: dict[str, Any]
    direct: dict[str, Any]

    def vector(self) -> list[float]:
        """Return the vector of the question."""
        return self.place.texts.vector(QUESTION)

    def ranked(self, retriever: Any, size: int, index: str = "") -> Ranked:
        """Return (id, score) of the best documents of a tree, from its leaves, which Elasticsearch runs."""
        with httpx.Client(base_url=self.place.node, timeout=60) as node:
            name = self.index + index
            tree = Tree(node, name, Documents.read(node, name), self.place.pairs, self.place.texts)
            return [(entry.key[1], float(entry.score)) for entry in tree.ranked(retriever)[:size]]

    def hybrid(self, k: int, candidates: int, filters: Any = (), **options: Any) -> Ranked:
        """Return (id, score) of the hybrid search of ``elasticsearch.helpers.vectorstore``."""
        tree = hybrid(k, candidates, filters, self.vector(), **options)["retriever"]
        return self.ranked(tree, k)

    def assert_only_through(self, case: str) -> Any:
        """Return what the gateway gave. Elasticsearch itself refused it."""
        refused = self.direct[case]
        assert_refused(refused["status"], refused["said"])
        assert "raised" not in self.through[case], self.through[case]
        return self.through[case]

    def assert_the_same(self, case: str) -> Any:
        """Return what the gateway gave, which is what Elasticsearch itself gave."""
        assert alike(self.through[case], self.direct[case]), (self.through[case], self.direct[case])
        assert self.through[case]
        return self.through[case]


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are equal but for what the vectors of two indices lose when they are quantised."""
    if isinstance(one, float):
        return bool(one == pytest.approx(other, rel=1e-3, abs=1e-3))
    if isinstance(one, (list, dict)) and type(one) is type(other) and len(one) == len(other):
        keys = one if isinstance(one, dict) else range(len(one))
        return all((isinstance(one, list) or key in other) and alike(one[key], other[key]) for key in keys)
    return bool(one == other)


@contextmanager
def tried(place: Place, run: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Iterator[Got]:
    """Run a client at the gateway and at Elasticsearch, each with an index of its own.

    ``run`` takes the address and what the client is told: ``index``, ``question``, ``documents``, and the
    ``vectors`` of their texts.
    """
    documents = store_documents()
    texts = {QUESTION, "a dog", "get num dimensions", *(text for _, text, _ in documents)}
    told = {"documents": documents, "question": QUESTION, "most": 0}
    told["vectors"] = {text: place.texts.vector(text) for text in texts}
    name = f"test-{uuid4().hex[:12]}"
    try:
        through = run(place.gateway, {**told, "index": f"{name}-a"})
        yield Got(place, f"{name}-a", through, run(place.node, {**told, "index": f"{name}-b"}))
    finally:
        with Elasticsearch(place.node) as es:
            for index in es.indices.get(index=f"{name}*"):
                es.indices.delete(index=index)


def both(place: Place, environment: str, script: str) -> AbstractContextManager[Got]:
    """Run a script of ``tests/clients/calls`` at the gateway and at Elasticsearch."""
    return tried(
        place,
        lambda url, told: answer_of(environment, script, json.dumps({**told, "url": url})),
    )


def assert_ranked(found: Found, wanted: Sequence[tuple[str, float]]) -> None:
    """The (id, score) that a store gave are these, in this order."""
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted], rel=1e-5)

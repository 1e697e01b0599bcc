"""The plugin's ingest processor and ``es-rerank ingest`` write the same fields; all ways read them alike."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_embedder, load_reranker
from es_rerank.collection import Document, DocumentFormat
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest

pytestmark = pytest.mark.long

SENTENCE = "The peace was signed in the city by the river. "
TEXTS: dict[DocumentFormat, dict[str, str]] = {
    "text": {
        "short": SENTENCE,
        "empty": "",
        "chinese": "和平条约在河边的城市签署。" * 20,
        "long": SENTENCE * 400,
        "no-heading": f"# Peace\n{SENTENCE}",
    },
    "markdown": {
        "short": f"# Peace\n{SENTENCE}\n## War\n{SENTENCE * 3}",
        "empty": "",
        "chinese": f"# 和平\n{'条约在河边的城市签署。' * 20}",
        "long": f"# Peace\n{SENTENCE * 9}\n## War\n{SENTENCE * 9}\n" * 30,
        "table": "# Rivers\n| city | river |\n|---|---|\n" + "| peace | war |\n" * 90,
        "code": f"# Peace\n```\n# {SENTENCE}\n```\n",
    },
}


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BiEncoder]:
    """The embedder of the sidecar, in this process."""
    with load_embedder(tiny_bi_encoder(tmp_path_factory.mktemp("embedder"))) as model:
        assert isinstance(model, BiEncoder)
        yield model


@pytest.fixture
def pipelines(plugin_es: Elasticsearch) -> Iterator[None]:
    for kind in TEXTS:
        plugin_es.ingest.put_pipeline(
            id=f"same-{kind}", processors=[{"es_rerank_passages": {"format": kind}}]
        )
    yield
    plugin_es.ingest.delete_pipeline(id="same-*")


def sources(es: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    found = es.search(index=index, size=100, source={"exclude_vectors": False, "includes": ["*"]})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


@pytest.mark.usefixtures("plugin_sidecar", "pipelines")
def test_the_same_documents_get_the_same_fields_both_ways(
    plugin_es: Elasticsearch, plugin_index: str, embedder: BiEncoder
) -> None:
    documents = [
        Document(f"{kind} {name} {title}", title, text, {"year": 1648}, kind)
        for kind, texts in TEXTS.items()
        for name, text in texts.items()
        for title in ("", "The peace of the city")
        if text or title
    ]
    ingest = Ingest(plugin_es, embedder, chunker=Chunker(embedder.tokenizer))
    version = ingest.run(plugin_index, documents).version
    mapping = plugin_es.indices.get_mapping(index=version)[version]["mappings"]
    plugin_es.indices.create(
        index=f"{plugin_index}-plugin",
        mappings=mapping,
        settings={"mapping": {"nested_objects": {"limit": 100_000}}},
    )
    actions = [
        {
            "_id": document.id,
            "pipeline": f"same-{document.format}",
            "title": document.title,
            "text": document.text,
            "metadata": document.metadata,
        }
        for document in documents
    ]
    _, failed = bulk(
        plugin_es, actions, index=f"{plugin_index}-plugin", refresh=True, raise_on_error=False, chunk_size=4
    )
    assert failed == []
    ours, theirs = sources(plugin_es, version), sources(plugin_es, f"{plugin_index}-plugin")
    assert ours.keys() == theirs.keys() == {document.id for document in documents}
    for name, source in ours.items():
        # The record of a run, which a processor has no part in.
        assert source.keys() - theirs[name].keys() == {"@timestamp", "content_hash"}
        assert theirs[name].keys() <= source.keys()
        for key in theirs[name].keys() - {"passages"}:
            assert source[key] == theirs[name][key]
        pairs = list(zip(source["passages"], theirs[name]["passages"], strict=True))
        assert pairs
        for passage, other in pairs:
            assert np.allclose(vector(passage), vector(other), atol=1e-6)
            assert {**passage, "vector": 0} == {**other, "vector": 0}
    assert sum("heading" in passage for source in ours.values() for passage in source["passages"]) > 50


def vector(passage: dict[str, Any]) -> list[float]:
    found = passage["vector"]
    return list(np.frombuffer(base64.b64decode(found), ">f4")) if isinstance(found, str) else found


def outcomes(answer: Any) -> list[tuple[str, Any, Any]]:
    return [
        (hit["_id"], pytest.approx(hit["_score"], rel=1e-5), hit["fields"].get("rerank.passage"))
        for hit in answer["hits"]["hits"]
    ]


@pytest.mark.parametrize("chunks", [{}, {"chunk_rescorer": {"size": 2}}], ids=["all", "nearest"])
def test_gateway_library_and_plugin_read_headings_and_defaults_alike(
    plugin_es: Elasticsearch,
    plugin_index: str,
    plugin_sidecar: str,
    embedder: BiEncoder,
    tmp_path: Path,
    chunks: dict[str, Any],
) -> None:
    documents = [
        Document(name, "Peace", text, {}, "markdown")
        for name, text in TEXTS["markdown"].items()
        if text and name != "long"
    ]
    version = (
        Ingest(plugin_es, embedder, chunker=Chunker(embedder.tokenizer)).run(plugin_index, documents).version
    )
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    wanted: dict[str, Any] = {"retriever": child, "inference_text": "war river", **chunks}
    unnamed, named = wanted, {**wanted, "field": ["title", "passages.text"]}
    reranker = load_reranker(tiny_cross_encoder(tmp_path / "reranker"))
    library = RerankClient(plugin_es, reranker=reranker, plugin="never")
    expected = outcomes(library.search(index=plugin_index, retriever={"text_similarity_reranker": named}))
    assert any(passage for _, _, passage in expected)
    for parameters in (named, unnamed):
        answers: list[Any] = [
            library.search(index=plugin_index, retriever={"text_similarity_reranker": parameters}),
            plugin_es.search(index=plugin_index, retriever={"es_rerank": parameters}),
            *(
                httpx.post(
                    f"{plugin_sidecar}/{plugin_index}/_search",
                    json={"retriever": {kind: parameters}},
                    timeout=60,
                ).json()
                for kind in ("text_similarity_reranker", "es_rerank")
            ),
        ]
        for answer in answers:
            assert outcomes(answer) == expected
    meta = plugin_es.indices.get_mapping(index=version)[version]["mappings"]["_meta"]
    meta["search"]["inference_id"] = "nobody"
    plugin_es.indices.put_mapping(index=version, meta=meta)
    with pytest.warns(match="nobody"):
        assert outcomes(plugin_es.search(index=plugin_index, retriever={"es_rerank": unnamed})) == expected
    said = library.search(index=plugin_index, retriever={"text_similarity_reranker": unnamed})
    assert outcomes(said) == expected
    assert "nobody" in said["rerank"]["warnings"][0]
    plugin_es.indices.put_mapping(index=version, meta={})
    refused = httpx.post(
        f"{plugin_sidecar}/{plugin_index}/_search", json={"retriever": {"es_rerank": unnamed}}, timeout=60
    )
    assert (refused.status_code, "Required [field]" in refused.text) == (400, True)

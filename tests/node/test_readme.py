"""The README's examples run as they are written, against this session's node and a sidecar of its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus import ARTICLES
from elasticsearch import Elasticsearch
from server import sidecar

from es_rerank import load_embedder
from es_rerank.models.load import model_folder
from es_rerank.node import Node
from es_rerank.settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest, read_sources

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def articles(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """The index ``articles`` of the README, and ``my-chunks``, someone's own."""
    es = Elasticsearch(node.url, request_timeout=60)
    source = tmp_path_factory.mktemp("source") / "articles.jsonl"
    source.write_text(
        "".join(
            json.dumps({"_id": f"a{n}", "title": t, "text": x, "year": y}) + "\n"
            for n, (t, x, y) in enumerate(ARTICLES)
        )
    )
    with load_embedder() as embedder:
        report = Ingest(es, embedder, chunker=Chunker(embedder.tokenizer)).run(
            "articles", read_sources([source])
        )
        assert (report.documents, report.failed) == (len(ARTICLES), 0)
        es.indices.create(
            index="my-chunks",
            mappings={
                "properties": {
                    "content": {"type": "text"},
                    "embedding": {"type": "dense_vector", "dims": embedder.dims},
                    "page": {"type": "integer"},
                }
            },
        )
        for page, (_, text, _) in enumerate(ARTICLES, 9):
            es.index(
                index="my-chunks",
                document={"content": text, "embedding": embedder.embed([text])[0].tolist(), "page": page},
                refresh=True,
            )
    yield es
    for name in [*es.indices.get(index="articles*"), "my-chunks"]:
        es.indices.delete(index=name)
    es.close()


def test_the_python_examples_run(articles: Elasticsearch, node: Node) -> None:
    class MyModel:
        @staticmethod
        def encode(text: str) -> list[float]:
            with load_embedder() as embedder:
                vector: list[float] = embedder.embed([text], purpose="query")[0].tolist()
                return vector

    names: dict[str, Any] = {"my_model": MyModel}
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        statements = block.replace("http://localhost:9200", node.url)
        exec(compile(statements, "README.md", "exec"), names)
    assert [document.metadata["_index"].startswith("articles") for document in names["documents"]] == [
        True
    ] * 3
    assert len(names["best"]) == 1
    answer = names["es"].rerank(
        "who signed the treaty",
        index="my-chunks",
        field="content",
        query_vector=MyModel.encode("who signed the treaty"),
        size=5,
    )
    assert answer["hits"]["hits"][0]["_source"]["content"] in {ARTICLES[0][1], ARTICLES[2][1], ARTICLES[4][1]}
    assert answer["rerank"]["status"] == "reranked"


def test_the_curl_examples_run(articles: Elasticsearch, node: Node, tmp_path: Path) -> None:
    commands = [
        line for block in blocks("bash") if "curl" in block for line in re.split(r"\n(?=curl)", block.strip())
    ]
    assert len(commands) == 2
    with sidecar(
        node.url, model_folder(BUNDLED_RERANKER), model_folder(BUNDLED_EMBEDDER), tmp_path / "log"
    ) as (address, _):
        search, rerank = (
            json.loads(
                subprocess.run(
                    ["bash", "-c", c.replace("localhost:8080", address)], capture_output=True, check=True
                ).stdout
            )
            for c in commands
        )
    assert search["rerank"]["status"] == "reranked"
    assert [row["index"] for row in rerank] == [0, 1]

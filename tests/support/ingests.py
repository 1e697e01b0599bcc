"""Documents to ingest, an ingest that cuts at words, and what an index holds afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from es_rerank.testing import HashEmbedder
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest

TREATY = {
    "_id": "treaty",
    "title": "Westphalia",
    "text": "The peace ended thirty years of war. It was signed in Osnabrück.",
    "year": 1648,
    "tags": ["war", "law"],
}
MOON = {
    "_id": "moon",
    "title": "",
    "text": "Two people walked on the Moon while a third kept circling it.",
    "metadata": {"year": 1969, "on": "1969-07-20"},
}
WEB = {
    "id": 3,
    "title": "Web",
    "text": "A proposal for linked documents circulated among physicists.",
    "metadata": {"year": 1989, "on": "1989-03-12T09:00:00Z"},
}


def chunker(size: int = 8, overlap: int = 2) -> Chunker:
    """Passages of words: one token per word."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return Chunker(tokenizer, size=size, overlap=overlap)


def an_ingest(client: Elasticsearch, *, dims: int = 64, size: int = 8, batch: int = 2) -> Ingest:
    return Ingest(
        client, HashEmbedder(dims), chunker=chunker(size), batch_documents=batch, initial_backoff_s=0
    )


def write(path: Path, records: Sequence[dict[str, Any] | str]) -> Path:
    """Write JSONL, gzipped when the name ends in .gz; a string is a line as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records
    ).encode()
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def read(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def source_of(es: Elasticsearch, index: str, identifier: str) -> dict[str, Any]:
    source: dict[str, Any] = es.get(index=index, id=identifier)["_source"]
    return source


def found(es: Elasticsearch, index: str, query: dict[str, Any]) -> set[str]:
    return {hit["_id"] for hit in es.search(index=index, query=query, size=100)["hits"]["hits"]}


def everything(es: Elasticsearch, index: str) -> set[str]:
    return found(es, index, {"match_all": {}})

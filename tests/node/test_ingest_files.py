"""Files and Python objects of all kinds in an index: what was read is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_files
import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest

from es_rerank.node import Node
from ingest_pipelines import read_sources

DOCS = Path(__file__).parents[2] / "docs" / "documents.md"


@pytest.fixture
def notes(es: Elasticsearch) -> Iterator[str]:
    """The index ``notes`` of the documentation."""
    yield "notes"
    for made in es.indices.get(index="notes-*"):
        es.indices.delete(index=made)


@pytest.mark.node
def test_the_example_of_langchain_and_llama_index_runs(es: Elasticsearch, node: Node, notes: str) -> None:
    (example,) = re.findall(r"```python\n(.*?langchain.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example.replace("http://localhost:9200", node.url), DOCS.name, "exec"), names)
    assert (names["report"].documents, names["report"].failed) == (3, 0)
    found = es.search(index=notes, query={"range": {"metadata.year": {"lt": 1900}}})["hits"]["hits"]
    assert [(hit["_id"], hit["_source"]["title"]) for hit in found] == [("w1", "Westphalia")]


@pytest.mark.node
def test_a_folder_of_all_kinds_is_one_run_and_each_is_found(
    es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    (folder / "inner").mkdir(parents=True)
    table = [["Year", "国家"], ["1997", "日本"]]
    files = {
        "a.md": b"---\ntags: [climate]\ndate: 2024-01-31\n---\n# Kyoto\n\nmarker text",
        "inner/b.html": "<html><title>京都</title><body><p>marker 条约</p></body></html>".encode(),
        "c.pdf": own_files.pdf([own_files.pdf_lines(["marker line"]) + own_files.pdf_table(table)]),
        "f.csv": b"id,text,price\nf1,marker row,1.5\n",
        "scan.pdf": own_files.pdf([b"0 0 9 9 re f"]),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    report = an_ingest(es, size=64).run(index, read_sources([folder]), rejects=tmp_path / "rejects.jsonl")
    assert (report.documents, report.failed) == (4, 1)
    hits = es.search(index=index, query={"match": {"text": "marker"}}, size=10)["hits"]["hits"]
    found = {hit["_id"]: hit["_source"] for hit in hits}
    assert found.keys() == {"a.md", "inner/b.html", "c.pdf", "f1"}
    assert found["a.md"]["metadata"]["tags"] == ["climate"]
    assert found["inner/b.html"]["title"] == "京都"
    assert "| 1997 | 日本 |" in found["c.pdf"]["text"]
    again = an_ingest(es, size=64).run(index, read_sources([folder]), rejects=tmp_path / "rejects.jsonl")
    assert (again.documents, again.skipped, again.failed) == (0, 4, 1)

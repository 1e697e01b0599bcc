"""The memory of an ingest does not grow with the corpus.

``pytest --long tests/node/test_ingest_memory.py``
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from es_rerank.node import Node

CHILD = """
import re, sys
from pathlib import Path
from elasticsearch import Elasticsearch
from es_rerank.collection import Document
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest
from ingests import chunker

url, index, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
text = "Some words of document {0} about a treaty that ended a war. " * 6
documents = (Document(str(n), "", text.format(n), {"number": n}) for n in range(count))
with Elasticsearch(url, request_timeout=120) as client:
    report = Ingest(client, HashEmbedder(16), chunker=chunker(40, 8)).run(index, documents)
assert report.documents == count
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def peak_kib(node: Node, index: str, count: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, node.url, index, str(count)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_memory_is_flat_from_ten_to_two_hundred_thousand_documents(
    es: Elasticsearch, node: Node, index: str
) -> None:
    few, many = peak_kib(node, f"{index}-few", 10_000), peak_kib(node, f"{index}-many", 200_000)
    assert many <= 1.1 * few, f"peak: {few} KiB for 10,000 documents, {many} KiB for 200,000"

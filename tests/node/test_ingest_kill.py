"""An ingest that is killed at any moment and begun again gives the index that one without a stop gives.

``pytest --long tests/node/test_ingest_kill.py``
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
from waiting import until

from es_rerank.node import Node
from es_rerank.research.evaluation.packaged import packaged

_KILLS = 10

CHILD = """
import sys
from pathlib import Path
from elasticsearch import Elasticsearch
from es_rerank.models.load import load_embedder
from es_rerank.testing import HashEmbedder
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest, read_sources
from ingests import chunker

url, index, source, rejects, which = sys.argv[1:]
model = HashEmbedder(16) if which == "cheap" else load_embedder()
cutter = chunker(40, 8) if which == "cheap" else Chunker(model.tokenizer)
with Elasticsearch(url, request_timeout=120) as client:
    ingest = Ingest(client, model, chunker=cutter, batch_documents=50)
    ingest.run(index, read_sources([Path(source)]), rejects=Path(rejects),
               on_progress=lambda report: print(report.documents + report.skipped, flush=True))
"""


def child(node: Node, index: str, source: Path, rejects: Path, which: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, node.url, index, str(source), str(rejects), which],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(count: int) -> Iterator[str]:
    """Yield real documents, of which each hundredth cannot be indexed and some have the id of another."""
    with gzip.open(packaged() / "corpus.jsonl.gz", "rt", encoding="utf-8") as corpus:
        texts = [json.loads(line)["text"] for line in corpus]
    for number in range(count):
        record: dict[str, Any] = {"_id": str(number), "text": texts[number % len(texts)], "number": number}
        if number % 100 == 7:
            record = {"_id": "x" * 600, "text": "an id that is too long", "number": number}
        elif number % 250 == 11:
            record["_id"] = str(number - 3)
        yield "no JSON\n" if number % 100 == 57 else json.dumps(record) + "\n"


def everything(es: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    es.indices.refresh(index=index)
    hits = scan(es, index=index, size=1_000)
    return {
        hit["_id"]: {name: value for name, value in hit["_source"].items() if name != "@timestamp"}
        for hit in hits
    }


def rejected(path: Path) -> list[str]:
    return sorted(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("which", "count"), [("cheap", 20_000), ("real", 1_000)])
def test_an_ingest_that_is_killed_at_random_moments_ends_as_one_that_is_not(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path, which: str, count: int
) -> None:
    source, draw = tmp_path / "a.jsonl", random.Random(24)
    source.write_text("".join(lines(count)), encoding="utf-8")
    whole, killed = f"{index}-whole", f"{index}-killed"
    with child(node, whole, source, tmp_path / "whole.jsonl", which) as run:
        said, _ = run.communicate()
    assert run.returncode == 0
    last, amid = int(said.split()[-1]), 0
    # Each kill comes after a drawn number of documents and a drawn part of a further batch: the process is
    # killed while it reads, embeds and writes.
    for after in sorted(draw.randrange(last) for _ in range(_KILLS)):
        with child(node, killed, source, tmp_path / "killed.jsonl", which) as run:
            assert run.stdout is not None
            for line in run.stdout:
                if int(line) >= after:
                    break
            work_on(run, draw.uniform(0, 0.3))
            run.kill()
        amid += run.returncode == -signal.SIGKILL
    assert amid >= _KILLS // 2, "most runs had not ended when they were killed"
    with child(node, killed, source, tmp_path / "killed.jsonl", which) as run:
        run.communicate()
    assert run.returncode == 0
    expected = everything(es, whole)
    found = everything(es, killed)
    assert len(expected) > 0.9 * count
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert rejected(tmp_path / "killed.jsonl") == rejected(tmp_path / "whole.jsonl")


def work_on(run: subprocess.Popen[str], seconds: float) -> None:
    """Wait until the process has used so much more time of the CPU, or has ended."""
    end = _cpu(run.pid) + seconds
    until(lambda: run.poll() is not None or _cpu(run.pid) >= end)


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used: where it is, whatever else the machine does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

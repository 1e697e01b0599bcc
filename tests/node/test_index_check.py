"""``es-rerank index check``: what an index lacks, and its vector search beside the exact one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from ingests import an_ingest
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError
from es_rerank.models import Vectors
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines.checking import stored
from ingest_pipelines.checking.advice import notes_on, problems_of
from ingest_pipelines.checking.check import IndexCheck, check_index
from ingest_pipelines.checking.nearest import NearestDocuments
from ingest_pipelines.checking.stored import StoredPage, as_vector
from ingest_pipelines.vectors import pack_vector

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
DOCUMENTS = [
    Document(f"d{number}", "A title", f"{word} begins. " + " ".join(WORDS[number:] * 2), {})
    for number, word in enumerate(WORDS)
]


class OtherWeights(HashEmbedder):
    """An embedder of the same name whose vectors are others."""

    def embed(self, texts: Any, *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        """Return the vectors with their numbers in another order."""
        return super().embed(texts, purpose=purpose)[:, ::-1].copy()


def checked(
    es: Elasticsearch, index: str, embedder: HashEmbedder | None = None, **options: Any
) -> IndexCheck:
    return check_index(es, index, embedder or HashEmbedder(64), None, **options)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_index_that_is_right_has_no_problems(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [
        Document("empty", "", "", {}),
        Document("title", "Alone", " ", {}),
        Document("markdown", "Guide", "# Part\n\n## Section\n\nwords below headings", {}, "markdown"),
    ]
    an_ingest(es).run(index, [*DOCUMENTS, *others])
    whole = checked(es, index)
    assert (whole.documents, whole.queries, whole.asked_with) == (15, 14, "beginnings of passages")
    assert (whole.without_passages, whole.without_vector, whole.other_dims) == (0, 0, 0)
    assert whole.recall_at_10 == 1.0
    assert whole.vector_difference is not None
    assert whole.vector_difference < 1e-5
    assert (whole.problems, whole.notes) == ([], [])
    monkeypatch.setattr(stored, "_DOCUMENTS", 5)
    monkeypatch.setattr(stored, "_PASSAGES", 7)
    parts = checked(es, index, queries=["three", "nine"])
    assert (parts.documents, parts.passages, parts.recall_at_10) == (15, whole.passages, 1.0)
    assert (parts.queries, parts.asked_with) == (2, "given queries")


def test_each_fault_is_told_with_its_remedy(es: Elasticsearch, index: str, node: Node) -> None:
    an_ingest(es).run(index, DOCUMENTS[:3])
    es.index(index=index, id="foreign", document={"title": "", "text": "words"})
    es.index(index=index, id="bare", document={"passages": [{"text": "no vector", "start": 0, "end": 9}]})
    es.indices.refresh(index=index)
    found = checked(es, index)
    assert (found.without_passages, found.without_vector) == (1, 1)
    assert [problem.what for problem in found.problems] == [
        "1 documents have text and no passages, so kNN does not find them: foreign",
        "1 passages have no vector, so kNN does not find them",
    ]
    assert all(f"es-rerank ingest {index} SOURCE" in problem.remedy for problem in found.problems)
    changed = checked(es, index, OtherWeights(64)).problems[0].what
    assert changed.startswith("hash-64 makes other vectors now than those that are stored")
    other = checked(es, index, HashEmbedder(32))
    assert other.problems[0].what.startswith("the vectors are by hash-64 (64 dimensions), and hash-32 (32)")
    assert (other.asked_with, other.recall_at_10, other.vector_difference) == ("stored vectors", 1.0, None)
    result = CliRunner().invoke(app, ["index", "check", index, "--elasticsearch-url", node.url, "--json"])
    assert result.exit_code == 1  # the bundled embedder did not make this index
    assert json.loads(result.stdout)["problems"][0]["remedy"].startswith("use --embedder hash-64 or")
    assert "ES_RERANK_EMBEDDER=hash-64" in result.stderr


def test_only_an_index_of_es_rerank_is_checked(es: Elasticsearch, index: str) -> None:
    es.indices.create(index=f"{index}-a", aliases={index: {}})
    with pytest.raises(IndexMismatchError, match="was not made by es-rerank ingest"):
        checked(es, index)
    es.indices.create(index=f"{index}-b", aliases={index: {}})
    with pytest.raises(IndexMismatchError, match=f"{index} names 2 indices"):
        checked(es, index)


def test_recall_is_that_of_a_sort_over_all_vectors() -> None:
    draw = np.random.default_rng(7)
    vectors = draw.normal(size=(300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = np.sort(draw.integers(100, size=300))
    queries = vectors[:20]
    similarity = queries @ vectors.T
    best = np.array([[row[owners == owner].max(initial=-1) for owner in range(100)] for row in similarity])
    order = np.argsort(-best, axis=1)
    found = [[f"d{owner}" for owner in [*row[:7], *row[50:53]]] for row in order]
    nearest = NearestDocuments(queries, found)
    for start in range(0, 100, 30):
        of_page = (owners >= start) & (owners < start + 30)
        names = [f"d{owner}" for owner in range(start, min(start + 30, 100))]
        nearest.add(StoredPage(names, [], (owners[of_page] - start).tolist(), vectors[of_page], 0, 0))
    assert nearest.recall() == pytest.approx(0.7)
    assert NearestDocuments(queries, [[]] * 20).recall() is None
    unpacked = as_vector(pack_vector(vectors[0]))
    assert unpacked is not None
    assert unpacked.tolist() == vectors[0].tolist()


def test_low_recall_other_dimensions_and_deleted_documents_are_told() -> None:
    right = IndexCheck(
        "a", "a-000001", "e", 8, {}, 5, 9, 1, "given queries", 0.95, 1, 2, 0, 0, 0, 0.0, 0.1, 3
    )
    known: dict[str, Any] = {"loaded": ("e", 8), "mapped_dims": 8, "names": [], "least_recall": 0.9}
    known["service"] = None
    assert not [*problems_of(right, **known), *notes_on(right)]
    for change, said in (
        ({"recall_at_10": 0.5}, "recall@10 is 0.500"),
        ({"other_dims": 2}, "2 passages have a vector of other length"),
        ({"vector_difference": 0.01}, "e makes other vectors now"),
    ):
        (problem,) = problems_of(replace(right, **change), **known)
        assert said in problem.what
    (problem,) = problems_of(right, **known | {"mapped_dims": 4})
    assert problem.what == "the mapping has 4 dimensions, and _meta says 8"
    made = replace(right, embedder="text-embedding-3-small?query_prefix=q%3A", dims=64)
    for dialect, origin, told in (
        ("openai", "https://api.openai.com", "'openai:text-embedding-3-small?dims=64&query_prefix=q%3A'"),
        (
            "openai",
            "http://h:1",
            "'remote:openai:http://h:1?model=text-embedding-3-small&query_prefix=q%3A', ",
        ),
        ("tei", "http://h:1", "'remote:tei:http://h:1?query_prefix=q%3A', "),
    ):
        (problem, *_) = problems_of(made, **known | {"service": {"dialect": dialect, "origin": origin}})
        assert problem.remedy.startswith(f"use --embedder {told}"[:-2])
    (note,) = notes_on(replace(right, deleted=0.3))
    assert "a merge would help (POST a-000001/_forcemerge?only_expunge_deletes=true)" in note
    (note,) = notes_on(replace(right, deleted=None, segments=None))
    assert "privilege monitor" in note
    (note,) = notes_on(replace(right, segments=50))
    assert "max_num_segments=1" in note

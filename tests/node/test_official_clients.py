"""Elastic's own clients in Python, JavaScript and Java send the same dozen requests to one gateway and
understand what it answers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from corpus import EMBEDDER, fill
from elasticsearch import Elasticsearch
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.node import Node

CLIENTS = Path(__file__).parents[1] / "support" / "clients"
QUESTION = "who signed the treaty"
NODE = 20
JAVA = 17


@pytest.fixture(scope="module")
def index(es: Elasticsearch) -> Iterator[str]:
    name = f"test-{uuid4().hex[:12]}"
    fill(es, name)
    # A merge in the background would change the last digits of scores between the clients.
    es.indices.forcemerge(index=name, max_num_segments=1)
    yield name
    for found in es.indices.get(index=f"{name}*"):
        es.indices.delete(index=found)


@pytest.fixture(scope="module")
def requests_file(index: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (CLIENTS / "requests.json").read_text(encoding="utf-8")
    vector = json.dumps(EMBEDDER.embed([QUESTION])[0].tolist())
    path = tmp_path_factory.mktemp("requests") / "requests.json"
    path.write_text(text.replace('"$VECTOR"', vector).replace("$INDEX", index), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def wanted(requests_file: Path) -> Any:
    return json.loads(requests_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def address(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gateway")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    with sidecar(node.url, *models, folder / "log", extra=["--pass-through"]) as (url, _):
        yield url


@pytest.fixture(scope="module")
def answers(address: str, requests_file: Path) -> Any:
    """What the synchronous Python client understood; the others are compared with it."""
    return answers_of(python("sync"), address, requests_file)


def answers_of(command: list[str], address: str, requests_file: Path) -> Any:
    return json.loads(output([*command, address, str(requests_file)]))


def output(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=folder, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(kind: str) -> list[str]:
    return [sys.executable, str(CLIENTS / "python_client.py"), kind]


def javascript(folder: Path) -> list[str]:
    if not (shutil.which("node") and shutil.which("npm")) or major(["node", "--version"]) < NODE:
        pytest.skip(f"needs Node.js {NODE} or newer on PATH (node, npm)")
    project = copied("javascript", folder)
    output(["npm", "install"], project)
    return ["node", str(project / "run.mjs")]


def java(folder: Path) -> list[str]:
    if (
        not (shutil.which("mvn") and shutil.which("java") and shutil.which("javac"))
        or major(["javac", "-version"]) < JAVA
    ):
        pytest.skip(f"needs Maven and a JDK {JAVA} or newer on PATH (mvn, java, javac)")
    project = copied("java", folder)
    path = project / "target" / "classpath"
    output(
        [
            "mvn",
            "-B",
            "-q",
            "compile",
            "dependency:build-classpath",
            f"-Dmdep.outputFile={path}",
            "-Dmdep.includeScope=runtime",
        ],
        project,
    )
    return [
        "java",
        "-cp",
        f"{project / 'target' / 'classes'}:{path.read_text(encoding='utf-8')}",
        "clients.Run",
    ]


def major(command: list[str]) -> int:
    found = re.search(r"\d+", output(command))
    return int(found[0]) if found else 0


def copied(name: str, folder: Path) -> Path:
    """A client's project where it may be built: nothing that is generated lands in the repository."""
    return shutil.copytree(
        CLIENTS / name, folder / name, ignore=shutil.ignore_patterns("node_modules", "target")
    )


def ids(answer: Any) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def scores(answer: Any) -> dict[str, float]:
    return {hit["id"]: hit["score"] for hit in answer["hits"]}


def eq(value: int) -> dict[str, Any]:
    return {"value": value, "relation": "eq"}


# --- alike --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["python async", "javascript", "java"])
def test_clients_are_answered_alike(
    client: str, answers: Any, address: str, requests_file: Path, tmp_path: Path
) -> None:
    command = {
        "python async": lambda: python("async"),
        "javascript": lambda: javascript(tmp_path),
        "java": lambda: java(tmp_path),
    }[client]()
    found = answers_of(command, address, requests_file)
    assert set(found) == set(answers)
    for number in answers:
        if number == "10":  # Java keeps a relevance score as a 32-bit float
            assert [row.pop("relevance_score") for row in found["10"]] == pytest.approx(
                [row["relevance_score"] for row in answers["10"]], rel=1e-6
            )
            assert found["10"] == [{"index": row["index"], "text": row["text"]} for row in answers["10"]]
        else:
            assert found[number] == answers[number], number


# --- and rightly --------------------------------------------------------------------------------------------


def test_what_elasticsearch_runs_is_elasticsearchs_answer(
    answers: Any, wanted: Any, es: Elasticsearch, index: str
) -> None:
    for number in "123":
        direct = es.search(index=index, **wanted[number])["hits"]
        parts = [
            {
                "id": hit["_id"],
                "score": hit["_score"],
                **({"source": hit["_source"]} if "_source" in hit else {}),
            }
            for hit in direct["hits"]
        ]
        assert answers[number] == {"total": direct["total"], "hits": parts}
    assert answers["1"]["hits"][0]["source"] == {"title": "Paper", "metadata": {"year": 2021}}
    assert (ids(answers["1"]), ids(answers["2"]), ids(answers["3"])) == (
        ["a2", "a4", "a0"],
        ["a2", "a4", "a0"],
        ["a2", "a0", "a4", "a1"],
    )


def test_fusions_are_what_a_hand_calculation_gives(answers: Any) -> None:
    words, vectors = answers["2"], answers["3"]
    reciprocal: dict[str, float] = {}
    for ranking in (ids(words), ids(vectors)):
        for rank, each in enumerate(ranking, 1):
            reciprocal[each] = reciprocal.get(each, 0.0) + 1 / (1 + rank)
    assert scores(answers["4"]) == pytest.approx(reciprocal, rel=1e-6)
    assert ids(answers["4"]) == ["a2", "a0", "a4", "a1"]
    weighted: dict[str, float] = {}
    for scored, weight in ((scores(words), 2.0), (scores(vectors), 1.5)):
        low, high = min(scored.values()), max(scored.values())
        for each, score in scored.items():
            weighted[each] = weighted.get(each, 0.0) + weight * (score - low) / (high - low)
    assert scores(answers["5"]) == pytest.approx(weighted, rel=1e-5)
    assert ids(answers["5"]) == ["a2", "a4", "a0", "a1"]
    assert answers["4"]["total"] == answers["5"]["total"] == eq(4)


def test_a_reranked_page_carries_its_sources_and_fields(answers: Any) -> None:
    page = answers["6"]
    assert page["total"] == eq(4)
    assert len(page["hits"]) == 2
    titles = {"a0": "Peace", "a1": "Moon", "a2": "Paper", "a4": "Treaty"}
    years = {"a0": 1999, "a1": 2005, "a2": 2021, "a4": 2023}
    ranks = {each: rank for rank, each in enumerate(ids(answers["4"]), 1)}
    for hit in page["hits"]:
        assert hit["source"] == {"title": titles[hit["id"]]}
        fields = hit["fields"]
        assert (fields["title"], fields["metadata.year"]) == ([titles[hit["id"]]], [years[hit["id"]]])
        assert fields["rerank.first_stage_rank"] == [ranks[hit["id"]]]
        assert fields["rerank.first_stage_score"] == [scores(answers["4"])[hit["id"]]]
        assert 0 < hit["score"] < 1
    assert page["hits"][0]["fields"]["rerank.logit"] > page["hits"][1]["fields"]["rerank.logit"]


def test_aggregations_highlights_and_totals_are_of_the_union(answers: Any) -> None:
    found = answers["7"]
    assert found["total"] == eq(4)
    assert ids(found) == ["a4", "a1", "a0", "a2"]
    assert found["aggregations"] == {"years": [[1999, 1], [2005, 1], [2021, 1], [2023, 1]], "latest": 2023}
    marked = {hit["id"]: hit.get("highlight") for hit in found["hits"]}
    assert marked["a4"] == {"text": ["Signed and sealed, the <em>treaty</em> went to the archive."]}
    assert marked["a1"] is None


def test_several_searches_stand_or_fall_one_by_one(answers: Any) -> None:
    plain, fused, faulty = answers["8"]
    assert plain == answers["2"]
    assert fused == {**answers["4"], "aggregations": {"latest": 2023}}
    assert (faulty["status"], faulty["type"]) == (400, "x_content_parse_exception")
    assert "unknown field [rank_widow_size]" in faulty["reason"]


def test_pages_inside_a_point_in_time_are_the_whole(answers: Any) -> None:
    first, second = answers["9"]["pages"]
    assert first["hits"] + second["hits"] == answers["4"]["hits"]
    assert first["total"] == second["total"] == eq(4)
    assert answers["9"]["closed"] is True


def test_inference_ranks_texts(answers: Any, wanted: Any) -> None:
    rows = answers["10"]
    assert sorted(row["index"] for row in rows) == [0, 1, 2]
    assert [row["text"] for row in rows] == [wanted["10"]["input"][row["index"]] for row in rows]
    relevance = [row["relevance_score"] for row in rows]
    assert relevance == sorted(relevance, reverse=True)
    assert 0 < relevance[-1] < relevance[0] < 1


def test_other_paths_reach_elasticsearch(answers: Any, wanted: Any) -> None:
    one = wanted["11"]["one"]
    assert answers["11"] == {
        "indexed": "created",
        "got": {"id": one["id"], "source": one["document"]},
        "bulk": {"errors": False, "items": [["w1", "created", 201], ["w2", "created", 201]]},
        "count": 2,
        "deleted": "deleted",
        "exists": False,
        "dropped": True,
    }


def test_errors_carry_status_type_and_reason(answers: Any, index: str) -> None:
    unknown, missing = answers["12"]["unknown_field"], answers["12"]["missing_index"]
    assert unknown == answers["8"][2]
    assert missing == {
        "status": 404,
        "type": "index_not_found_exception",
        "reason": f"no such index [{index}-missing]",
    }

"""Tuning end to end, on a real Elasticsearch: a made index where it is known which order is right."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

from commands import fault, run
from elasticsearch import Elasticsearch
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner, Result

from es_rerank.cli.app import app
from es_rerank.models.manifest import read_manifest
from es_rerank.node import Node

WORDS = (
    *("anchor", "bridge", "candle", "desert", "engine", "falcon", "garden", "harbor"),
    *("island", "jungle", "kettle", "ladder", "magnet", "needle", "orange", "pepper"),
)

Row = tuple[str, str, float]


def filled(es: Elasticsearch, index: str) -> list[Row]:
    """Index six documents for each of 48 queries of two words, and return judgements that reward BM25: the
    document that is nothing but the query's words is rated 2, another one with both words 1, and those with
    one word are rated 0.
    """
    chance, rows, operations = random.Random(3), list[Row](), list[dict[str, Any]]()
    queries = [f"{one} {other}" for one in WORDS for other in WORDS if one < other]
    for query in chance.sample(queries, 48):
        first, _ = query.split()
        texts = [(f"{query} {query}", 2), (f"{query} of the {chance.choice(WORDS)}", 1)]
        texts += [(f"{first} of the {chance.choice(WORDS)} and more of that", 0) for _ in range(4)]
        for text, rating in texts:
            name = f"d{len(rows)}"
            operations += [{"index": {"_id": name}}, {"text": text, "ean": f"e{len(rows)}"}]
            rows.append((query, name, rating))
    es.indices.create(
        index=index, mappings={"properties": {"text": {"type": "text"}, "ean": {"type": "keyword"}}}
    )
    es.bulk(index=index, operations=operations, refresh=True)
    return rows


def written(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query", "docid", "rating"), *rows])
    return path


def tune(node: Node, index: str, judgements: Path | str, model: Path, *options: str) -> Any:
    """Return what ``tune --json`` prints."""
    done = tuned(node, index, judgements, model, "--json", *options)
    return json.loads(done.stdout)


def tuned(node: Node, index: str, judgements: Path | str, model: Path, *options: str) -> Result:
    arguments = ["tune", index, str(judgements), "--reranker", str(model), "--window", "20"]
    done = CliRunner().invoke(app, [*arguments, "--elasticsearch-url", node.url, *options])
    assert done.exit_code == 0, done.output
    return done


def test_judgements_that_reward_bm25_tune_the_blend_towards_it(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    rows = filled(es, index)
    model, out = tiny_cross_encoder(tmp_path / "model"), tmp_path / "tuned"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    more = [("anchor bridge", "gone", 1.0), rows[0], ("xyzzy", "d0", 1.0)]  # the last one finds nothing
    judgements = written(tmp_path / "j.csv", [*rows, *more])
    answer = tune(node, index, judgements, model, "--out", str(out))
    (stage,) = answer["stages"]
    assert (answer["outcome"], answer["written"], answer["unjudged"]) == ("better", str(out), "left out")
    assert answer["judgements"] == {
        "rows": len(rows) + 3,
        "repeated": 1,
        "not_in_index": 1,
        **({"queries_without_relevant": 1} if "anchor bridge" not in {row[0] for row in rows} else {}),
    }
    assert (stage["first_stage"], stage["choice"], stage["ndcg"]["outcome"]) == ("bm25", "order", "better")
    assert stage["ndcg"]["after"] > stage["ndcg"]["before"] + 0.05
    assert stage["ndcg"]["after"] > 0.95
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before

    manifest = read_manifest(out)
    assert manifest.name == "tiny-cross-encoder-tuned"
    assert manifest.calibration is not None
    assert manifest.calibration.blends["bm25"].first_stage > manifest.calibration.blends["bm25"].logit
    assert json.loads((out / "tuning.json").read_text(encoding="utf-8"))["stages"] == answer["stages"]
    query = rows[0][0]
    options = ("--first-stage", "bm25", "--reranker", str(out), "--elasticsearch-url", node.url, "--json")
    found = run("search", index, query, *options)
    page = json.loads(found.stdout)
    assert (page["hits"]["hits"][0]["_id"], page["rerank"]["blend"]) == (rows[0][1], stage["key"])


def test_random_judgements_are_not_better_and_nothing_is_written(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    chance = random.Random(5)
    rows = [(query, name, chance.choice((0.0, 0.0, 1.0))) for query, name, _ in filled(es, index)]
    model, out = tiny_cross_encoder(tmp_path / "model"), tmp_path / "tuned"
    judgements = written(tmp_path / "j.csv", rows)
    assert "Not better" in tuned(node, index, judgements, model, "--out", str(out)).stdout
    assert not out.exists()

    answer = tune(node, index, judgements, model, "--out", str(out), "--keep-anyway")
    assert (answer["outcome"], answer["written"]) == ("not better", str(out))
    assert out.is_dir()


def test_clicks_in_an_index_of_events_tune_as_judgements_do(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    """Every search shows its hits in an order by chance, and people click the documents that are rated 2."""
    chance, operations = random.Random(7), list[dict[str, Any]]()
    by_query: dict[str, list[tuple[str, float]]] = {}
    for query, name, rating in filled(es, index):
        by_query.setdefault(query, []).append((name.replace("d", "e"), rating))
    for number, (query, rated) in enumerate(sorted(by_query.items()) * 12):
        shown = chance.sample(rated, len(rated))
        hits = [name for name, _ in shown]
        operations += [
            {"index": {"_index": f"{index}-searches"}},
            {"query_id": str(number), "user_query": query, "query_response_hit_ids": hits},
        ]
        for name, rating in shown:
            if rating == 2:
                event = {"query_id": str(number), "action_name": "click"}
                operations += [
                    {"index": {"_index": f"{index}-events"}},
                    {**event, "event_attributes": {"object": {"object_id": name}}},
                ]
    es.bulk(operations=operations, refresh=True)
    options = ("--queries", f"{index}-searches", "--id-field", "ean")
    answer = tune(node, index, f"{index}-events", tiny_cross_encoder(tmp_path / "model"), *options)
    assert answer["judgements"]["searches"] == len(by_query) * 12
    assert answer["judgements"]["clicks"] == len(by_query) * 12
    (stage,) = answer["stages"]
    assert (answer["outcome"], stage["choice"], answer["written"]) == ("better", "order", None)


def test_too_few_judgements_say_how_many_are_needed(
    es: Elasticsearch, node: Node, index: str, tmp_path: Path
) -> None:
    few = written(tmp_path / "few.csv", filled(es, index)[:30])
    done = run("tune", index, str(few), "--elasticsearch-url", node.url)
    assert done.returncode == 3
    assert "5 queries have a relevant document in the index" in done.stderr
    assert "Each half needs at least 10" in done.stderr
    assert "judge about 40 queries or more" in done.stderr
    done = run("tune", index, "nothing.csv", "--elasticsearch-url", node.url)
    assert done.returncode == 3
    assert "nothing.csv is neither a file nor an index with events of UBI" in fault(done)

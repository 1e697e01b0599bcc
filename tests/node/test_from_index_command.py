"""``es-rerank ingest --from-index``: which options go together, and both ways with real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import run
from elasticsearch import Elasticsearch
from ingests import everything, source_of
from tiny_models import reseal, tiny_bi_encoder

from es_rerank.cli.from_index import FromIndex, from_index_of, index_source
from es_rerank.errors import SettingsError, UnreachableError
from es_rerank.node import Node
from es_rerank.settings import read_settings
from ingest_pipelines import Fields


@pytest.mark.parametrize(
    ("name", "url", "query", "sources", "message"),
    [
        (None, None, None, [], "name a source: files, folders, or --from-index"),
        (None, "http://x", None, ["a"], "need --from-index"),
        (None, None, "{}", ["a"], "need --from-index"),
        ("old", None, None, ["a"], "cannot be read in one run"),
        ("old", None, "{", [], "--from-query is no JSON"),
        ("old", None, "[]", [], "must be a JSON object"),
    ],
)
def test_options_that_contradict_each_other(
    name: str | None, url: str | None, query: str | None, sources: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        from_index_of(name, url, query, Fields(), sources)


def test_another_elasticsearch_that_does_not_answer_is_named_as_such(es: Elasticsearch, index: str) -> None:
    given = FromIndex(index, "http://user:secret@127.0.0.1:1", None, Fields())
    with (
        pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1; check --from-url") as caught,
        index_source(given, index, es, read_settings(), rebuild=False, embedder="e"),
    ):
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("rebuild", "query", "fields"),
    [(False, None, Fields()), (True, "{}", Fields()), (True, None, Fields(("a",)))],
)
def test_an_index_is_not_copied_into_itself(
    es: Elasticsearch, index: str, rebuild: bool, query: str | None, fields: Fields
) -> None:
    given = from_index_of(index, None, query, fields, [])
    assert given is not None
    with (
        pytest.raises(SettingsError, match="is the index that is written"),
        index_source(given, index, es, read_settings(), rebuild=rebuild, embedder="new"),
    ):
        pass


@pytest.mark.long
def test_an_index_is_read_and_then_embedded_anew(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models = [
        tiny_bi_encoder(tmp_path / "one"),
        reseal(tiny_bi_encoder(tmp_path / "two", dims=6), name="two"),
    ]
    old = f"{index}-old"
    es.indices.create(index=old, mappings={"properties": {"body": {"type": "text"}}})
    for n in range(3):
        es.index(index=old, id=str(n), document={"body": f"text {n}", "n": n}, refresh=True)

    def ingest(*arguments: str, embedder: Path) -> dict[str, Any]:
        options = ("--elasticsearch-url", node.url, "--embedder", str(embedder), "--json")
        done = run("ingest", index, *arguments, *options)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said | {"said": done.stderr}

    # The other cluster is this one: only the options differ.
    first = ingest("--from-index", old, "--from-url", node.url, embedder=models[0])
    assert (first["documents"], first["failed"]) == (3, 0)
    assert source_of(es, index, "1")["metadata"] == {"n": 1}
    assert ingest("--from-index", old, embedder=models[0])["skipped"] == 3
    second = ingest("--from-index", index, "--rebuild", embedder=models[1])
    assert second["documents"] == 3
    assert f"{index} is {index}-000002 now" in second["said"]
    assert f'to go back: PUT /{index}-000001/_settings {{"index.blocks.write": null}}' in second["said"]
    assert everything(es, index) == {"0", "1", "2"}

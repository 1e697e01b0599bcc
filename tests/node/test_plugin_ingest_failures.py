"""The ingest processor while the sidecar fails: each document says why, and no thread waits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch
from plugin_searches import busy_threads, cluster_settings, info
from scripted_sidecar import Asked, Line, ScriptedSidecar, answering, right, status
from waiting import until

from es_rerank.node import Node

PIPELINE = "test-passages"
Items = Sequence[dict[str, Any]]


def processor(**more: Any) -> dict[str, Any]:
    return {"es_rerank_passages": more}


@pytest.fixture
def index(plugin_es: Elasticsearch, plugin_index: str) -> str:
    """An index that keeps passages and does not index them, so that no mapping decides."""
    unread = {name: {"type": "object", "enabled": False} for name in ("passages", "rescued")}
    settings = {"number_of_replicas": 0, "refresh_interval": -1}
    plugin_es.indices.create(index=plugin_index, settings=settings, mappings={"properties": unread})
    return plugin_index


@pytest.fixture(autouse=True)
def pipelines(plugin_es: Elasticsearch) -> Iterator[None]:
    """The pipeline of most tests, which none may leave changed."""
    plugin_es.ingest.put_pipeline(id=PIPELINE, processors=[processor()])
    yield
    plugin_es.ingest.delete_pipeline(id=f"{PIPELINE}*")


def sent(es: Elasticsearch, index: str, texts: Sequence[str], pipeline: str = PIPELINE) -> Items:
    """Send a bulk of documents, and return what it says of each."""
    lines: list[Any] = []  # strings, so that json.dumps escapes what UTF-8 cannot hold
    for number, text in enumerate(texts):
        lines += [json.dumps({"index": {"_id": str(number)}}), json.dumps({"text": text})]
    patient = es.options(request_timeout=240)
    return [item["index"] for item in patient.bulk(index=index, operations=lines, pipeline=pipeline)["items"]]


def statuses(items: Items) -> dict[int, int]:
    """Return how many items have which status."""
    counts: dict[int, int] = {}
    for item in items:
        counts[item["status"]] = counts.get(item["status"], 0) + 1
    return counts


def reason(item: dict[str, Any]) -> str:
    sentence: str = item["error"]["reason"]
    assert "\n" not in sentence
    return sentence


def source(es: Elasticsearch, index: str, identifier: str = "0") -> dict[str, Any]:
    found: dict[str, Any] = es.get(index=index, id=identifier)["_source"]
    return found


def passage(text: str) -> list[dict[str, Any]]:
    return [{"text": text, "start": 0, "end": len(text), "vector": [1.0, 0.0]}]


def test_a_bulk_of_500_documents_makes_few_calls(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    texts = [f"text {number}" for number in range(500)]
    assert statuses(sent(plugin_es, index, texts)) == {201: 500}
    assert len(fake_sidecar.asked) < 100
    assert sum(len(asked.body["documents"]) for asked in fake_sidecar.asked) == 500
    for number in (0, 1, 250, 499):
        assert source(plugin_es, index, str(number))["passages"] == passage(f"text {number}")


FAULTS = {
    "500": (status(500), 500, "as scripted"),
    "401": (status(401), 502, "refused the key of this node"),
    "unknown model": (status(404), 404, "as scripted"),
    "no documents": (answering(lambda body: {"version": 1}), 502, "without passages and vectors"),
    "a document too few": (answering(lambda body: body | {"documents": []}), 502, "without passages"),
    "no list": (answering(lambda body: body | {"documents": [None]}), 502, "without passages"),
    "no vector": (answering(lambda body: body | {"documents": [[{"text": "a"}]]}), 502, "without passages"),
    "no JSON": (status(200, "<html>"), 502, "no JSON object"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_is_an_error_of_the_document(
    name: str, fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    behaviour, code, words = FAULTS[name]
    fake_sidecar.script = [behaviour]
    (item,) = sent(plugin_es, index, ["one"])
    assert (item["status"], words in reason(item)) == (code, True), item
    assert statuses(sent(plugin_es, index, ["one"])) == {201: 1}


def test_an_absent_sidecar_is_an_error_of_each_document(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    with fake_sidecar.absent():
        items = sent(plugin_es, index, ["one", "two", "three"])
        assert statuses(items) == {502: 3}
        assert all("cannot be reached" in reason(item) for item in items)


def test_failures_follow_the_pipeline(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    rescue = processor(target_field="rescued")
    plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-rescued", processors=[processor(on_failure=[rescue])])
    fake_sidecar.script = [status(500)]
    assert statuses(sent(plugin_es, index, ["one"], f"{PIPELINE}-rescued")) == {201: 1}
    assert source(plugin_es, index) == {"text": "one", "rescued": passage("one")}
    plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-ignored", processors=[processor(ignore_failure=True)])
    fake_sidecar.usual = status(500)
    assert statuses(sent(plugin_es, index, ["one", "two"], f"{PIPELINE}-ignored")) == {200: 1, 201: 1}
    assert source(plugin_es, index) == {"text": "one"}


def test_a_document_without_the_field(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-body", processors=[processor(field="body")])
    (item,) = sent(plugin_es, index, ["one"], f"{PIPELINE}-body")
    assert item["status"] == 400
    assert "field [body] is missing" in reason(item)
    kind = processor(field="body", ignore_missing=True)
    plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-optional", processors=[kind])
    assert statuses(sent(plugin_es, index, ["one"], f"{PIPELINE}-optional")) == {201: 1}


def test_one_document_does_not_spoil_its_neighbours(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    async def refusing_spoiled(asked: Asked, line: Line) -> None:
        spoiled = any("spoiled" in text for text in asked.texts)
        await (status(413) if spoiled else right)(asked, line)

    fake_sidecar.usual = refusing_spoiled
    texts = [f"text {number}" for number in range(100)]
    texts[50] = "spoiled"
    items = sent(plugin_es, index, texts)
    assert statuses(items) == {201: 99, 413: 1}
    assert items[50]["status"] == 413


def test_half_a_character_does_not_spoil_the_documents_beside_it(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    texts = [f"text {number}" for number in range(100)]
    texts[50] = "half a \ud800 character"
    items = sent(plugin_es, index, texts)
    assert all(item["status"] == 201 for number, item in enumerate(items) if number != 50), items


def test_a_full_queue_refuses_documents_for_later(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    fake_sidecar.usual = fake_sidecar.held()
    with cluster_settings(plugin_es, timeout="5m"), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sent, plugin_es, index, ["a"] * 11_000)
        try:
            until(lambda: fake_sidecar.now == 2, "two calls run")
            until(lambda: not busy_threads(plugin_es), "no thread waits")
        finally:
            fake_sidecar.release()
        items = waiting.result()
    found = statuses(items)
    assert set(found) == {201, 429}
    assert 10_000 <= found[201] <= 10_200
    refused = next(item for item in items if item["status"] == 429)
    assert "too many documents wait for the sidecar" in reason(refused)


def test_no_thread_waits_while_documents_wait_for_the_sidecar(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    fake_sidecar.usual = fake_sidecar.held()
    with cluster_settings(plugin_es, timeout="5m"), ThreadPoolExecutor(8) as threads:
        bulks = [threads.submit(sent, plugin_es, index, [f"text {number}"] * 25) for number in range(8)]
        try:
            until(lambda: fake_sidecar.now == 2, "two calls run")
            until(lambda: not busy_threads(plugin_es), "no thread waits")
            for number in range(100):
                plugin_es.index(index=index, id=f"plain-{number}", document={"text": "plain"})
            assert fake_sidecar.now == 2, "they all still wait"
            assert not any(bulk.done() for bulk in bulks)
        finally:
            fake_sidecar.release()
        done = [item for bulk in bulks for item in bulk.result()]
    assert {item["status"] for item in done} == {200, 201}
    assert len(done) == 200
    plugin_es.indices.refresh(index=index)
    assert plugin_es.count(index=index)["count"] == 125


def test_many_batches_that_fail_at_once_end(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, index: str
) -> None:
    """A batch has one model, so documents whose models take turns are batches of one."""
    for model in "ab":
        plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-{model}", processors=[processor(model_id=model)])
    lines: list[dict[str, Any]] = []
    for number in range(6000):
        lines += [{"index": {"pipeline": f"{PIPELINE}-{'ab'[number % 2]}"}}, {"text": "a"}]
    fake_sidecar.usual = fake_sidecar.held(status(500))
    with cluster_settings(plugin_es, timeout="5m"), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(plugin_es.options(request_timeout=240).bulk, index=index, operations=lines)
        try:
            until(lambda: fake_sidecar.now == 2, "two calls run")
            until(lambda: not busy_threads(plugin_es), "the other documents are in the queue")
        finally:
            fake_sidecar.release()
        items = [item["index"] for item in waiting.result()["items"]]
    found = statuses(items)
    assert set(found) == {500, 503}, "a failure of the sidecar, then the open circuit"
    assert sum(found.values()) == 6000
    until(lambda: info(plugin_node.url)["sidecar"]["status"] == "ok", "the sidecar is asked again")
    fake_sidecar.usual = right
    assert statuses(sent(plugin_es, index, ["one"])) == {201: 1}


@pytest.mark.parametrize(
    ("value", "text"), [(["one", "two"], "one\ntwo"), (5, "5"), (True, "true"), (["a", None], "a")]
)
def test_a_list_and_a_number_are_text(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str, value: Any, text: str
) -> None:
    plugin_es.index(index=index, id="0", document={"text": value}, pipeline=PIPELINE)
    assert fake_sidecar.asked[-1].body["documents"] == [{"title": "", "text": text}]


def test_an_object_is_no_text(fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str) -> None:
    lines: list[Any] = [{"index": {"_id": "0"}}, {"text": {"a": 1}}]
    (item,) = plugin_es.bulk(index=index, operations=lines, pipeline=PIPELINE)["items"]
    assert reason(item["index"]) == (
        "field [text] holds an object; [es_rerank_passages] reads text, or a list of texts"
    )


@pytest.mark.parametrize("wrong", [{"field": ""}, {"target_field": "text"}, {"target_field": "_id"}])
def test_a_pipeline_with_a_field_that_cannot_be_is_refused(
    plugin_es: Elasticsearch, wrong: dict[str, str]
) -> None:
    with pytest.raises(BadRequestError, match=next(iter(wrong))):
        plugin_es.ingest.put_pipeline(id=f"{PIPELINE}-wrong", processors=[processor(**wrong)])


def test_a_partial_update_runs_the_pipeline_alone_and_not_in_a_bulk(
    fake_sidecar: ScriptedSidecar, plugin_es: Elasticsearch, index: str
) -> None:
    """It is Elasticsearch's own way, which the README tells."""
    plugin_es.indices.put_settings(index=index, settings={"index.default_pipeline": PIPELINE})
    plugin_es.index(index=index, id="0", document={"text": "old"})
    update = [{"update": {"_id": "0"}}, {"doc": {"text": "new"}}]
    assert not plugin_es.bulk(index=index, operations=update)["errors"]
    assert source(plugin_es, index) == {"text": "new", "passages": passage("old")}
    plugin_es.update(index=index, id="0", doc={"text": "newer"})
    assert source(plugin_es, index) == {"text": "newer", "passages": passage("newer")}

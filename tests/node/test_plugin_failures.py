"""What a search through the plugin gives while the sidecar fails: a sentence, or the first stage's order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest
from elasticsearch import BadRequestError, Elasticsearch
from plugin_searches import cluster_settings, filled, ids, info, reason, rerank, search
from scripted_sidecar import (
    Behaviour,
    ScriptedSidecar,
    answering,
    half,
    huge,
    hung_up,
    right,
    spoiled,
    status,
)
from waiting import until

from es_rerank.node import Node
from es_rerank.retrievers.response.inside_answer import warnings_in

RERANKED = ["5", "4", "3", "2", "1", "0"]
FIRST_STAGE = RERANKED[::-1]


NOTE = "the model [tiny] was not trained on texts in Han script, and the query is in it: …"


@pytest.fixture(scope="module")
def articles(plugin_es: Elasticsearch) -> Iterator[str]:
    yield filled(plugin_es, "test-failures")
    plugin_es.indices.delete(index="test-failures")


def no_open_contexts(es: Elasticsearch) -> bool:
    nodes = es.nodes.stats(metric="indices", index_metric="search")["nodes"].values()
    return all(node["indices"]["search"]["open_contexts"] == 0 for node in nodes)


# -- one answer that is wrong --------------------------------------------------------------------------------


class Fault(NamedTuple):
    """How the sidecar fails, and the status and words of the error."""

    behaviour: Behaviour
    status: int
    words: str


def first(**changes: Any) -> Behaviour:
    """Return a behaviour that changes the first document of the answer."""
    return spoiled(lambda body: body["documents"][0].update(changes))


def without_scores(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose documents have no score."""
    return body | {"documents": [{"index": entry["index"]} for entry in body["documents"]]}


def raw(old: str, new: str) -> Behaviour:
    """Return a behaviour whose body has another text in one place."""
    return answering(lambda body: json.dumps(body).replace(old, new, 1))


FAULTS = {
    "too few scores": Fault(spoiled(lambda body: body["documents"].pop()), 502, "other than [6] documents"),
    "too many scores": Fault(
        spoiled(lambda body: body["documents"].append(body["documents"][0])), 502, "other than [6] documents"
    ),
    "an index twice": Fault(first(index=0), 502, "an entry that is no scored document"),
    "an index beyond": Fault(first(index=6), 502, "an entry that is no scored document"),
    "NaN": Fault(first(score=math.nan), 502, "a body that is no JSON object"),
    "score 2.0": Fault(first(score=2.0), 502, "a score that is not a number from 0 to 1"),
    "a score in words": Fault(first(score="high"), 502, "a score that is not a number from 0 to 1"),
    "infinite logit": Fault(
        raw('"logit": ', '"logit": 1e999, "was": '), 502, "a score that is not a number from 0 to 1"
    ),
    "one document without a score": Fault(first(score=None), 502, "without a score"),
    "no document with a score": Fault(answering(without_scores), 502, "without a score"),
    "no documents": Fault(answering(lambda body: {"version": 1}), 502, "other than [6] documents"),
    "500": Fault(status(500), 500, "the sidecar refused: as scripted"),
    "500 of a proxy": Fault(status(500, "<html>"), 500, "answered [500]"),
    "503 of a proxy": Fault(status(503, "<html>"), 503, "answered [503]"),
    "401": Fault(status(401), 502, "refused the key of this node"),
    "401 of a proxy": Fault(status(401, "<html>"), 502, "refused the key of this node"),
    "half an answer": Fault(half, 502, "broke off"),
    "100 MB": Fault(huge(100), 502, "is longer than 64mb"),
    "no JSON": Fault(status(200, "<html>"), 502, "a body that is no JSON object"),
    "a JSON list": Fault(status(200, []), 502, "a body that is no JSON object"),
    "an empty body": Fault(status(200, ""), 502, "a body that is no JSON object"),
    "another version": Fault(spoiled(lambda body: body.update(version=2)), 502, "speaks version [2]"),
    "a redirect": Fault(status(302, "", Location="http://127.0.0.1:9/elsewhere"), 502, "answered [302]"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_answer_is_one_sentence_or_the_first_stage(
    name: str, fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    fake_sidecar.usual, code, words = FAULTS[name]
    with cluster_settings(plugin_es, timeout="3s" if "503" not in name else "250ms"):
        refused = search(plugin_node.url, articles, rerank())
        assert refused.status_code == code, refused.text
        assert words in reason(refused)
        check_fallback(plugin_node.url, articles, words)
    until(lambda: no_open_contexts(plugin_es), "a failed search leaves no open context")


def check_fallback(url: str, index: str, words: str) -> None:
    """The order of the first stage stays with ``allow_rerank_failures``, marked, also under ``min_score``."""
    for least in (None, 0.03):
        kept = search(url, index, rerank(allow_rerank_failures=True, min_score=least))
        assert ids(kept) == FIRST_STAGE
        assert words in kept.headers["warning"]
        assert not any("rerank.probability" in hit.get("fields", {}) for hit in kept.json()["hits"]["hits"])


def test_an_answer_that_is_right_reranks(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    answer = search(plugin_node.url, articles, rerank(min_score=0.03))
    assert ids(answer) == RERANKED[:4]
    assert "warning" not in answer.headers


@pytest.mark.parametrize("failing", [False, True])
def test_every_warning_reaches_the_caller(
    failing: bool,
    fake_sidecar: ScriptedSidecar,
    plugin_node: Node,
    plugin_es: Elasticsearch,
    plugin_index: str,
) -> None:
    filled(plugin_es, plugin_index)
    plugin_es.index(index=plugin_index, id="blank", document={"n": 99}, refresh=True)
    wanted = ["1 of 7 documents have no text in [text]", *(["as scripted"] if failing else [])]
    fake_sidecar.usual = status(404) if failing else right
    for _ in range(30):
        answer = search(plugin_node.url, plugin_index, rerank(allow_rerank_failures=True))
        assert [words for words in wanted if words not in answer.headers["warning"]] == []


def test_warnings_of_two_rerankers_reach_the_caller(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    both = {"es_rrf": {"retrievers": [rerank(), rerank(inference_text="else")]}}
    for _ in range(10):
        fake_sidecar.script = [
            spoiled(lambda body: body.update(warning="of the first")),
            spoiled(lambda body: body.update(warning="of the second")),
        ]
        answer = search(plugin_node.url, articles, both)
        assert len(ids(answer)) == 6
        said = answer.headers["warning"]
        assert [words for words in ("of the first", "of the second") if words not in said] == []


def test_a_failure_without_a_wait_is_told_each_time(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    """Elasticsearch goes on in the thread that began the search, if the reranker failed before it waits."""
    fake_sidecar.usual = status(500)
    allowed = {"retriever": rerank(allow_rerank_failures=True)}
    line = json.dumps({"index": articles}) + "\n" + json.dumps(allowed) + "\n"
    headers = {"content-type": "application/x-ndjson"}
    with httpx.Client(base_url=plugin_node.url, timeout=120) as caller, ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: caller.post(f"/{articles}/_search", json=allowed), range(600)))
        answers += [caller.post("/_msearch", content=line * 2, headers=headers) for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    silent = [answer for answer in answers if "the reranker failed" not in answer.headers.get("warning", "")]
    assert len(silent) == 0


# -- answers that do not come --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["slow", "stalled", "endless"])
def test_a_late_answer_is_an_error_and_its_connection_is_closed(
    kind: str, fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    fake_sidecar.usual = {
        "slow": fake_sidecar.held(),
        "stalled": fake_sidecar.stalled(),
        "endless": fake_sidecar.endless(),
    }[kind]
    words = "is longer than 64mb" if kind == "endless" else "did not answer within [400ms]"
    with cluster_settings(plugin_es, timeout="20s" if kind == "endless" else "400ms"):
        refused = search(plugin_node.url, articles, rerank())
        assert refused.status_code == (502 if kind == "endless" else 504), refused.text
        assert words in reason(refused)
        check_fallback(plugin_node.url, articles, words)
    if kind != "slow":
        until(lambda: fake_sidecar.left == 3, "the plugin hangs up on answers that it does not read any more")
    assert info(plugin_node.url)["calls"]["running"] <= 1, "the call of this very request"


def test_an_absent_sidecar_is_one_sentence(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    with fake_sidecar.absent():
        refused = search(plugin_node.url, articles, rerank())
        assert refused.status_code == 502, refused.text
        assert "cannot be reached" in reason(refused)
        assert "es-rerank serve" in reason(refused)
        check_fallback(plugin_node.url, articles, "cannot be reached")


# -- tried again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_sidecar_is_asked_again_within_the_time(
    code: int, fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    fake_sidecar.script = [status(code), status(code, "<html>")]
    assert ids(search(plugin_node.url, articles, rerank())) == RERANKED
    assert len(fake_sidecar.asked) == 3


def test_a_connection_that_ended_before_an_answer_is_no_failure(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    fake_sidecar.script = [hung_up]
    assert ids(search(plugin_node.url, articles, rerank())) == RERANKED
    fake_sidecar.usual = hung_up
    refused = search(plugin_node.url, articles, rerank())
    assert refused.status_code == 502
    assert "broke off" in reason(refused)
    assert len(fake_sidecar.asked) == 4


def test_a_sidecar_that_stays_busy_gives_its_own_status(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, articles: str
) -> None:
    for code in (429, 503):
        fake_sidecar.usual = status(code)
        with cluster_settings(plugin_es, timeout="350ms"):
            refused = search(plugin_node.url, articles, rerank())
            assert refused.status_code == code, refused.text
            assert "as scripted" in reason(refused)
            check_fallback(plugin_node.url, articles, "as scripted")
        fake_sidecar.forget()
        assert ids(search(plugin_node.url, articles, rerank())) == RERANKED


def test_after_five_failures_the_sidecar_is_spared_and_later_asked_again(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    url, before = plugin_node.url, info(plugin_node.url)["calls"]["failures"]
    fake_sidecar.usual = status(500)
    for _ in range(4):
        assert search(url, articles, rerank()).status_code == 500
    fake_sidecar.script = [status(400)]
    assert search(url, articles, rerank()).status_code == 400, "it answered: the failures were not in a row"
    for _ in range(5):
        assert search(url, articles, rerank()).status_code == 500
    fake_sidecar.usual = right
    refused = search(url, articles, rerank())
    assert refused.status_code == 503
    assert "failed 5 times one after another" in reason(refused)
    check_fallback(url, articles, "failed 5 times one after another")
    assert len(fake_sidecar.asked) == 10, "an open circuit asks nothing"
    said = info(url)
    assert said["calls"]["circuit_open"]
    assert said["sidecar"]["status"] == "failed"
    assert "failed 5 times" in said["sidecar"]["reason"]
    until(lambda: search(url, articles, rerank()).status_code == 200, "the circuit closes again")
    said = info(url)
    assert not said["calls"]["circuit_open"]
    assert said["sidecar"]["status"] == "ok"
    assert said["calls"]["failures"] - before == 10


# -- query vectors -------------------------------------------------------------------------------------------


def test_query_vectors_fail_as_scores_do(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, plugin_index: str
) -> None:
    plugin_es.indices.create(
        index=plugin_index, mappings={"properties": {"v": {"type": "dense_vector", "dims": 2}}}
    )
    plugin_es.index(index=plugin_index, id="1", document={"v": [1, 0]}, refresh=True)
    builder = {"es_rerank": {"model_text": "what"}}
    knn = {"knn": {"field": "v", "query_vector_builder": builder, "k": 1, "num_candidates": 1}}
    assert ids(search(plugin_node.url, plugin_index, knn)) == ["1"]
    for behaviour, code, words in (
        (status(500), 500, "as scripted"),
        (status(401), 502, "refused the key"),
        (spoiled(lambda body: body.update(vectors=[])), 502, "without a vector for each text"),
        (spoiled(lambda body: body.update(vectors=[["high", 1]])), 502, "without a vector for each text"),
        (spoiled(lambda body: body.update(vectors=[[1, 0, 0]])), 400, "dimension"),
    ):
        fake_sidecar.script = [behaviour]
        refused = search(plugin_node.url, plugin_index, knn)
        assert refused.status_code == code, refused.text
        assert words in reason(refused)
    fake_sidecar.script = [fake_sidecar.held()]
    with cluster_settings(plugin_es, timeout="300ms"):
        assert search(plugin_node.url, plugin_index, knn).status_code == 504


# -- limits and settings -------------------------------------------------------------------------------------


def test_a_query_vector_that_cannot_be_made_fails_a_search_that_allows_failures(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, plugin_index: str
) -> None:
    plugin_es.indices.create(
        index=plugin_index, mappings={"properties": {"v": {"type": "dense_vector", "dims": 2}}}
    )
    plugin_es.index(index=plugin_index, id="1", document={"v": [1, 0], "text": "a"}, refresh=True)
    builder = {"es_rerank": {"model_text": "what"}}
    leaf = {"knn": {"field": "v", "query_vector_builder": builder, "k": 1, "num_candidates": 1}}
    fake_sidecar.script = [status(500)]
    refused = search(plugin_node.url, plugin_index, rerank(leaf, allow_rerank_failures=True))
    assert refused.status_code == 500, refused.text
    assert "as scripted" in reason(refused)


@pytest.mark.parametrize(
    ("asked", "allowed", "least"), [("300", "20s", "300ms"), ("600000", "400ms", "400ms")]
)
def test_a_search_may_shorten_the_time_of_its_calls_and_not_lengthen_it(
    asked: str,
    allowed: str,
    least: str,
    fake_sidecar: ScriptedSidecar,
    plugin_node: Node,
    plugin_es: Elasticsearch,
    articles: str,
) -> None:
    fake_sidecar.usual = fake_sidecar.held()
    with cluster_settings(plugin_es, timeout=allowed):
        refused = httpx.post(
            f"{plugin_node.url}/{articles}/_search",
            json={"retriever": rerank()},
            headers={"X-Rerank-Timeout-Ms": asked},
            timeout=120,
        )
    assert refused.status_code == 504, refused.text
    assert f"did not answer within [{least}]" in reason(refused)


def test_texts_of_a_window_are_bounded(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, plugin_es: Elasticsearch, plugin_index: str
) -> None:
    plugin_es.index(index=plugin_index, id="1", document={"text": "word " * 300, "n": 2}, refresh=True)
    plugin_es.index(index=plugin_index, id="2", document={"text": "relevance 7", "n": 1}, refresh=True)
    assert ids(search(plugin_node.url, plugin_index, rerank())) == ["2", "1"]
    with cluster_settings(plugin_es, max_text_size="1kb"):
        refused = search(plugin_node.url, plugin_index, rerank())
        assert refused.status_code == 400
        assert "es_rerank.max_text_size" in reason(refused)
    assert len(fake_sidecar.asked) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "http://127.0.0.1:1"),
        ("allow_plain_http", True),
        ("certificate_authority", "other.crt"),
        ("models", ["other"]),
        ("api_key", "other"),
    ],
)
def test_where_texts_go_is_not_a_cluster_setting(
    name: str,
    value: Any,
    fake_sidecar: ScriptedSidecar,
    plugin_node: Node,
    plugin_es: Elasticsearch,
    articles: str,
) -> None:
    for kind in ("persistent", "transient"):
        with pytest.raises(BadRequestError) as refused:
            plugin_es.cluster.put_settings(body={kind: {f"es_rerank.{name}": value}})
        assert f"es_rerank.{name}" in str(refused.value)
    assert ids(search(plugin_node.url, articles, rerank())) == RERANKED


def test_a_request_cannot_name_an_address(
    fake_sidecar: ScriptedSidecar, plugin_node: Node, articles: str
) -> None:
    refused = search(plugin_node.url, articles, rerank(url="http://127.0.0.1:1"))
    assert refused.status_code == 400
    assert "unknown field [url]" in reason(refused)
    assert not fake_sidecar.asked


def test_a_note_on_the_scores_is_a_warning_and_no_failure(
    plugin_node: Node, fake_sidecar: ScriptedSidecar, articles: str
) -> None:
    fake_sidecar.usual = spoiled(lambda body: body.update(notes=[NOTE]))
    answer = search(plugin_node.url, articles, rerank())
    assert ids(answer) == RERANKED
    assert warnings_in(answer.headers["warning"]) == [f"[es_rerank] {NOTE}"]

"""The plugin in a node with Elasticsearch's security on, which asks a sidecar over https with a key."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from own_nodes import OwnNode, own_node, secured_node
from plugin_searches import first_stage, ids, reason, rerank
from scripted_sidecar import ScriptedSidecar, scripted, status
from server import reserved_port
from waiting import until

from es_rerank.errors import NodeError
from es_rerank.node.process import SettingValue

PASSWORD = "a-password-of-tests"
KEY = "the-first-key-of-the-sidecar"
NEW_KEY = "another-key-of-the-sidecar"
USERS = {"reader": "reader", "writer": "writer", "watcher": "watcher"}
ROLES = """\
reader: {indices: [{names: [open-*], privileges: [read]}]}
writer: {indices: [{names: [open-*], privileges: [read, write]}]}
watcher: {cluster: [monitor]}
"""
OPEN, CLOSED = "open-articles", "closed-articles"
PIPELINE = "passages"
RERANKED = ["5", "4", "3", "2", "1", "0"]
PASSAGES = {
    "type": "nested",
    "properties": {"text": {"type": "text"}, "vector": {"type": "dense_vector", "dims": 2}},
}


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a server whose certificate this authority issued."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def started_sidecar(authority: trustme.CA) -> Iterator[ScriptedSidecar]:
    with reserved_port() as port, scripted(port, server_tls(authority)) as fake:
        yield fake


@pytest.fixture(scope="module")
def secured(
    authority: trustme.CA, started_sidecar: ScriptedSidecar, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnNode]:
    """A node with three users beside elastic, and two indices with six documents each."""
    settings: dict[str, SettingValue] = {
        "es_rerank.url": f"https://127.0.0.1:{started_sidecar.port}",
        "es_rerank.certificate_authority": "sidecar-ca.crt",
        "es_rerank.models": ["small"],
    }
    state = tmp_path_factory.mktemp("secured-plugin") / "state"
    with secured_node(state, ROLES, USERS, PASSWORD, settings, plugin=True) as node:
        node.configure("sidecar-ca.crt", authority.cert_pem.bytes().decode())
        node.secret("es_rerank.api_key", KEY)
        node.start(heap_mb=512)
        fill(node)
        yield node


def fill(node: OwnNode) -> None:
    processors: list[dict[str, Any]] = [{"es_rerank_passages": {}}]
    assert call(node, "elastic", "PUT", f"_ingest/pipeline/{PIPELINE}", processors=processors).is_success
    mappings = {"properties": {"n": {"type": "long"}, "passages": PASSAGES}}
    for index in (OPEN, CLOSED):
        assert call(node, "elastic", "PUT", index, mappings=mappings).is_success
        for n in range(6):
            document = {"text": f"of {index}, relevance {n}", "n": 6 - n}
            path = f"{index}/_doc/{n}?refresh&pipeline={PIPELINE}"
            assert call(node, "elastic", "PUT", path, **document).is_success


@pytest.fixture
def sidecar(started_sidecar: ScriptedSidecar, secured: OwnNode) -> ScriptedSidecar:
    """The sidecar of the node, which answers rightly; the plugin's circuit is closed."""
    started_sidecar.forget()
    until(lambda: _status(secured) == "ok", "the sidecar is asked again")
    return started_sidecar


def _status(node: OwnNode) -> str:
    found: str = call(node, "elastic", "GET", "_es_rerank").json()["sidecar"]["status"]
    return found


def call(node: OwnNode, user: str, method: str, path: str, **body: Any) -> httpx.Response:
    """Call Elasticsearch as a user, and return the answer whatever its status is."""
    return httpx.request(method, f"{node.url}/{path}", auth=(user, PASSWORD), timeout=120, json=body or None)


def search(
    node: OwnNode, user: str, index: str, retriever: dict[str, Any], query: str = ""
) -> httpx.Response:
    return call(node, user, "POST", f"{index}/_search{query}", retriever=retriever)


def vectors() -> dict[str, Any]:
    """Return a kNN search whose query vector the sidecar makes."""
    builder = {"es_rerank": {"model_text": "what", "model_id": "small"}}
    return {"knn": {"field": "passages.vector", "query_vector_builder": builder, "k": 6, "num_candidates": 6}}


def deep_tree() -> dict[str, Any]:
    """Return two rerankers over a fusion with a query vector: three answers of the sidecar in turn."""
    fused = {"es_rrf": {"retrievers": [first_stage(), vectors()]}}
    nearest = rerank(fused, field="passages.text", chunk_rescorer={"size": 1})
    return rerank(nearest, inference_id="small")


# -- whose security decides ----------------------------------------------------------------------------------


def test_a_search_goes_on_as_its_user(sidecar: ScriptedSidecar, secured: OwnNode) -> None:
    sidecar.usual = sidecar.held()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(search, secured, user, OPEN, deep_tree()) for user in ("reader", "elastic")]
        try:
            until(lambda: sidecar.now == 2, "both searches wait")
        finally:
            sidecar.release()
        for answer in [task.result() for task in waiting]:
            assert ids(answer) == RERANKED
            assert all("rerank.probability" in hit["fields"] for hit in answer.json()["hits"]["hits"])
    paths = [asked.path.rpartition("/")[2] for asked in sidecar.asked]
    assert (paths.count("embed"), paths.count("score")) == (2, 4)


def test_what_a_user_may_not_read_is_not_scored(sidecar: ScriptedSidecar, secured: OwnNode) -> None:
    for index in (CLOSED, f"{OPEN},{CLOSED}"):
        refused = search(secured, "reader", index, deep_tree())
        assert refused.status_code == 403, refused.text
        assert refused.json()["error"]["type"] == "security_exception"
        assert not [asked for asked in sidecar.asked if asked.path.endswith("score")]
    for index, query in ((f"{OPEN},{CLOSED}", "?ignore_unavailable=true"), ("*-articles", ""), ("_all", "")):
        answer = search(secured, "reader", index, deep_tree(), query)
        assert ids(answer) == RERANKED
        assert {hit["_index"] for hit in answer.json()["hits"]["hits"]} == {OPEN}
    texts = [text for asked in sidecar.asked for text in asked.texts]
    assert any(OPEN in text for text in texts)
    assert not [text for text in texts if CLOSED in text]
    assert len(ids(search(secured, "elastic", "*-articles", rerank(rank_window_size=12)))) == 12
    assert any(CLOSED in text for asked in sidecar.asked for text in asked.texts)


def test_the_sidecar_can_tell_users_apart_and_learns_no_name(
    sidecar: ScriptedSidecar, secured: OwnNode
) -> None:
    said = []
    for user in ("reader", "reader", "elastic"):
        sidecar.asked.clear()
        assert search(secured, user, OPEN, deep_tree()).status_code == 200
        said.append({asked.headers["x-rerank-user"] for asked in sidecar.asked})
    assert [len(users) for users in said] == [1, 1, 1]
    assert said[0] == said[1] != said[2]
    assert all(re.fullmatch("[0-9a-f]{64}", user) for users in said for user in users)


def test_documents_of_several_users_in_one_batch_go_on_as_their_users(
    sidecar: ScriptedSidecar, secured: OwnNode
) -> None:
    sidecar.usual = sidecar.held()
    wanted = [("elastic", CLOSED, 201), ("writer", OPEN, 201), ("writer", CLOSED, 403), ("reader", OPEN, 403)]

    def send(number: int, user: str, index: str) -> httpx.Response:
        path = f"{index}/_doc/batch-{number}?pipeline={PIPELINE}&refresh"
        return call(secured, user, "PUT", path, text=f"of {index}")

    with ThreadPoolExecutor(8) as threads:
        first = [threads.submit(send, number, "elastic", CLOSED) for number in range(2)]
        try:
            until(lambda: sidecar.now == 2, "all further documents wait for one call")
            later = [
                threads.submit(send, number, user, index)
                for number, (user, index, _) in enumerate(wanted, len(first))
            ]
            until(lambda: _waiting(secured) >= _allowed(wanted), "those who may write wait")
        finally:
            sidecar.release()
        assert [task.result().status_code for task in first] == [201, 201]
        assert [task.result().status_code for task in later] == [code for _, _, code in wanted]
    for number, index in ((0, CLOSED), (1, CLOSED), (2, CLOSED), (3, OPEN)):
        assert call(secured, "elastic", "DELETE", f"{index}/_doc/batch-{number}?refresh").is_success


def _allowed(wanted: list[tuple[str, str, int]]) -> int:
    return 2 + sum(code == 201 for _, _, code in wanted)


def _waiting(node: OwnNode) -> int:
    """Return how many documents are in a pipeline now."""
    nodes = call(node, "elastic", "GET", "_nodes/stats/ingest").json()["nodes"].values()
    return sum(each["ingest"]["pipelines"][PIPELINE]["current"] for each in nodes)


def test_who_may_monitor_the_cluster_sees_how_the_plugin_is(
    sidecar: ScriptedSidecar, secured: OwnNode
) -> None:
    for user in ("reader", "writer"):
        assert call(secured, user, "GET", "_es_rerank").status_code == 403
    said = call(secured, "watcher", "GET", "_es_rerank")
    assert said.status_code == 200, said.text
    assert said.json()["sidecar"]["status"] == "ok"
    assert said.json()["nodes_without_plugin"] == []
    assert httpx.get(f"{secured.url}/_es_rerank").status_code == 401


# -- where texts and the key go ------------------------------------------------------------------------------


def test_only_the_models_of_the_node_are_asked(sidecar: ScriptedSidecar, secured: OwnNode) -> None:
    assert ids(search(secured, "reader", OPEN, rerank(inference_id="small"))) == RERANKED
    refused = search(secured, "reader", OPEN, rerank(inference_id="large"))
    assert refused.status_code == 400
    assert "model [large] is not allowed on this node" in reason(refused)
    other = vectors()
    other["knn"]["query_vector_builder"]["es_rerank"]["model_id"] = "large"
    refused = search(secured, "reader", OPEN, other)
    assert refused.status_code == 400
    assert "model [large] is not allowed on this node" in reason(refused)
    processors = [{"es_rerank_passages": {"model_id": "large"}}]
    assert call(secured, "elastic", "PUT", "_ingest/pipeline/large", processors=processors).is_success
    refused = call(secured, "writer", "PUT", f"{OPEN}/_doc/large?pipeline=large", text="a")
    assert refused.status_code == 400
    assert "model [large] is not allowed on this node" in reason(refused)
    assert len(sidecar.asked) == 1


def test_the_key_is_sent_reloaded_and_shown_nowhere(sidecar: ScriptedSidecar, secured: OwnNode) -> None:
    assert ids(search(secured, "reader", OPEN, rerank())) == RERANKED
    assert sidecar.asked[-1].headers["authorization"] == f"Bearer {KEY}"
    secured.secret("es_rerank.api_key", NEW_KEY)
    assert call(secured, "elastic", "POST", "_nodes/reload_secure_settings").is_success
    assert ids(search(secured, "reader", OPEN, rerank())) == RERANKED
    assert sidecar.asked[-1].headers["authorization"] == f"Bearer {NEW_KEY}"
    sidecar.script = [status(401)]
    refused = search(secured, "reader", OPEN, rerank())
    assert refused.status_code == 502
    assert "refused the key of this node" in reason(refused)
    paths = "_cluster/settings?include_defaults", "_nodes", "_nodes/settings", "_es_rerank", "_nodes/stats"
    shown = [call(secured, "elastic", "GET", path).text for path in paths]
    assert "es_rerank" in shown[0]
    logged = [log.read_text(errors="replace") for log in (secured.home / "logs").glob("*.*")]
    for text in (*shown, *logged, refused.text):
        assert KEY not in text
        assert NEW_KEY not in text
        assert PASSWORD not in text


def test_a_certificate_of_another_authority_is_refused_in_one_sentence(
    sidecar: ScriptedSidecar, secured: OwnNode, authority: trustme.CA
) -> None:
    with sidecar.absent():
        sidecar.tls = server_tls(trustme.CA())
    refused = search(secured, "reader", OPEN, rerank())
    assert refused.status_code == 502, refused.text
    assert "es_rerank.certificate_authority" in reason(refused)
    assert not sidecar.asked
    with sidecar.absent():
        sidecar.tls = server_tls(authority)
    assert ids(search(secured, "reader", OPEN, rerank())) == RERANKED


@pytest.mark.node
@pytest.mark.long
def test_a_node_that_would_send_texts_in_clear_does_not_start(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"es_rerank.url": "http://192.0.2.1:8787"}
    with own_node(tmp_path / "state", settings) as node, pytest.raises(NodeError) as refused:
        node.start(heap_mb=256)
    assert "[es_rerank.url] sends texts over plain http to [192.0.2.1]" in refused.value.message
    allowed = settings | {"es_rerank.allow_plain_http": True}
    with own_node(tmp_path / "allowed", allowed) as node:
        httpx.get(node.start(heap_mb=256), timeout=60)

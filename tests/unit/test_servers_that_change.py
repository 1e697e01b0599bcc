"""What a client knows of its server is asked again before a search is refused: the plugin and its models.
And what the server is: its version.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from retriever_bodies import LEAF, reranker, rrf
from scripted_elasticsearch import Reply, Script
from test_finding_the_plugin import INFO, INSIDE, OUTSIDE, SEARCH, said

from es_rerank.errors import RequestError, SearchError
from es_rerank.retrievers.execution.product import is_foreign, older, too_old
from es_rerank.testing import WordOverlapReranker

TREE = rrf(LEAF, LEAF)
RULE = {"rule": {"match_criteria": {"q": "a"}, "ruleset_ids": ["r"], "retriever": TREE}}
NO_PLUGIN = Reply(404)
WORKS = Reply(200, said())


def server(*infos: Reply) -> Script:
    """An Elasticsearch whose plugin says these things, the last of them again and again."""
    left = list(infos)

    def answer(request: str, body: Any) -> Reply:
        if request == INFO:
            return left.pop(0) if len(left) > 1 else left[0]
        return INSIDE if request == SEARCH and "retriever" in body else OUTSIDE

    return Script(answer)


# --- the plugin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["always", "auto"])
def test_a_plugin_that_was_just_installed_is_used(use: Any) -> None:
    """The rule retriever above a fusion runs inside only, so that it is refused without the plugin."""
    client = server(NO_PLUGIN, WORKS).client(reranker=WordOverlapReranker(), plugin=use)
    with pytest.raises((SearchError, RequestError)):
        client.search(index="articles", retriever=RULE)
    assert client.search(index="articles", retriever=RULE)["rerank"]["inside"]


def test_a_model_that_the_sidecar_just_began_to_serve_is_used() -> None:
    script = server(Reply(200, said(sidecar={"models": ["other"]})), WORKS)
    client = script.client(reranker=WordOverlapReranker(), plugin="always")
    with pytest.raises(RequestError, match=r"does not serve the reranker \[word-overlap\]"):
        client.search(index="articles", retriever=reranker())
    assert client.search(index="articles", retriever=reranker())["rerank"]["inside"]


def test_a_sidecar_that_works_again_is_used_by_a_tree_that_needs_it() -> None:
    script = server(Reply(200, said(sidecar={"status": "failed"})), WORKS)
    client = script.client(reranker=WordOverlapReranker())
    tree = {"rule": {**RULE["rule"], "retriever": reranker()}}
    with pytest.raises(RequestError):
        client.search(index="articles", retriever=tree)
    assert client.search(index="articles", retriever=tree)["rerank"]["inside"]


def test_what_refuses_no_search_is_kept() -> None:
    script = server(NO_PLUGIN)
    client = script.client(reranker=WordOverlapReranker())
    for _ in range(3):
        assert "inside" not in client.search(index="articles", retriever=rrf(LEAF))["rerank"]
    assert script.paths().count(INFO) == 1


def test_a_refusal_asks_once_more_and_not_twice() -> None:
    script = server(NO_PLUGIN)
    client = script.client(plugin="always")
    for asked in (1, 2, 3):
        with pytest.raises(SearchError, match="has no plugin"):
            client.search(index="articles", retriever=TREE)
        assert script.paths().count(INFO) == asked


def test_the_answer_names_the_reranker_that_ran_when_the_sidecar_has_another_default() -> None:
    infos = [said(), said(sidecar={"models": ["new"]})]
    served = ["word-overlap"]

    def answer(request: str, body: Any) -> Reply:
        if request == INFO:
            return Reply(200, infos[0] if len(served) == 1 else infos[1])
        if body["retriever"]["es_rerank"]["inference_id"] == served[-1]:
            return INSIDE
        return Reply(404, {"error": {"type": "x", "reason": "endpoint is not served here"}, "status": 404})

    script = Script(answer)
    for plugin in ("auto", "always"):
        del served[1:]
        client = script.client(plugin=plugin)
        names = []
        for _ in range(2):
            names.append(client.search(index="articles", retriever=reranker())["rerank"]["model"])
            served.append("new")
        assert names == ["word-overlap", "new"]


def test_a_default_that_the_node_does_not_allow_is_not_named() -> None:
    """A node may allow some models only: then its default is the first of those, and not the sidecar's."""
    refused = Reply(
        400, {"error": {"type": "x", "reason": "model [word-overlap] is not allowed on this node"}}
    )

    def answer(request: str, body: Any) -> Reply:
        if request == INFO:
            return WORKS
        return refused if "inference_id" in body["retriever"]["es_rerank"] else INSIDE

    for plugin in ("auto", "always"):
        script = Script(answer)
        client = script.client(plugin=plugin)
        for _ in range(3):
            block = client.search(index="articles", retriever=reranker())["rerank"]
            assert (block["inside"], block.get("model")) == (True, None)
        assert script.paths() == [INFO, SEARCH, SEARCH, SEARCH, SEARCH], "the first asks by the name"


# --- the version --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "flavor", "old"),
    [
        ("9.0.4", "default", True),
        ("8.19.3", "default", True),
        ("7.17.0", "oss", True),
        ("9.1.0", "default", False),
        ("9.10.0-SNAPSHOT", "default", False),
        ("10.0.0", "default", False),
        ("8.11.0", "serverless", False),
        ("nonsense", "default", False),
        (None, "default", False),
    ],
)
def test_a_version_before_9_1_is_told_in_one_sentence(number: Any, flavor: str, old: bool) -> None:
    sentence = too_old({"version": {"number": number, "build_flavor": flavor}})
    assert (sentence is not None) is old
    if sentence:
        assert sentence.startswith(f"this is Elasticsearch {number}, and es-rerank supports 9.1 and later")
        assert sentence == older(number)
    assert too_old("a page") is too_old({"version": "text"}) is None


@pytest.mark.parametrize(
    ("root", "lines"),
    [
        (Reply(200, {"version": {"number": "8.19.0"}}), 1),
        (Reply(200, {"version": {"number": "9.5.0"}}), 0),
        (Reply(405, {"error": "no", "status": 405}), 0),
        (Reply(403, {"error": "no", "status": 403}), 0),
    ],
)
def test_a_client_tells_an_old_version_once(
    caplog: pytest.LogCaptureFixture, root: Reply, lines: int
) -> None:
    script = Script(lambda request, _: root if request == "GET /" else OUTSIDE)
    with caplog.at_level(logging.WARNING):
        client = script.client(plugin="never")
        for each in (client, client, client.options(opaque_id="a")):
            assert each.search(index="articles", retriever=rrf(LEAF))["hits"]["hits"] == []
    assert len([record for record in caplog.records if "supports 9.1" in record.getMessage()]) == lines
    assert script.paths().count("GET /") == 1


@pytest.mark.parametrize(
    ("status", "product", "foreign"),
    [
        (200, None, True),
        (404, None, True),
        (200, "OpenSearch", True),
        (200, "Elasticsearch", False),
        (405, "Elasticsearch", False),
        (401, None, False),
        (403, None, False),
        (502, None, False),
    ],
)
def test_a_server_without_the_product_header_is_foreign(
    status: int, product: str | None, foreign: bool
) -> None:
    headers = {} if product is None else {"x-elastic-product": product}
    assert is_foreign(status, headers) is foreign

"""Whether a search runs inside Elasticsearch: what its plugin says, what is kept of it, and the setting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnection
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, BadRequestError, NotFoundError
from retriever_bodies import BUILDER, GONE, LEAF, knn, linear, pinned, reranker, rrf
from scripted_elasticsearch import Reply, Script

from es_rerank import DeadlineError, EsRerankError
from es_rerank.errors import RequestError, SearchError, UnknownModelError
from es_rerank.retrievers.execution.plugin_info import PluginCache, PluginInfo, plugin_info
from es_rerank.testing import WordOverlapReranker

INFO = "GET /_es_rerank"
SEARCH = "POST /articles/_search"
OUTSIDE = Reply(200, {"timed_out": False, "hits": {"hits": [], "total": {"value": 0, "relation": "eq"}}})
INSIDE = Reply(
    200, {"took": 7, "hits": {"hits": [{"_id": "1", "_score": 0.5, "fields": {"rerank.logit": [0.0]}}]}}
)
TREE = rrf(LEAF, LEAF)
RERANKED = reranker(retriever=rrf(LEAF, LEAF))


def said(**changes: Any) -> dict[str, Any]:
    sidecar = {
        "url": "http://127.0.0.1:8080",
        "status": "ok",
        "models": ["word-overlap", "second"],
        "embedder": "tiny",
        "release": "1",
    }
    usual = {
        "name": "es-rerank",
        "api_version": 1,
        "sidecar": {**sidecar, **changes.pop("sidecar", {})},
        "calls": {},
        "nodes_without_plugin": [],
    }
    return {**usual, **changes}


def unknown(name: str) -> Reply:
    """The answer of Elasticsearch 9.5 without the plugin."""
    cause = {"type": "parsing_exception", "reason": f"unknown retriever [{name}]", "line": 1, "col": 15}
    below = {"type": "named_object_not_found_exception", "reason": f"[1:15] unknown field [{name}]"}
    return Reply(400, {"error": {"root_cause": [cause], **cause, "caused_by": below}, "status": 400})


def elasticsearch(info: Reply, inside: Reply = INSIDE) -> Script:
    """An Elasticsearch that answers ``info`` about its plugin, and ``inside`` to searches in its names."""

    def answer(request: str, body: Any) -> Reply:
        if request == INFO:
            return info
        if (
            request == SEARCH
            and body
            and "retriever" in body
            and next(iter(body["retriever"]))
            in (
                "es_rrf",
                "es_linear",
                "es_rerank",
                "rule",
            )
        ):
            return inside
        if request.endswith("/_pit"):
            return Reply(200, {"id": "a-pit", "succeeded": True})
        if request.endswith("/_msearch"):
            return Reply(200, {"responses": [OUTSIDE.body] * (len(body) // 2)})
        if request == "GET /articles":
            mappings = {"properties": {"text": {"type": "text"}, "vector": {"type": "dense_vector"}}}
            return Reply(200, {"articles": {"mappings": mappings}})
        return OUTSIDE

    return Script(answer)


@pytest.fixture(params=[False, True], ids=["blocking", "asynchronous"])
def search(request: pytest.FixtureRequest) -> Callable[..., Any]:
    def search(script: Script, tree: Any = TREE, **options: Any) -> Any:
        return script.search(request.param, tree, **{"reranker": WordOverlapReranker(), **options})

    return search


def test_one_request_in_the_names_of_the_plugin(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said()))
    answer = search(script, RERANKED)
    assert script.paths() == [INFO, SEARCH]
    sent = script.asked[1][1]["retriever"]["es_rerank"]
    assert sent == {
        **RERANKED["text_similarity_reranker"],
        "retriever": {"es_rrf": TREE["rrf"]},
        "inference_id": "word-overlap",
    }
    block = answer["rerank"]
    assert (block["inside"], block["status"], block["model"]) == (True, "reranked", "word-overlap")
    assert (block["requests"], block["window"], answer["took"]) == (1, 10, 7)
    assert answer["hits"] == INSIDE.body["hits"]


@pytest.mark.parametrize(
    ("info", "where"),
    [
        (Reply(200, said()), "inside"),
        (Reply(401, {"error": "no"}), "inside"),
        (Reply(403, {"error": "no"}), "inside"),
        (Reply(200, said(sidecar={"status": "failed"})), "inside"),
        (Reply(400, {"error": "no"}), "outside"),
        (Reply(404, {"error": "no"}), "outside"),
        (Reply(501, {"error": "no"}), "outside"),
        (Reply(503, {"error": "no"}), "outside"),
        (Reply(200, {"name": "another"}), "outside"),
        (Reply(200, said(api_version=2)), "outside"),
        (Reply(200, said(nodes_without_plugin=["old-node"])), "outside"),
        (Reply(error=ConnectionTimeout("late")), "outside"),
        (Reply(error=NoConnection("refused")), "outside"),
    ],
)
def test_where_a_fusion_runs(search: Callable[..., Any], info: Reply, where: str) -> None:
    script = elasticsearch(info)
    answer = search(script)
    assert ("inside" if answer["rerank"].get("inside") else "outside") == where
    assert script.paths().count(INFO) == 1
    assert answer["rerank"]["status"] == "fused"


@pytest.mark.parametrize(
    ("sidecar", "tree", "where"),
    [
        ({}, RERANKED, "inside"),
        ({"models": ["second", "word-overlap"]}, RERANKED, "inside"),
        ({"models": ["second"]}, RERANKED, "outside"),
        ({"models": ["second"]}, TREE, "inside"),
        ({"status": "failed"}, RERANKED, "outside"),
        ({}, reranker(inference_id="word-overlap"), "inside"),
        ({}, rrf(pinned(), LEAF), "outside"),
    ],
)
def test_a_tree_runs_inside_where_the_sidecar_has_its_models(
    search: Callable[..., Any], sidecar: dict[str, Any], tree: Any, where: str
) -> None:
    answer = search(elasticsearch(Reply(200, said(sidecar=sidecar))), tree)
    assert ("inside" if answer["rerank"].get("inside") else "outside") == where


def test_a_model_that_is_not_served_here_is_the_same_error(search: Callable[..., Any]) -> None:
    for use in ("auto", "always", "never"):
        script = elasticsearch(Reply(200, said()))
        with pytest.raises(UnknownModelError, match=r"\[second\] is not served here"):
            search(script, reranker(inference_id="second"), plugin=use)
        assert script.asked == []


def test_a_client_without_models_uses_those_of_the_sidecar(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said()))
    answer = search(script, rrf(reranker(), reranker(inference_id="second")), reranker=None)
    first, second = script.asked[1][1]["retriever"]["es_rrf"]["retrievers"]
    assert first["es_rerank"]["inference_id"] == "word-overlap", "the default is named"
    assert second["es_rerank"]["inference_id"] == "second"
    assert answer["rerank"]["model"] == "second, word-overlap"


def test_a_wrong_tree_is_the_same_error_inside_and_outside(search: Callable[..., Any]) -> None:
    reasons = []
    for use in ("auto", "always", "never"):
        script = elasticsearch(Reply(200, said()))
        with pytest.raises(RequestError) as caught:
            search(script, rrf(LEAF, LEAF, rank_constant=0), plugin=use)
        reasons.append(str(caught.value))
        assert script.asked == []
    assert len(set(reasons)) == 1


def test_query_vectors_are_made_inside(search: Callable[..., Any]) -> None:
    tree = rrf(knn(query_vector=GONE, query_vector_builder=BUILDER), LEAF)
    script = elasticsearch(Reply(200, said()))
    search(script, tree)
    leaf = script.asked[1][1]["retriever"]["es_rrf"]["retrievers"][0]["knn"]
    assert leaf["query_vector_builder"] == {"es_rerank": {"model_text": "who signed"}}


# -- names of the plugin in the caller's tree ----------------------------------------------------------------


@pytest.mark.parametrize("use", ["auto", "always", "never"])
def test_names_of_the_plugin_go_to_elasticsearch_unchanged(search: Callable[..., Any], use: str) -> None:
    script = elasticsearch(Reply(200, said()))
    tree = {"es_rrf": {"retrievers": [LEAF, {"es_rerank": {"retriever": LEAF}}]}}
    assert search(script, tree, plugin=use)["hits"] == INSIDE.body["hits"]
    assert script.asked == [(SEARCH, {"retriever": tree})]


def test_names_of_both_in_one_tree(search: Callable[..., Any]) -> None:
    tree = {"es_rrf": {"retrievers": [TREE, LEAF]}}
    script = elasticsearch(Reply(200, said()))
    assert search(script, tree)["rerank"]["inside"]
    assert script.asked[1][1]["retriever"] == {
        "es_rrf": {"retrievers": [{"es_rrf": TREE["rrf"]}, LEAF]},
    }
    with pytest.raises(RequestError, match=r"\[es_rrf\] is run by Elasticsearch alone"):
        search(elasticsearch(Reply(404)), tree)


def test_a_name_of_the_plugin_below_ours_is_a_leaf_outside(search: Callable[..., Any]) -> None:
    native = {"es_rerank": {"retriever": LEAF, "field": "text", "inference_text": "who"}}
    script = elasticsearch(Reply(404))
    search(script, rrf(native, LEAF))
    (lines,) = [body for request, body in script.asked if request.endswith("/_msearch")]
    assert lines[1]["retriever"] == native


# -- what is forgotten ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["es_rrf", "es_linear", "es_rerank"])
def test_a_plugin_that_is_gone_is_forgotten_at_once(name: str) -> None:
    script = elasticsearch(Reply(200, said()), unknown(name))
    client = script.client(reranker=WordOverlapReranker())
    assert "inside" not in client.search(index="articles", retriever=TREE)["rerank"]
    assert "inside" not in client.search(index="articles", retriever=TREE)["rerank"]
    asked = [body for request, body in script.asked if request == SEARCH]
    assert len(asked) == 1, "the second search does not try the plugin"
    assert script.paths().count(INFO) == 1
    with pytest.raises(SearchError, match="does not know the retrievers"):
        elasticsearch(Reply(200, said()), unknown(name)).client(plugin="always").search(
            index="articles", retriever=TREE
        )


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(400, {"error": {"type": "x", "reason": "[1:9] [es_rerank] unknown field [blend]"}}),
        Reply(400, {"error": {"type": "x", "reason": "model [word-overlap] is not allowed on this node"}}),
        Reply(404, {"error": {"type": "x", "reason": "endpoint [word-overlap] is not served here"}}),
    ],
)
def test_what_the_plugin_refuses_runs_outside(search: Callable[..., Any], refusal: Reply) -> None:
    assert "inside" not in search(elasticsearch(Reply(200, said()), refusal), RERANKED)["rerank"]
    with pytest.raises((BadRequestError, NotFoundError)) as caught:
        search(elasticsearch(Reply(200, said()), refusal), RERANKED, plugin="always")
    assert caught.value.body == refusal.body


def test_errors_of_elasticsearch_pass_through_and_are_not_tried_again(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said()), Reply(503, {"error": {"type": "x", "reason": "busy"}}))
    with pytest.raises(ApiError) as caught:
        search(script)
    assert caught.value.status_code == 503
    assert script.paths() == [INFO, SEARCH]


def test_the_deadline_is_the_error_of_outside(search: Callable[..., Any]) -> None:
    late = Reply(error=ConnectionTimeout("late"))
    with pytest.raises(DeadlineError, match="the deadline came") as caught:
        search(elasticsearch(Reply(200, said()), late))
    assert caught.value.status_code == 504  # type: ignore[attr-defined]
    with pytest.raises(ConnectionTimeout):
        search(elasticsearch(Reply(200, said()), late), timeout_s=None)


# -- the setting ---------------------------------------------------------------------------------------------


def test_never_asks_for_no_plugin(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said()))
    assert "inside" not in search(script, plugin="never")["rerank"]
    assert INFO not in script.paths()


@pytest.mark.parametrize(
    ("info", "tree", "kind", "words"),
    [
        (Reply(404), TREE, SearchError, "Elasticsearch has no plugin es-rerank; install it"),
        (Reply(200, said(api_version=2)), TREE, SearchError, "version 2"),
        (Reply(200, said(nodes_without_plugin=["a", "b"])), TREE, SearchError, "a, b"),
        (Reply(200, said()), rrf(pinned(), LEAF), RequestError, r"no retriever \[pinned\]"),
        (Reply(200, said(sidecar={"models": ["x"]})), RERANKED, RequestError, r"\[word-overlap\], but \[x\]"),
    ],
)
def test_always_is_an_error_in_one_sentence(
    search: Callable[..., Any], info: Reply, tree: Any, kind: type[EsRerankError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        search(elasticsearch(info), tree, plugin="always")


def test_always_sends_a_tree_whose_sidecar_does_not_work(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said(sidecar={"status": "failed"})))
    assert search(script, RERANKED, plugin="always")["rerank"]["inside"]


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(RequestError, match=r"plugin is \[yes\]; it may be auto, always, never"):
        elasticsearch(Reply(404)).client(plugin="yes")


# -- what is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        (plugin_info(200, said()), 60),
        (plugin_info(404, None), 30),
        (plugin_info(403, None), 30),
        (plugin_info(200, said(sidecar={"status": "failed"})), 30),
    ],
)
def test_how_long_an_answer_counts(info: PluginInfo, seconds: int) -> None:
    now = 1000.0
    cache = PluginCache(lambda: now)
    assert cache.get() is None
    assert cache.put(info) is cache.get() is info
    now += seconds - 1
    assert cache.get() is info
    now += 2
    assert cache.get() is None


def test_once_per_connection() -> None:
    script = elasticsearch(Reply(200, said()))
    client = script.client(reranker=WordOverlapReranker())
    for caller in (client, client, client.options(opaque_id="a")):
        caller.search(index="articles", retriever=TREE)
    assert script.paths() == [INFO, SEARCH, SEARCH, SEARCH]
    client.options(api_key="another").search(index="articles", retriever=TREE)
    assert script.paths().count(INFO) == 2


def test_another_version_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    cache = PluginCache(lambda: now)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.put(plugin_info(200, said(api_version=2)))
            now += 100
    assert [record.getMessage() for record in caplog.records] == [
        "searches run outside Elasticsearch: the plugin speaks version 2 of its API, this release speaks 1"
    ]


def test_linear_too(search: Callable[..., Any]) -> None:
    script = elasticsearch(Reply(200, said()))
    search(script, linear({"retriever": LEAF, "weight": 2}))
    assert list(script.asked[1][1]["retriever"]) == ["es_linear"]

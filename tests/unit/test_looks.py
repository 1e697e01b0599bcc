"""How a search looks at its indices: what each answer means, and what a change in between does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote

import pytest
from elasticsearch import ApiError, UnsupportedProductError
from retriever_bodies import rrf
from scripted_elasticsearch import Reply, Script

from es_rerank.errors import RequestError
from es_rerank.retrievers.execution import commands
from es_rerank.retrievers.execution.commands import index_path
from es_rerank.retrievers.execution.mappings import _LONGEST_PATH, _pieces, names_remote
from es_rerank.retrievers.execution.questions import schema_for_question
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.planning.index_schema import IndexSchema, runtime_types, schema_of, schema_of_fields
from es_rerank.retrievers.planning.multi_field import expand_fields
from es_rerank.testing import HashEmbedder, WordOverlapReranker

ROOT = "GET /"
LOOK = "GET /articles"
CAPS = "POST /articles/_field_caps"
WORDS = "moon dog"
BUILDER = {"text_embedding": {"model_text": WORDS}}
KNN = {"knn": {"field": "vector", "query_vector_builder": BUILDER, "k": 3, "num_candidates": 9}}
RERANKED = {"text_similarity_reranker": {"retriever": KNN, "field": "parts.text", "inference_text": WORDS}}
TEXT = {"properties": {"text": {"type": "text"}}}
TYPES: dict[str, Any] = {
    "parts": {"nested": {}},
    "parts.text": {"text": {}},
    "vector": {"dense_vector": {}},
}

Search = Callable[..., Any]


@pytest.fixture(params=[False, True], ids=["blocking", "asynchronous"])
def search(request: pytest.FixtureRequest) -> Search:
    def search(script: Script, tree: Any = RERANKED, **options: Any) -> Any:
        models = {"reranker": WordOverlapReranker(), "embedder": HashEmbedder()}
        return script.search(request.param, tree, **{"plugin": "never", **models, **options})

    return search


def hits(index: str) -> dict[str, Any]:
    hit = {
        "_index": index,
        "_id": "1",
        "_score": 1.0,
        "sort": [1.0, 1],
        "fields": {"parts": [{"text": [WORDS]}], "parts.text": [WORDS]},
    }
    return {"timed_out": False, "hits": {"hits": [hit], "total": {"value": 1, "relation": "eq"}}}


def mapping(index: str, embedder: str = "hash-64") -> dict[str, Any]:
    properties = {"vector": {"type": "dense_vector", "dims": 64}, "parts": {"type": "nested", **TEXT}}
    return {index: {"mappings": {"properties": properties, "_meta": {"embedder": embedder}}}}


def elasticsearch(*looks: Reply, caps: Reply | None = None, index: str = "b") -> Script:
    """An Elasticsearch that gives these answers to looks, the last of them again and again, and a hit of
    ``index`` to a search.
    """
    left = list(looks)

    def answer(request: str, body: Any) -> Reply:
        if request == LOOK:
            return left.pop(0) if len(left) > 1 else left[0]
        if request == CAPS and caps is not None:
            return caps
        if request.endswith("/_pit"):
            return Reply(200, {"id": "a-pit", "succeeded": True})
        if request.endswith("/_msearch"):
            return Reply(200, {"responses": [hits(index)] * (len(body) // 2)})
        return Reply(200, hits(index))

    return Script(answer)


# --- an alias that is swapped between the look and the hits -------------------------------------------------


def test_a_search_whose_indices_change_meanwhile_runs_again(search: Search) -> None:
    script = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b")))
    answer = search(script)
    assert script.paths().count(LOOK) == 2
    assert answer["rerank"]["status"] == "reranked"


def test_the_point_in_time_over_the_old_indices_is_closed(search: Search) -> None:
    script = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b")))
    search(script, rrf(KNN, KNN))
    opened, closed = (
        script.paths().count(f"{method} {path}")
        for method, path in (("POST", "/articles/_pit"), ("DELETE", "/_pit"))
    )
    assert (opened, closed) == (2, 2)


def test_vectors_that_another_model_made_meanwhile_are_refused(search: Search) -> None:
    script = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b", "another")))
    with pytest.raises(ApiError, match=r"holds vectors of \[another\]"):
        search(script)


def test_a_tree_that_elasticsearch_runs_is_checked_as_well(search: Search) -> None:
    script = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b", "another")))
    with pytest.raises(ApiError, match=r"holds vectors of \[another\]"):
        search(script, KNN)


def test_an_index_that_may_be_searched_and_not_read_does_not_stop_a_search(search: Search) -> None:
    script = elasticsearch(
        Reply(200, mapping("a")), caps=Reply(200, {"indices": ["a", "b"], "fields": TYPES})
    )
    assert search(script)["rerank"]["status"] == "reranked"
    assert script.paths().count(LOOK) == 2, "once more, not for ever"


NOTHING = {"timed_out": False, "hits": {"hits": [], "total": {"value": 0, "relation": "eq"}}}
DIMS = {"error": {"type": "search_phase_execution_exception", "reason": "dimensions"}, "status": 400}


@pytest.mark.parametrize("tree", [RERANKED, rrf(KNN, KNN), KNN], ids=["reranked", "several", "whole"])
@pytest.mark.parametrize("first", [Reply(400, DIMS), Reply(404, DIMS), Reply(200, NOTHING)])
def test_a_search_that_fails_or_finds_nothing_since_its_alias_moved_runs_again(
    search: Search, tree: Any, first: Reply
) -> None:
    """Vectors of other dimensions are refused, and nothing may be near a vector of another model."""
    wrapped = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b")))
    searches = 0

    def answer(request: str, body: Any) -> Reply:
        nonlocal searches
        searches += request.endswith(("_search", "_msearch"))
        if searches == 1 and request.endswith(("_search", "_msearch")):
            several = request.endswith("_msearch") and first.status == 200
            return Reply(200, {"responses": [NOTHING] * 2}) if several else first
        return wrapped.answer(request, body)

    script = Script(answer)
    assert [hit["_id"] for hit in search(script, tree)["hits"]["hits"]] == ["1"]
    assert script.paths().count(LOOK) == 3


def test_a_page_that_lost_its_hits_since_the_alias_moved_is_searched_anew(search: Search) -> None:
    wrapped = elasticsearch(Reply(200, mapping("a")), Reply(200, mapping("b")))
    searches = 0

    def answer(request: str, body: Any) -> Reply:
        nonlocal searches
        searches += request.endswith("_search")
        if request.endswith("_search") and searches <= 2:
            return Reply(200, hits("a") if searches == 1 else NOTHING)
        return wrapped.answer(request, body)

    assert [hit["_id"] for hit in search(Script(answer))["hits"]["hits"]] == ["1"]


@pytest.mark.parametrize("answer", [Reply(200, NOTHING), Reply(400, DIMS)], ids=["nothing", "an error"])
def test_the_name_of_an_index_cannot_move_and_is_not_looked_at_again(search: Search, answer: Reply) -> None:
    known = elasticsearch(Reply(200, mapping("articles")))
    script = Script(
        lambda request, body: answer if request.endswith("/_search") else known.answer(request, body)
    )
    with nullcontext() if answer.status == 200 else pytest.raises(ApiError, match="search failed"):
        assert search(script)["hits"]["hits"] == []
    assert script.paths().count(LOOK) == 1


def test_an_error_of_indices_that_did_not_change_stays_as_it_is(search: Search) -> None:
    script = elasticsearch(Reply(200, mapping("b")))
    looking = Script(
        lambda request, body: (
            Reply(400, DIMS) if request.endswith("_search") else script.answer(request, body)
        )
    )
    with pytest.raises(ApiError, match="search failed"):
        search(looking)
    assert [path for path in looking.paths() if path.endswith("_search")] == ["POST /articles/_search"]


# --- what cannot be read is not known -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
def test_a_look_that_is_refused_does_not_refuse_the_search(search: Search, status: int) -> None:
    """410 is serverless, 400 another cluster or a line too long, 401 and 403 a missing privilege."""
    refused = Reply(status, {"error": {"type": "refused", "reason": "no"}, "status": status})
    script = elasticsearch(refused, caps=refused)
    assert [hit["_id"] for hit in search(script)["hits"]["hits"]] == ["1"]
    script = elasticsearch(refused, caps=Reply(200, {"indices": ["b"], "fields": TYPES}))
    assert search(script)["hits"]["hits"][0]["fields"]["rerank.passage"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_look_that_fails_for_now_fails_the_search(search: Search, status: int) -> None:
    """Otherwise vectors of another model would be searched in silence while Elasticsearch is busy."""
    script = elasticsearch(Reply(status, {"error": {"type": "busy", "reason": "no"}, "status": status}))
    with pytest.raises(ApiError) as raised:
        search(script)
    assert raised.value.status_code == status
    assert script.paths() == [ROOT, LOOK]


@pytest.mark.parametrize(
    ("status", "raised"), [(400, False), (403, False), (410, False), (404, True), (429, True), (503, True)]
)
def test_ask_goes_on_without_the_mapping_where_a_search_does(status: int, raised: bool) -> None:
    """``ask`` reads the mapping itself, to find the passages."""
    refused = Reply(status, {"error": {"type": "refused", "reason": "no"}, "status": status})
    client = elasticsearch(refused, caps=refused).client()
    if raised:
        with pytest.raises(ApiError):
            schema_for_question(client, "articles")
    else:
        assert schema_for_question(client, "articles") == IndexSchema("articles")


def test_a_server_that_is_not_elasticsearch_is_refused(search: Search) -> None:
    for tree in (RERANKED, rrf(KNN, KNN), KNN):
        script = Script(lambda *_: Reply(200, {"welcome": "home"}, {"x-elastic-product": ""}))
        for plugin in ("never", "auto", "always"):
            with pytest.raises(UnsupportedProductError, match="the server is not Elasticsearch"):
                search(script, tree, plugin=plugin)


def test_a_field_that_no_index_has_is_refused_after_a_second_source_was_asked(search: Search) -> None:
    tree = {"text_similarity_reranker": {**RERANKED["text_similarity_reranker"], "field": "absent"}}
    caps = Reply(200, {"indices": ["b"], "fields": {"parts.text": {"text": {}}}})
    script = elasticsearch(Reply(200, mapping("b")), caps=caps)
    with pytest.raises(ApiError, match=r"no field \[absent\]; its text fields are: parts.text"):
        search(script, tree)
    assert script.paths() == [ROOT, LOOK, CAPS, "POST /articles/_search", CAPS]


# --- reading ------------------------------------------------------------------------------------------------


def test_index_names_are_escaped_in_a_path() -> None:
    assert index_path("<logs-{now/d}>,b*") == "/%3Clogs-%7Bnow%2Fd%7D%3E,b*"
    assert index_path("far:<a-{now/d{yyyy|+12:00}}>") == "/far%3A%3Ca-%7Bnow%2Fd%7Byyyy%7C%2B12%3A00%7D%7D%3E"
    for name in (".", "..", "_bad"):
        with pytest.raises(RequestError, match="Invalid index name"):
            index_path(f"a,{name}")


@pytest.mark.parametrize(
    ("expression", "remote"),
    [
        ("articles", False),
        ("far:articles", True),
        ("articles,*:articles", True),
        ("<a-{now/d{yyyy.MM.dd|+12:00}}>", False),
        ("far:<a-{now/d}>", True),
        ("logs::failures", False),
    ],
)
def test_an_index_of_another_cluster_is_known_by_its_colon(expression: str, remote: bool) -> None:
    assert names_remote(expression) is remote


def test_a_schema_knows_aliases_runtime_fields_and_what_is_below_a_flattened_field() -> None:
    properties = {
        "vector": {"type": "dense_vector", "dims": 3},
        "v": {"type": "alias", "path": "vector"},
        "flat": {"type": "flattened"},
    }
    runtime = {"late": {"type": "keyword"}, "both": {"type": "composite", "fields": {"a": {"type": "long"}}}}
    found = schema_of({"i": {"mappings": {"properties": properties, "runtime": runtime}}}, "i")
    assert found.dims == {"vector": 3, "v": 3}
    assert all(map(found.has, ("v", "late", "both.a", "flat.x.y", "flat")))
    assert not any(map(found.has, ("both.b", "fla", "vector.x")))
    assert runtime_types("nonsense") == {}


def test_a_field_that_is_nested_in_one_index_is_nested() -> None:
    answer = {"indices": ["a", "b"], "fields": {"p": {"object": {}, "nested": {}}, "p.t": {"text": {}}}}
    found = schema_of_fields(answer, "a,b")
    assert found.nested_path("p.t") == "p"
    assert found.indices == {"a", "b"}
    flat = schema_of({"a": {"mappings": {"properties": {"p": {"properties": {}}}}}}, "a,b")
    assert flat.joined(found).nested_path("p.t") == "p"


def test_without_a_mapping_each_index_applies_its_own_default_fields() -> None:
    tree = expand_fields(parse({"rrf": {"query": "q"}}), IndexSchema("a"))
    query = {"multi_match": {"query": "q", "type": "most_fields"}}
    assert tree == parse({"rrf": {"retrievers": [{"standard": {"query": query}}]}})


def test_a_long_list_of_indices_is_cut_into_paths_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    escaped = 0

    def counting(text: str, *, safe: str = "/") -> str:
        nonlocal escaped
        escaped += len(text)
        return quote(text, safe=safe)

    names = [f"a22-{'x' * (number % 7)}é*" for number in range(2_600)]
    monkeypatch.setattr(commands, "quote", counting)
    pieces = _pieces(names)
    assert escaped <= 3 * len(",".join(names))
    monkeypatch.undo()
    assert ",".join(pieces).split(",") == names
    lengths = [len(index_path(piece)) for piece in pieces]
    assert max(lengths) <= _LONGEST_PATH
    for length, following in zip(lengths, pieces[1:], strict=False):  # none had room for one more
        assert length + len(index_path(following.partition(",")[0])) > _LONGEST_PATH
    assert _pieces(["a", "b"]) == ["a,b"]
    assert _pieces([]) == []
    assert len(_pieces([*names, "-a"])) == 1

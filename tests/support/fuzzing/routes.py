"""A valid request for each route of the sidecar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from es_rerank.dialects.table import PATHS
from es_rerank.dialects.vectors import BY_PATH

from . import model_routes, searches
from .drafts import INDEX, KEY, SOURCE, Draft
from .json_texts import Raw, Value
from .searches import Drawing, chosen


def draft(draw: Drawing) -> Draft:
    """Return a valid request."""
    (make,) = draw.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])
    if make in _RICH and draw.random() < 0.6:
        draw.share = 0.7
    found = make(draw)
    draw.share = 0.0
    of_models = ("/rescore", "/_inference", "/_rerank", "/info", "/v1/models")
    keyed = found.route in {*PATHS, *BY_PATH} or found.route.startswith(of_models)
    return replace(found, headers={**found.headers, "Authorization": b"Bearer " + KEY}) if keyed else found


def _search(draw: Random) -> Draft:
    index = draw.choice(["", f"/{INDEX}", f"/{INDEX}", f"/{INDEX}", f"/{INDEX}*,{INDEX}"])
    body = searches.search(draw)
    if not index and draw.random() < 0.1:
        body["pit"] = {
            "id": "46ToAwMDaWR5BXV1aWQyKwZub2RlXzMAAAAAAAAAACoBYwADaWR4BXV1aWQx",
            "keep_alive": "1m",
        }
    parameters = _search_parameters(draw)
    if not index and "pit" not in body:
        parameters["index"] = INDEX
    route = "/{index}/_search" if index else "/_search"
    return Draft(route, draw.choice(["POST", "POST", "GET"]), f"{index}/_search", body, parameters)


def _search_parameters(draw: Random) -> dict[str, str]:
    if draw.random() < 0.6:
        return {}
    return chosen(
        draw,
        {
            "filter_path": lambda: draw.choice(
                ["took,hits.hits._id", "-hits.hits._source", "**._id", "hits.*"]
            ),
            "pretty": lambda: "true",
            "typed_keys": lambda: "true",
            "rest_total_hits_as_int": lambda: "true",
            "ignore_unavailable": lambda: "true",
            "search_type": lambda: "dfs_query_then_fetch",
            "size": lambda: "5",
            "from": lambda: "1",
            "_source": lambda: "title,text",
            "sort": lambda: "number:desc",
            "preference": lambda: "_local",
            "routing": lambda: "a",
            "explain": lambda: "true",
            "track_total_hits": lambda: "7",
            "request_cache": lambda: "true",
            "batched_reduce_size": lambda: "5",
            "max_concurrent_shard_requests": lambda: "3",
            "timeout": lambda: "1s",
            "format": lambda: "json",
            "error_trace": lambda: "true",
            "human": lambda: "true",
            "stored_fields": lambda: "title",
            "docvalue_fields": lambda: "group",
            "_slice": lambda: "1",
            "suggest_field": lambda: "title",
            "scroll": lambda: "1s",
            "q": lambda: "text:king",
            "allow_partial_search_results": lambda: "false",
        },
        0.06,
    )


def _source_in_url(draw: Random) -> Draft:
    parameters = {"source": SOURCE, "source_content_type": "application/json"}
    return Draft(
        "/{index}/_search", "GET", f"/{INDEX}/_search", searches.search(draw), parameters, has_body=False
    )


def _msearch(draw: Random) -> Draft:
    values: list[Value] = []
    for _ in range(draw.randint(1, 4)):
        header: Any = {
            "index": draw.choice([INDEX, [INDEX]]),
            **chosen(
                draw,
                {
                    "routing": lambda: "a",
                    "preference": lambda: "_local",
                    "search_type": lambda: "query_then_fetch",
                    "ignore_unavailable": lambda: True,
                    "expand_wildcards": lambda: draw.choice(["open", ["open", "closed"]]),
                    "request_cache": lambda: True,
                    "allow_no_indices": lambda: "true",
                    "ccs_minimize_roundtrips": lambda: False,
                },
                0.1,
            ),
        }
        values += [draw.choice([header, header, {}]), searches.search(draw)]
    parameters = chosen(
        draw,
        {
            "max_concurrent_searches": lambda: "2",
            "typed_keys": lambda: "true",
            "rest_total_hits_as_int": lambda: "true",
            "filter_path": lambda: "responses.hits.hits._id,responses.error",
            "pre_filter_shard_size": lambda: "5",
        },
        0.1,
    )
    path = draw.choice([("/{index}/_msearch", f"/{INDEX}/_msearch"), ("/_msearch", "/_msearch")])
    if path[1] == "/_msearch":
        parameters["index"] = INDEX
    return Draft(path[0], draw.choice(["POST", "POST", "GET"]), path[1], values, parameters, lines=True)


def _read(draw: Random) -> Draft:
    path = draw.choice(
        [
            *("/info", "/_inference", "/_inference/_all", "/_inference/tiny-cross-encoder"),
            *(
                "/_inference/rerank/tiny-cross-encoder",
                "/_inference/text_embedding/x",
                "/",
                "/health",
                "/healthz",
                "/v1/models",
                "/v1/models/tiny-bi-encoder",
                "/v1/models/a%2Fb",
                "/readyz",
                "/weaviate/.well-known/ready",
                "/weaviate/meta",
            ),
        ]
    )
    route = next((each for each in ("/_inference", "/v1/models") if path.startswith(each)), path)
    return Draft(route, draw.choice(["GET", "GET", "HEAD"]), path, has_body=False)


def _exists(draw: Random) -> Draft:
    path = draw.choice(
        [f"/{INDEX}", "/no-such-index", "/_all", "/%3Cx-%7Bnow%2Fd%7D%3E", "/_x", f"/{INDEX},{INDEX}*"]
    )
    return Draft("HEAD /{index}", "HEAD", path, has_body=False)


def _page(draw: Random) -> Draft:
    path = draw.choice(["/docs", "/openapi.json", "/redoc"])
    return Draft(path, "GET", path, has_body=False, style="page")


def _own_page(draw: Random) -> Draft:
    path = draw.choice(["/_rerank/status", "/_rerank/ui", "/_rerank/docs", "/_rerank/healthz", "/metrics"])
    return Draft(path, draw.choice(["GET", "HEAD", "POST"]), path, has_body=False, style="page")


def _pit(draw: Random) -> Draft:
    if draw.random() < 0.4:
        path = f"/{INDEX}/_pit"
        return Draft("/{index}/_pit", "POST", path, {}, {"keep_alive": "1s"}, has_body=draw.random() < 0.2)
    return Draft(
        "/_pit", "DELETE", "/_pit", {"id": "46ToAwMDaWR5BXV1aWQyKwZub2RlXzMAAAAAAAAAACoBYwADaWR4BXV1aWQx"}
    )


def _other_search(draw: Random) -> Draft:
    path = draw.choice(
        [
            *("/_async_search", "/INDEX/_async_search", "/_query", "/_query/async", "/_fleet/_fleet_search"),
            *("/_rank_eval", "/INDEX/_rank_eval", "/_search/template", "/INDEX/_search/template"),
            *("/_msearch/template", "/INDEX/_msearch/template"),
        ]
    )
    body: Value = searches.search(draw)
    if "template" in path:
        source: Value = '{"retriever": {"rrf": {"retrievers": [{{x}}]}}}' if draw.random() < 0.5 else body
        body = {"source": source, "params": {"x": 1}}
    elif "_rank_eval" in path:
        body = {"requests": [{"id": "a", "request": body, "ratings": []}], "metric": {"precision": {"k": 3}}}
    elif "_query" in path:
        body = {"query": "FROM INDEX | LIMIT 1", "retriever": body}
    if "_msearch" in path:
        return Draft("other searches", "POST", path, [{}, body], lines=True)
    return Draft("other searches", "POST", path, body)


def _nowhere(draw: Random) -> Draft:
    path = draw.choice(
        [
            "/INDEX/_doc/1",
            "/_bulk",
            "/_cat/indices",
            "/a/b/c",
            "/_rerank/v2/score",
            "/v3/rerank",
            "/rerank/x",
            "//",
            "/.",
        ]
    )
    return Draft(
        "no route", draw.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), path, Raw(b"{}")
    )


_KINDS: list[tuple[Callable[[Random], Draft], float]] = [
    (_search, 12),
    (_source_in_url, 0.7),
    (_msearch, 5),
    (model_routes.rescore, 9),
    (model_routes.rerank, 7),
    (model_routes.inference, 4),
    (model_routes.embedding, 1.5),
    (model_routes.vectors, 4),
    (model_routes.score, 5),
    (model_routes.embed, 1.5),
    (model_routes.passages, 1.5),
    (model_routes.info, 0.3),
    (_read, 1.5),
    (_exists, 0.8),
    (_page, 0.2),
    (_own_page, 0.3),
    (_pit, 0.8),
    (_other_search, 1.5),
    (_nowhere, 0.5),
]

_RICH = frozenset({model_routes.rescore, model_routes.inference, model_routes.score, model_routes.rerank})
"""Routes whose keys may all be there at the same time."""

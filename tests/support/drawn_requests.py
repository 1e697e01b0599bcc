"""Requests to the gateway, drawn from a seed: plain ones, and ones with a tree of compound retrievers.

They fit the indices that ``drawn_trees.fill`` makes. Two of five are plain; of these, some are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from drawn_trees import ALIAS, DIMS, GROUPS, INDICES, WORDS, search

Body = dict[str, Any]

SEED = 21
NAMES = [ALIAS, "drawn-trees-*", ",".join(name for name, _, _ in INDICES), INDICES[0][0]]
"""Ways to name the indices; the first three name both."""


@dataclass(frozen=True)
class Drawn:
    """A request. ``search`` is its body where it has a compound retriever, else None."""

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    content: str | None = None
    search: Body | None = None
    typed: bool = False
    """Whether the media types are those that Elastic's clients send."""

    @property
    def headers(self) -> dict[str, str]:
        kind = "x-ndjson" if self.path.endswith("_msearch") else "json"
        media = (
            f"application/vnd.elasticsearch+{kind}; compatible-with=9"
            if self.typed
            else f"application/{kind}"
        )
        accept = {"accept": media.replace("x-ndjson", "json")} if self.typed else {}
        return accept if self.content is None else {"content-type": media, **accept}


def is_plain(number: int) -> bool:
    """Return whether the request with this number is one that Elasticsearch runs itself."""
    return number % 5 < 2


def drawn(number: int) -> Drawn:
    """Return the request with this number."""
    draw = Random(f"{SEED} {number}")
    request = _plain(draw) if is_plain(number) else _compound(draw, number)
    return replace(request, typed=draw.random() < 0.3)


# -- compound ------------------------------------------------------------------------------------------------


def _compound(draw: Random, number: int) -> Drawn:
    body = search(f"{SEED} {number} tree", least=1)
    if draw.random() < 0.1:
        body["min_score"] = round(draw.uniform(0.01, 0.5), 3)
    if draw.random() < 0.2:
        body["_source"] = ["title", "number"]
    if draw.random() < 0.2:
        body["fields"] = ["group", "number"]
    if draw.random() < 0.1:
        body["track_total_hits"] = draw.choice([True, False])
    names = draw.choice(NAMES[:3])
    door = draw.choice(["POST", "POST", "GET", "_msearch"])
    if draw.random() < 0.1:
        body["retriever"] = _over_fields(draw)
    if door == "_msearch":
        return Drawn("POST", "/_msearch", {}, _lines([({"index": names}, body)]), body)
    return Drawn(door, f"/{names}/_search", {}, json.dumps(body), body)


def _over_fields(draw: Random) -> Body:
    """Return a tree with the multi-field format. Its window has room for every page that is drawn."""
    content: Body = {"query": _words(draw), "fields": draw.choice([["title", "text"], ["title^2.5", "text"]])}
    if draw.random() < 0.3:
        content["filter"] = {"terms": {"group": draw.sample(GROUPS, 3)}}
    if draw.random() < 0.5:
        content["normalizer"] = draw.choice(["minmax", "l2_norm", "none"])
    kind = "linear" if "normalizer" in content else "rrf"
    fused: Body = {kind: {**content, "rank_window_size": 40}}
    if draw.random() < 0.5:
        return fused
    reranker = {"retriever": fused, "field": "text", "inference_text": _words(draw), "rank_window_size": 30}
    return {"text_similarity_reranker": reranker}


# -- plain ---------------------------------------------------------------------------------------------------


def _plain(draw: Random) -> Drawn:
    kinds: list[Callable[[Random], Drawn]] = [
        *(_by_body, _by_body, _by_body, _by_parameters, _by_parameters),
        *(_several, _refused, _nowhere),
    ]
    return draw.choice(kinds)(draw)


def _by_body(draw: Random) -> Drawn:
    text = json.dumps(_body(draw), indent=draw.choice([None, 2]), ensure_ascii=draw.random() < 0.5)
    path = draw.choice([f"/{draw.choice(NAMES)}/_search", "/_search"])
    return Drawn(draw.choice(["POST", "GET"]), path, _parameters(draw), text)


def _by_parameters(draw: Random) -> Drawn:
    word = draw.choice(WORDS)
    query = draw.choice(
        [word, f"title:{word}", f"text:{word} AND group:{draw.choice(GROUPS)}", "number:[3 TO 9]"]
    )
    more = {"size": str(draw.randint(0, 15)), "_source": draw.choice(["false", "title,number"])}
    if draw.random() < 0.4:
        more["sort"] = f"number:{draw.choice(['asc', 'desc'])}"
    return Drawn("GET", f"/{draw.choice(NAMES)}/_search", {"q": query, **more, **_parameters(draw)})


def _several(draw: Random) -> Drawn:
    searches: list[tuple[Body, Body]] = [
        ({"index": draw.choice(NAMES)}, _body(draw)) for _ in range(draw.randint(1, 3))
    ]
    if draw.random() < 0.3:
        searches.append(({"index": "drawn-trees-none"}, {"query": {"match_all": {}}}))
    if draw.random() < 0.3:
        searches.append(({"index": ALIAS}, {"query": {"no_such_query": {}}}))
    path = draw.choice(["/_msearch", f"/{ALIAS}/_msearch"])
    return Drawn("POST", path, _parameters(draw), _lines(searches))


def _refused(draw: Random) -> Drawn:
    """Return a request that Elasticsearch answers with 400."""
    text = draw.choice(
        [
            '{"query": {"match": {"text": "king"}}',
            '{"query": {"match_al": {}}}',
            '{"query": {"match_all": {}}, "siz": 3}',
            '{"size": -2}',
            '{"from": 9999, "size": 5}',
            '{"sort": [{"missing": "asc"}]}',
            '{"aggs": {"a": {"term": {"field": "group"}}}}',
            '{"query": {"range": {"number": {"gte": "many"}}}}',
            '{"retriever": {"standart": {"query": {"match_all": {}}}}}',
            '{"retriever": {"standard": {"query": {"match_all": {}}}}, "query": {"match_all": {}}}',
            json.dumps({"knn": {"field": "vector", "query_vector": [1, 2], "k": 3, "num_candidates": 5}}),
            json.dumps(
                {"knn": {"field": "vector", "query_vector": _vector(draw), "k": 9, "num_candidates": 5}}
            ),
            "[]",
            "king",
        ]
    )
    return Drawn("POST", f"/{INDICES[0][0]}/_search", _parameters(draw), text)


def _nowhere(draw: Random) -> Drawn:
    """Return a request over an index that does not exist, or with a parameter that does not exist."""
    params, path = draw.choice(
        [
            ({}, "/drawn-trees-none/_search"),
            ({}, f"/{ALIAS},drawn-trees-none/_search"),
            ({"ignore_unavailable": "true"}, f"/{ALIAS},drawn-trees-none/_search"),
            ({"allow_no_indices": "false"}, "/drawn-trees-none-*/_search"),
            ({"no_such_parameter": "1"}, f"/{ALIAS}/_search"),
            ({"search_type": "no_such_type"}, f"/{ALIAS}/_search"),
            ({"size": "many"}, f"/{ALIAS}/_search"),
        ]
    )
    return Drawn("POST", path, params, json.dumps(_body(draw)))


def _body(draw: Random) -> Body:
    body = draw.choice([_queried, _queried, _nearest, _retrieved])(draw)
    if draw.random() < 0.6:
        body["size"] = draw.randint(0, 20)
    if draw.random() < 0.2:
        body["from"] = draw.randint(0, 10)
    if draw.random() < 0.3:
        body["aggs"] = _aggregations(draw)
    more: list[Body] = [
        {"_source": ["title", "group"]},
        {"fields": ["number", "passages.text"], "_source": False},
        {"highlight": {"fields": {"text": {}, "title": {"number_of_fragments": 0}}}},
        {"collapse": {"field": draw.choice(["group", "number"])}},
        {"track_total_hits": draw.choice([True, False, 7])},
        {"post_filter": {"term": {"group": draw.choice(GROUPS)}}},
        {"explain": True, "version": True, "seq_no_primary_term": True},
        {"min_score": round(draw.uniform(0.1, 1.5), 2)},
        {"docvalue_fields": ["group"], "_source": False},
        {"runtime_mappings": {"kind": {"type": "keyword"}}, "fields": ["kind"]},
    ]
    return body | (draw.choice(more) if draw.random() < 0.7 else {})


def _queried(draw: Random) -> Body:
    words = _words(draw)
    body: Body = {
        "query": draw.choice(
            [
                {"match": {"text": words}},
                {"multi_match": {"query": f"{words} é", "fields": ["title^2", "text"]}},
                {
                    "bool": {
                        "must": [{"match": {"text": words}}],
                        "filter": {"term": {"group": draw.choice(GROUPS)}},
                    }
                },
                {
                    "nested": {
                        "path": "passages",
                        "query": {"match": {"passages.text": words}},
                        "inner_hits": {},
                    }
                },
                {"range": {"number": {"gte": draw.randint(0, 30)}}},
                {"query_string": {"query": f"text:({words})"}},
                {"match_all": {}},
            ]
        )
    }
    if draw.random() < 0.3:
        body["sort"] = draw.choice([[{"number": "desc"}, "_score"], ["group", {"number": "asc"}], "_doc"])
    return body


def _nearest(draw: Random) -> Body:
    section: Body = {"field": "vector", "query_vector": _vector(draw), "k": draw.randint(1, 9)}
    section["num_candidates"] = section["k"] + draw.randint(0, 20)
    if draw.random() < 0.4:
        section["filter"] = {"term": {"group": draw.choice(GROUPS)}}
    if draw.random() < 0.3:
        section |= {"field": "passages.vector", "inner_hits": {"size": 1, "_source": False}}
    words = {"match": {"text": _words(draw)}}
    return {"knn": section, **({"query": words} if draw.random() < 0.4 else {})}


def _retrieved(draw: Random) -> Body:
    """Return a body with a retriever that Elasticsearch runs on every licence."""
    leaf = {"standard": {"query": {"match": {"text": _words(draw)}}}}
    section = _nearest(draw)["knn"]
    rescore = {"query": {"rescore_query": {"match": {"title": _words(draw)}}}, "window_size": 20}
    return {
        "retriever": draw.choice(
            [leaf, {"knn": section}, {"rescorer": {"retriever": leaf, "rescore": rescore}}]
        )
    }


def _aggregations(draw: Random) -> Body:
    best = {"best": {"top_hits": {"size": 2, "_source": False}}}
    return draw.choice(
        [
            {"groups": {"terms": {"field": "group"}, "aggs": best}},
            {"numbers": {"stats": {"field": "number"}}},
            {"steps": {"histogram": {"field": "number", "interval": 10}}},
            {"red": {"filter": {"term": {"group": "red"}}, "aggs": {"most": {"max": {"field": "number"}}}}},
        ]
    )


def _parameters(draw: Random) -> dict[str, str]:
    if draw.random() < 0.5:
        return {}
    return draw.choice(
        [
            {"filter_path": "took,hits.hits._id,responses.hits.hits._id,error.type"},
            {"filter_path": "-hits.hits._source,-responses.hits.hits._source"},
            {"pretty": "true"},
            {"typed_keys": "true"},
            {"rest_total_hits_as_int": "true"},
            {"ignore_unavailable": "true"},
            {"search_type": "dfs_query_then_fetch"},
        ]
    )


def _lines(searches: list[tuple[Body, Body]]) -> str:
    return "".join(f"{json.dumps(header)}\n{json.dumps(body)}\n" for header, body in searches)


def _words(draw: Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 3)))


def _vector(draw: Random) -> list[float]:
    return [round(draw.gauss(0, 1), 4) for _ in range(DIMS)]

"""Compares answers to one search: through the gateway, by the plugin, calculated.

It imports nothing of the product. Each allowed difference is one that the README declares.
"""

from __future__ import annotations

import math
import re
from typing import Any

import httpx
from independent import Key
from rankings import assert_same_ranking, close, ranked_hits

Body = dict[str, Any]

SAID = ("rerank.logit", "rerank.probability", "rerank.first_stage_score", "rerank.first_stage_rank")
"""Numbers that a hit says of its reranker; it also shows a passage."""

_TOOK = re.compile(rb'("took"\s*:\s*)\d+')


def assert_same_bytes(here: httpx.Response, there: httpx.Response) -> None:
    """All of two answers is equal, except the milliseconds that they took."""
    assert here.status_code == there.status_code
    assert _TOOK.sub(rb"\g<1>0", here.content) == _TOOK.sub(rb"\g<1>0", there.content)
    for name in ("content-type", "x-elastic-product", "warning"):
        assert here.headers.get_list(name) == there.headers.get_list(name), name


def assert_same_answer(body: Body, here: Body, there: Body) -> None:
    """Ranking, total, aggregations and what the hits say of their reranker are equal."""
    assert here["hits"].get("total") == there["hits"].get("total")
    ranked, expected = ranked_hits(body, here), ranked_hits(body, there)
    assert_same_ranking(ranked, expected)
    said = {_key(hit): _said(hit) for hit in expected}
    for hit in ranked:
        assert _same(_said(hit), said[_key(hit)]), (hit["_id"], _said(hit), said[_key(hit)])
    for name in body.get("aggs", {}):
        _assert_same_aggregation(here["aggregations"][name], there["aggregations"][name])


def assert_same_rest(body: Body, here: Body, there: Body) -> None:
    """What Elasticsearch fetches for the hits is equal: ``_source``, fields, highlights.

    ``here`` is the plugin's answer. Elasticsearch highlights nothing there if the search counts no totals and
    has no aggregations.
    """
    unmarked = body.get("track_total_hits") is False and "aggs" not in body
    left_out = {"_score", "sort", *(["highlight"] if unmarked else [])}
    expected = {_key(hit): hit for hit in there["hits"]["hits"]}
    for hit in ranked_hits(body, here):
        # Where a ranking may differ, so may the pages; that they need not, is compared with the calculation.
        other = expected.get(_key(hit))
        assert other is None or _fetched(hit, left_out) == _fetched(other, left_out)


def _fetched(hit: Body, left_out: set[str]) -> Body:
    kept = {name: value for name, value in hit.items() if name not in left_out}
    fields = {name: value for name, value in hit.get("fields", {}).items() if not name.startswith("rerank.")}
    return {**kept, "fields": fields}


def _key(hit: Body) -> Key:
    return hit["_index"], hit["_id"]


def _said(hit: Body) -> Body:
    fields = hit.get("fields", {})
    passages = [passage["text"] for passage in fields.get("rerank.passage", [])]
    return {"passages": passages, **{name: fields[name][0] for name in SAID if name in fields}}


def _same(one: Body, other: Body) -> bool:
    same = {name for name in one if name == "passages" or close(one[name], other.get(name, math.nan))}
    return one["passages"] == other["passages"] and same == one.keys() == other.keys()


def _assert_same_aggregation(here: Body, there: Body) -> None:
    if "buckets" not in here:
        assert here == there
        return
    for name in ("key", "doc_count"):
        assert [bucket[name] for bucket in here["buckets"]] == [bucket[name] for bucket in there["buckets"]]
    for one, other in zip(here["buckets"], there["buckets"], strict=True):
        assert ("best" in one) == ("best" in other)
        if "best" in one:
            _assert_same_best(one["best"]["hits"], other["best"]["hits"])


def _assert_same_best(here: Body, there: Body) -> None:
    """``top_hits`` are equal; where it cuts between equal scores, Elasticsearch may show any of them."""
    assert here["total"] == there["total"]
    one, other = here["hits"], there["hits"]
    if len(one) < here["total"]["value"]:
        last = min(hit["_score"] for hit in one)
        assert [close(hit["_score"], last) for hit in one] == [close(hit["_score"], last) for hit in other]
        one, other = ([hit for hit in hits if not close(hit["_score"], last)] for hits in (one, other))
    assert_same_ranking(one, other)

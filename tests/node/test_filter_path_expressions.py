"""``filter_path``, expression by expression against a real Elasticsearch."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from es_rerank.retrievers.response.filter_path import selected

DOCUMENTS = [
    {
        "n": 1,
        "a": "x",
        "o": {"p": 1, "q": {"r": 2}},
        "list": [1, 2, 3],
        "objs": [{"a": 1, "b": 2}, {"a": 3}, {"b": 4}],
        "dotted.key": 5,
        "dotted": {"key": 6},
        "null": None,
        "empty": {},
        "nothing": [],
        "mixed": [1, {"a": 2}, "x", [{"a": 3}]],
        "matrix": [[{"a": 1, "c": 1}], [{"a": 2}]],
    },
    {"n": 2, "a": "y"},
    {"n": 3, "o": {"p": 9}},
]
SEARCH: dict[str, Any] = {
    "sort": ["_doc"],
    "track_scores": True,
    "fields": ["a", "n"],
    "aggs": {
        "by": {"terms": {"field": "n"}},
        "d.o.t": {"max": {"field": "n"}},
        "empty": {"filter": {"term": {"n": 99}}, "aggs": {"x": {"terms": {"field": "n"}}}},
    },
}
EXPRESSIONS = """
hits.hits._id | -hits.hits._source | hits.* | **._score | hits.hits.*,-**._index
timed_out,hits.total.value | nonsense | took | -took | **.took
* | ** | -* | -** | *** | *.* | **.* | *.** | **.** | hits | hits. | .hits | hits..hits | HITS | h* | h**
?its | hits.hit? | hits.hits[0] | hits.hits.0
h*s.t*.v* | *.*.value | **.value | hits.** | hits.**.value | hits.**._id | **.hits._id | **.hits.**._id
**.**._id | h**._id | hits.h**._id | **id | **._*
hits.hits._source | hits.hits._source.* | hits.hits._source.o.p | hits.hits._source.list
hits.hits._source.objs.a | hits.hits._s* | hits.hits.*ource.o
-hits | -hits.hits | -hits.hits.* | -hits.** | -hits.hits._source.** | -hits.hits._source.objs
-hits.hits._source.objs.a | -hits.hits._source.objs.*
-hits.hits._source.o | -hits.hits._source.o.p | -hits.hits._source.o.*
-hits.hits._source.o.p,-hits.hits._source.o.q | -hits.hits._source.list
-**._id | -**.value | -**.objs.a,-**.objs.b | -**.mixed.* | -hits.hits._source.mixed.a
-hits.hits._source.mixed | -hits.hits._source.matrix.a | -nonsense
hits.hits._source,-hits.hits._source.* | hits.hits._source.o,-hits.hits._source.o.*
hits.hits._source.o.p,-hits.hits._source.o.p | hits,-hits.hits
-hits.hits._source,hits.hits._source.o | hits.hits._source.objs.a,-hits.hits._source.objs.a
_shards,-_shards.failed | _shards,-_shards
hits.hits._id,hits.hits._id | hits.hits._id, hits.hits._score | hits, -hits.hits | hits,- hits.hits
hits, ,took | hits.hits._id,, | - | --hits
hits.total,hits | hits,hits.total
hits.hits._source.objs,hits.hits._source.objs.a | **.objs.a | **.a | hits.hits._source.mixed.a
hits.hits._source.matrix.a | hits.hits._source.matrix
hits.hits._source.dotted\\.key | hits.hits._source.dotted.key | aggregations.d\\.o\\.t | aggregations.d.o.t
aggregations.*.value | aggregations.**.key
**.buckets.key | **.buckets | *.buckets | aggregations.empty.** | aggregations.empty.x.buckets
aggregations.empty.x.nope | **.empty | -aggregations.*.buckets
hits.hits.fields.* | hits.hits.fields | -hits.hits.fields.n | hits.hits.fields.n | hits.hits.sort
-hits.hits.sort | hits.hits._source.null
hits.hits._source.empty | hits.hits._source.empty.x | -hits.hits._source.empty.x | hits.hits._source.nothing
hits.hits._source.nothing.x | -**.nothing.x
"""


def filled(es: Elasticsearch, index: str) -> dict[str, Any]:
    """Index the documents and return the whole answer to the search."""
    mappings = {"dynamic": False, "properties": {"n": {"type": "integer"}, "a": {"type": "text"}}}
    es.indices.create(
        index=index, mappings=mappings, settings={"number_of_shards": 1, "number_of_replicas": 0}
    )
    for number, document in enumerate(DOCUMENTS):
        es.index(index=index, id=f"d{number}", document=document, refresh=True)
    whole: dict[str, Any] = dict(es.search(index=index, body=SEARCH))
    assert len(whole["hits"]["hits"]) == len(DOCUMENTS)
    return whole | {"took": 0}


def filtered_there(es: Elasticsearch, index: str, expression: str) -> dict[str, Any]:
    answer = dict(es.search(index=index, body=SEARCH, filter_path=expression))
    return answer | ({"took": 0} if "took" in answer else {})


def test_every_expression_selects_what_elasticsearch_selects(es: Elasticsearch, index: str) -> None:
    whole = filled(es, index)
    expressions = [
        expression for line in EXPRESSIONS.strip().splitlines() for expression in line.split(" | ")
    ]
    here = {expression: selected(whole, expression) for expression in expressions}
    there = {expression: filtered_there(es, index, expression) for expression in expressions}
    assert {each: here[each] for each in expressions if here[each] != there[each]} == {}
    assert [list(each) for each in here.values()] == [list(each) for each in there.values()], (
        "keys keep their order"
    )


LEAVES = [
    "took",
    "_shards.failed",
    "hits.total.value",
    "hits.hits._id",
    "hits.hits._source.o.q.r",
    "hits.hits._source.objs.a",
    "hits.hits._source.mixed.a",
    "hits.hits._source.matrix.a",
    "hits.hits._source.list",
    "hits.hits.fields.n",
    "aggregations.by.buckets.key",
    "aggregations.empty.x.buckets",
]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Paths that are there, some of their keys made wildcards, some left out, some ends cut off;
    kept or excluded.
    """
    paths = []
    for leaf in draw(st.lists(st.sampled_from(LEAVES), min_size=1, max_size=4)):
        parts = leaf.split(".")[: draw(st.integers(1, 6))]
        changed = [
            draw(st.sampled_from([part, part, part, "*", "**", part[0] + "*", "*" + part[-1], ""]))
            for part in parts
        ]
        paths.append(draw(st.sampled_from(["", "-"])) + (".".join(part for part in changed if part) or "**"))
    return ",".join(paths)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_expression_selects_what_elasticsearch_selects(
    es: Elasticsearch, index: str, data: st.DataObject
) -> None:
    if not es.indices.exists(index=index):
        filled(es, index)
    expression = data.draw(expressions())
    whole = dict(es.search(index=index, body=SEARCH)) | {"took": 0}
    assert selected(whole, expression) == filtered_there(es, index, expression)

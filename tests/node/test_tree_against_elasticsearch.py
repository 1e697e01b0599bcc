"""Defaults, types and faults of a retriever tree are those of a real Elasticsearch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from retriever_bodies import GONE, MATCH, RESCORE, knn, linear, rescorer, rrf, standard

from es_rerank import RerankClient
from es_rerank.errors import RequestError, error_body
from es_rerank.retrievers.grammar.body_values import FLAGS
from es_rerank.retrievers.grammar.request import read_request
from es_rerank.retrievers.grammar.tree import (
    Knn,
    Rescorer,
    Standard,
)

NUMBERS = ("from", "size", "min_score", "track_total_hits", "terminate_after")


def chain(error: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """(type, reason) of an error and of what caused it, outermost first, without lines,
    columns and excerpts of the body.
    """
    while error:
        yield error["type"], re.sub(r"^\[\d+:\d+\] ", "", error["reason"].split("\n at [Source")[0])
        error = error.get("caused_by")


def there(es: Elasticsearch, index: str, body: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    """What Elasticsearch says of a search; nothing where it takes it."""
    try:
        es.search(index=index, body=body, **options)
    except ApiError as error:
        found = list(chain(error.body["error"]))
        # What only its shards refuse was well written.
        return [] if found[0][0] == "search_phase_execution_exception" else found
    return []


def here(body: dict[str, Any], *, scroll: bool = False) -> list[tuple[str, str]]:
    """What we say of a search, without the position in the tree or the key of the body."""
    try:
        read_request(body, scroll=scroll)
    except RequestError as error:
        return [
            (
                kind,
                re.sub(rf"^\[(?:retriever[^ ]*|{'|'.join((*NUMBERS, *FLAGS))})\] (?!parameter)", "", reason),
            )
            for kind, reason in chain(error_body(error)["error"])
        ]
    return []


def differing(es: Elasticsearch, index: str, bodies: list[dict[str, Any]]) -> list[tuple[Any, Any, Any]]:
    """(search, ours, theirs) of those where one refuses and the other does not,
    or where no sentence of theirs is ours.

    Theirs begins with what encloses the fault; ours is the fault itself.
    To «Failed to build» we add the cause.
    """
    properties = {
        "vector": {"type": "dense_vector", "dims": 2},
        "text": {"type": "text"},
        "number": {"type": "integer"},
    }
    es.indices.create(
        index=index,
        mappings={"properties": properties},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    found = []
    for body in bodies:
        ours, theirs = here(body), there(es, index, body)
        joined = [(kind, f"{reason}: {below}") for (kind, reason), (_, below) in pairwise(theirs)]
        if bool(ours) != bool(theirs) or not set(ours) <= {*theirs, *joined}:
            found.append((body, ours, theirs))
    return found


SCALARS = [
    True,
    3,
    3.7,
    -1,
    0,
    "x",
    "3",
    "3.5",
    "-2",
    "",
    [],
    [1],
    {},
    {"a": 1},
    1e30,
    99999999999,
    "99999999999",
    "1e2",
    " 3 ",
    "+3",
    "1_0",
    "0x1",
    "2.5f",
]
STRANGE = [*SCALARS, None, "NaN", "Infinity"]


def test_scalars_are_taken_and_refused_as_elasticsearch_does(es: Elasticsearch, index: str) -> None:
    trees = [
        knn(**{key: value})
        for key in ("k", "num_candidates", "similarity", "min_score", "_name", "field")
        for value in STRANGE
    ]
    # «NaN» is no share of a hundred here; Elasticsearch lets it pass.
    trees += [knn(visit_percentage=value) for value in [*SCALARS, None]]
    trees += [standard(**{key: value}) for key in ("min_score", "_name") for value in STRANGE]
    trees += [rescorer(**{key: value}) for key in ("min_score", "_name") for value in STRANGE]
    # An object in place of the window is another kind of rescorer to Elasticsearch.
    trees += [
        rescorer(rescore={**RESCORE, "window_size": value})
        for value in STRANGE
        if not isinstance(value, dict)
    ]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_values_beside_a_retriever_are_taken_and_refused_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    values = [*STRANGE, "true", "false", False, -0.5, 2.0, "-Infinity"]
    bodies = [{"retriever": rescorer(), key: value} for key in (*NUMBERS, *FLAGS) for value in values]
    bodies += [{"retriever": rescorer(), key: None} for key in ("aggs", "query", "_source", "pit", "sort")]
    assert differing(es, index, bodies) == []


def test_the_first_fault_of_a_body_is_elasticsearchs(es: Elasticsearch, index: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"size": "x", "from": "y", "retriever": rescorer()},
        {"from": "y", "size": "x", "retriever": rescorer()},
        {"size": -1, "retriever": {"nonsense": {}}},
        {"retriever": {"nonsense": {}}, "size": -1},
        {"version": 3, "retriever": rescorer(), "query": {}},
    ]
    assert differing(es, index, bodies) == []


def test_structures_of_a_wrong_type_are_refused_as_elasticsearch_does(es: Elasticsearch, index: str) -> None:
    plain = [None, True, 3, "x", "", 1e30]
    trees: list[Any] = [
        *plain,
        [],
        [{}],
        {},
        {"standard": 3},
        {"standard": None},
        {"standard": []},
        {"nonsense": 3},
        {"standard": {}, "knn": {}},
    ]
    trees += [standard(**{key: value}) for key in ("query", "sort", "collapse", "filter") for value in plain]
    trees += [
        standard(query=[]),
        standard(collapse=[1]),
        standard(filter=[1]),
        standard(filter=[MATCH, None]),
        standard(search_after="x"),
    ]
    trees += [
        knn(**{key: value}) for key in ("rescore_vector", "query_vector_builder", "filter") for value in plain
    ]
    trees += [
        knn(query_vector=value)
        for value in (None, True, [1, "x"], [True, 1], [None, 1], [[1], 1], ["1.5", 2], {}, {"a": 1}, "zz")
    ]
    trees += [rescorer(**{key: value}) for key in ("retriever", "rescore", "filter") for value in plain]
    trees += [rescorer(retriever=[]), rescorer(rescore=[]), rescorer(filter=[1])]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_what_is_missing_unknown_or_out_of_range_is_refused_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    trees = [
        {"nonsense": {}},
        {"standart": {}},
        {"kn": {}},
        {"rescore": {}},
        knn(field=GONE),
        knn(k=GONE),
        knn(field=GONE, k=GONE),
        knn(field=GONE, k=GONE, query_vector=GONE),
        knn(query_vector=GONE),
        knn(k=0, num_candidates=0),
        knn(k=11),
        knn(k=10_001, num_candidates=GONE),
        knn(k=10_001, num_candidates=10_002),
        knn(num_candidates=10_001),
        knn(k=10_000, num_candidates=GONE),
        knn(k=10_000, num_candidates=10_000),
        knn(visit_percentage=100),
        knn(visit_percentage=100.1),
        rescorer(retriever=GONE),
        rescorer(rescore=GONE),
        rescorer(retriever=GONE, rescore=GONE),
        standard(min_score="x", nonsense=1),
        standard(nonsense=1, min_score="x"),
        standard(query=3, nonsense=1),
        knn(field=GONE, k="x"),
        rescorer(retriever=knn(k="x")),
        rescorer(retriever=standard(search_after=[1])),
        rescorer(retriever=standard(terminate_after=1)),
        rescorer(retriever=standard(terminate_after=1, search_after=[1])),
        rescorer(retriever=rescorer(retriever=standard(nonsense=1))),
    ]
    assert differing(es, index, [{"retriever": tree, "size": 0} for tree in trees]) == []


def test_windows_and_sizes_are_held_against_each_other_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    small, large = {**RESCORE, "window_size": 5}, {**RESCORE, "window_size": 30}
    trees = [
        rescorer(rescore=small),
        rescorer(rescore=[large, small]),
        rescorer(rescore={**RESCORE, "window_size": -1}),
        rescorer(retriever=rescorer(rescore=small), rescore=large),
        rescorer(retriever=rescorer(rescore=large), rescore=small),
        rescorer(retriever=rescorer(retriever=rescorer(rescore=small), rescore=large), rescore=RESCORE),
        standard(),
    ]
    sizes: list[dict[str, int]] = [{}, *({"size": size} for size in (0, 5, 6, 20, 31))]
    assert differing(es, index, [{"retriever": tree, **size} for tree in trees for size in sizes]) == []


def test_what_may_not_stand_beside_a_retriever_is_refused_as_elasticsearch_does(
    es: Elasticsearch, index: str
) -> None:
    beside: list[dict[str, Any]] = [
        {"query": MATCH},
        {"knn": {"field": "vector", "query_vector": [1, 0], "k": 1, "num_candidates": 2}},
        {"sort": ["_score"], "query": MATCH},
        {"search_after": [1], "sort": ["number"]},
        {"terminate_after": 5},
        {"rescore": {"query": {"rescore_query": MATCH}}, "query": MATCH, "terminate_after": 1},
        {
            "from": 5,
            "size": 20,
            "min_score": 0.1,
            "indices_boost": [{index: 2.0}],
            "track_scores": True,
            "stats": ["a"],
            "version": True,
        },
    ]
    assert differing(es, index, [{"retriever": rescorer(), **more} for more in beside]) == []
    body = {"retriever": rescorer(retriever=rescorer()), "size": 1}
    assert here(body, scroll=True) == there(es, index, body, scroll="1m") != []


def test_documents_that_only_filters_choose_have_elasticsearchs_scores(es: Elasticsearch, index: str) -> None:
    es.index(index=index, id="1", document={"text": "treaty", "number": 1}, refresh=True)
    few = {"range": {"number": {"lt": 5}}}
    leaves: list[dict[str, Any]] = [
        standard(),
        standard(filter=few),
        standard(filter=[few], _name="few"),
        standard(filter=few, query={"match_all": {}}),
        standard(filter=few, min_score=0.5),
    ]
    client = RerankClient(es)

    def scores(searching: Elasticsearch | RerankClient, tree: dict[str, Any]) -> list[tuple[str, float]]:
        found = searching.search(index=index, retriever=tree)
        return [(hit["_id"], hit["_score"]) for hit in found["hits"]["hits"]]

    def above(leaf: dict[str, Any], **more: Any) -> dict[str, Any]:
        return linear({"retriever": leaf, "weight": 1, "normalizer": "none"}, **more)

    for leaf in leaves:
        assert scores(client, above(leaf)) == scores(es, leaf), leaf
    # The filter of a compound retriever is that of its children.
    assert scores(client, above(standard(), filter=few)) == scores(es, standard(filter=few)) == [("1", 0.0)]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_fusion_over_one_leaf_keeps_the_order_of_its_sort(
    es: Elasticsearch, index: str, order: str
) -> None:
    for number in (3, 1, 2):
        es.index(index=index, id=str(number), document={"number": number}, refresh=True)
    leaf = standard(sort=[{"number": order}])
    client = RerankClient(es)
    wanted = [hit["_id"] for hit in es.search(index=index, retriever=leaf)["hits"]["hits"]]
    one = linear({"retriever": leaf, "weight": 1, "normalizer": "none"})
    for tree in (one, linear({"retriever": one, "weight": 1}), rrf({"retriever": leaf, "weight": 0})):
        found = client.search(index=index, retriever=tree)["hits"]["hits"]
        assert [hit["_id"] for hit in found] == wanted
        assert len({hit["_score"] for hit in found}) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_misspelt_key_is_answered_with_elasticsearchs_own_suggestion(
    es: Elasticsearch, index: str, data: st.DataObject
) -> None:
    wrap, model = data.draw(st.sampled_from([(standard, Standard), (knn, Knn), (rescorer, Rescorer)]))
    known = {field.alias or name for name, field in model.model_fields.items()}
    letters = list(data.draw(st.sampled_from(sorted(known))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(letters)))
        letters[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from("aeiknrst_"), max_size=2)
        )
    word = "".join(letters)
    assume(word not in known)
    body = {"retriever": wrap(**{word: 1}), "size": 0}
    ((_, sentence),) = here(body)
    assert f"unknown field [{word}]" in sentence
    assert sentence in [reason for _, reason in there(es, index, body)]

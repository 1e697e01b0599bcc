"""Weights of fields in the multi-field format: what they do in ``rrf`` and ``linear``, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import CONTENT, ILLEGAL, NOT_A_NUMBER

from es_rerank.errors import RetrieverParsingError
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.tree import Linear, Query, Rrf, Standard, Weighted
from es_rerank.retrievers.planning.index_schema import FieldGroup, IndexSchema
from es_rerank.retrievers.planning.multi_field import expand_fields


def fields(kind: str, *names: str) -> dict[str, Any]:
    """A fusion over fields."""
    normalizer = {"normalizer": "minmax"} if kind == "linear" else {}
    return {kind: {"query": "q", "fields": list(names), **normalizer}}


def schema(*semantic: str, default: tuple[str, ...] = ("*",)) -> IndexSchema:
    return IndexSchema("i", known=True, groups=(FieldGroup(("i",), semantic, default),))


def lexical(*names: str) -> Weighted:
    query: Query = {"multi_match": {"query": "q", "type": "most_fields", "fields": list(names)}}
    return Weighted(Standard(query=query))


def semantic(name: str, weight: float) -> Weighted:
    return Weighted(Standard(query={"match": {name: "q"}}), weight)


def test_weights_of_rrf_boost_lexical_fields_and_weigh_the_lists_of_semantic_ones() -> None:
    tree = expand_fields(
        parse(fields("rrf", "title^3", "body^0", "meaning^2", "mean*^0.5")), schema("meaning", "meant")
    )
    assert isinstance(tree, Rrf)
    inner = Rrf(retrievers=(semantic("meaning", 1.0), semantic("meant", 0.5)))
    assert tree.retrievers == (lexical("title^3.0", "body^0.0", "mean*^0.5"), Weighted(inner))


@pytest.mark.parametrize("kind", ["rrf", "linear"])
def test_default_fields_of_an_index_may_have_weights(kind: str) -> None:
    body = fields(kind)
    del body[kind]["fields"]
    tree = expand_fields(parse(body), schema("meaning", default=("title^3", "meaning^2")))
    assert isinstance(tree, Rrf | Linear)
    assert tree.retrievers[0] == lexical("title^3.0")
    assert tree.retrievers[1].retriever.retrievers == (semantic("meaning", 2.0),)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["rrf", "linear"])
@pytest.mark.parametrize(
    ("field", "sentence", "fault", "cause"),
    [
        ("title^-1", "per-field weights must be non-negative", ILLEGAL, None),
        ("title^-Infinity", "per-field weights must be non-negative", ILLEGAL, None),
        ("title^NaN", "[fields] holds [title^NaN], whose weight is not finite", ILLEGAL, None),
        ("title^1e999", "[fields] holds [title^1e999], whose weight is not finite", ILLEGAL, None),
        (
            "title^heavy",
            "[fields] holds [title^heavy], whose weight is not a number",
            CONTENT,
            (NOT_A_NUMBER, 'For input string: "heavy"'),
        ),
        (
            "title^",
            "[fields] holds [title^], whose weight is not a number",
            CONTENT,
            (NOT_A_NUMBER, "empty String"),
        ),
        (
            "title^1_0",
            "[fields] holds [title^1_0], whose weight is not a number",
            CONTENT,
            (NOT_A_NUMBER, 'For input string: "1_0"'),
        ),
        (
            "title^2^3",
            "[fields] holds [title^2^3], whose weight is not a number",
            CONTENT,
            (NOT_A_NUMBER, 'For input string: "2^3"'),
        ),
    ],
)
def test_a_weight_that_is_no_number_from_0_on_is_refused_before_the_first_request(
    kind: str, field: str, sentence: str, fault: str, cause: tuple[str, str] | None
) -> None:
    with pytest.raises(RetrieverParsingError) as caught:
        parse(fields(kind, "body", field))
    error = caught.value
    assert str(error) == f"[retriever.{kind}] [{kind}] {sentence}"
    assert (error.kind, error.cause) == (fault, cause)

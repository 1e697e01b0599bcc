"""What JSON cannot hold is refused in every body, with Elasticsearch's types, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import ApiError, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st
from retriever_bodies import CONTENT, PARSING, rrf, standard

from es_rerank import RerankClient
from es_rerank.errors import RequestError, RetrieverParsingError
from es_rerank.retrievers.grammar.json_values import _finite, read_json

JSON = "json_parse_exception"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    ("text", "reason", "kind", "cause"),
    [
        ('{"size": 1, "size": 2}', "Duplicate field 'size'", CONTENT, JSON),
        ('{"a": [{"b": {"c": 1, "d": 2, "c": 1}}]}', "Duplicate field 'c'", CONTENT, JSON),
        ('{"min_score": NaN}', "Non-standard token 'NaN'", CONTENT, JSON),
        ('{"v": [1.0, Infinity]}', "Non-standard token 'Infinity'", CONTENT, JSON),
        ('{"v": -Infinity}', "Non-standard token '-Infinity'", CONTENT, JSON),
        ('{"v": 1e400}', "the number 1e400 is beyond the range", CONTENT, JSON),
        ('{"v": 01}', "Expecting", CONTENT, JSON),
        ("{'v': 1}", "Expecting property name", CONTENT, JSON),
        ('{"v": "a\nb"}', "Invalid control character", CONTENT, JSON),
        ('{"v": 1', "Expecting", "x_content_e_o_f_exception", "json_e_o_f_exception"),
        ('{"v": 1} {"w": 2}', "unexpected text after its first value", PARSING, None),
    ],
)
def test_what_elasticsearch_does_not_take_is_refused_with_its_types(
    text: str, reason: str, kind: str, cause: str | None
) -> None:
    for written in (text, text.encode()):
        with pytest.raises(RetrieverParsingError) as caught:
            read_json(written)
        error = caught.value
        assert str(error).startswith("the request body is not JSON: ")
        assert reason in str(error)
        assert error.kind == kind
        assert (error.cause or (None,))[0] == cause


@pytest.mark.parametrize(
    "beside",
    [
        {"min_score": float("nan")},
        {"aggs": {"a": {"range": {"field": "n", "ranges": [{"to": float("inf")}]}}}},
        {"post_filter": {"range": {"n": {"lt": np.float32("nan")}}}},
        {"runtime_mappings": {1: {"type": "long"}, "1": {"type": "long"}}},
    ],
    ids=["float", "nested", "numpy", "twice"],
)
def test_a_client_refuses_it_before_the_first_request(beside: dict[str, Any]) -> None:
    with Elasticsearch("http://127.0.0.1:1") as nowhere:
        client = RerankClient(nowhere)
        for arguments in (
            {"retriever": rrf(), **beside},
            {"body": {"retriever": rrf(standard(query={"term": {"n": float("nan")}}))}},
        ):
            with pytest.raises(RequestError, match="is not JSON") as caught:
                client.search(index="i", **arguments)
            assert isinstance(caught.value, ApiError)
            assert caught.value.body["error"]["type"] == CONTENT
            assert caught.value.body["error"]["caused_by"]["type"] == JSON


class _NotWalked(str):
    """A text that nobody goes through character by character: a body may be one number of 15 MB."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        raise AssertionError


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("power", ["", "e5", "E+12", "e-9"])
@pytest.mark.parametrize("point", ["", ".5"])
def test_the_digits_of_a_long_number_are_counted_at_once(sign: str, point: str, power: str) -> None:
    text = _NotWalked(f"{sign}{'1' * 5_000}{point}{power}")
    digits = 5_000 + len(point.strip(".")) + len(power.strip("eE+-"))
    with pytest.raises(RetrieverParsingError, match=rf"Number value length \({digits}\)"):
        _finite(text)

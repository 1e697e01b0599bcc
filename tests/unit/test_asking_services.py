"""The table of rerank services: what each is sent, and how its answers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.dialects.asking import (
    BY_NAME,
    EXAMPLE_TEXTS,
    SERVICES,
    about,
    below,
    is_whole,
    raw_of,
    scale_of,
    trials,
)
from es_rerank.dialects.request import Scored
from es_rerank.dialects.table import DIALECTS, Dialect
from es_rerank.errors import ScoreError
from es_rerank.models.hosted.answers import values_by_index

Rows = list[tuple[int, float]]


def _in(key: str | None, score: str, **more: Any) -> Callable[[Rows, list[str]], Any]:
    def answer(rows: Rows, texts: list[str]) -> Any:
        written = [{"index": index, score: value, **more} for index, value in rows]
        return written if key is None else {key: written, "model": "m", "usage": {"total_tokens": 1}}

    return answer


def _of_weaviate(rows: Rows, texts: list[str]) -> Any:
    return {"query": "q", "scores": [{"document": texts[index], "score": value} for index, value in rows]}


_RESULTS = _in("results", "relevance_score", document={"text": "t"})
ANSWERS = {
    "tei": _in(None, "score"),
    "voyage": _in("data", "relevance_score"),
    "score": _in("data", "score", object="score"),
    "sglang": _in(None, "score", document="t", meta_info={}),
    "weaviate": _of_weaviate,
    "nvidia": _in("rankings", "logit"),
    "elasticsearch": _in("rerank", "relevance_score"),
} | dict.fromkeys(("results", "cohere", "jina", "vllm", "infinity", "llamacpp"), _RESULTS)

_FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("results", "data", "scores", "rerank", "rankings", "index", "score", "document", "logit")
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def test_the_answer_of_every_service_is_written_here() -> None:
    assert set(ANSWERS) == set(BY_NAME)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
@settings(max_examples=30)
@given(values=st.lists(_FINITE, min_size=1, max_size=12), data=st.data())
def test_rows_in_any_order_give_each_text_its_score(service: Any, values: list[float], data: Any) -> None:
    texts = data.draw(
        st.lists(st.text(max_size=3), min_size=len(values), max_size=len(values), unique=True), label="texts"
    )
    rows = data.draw(st.permutations(list(enumerate(values))), label="rows")
    answer = json.loads(json.dumps(ANSWERS[service.name](rows, texts)))
    found = service.read(answer, texts)
    assert found is not None
    assert values_by_index(found, len(texts), "logit", "it").tolist() == values


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
@settings(max_examples=30)
@given(answer=_JSON)
def test_any_answer_is_read_or_not_understood(service: Any, answer: Any) -> None:
    """What is read passes the check of indices and scores, or fails it: nothing else is raised."""
    rows = service.read(answer, list(EXAMPLE_TEXTS))
    if rows is None:
        return
    with suppress(ScoreError):
        assert len(values_by_index(rows, len(EXAMPLE_TEXTS), "logit", "it")) == len(EXAMPLE_TEXTS)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_row_that_is_none_is_found(service: Any) -> None:
    answer = ANSWERS[service.name]([(0, 1.0), (1, 2.0)], ["a", "b"])
    rows = (
        answer if isinstance(answer, list) else next(part for part in answer.values() if type(part) is list)
    )
    rows[1] = 7
    found = service.read(answer, ["a", "b"])
    assert found is None or found[1] == (None, None)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("results", {"results": [{"index": 0, "score": 1.5}]}),
        ("results", {"results": [{"index": 0, "score": 9, "relevance_score": 1.5}]}),
        ("voyage", {"data": [{"index": 0, "score": 1.5}]}),
        ("sglang", [{"index": 0, "relevance_score": 1.5}]),
    ],
)
def test_servers_that_call_a_score_otherwise_are_read(name: str, answer: Any) -> None:
    assert BY_NAME[name].read(answer, ["a"]) == [(0, 1.5)]


def test_equal_texts_of_weaviate_have_a_score_each() -> None:
    scores = [{"document": text, "score": float(place)} for place, text in enumerate("aba")]
    rows = BY_NAME["weaviate"].read({"scores": scores}, ["a", "b", "a"])
    assert rows == [(0, 0.0), (1, 1.0), (2, 2.0)]
    unknown = [*scores[:2], {"document": "c", "score": 1.0}]
    assert BY_NAME["weaviate"].read({"scores": unknown}, ["a", "b", "a"]) == [(0, 0.0), (1, 1.0), (None, 1.0)]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_the_sidecar_understands_what_is_asked_and_its_answer_is_read(dialect: Dialect) -> None:
    service, texts, values = BY_NAME[dialect.name], ["a", "b", "c"], [0.5, -2.0, 1.5]
    asked = dialect.read(json.loads(json.dumps(service.write("q", texts, "m"))))
    assert (asked.texts, set(asked.queries)) == (tuple(texts), {"q"})
    assert asked.raw_scores == (dialect.name in {"tei", "score", "infinity", "nvidia"})
    answer = dialect.write(asked, Scored(values, [2, 0, 1], "m", 9), "1")
    rows = service.read(json.loads(json.dumps(answer)), texts)
    assert rows is not None
    assert values_by_index(rows, 3, "logit", "it").tolist() == values


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
@settings(max_examples=30)
@given(query=st.text(), texts=st.lists(st.text(), max_size=5))
def test_a_request_holds_the_query_and_every_text(service: Any, query: str, texts: list[str]) -> None:
    written = service.write(query, texts, "m")
    assert ("model" in written) == service.names_model
    assert "model" not in service.write(query, texts, None)
    values = list(written.values())
    assert query in values or {"text": query} in values
    assert texts in values or [{"text": text} for text in texts] in values


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/rerank /rerank /v1/rerank /v2/rerank /score /v1/score /v1/ranking"),
        ("/v1", "/v1/rerank /v1/rerank /v1/score /v1/ranking"),
        ("/deep", "/deep/rerank /deep/rerank /deep/v1/rerank /deep/v2/rerank /deep/score /deep/v1/score"),
        ("/rerank", "/rerank /rerank"),
        ("/v1/rerank", "/v1/rerank /v1/rerank"),
        ("/nvidia/model/reranking", " ".join(["/nvidia/model/reranking"] * 3)),
        ("/a/score", "/a/score"),
        ("/v1/ranking", "/v1/ranking"),
        ("/_inference/rerank/mine", "/_inference/rerank/mine"),
    ],
)
def test_where_a_trial_asks(path: str, asked: str) -> None:
    found = " ".join(trial.path for trial in trials(path))
    assert found.startswith(asked)
    assert is_whole(path) == (len(found) <= len(asked) and path not in ("", "/v1"))


def test_a_bare_rerank_is_tei_first_and_one_with_a_version_is_not() -> None:
    assert [trial.answered_by[0].name for trial in trials("/rerank")] == ["tei", "results"]
    assert [trial.answered_by[0].name for trial in trials("/v1/rerank")] == ["results", "tei"]


def test_paths_beside_and_below() -> None:
    assert below("/a/v1", "/v1/rerank") == below("/a/v1", "/v2/rerank") == "/a/v1/rerank"
    assert below("/a", "/v2/rerank") == "/a/v2/rerank"
    assert about("/a/rerank") == about("/a/v1/rerank") == ("/a/info", "/a/rerank")
    assert about("/v1/score") is None


def test_the_scale_of_an_example() -> None:
    assert scale_of([0.0, 1.0]) == scale_of([0.5, 0.25]) == "probability"
    assert scale_of([0.5, -0.1]) == scale_of([1.5, 0.5]) == "logit"


def test_infinity_is_asked_first_where_its_answer_shows_it() -> None:
    assert [service.name for service in raw_of({"id": "infinity-1"})] == ["infinity", "vllm"]
    assert [service.name for service in raw_of({"id": "rerank-1"})] == ["vllm", "infinity"]

"""The formats in which rerankers are asked: how a request is read, whichever keys it has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.dialects.documents import text_of
from es_rerank.dialects.failures import failure_of
from es_rerank.dialects.options import OPTIONS
from es_rerank.dialects.request import MOST_CHUNKS, Asked, Scored
from es_rerank.dialects.table import DIALECTS, PATHS, dialect_of, dialect_on, version_of
from es_rerank.errors import OUTCOMES, AmbiguousRequestError, EsRerankError, RequestError

SHARED = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking")
OPTIONAL: dict[str, Any] = {
    "model": st.sampled_from(["rerank-v3.5", "", None]),
    "top_n": st.sampled_from([0, 1, 2, 9, "2", 2.0, None]),
    "top_k": st.sampled_from([None, 0]),
    "raw_scores": st.sampled_from([True, False, "true", "FALSE", 0, None]),
    "use_activation": st.sampled_from([True, False, "True", None]),
    "activation": st.sampled_from([None, True]),
    "return_documents": st.sampled_from([True, False, "true", "False", 1, None]),
    "return_text": st.sampled_from([True, False, None]),
    "truncate": st.sampled_from([True, False, "END", "NONE", None]),
    "truncation": st.sampled_from([True, False, None]),
    "truncation_direction": st.sampled_from(["Right", "right", None]),
    "truncation_side": st.sampled_from(["right", None]),
    "max_chunks_per_doc": st.sampled_from([None, 1, 10]),
    "rank_fields": st.sampled_from([["text"], [], None]),
    "max_tokens_per_doc": st.sampled_from([4096, None]),
    "truncate_prompt_tokens": st.sampled_from([-1, None]),
    "priority": st.just(0),
    "user": st.just("u"),
    "instruction": st.just("find it"),
    "encoding_format": st.just("float"),
    "unheard of": st.just({"a": [1]}),
}
"""Keys that a client may leave out. Their values do not contradict each other."""

some_options = st.fixed_dictionaries({}, optional=OPTIONAL)
documents = st.lists(
    st.one_of(
        st.text(max_size=9),
        st.fixed_dictionaries({"text": st.text(max_size=9)}, optional={"title": st.text(max_size=9)}),
    ),
    min_size=1,
    max_size=5,
)


def needed(path: str, texts: list[Any], key: str) -> dict[str, Any]:
    """Return a request of the keys that ``path`` cannot do without."""
    if "score" in path:
        return {"text_1": "q", "text_2": texts}
    if path == "/v1/ranking":
        return {"query": {"text": "q"}, "passages": texts}
    return {"query": "q", (key if path in SHARED else "documents"): texts}


def shape_of(value: Any) -> Any:
    """Return a value without its values: keys and types."""
    if isinstance(value, dict):
        return {key: shape_of(part) for key, part in value.items() if key not in {"document", "text"}}
    return [shape_of(value[0])] if isinstance(value, list) and value else type(value)


def scored(asked: Asked) -> Scored:
    values = [1 / (place + 2) for place in range(len(asked.texts))]
    return Scored(values, list(range(len(values)))[: asked.top_n], "m", 7)


@given(
    path=st.sampled_from(PATHS),
    key=st.sampled_from(["texts", "documents"]),
    texts=documents,
    options=some_options,
    data=st.data(),
)
def test_leaving_out_optional_keys_never_changes_the_format(
    path: str, key: str, texts: list[Any], options: dict[str, Any], data: st.DataObject
) -> None:
    body = {**needed(path, texts, key), **options}
    kept = data.draw(st.sets(st.sampled_from(sorted(options)))) if options else set()
    fewer = {name: value for name, value in body.items() if name not in options or name in kept}
    spoken, of_fewer = dialect_of(path, body), dialect_of(path, fewer)
    assert spoken is of_fewer
    asked, less = spoken.read(body), of_fewer.read(fewer)
    assert len(asked.texts) == len(less.texts) == len(texts)
    answers = [spoken.write(each, scored(each), version_of(path)) for each in (asked, less)]
    assert shape_of(answers[0]) == shape_of(answers[1])


@given(
    path=st.sampled_from(PATHS),
    key=st.sampled_from(["texts", "documents"]),
    texts=documents,
    options=some_options,
    data=st.data(),
)
def test_the_order_of_keys_means_nothing(
    path: str, key: str, texts: list[Any], options: dict[str, Any], data: st.DataObject
) -> None:
    body = {**needed(path, texts, key), **options}
    other = dict(data.draw(st.permutations(list(body.items()))))
    assert dialect_of(path, other) is dialect_of(path, body)
    assert dialect_of(path, other).read(other) == dialect_of(path, body).read(body)


@given(path=st.sampled_from(PATHS), texts=documents, options=some_options)
def test_every_key_has_an_effect_or_is_named(path: str, texts: list[Any], options: dict[str, Any]) -> None:
    body = {**needed(path, texts, "documents"), **options}
    asked = dialect_of(path, body).read(body)
    given = {name for name, value in options.items() if value is not None}
    assert set(asked.ignored) <= given
    assert given - set(asked.ignored) <= set(OPTIONS)
    assert {"instruction", "user", "unheard of"} & given <= set(asked.ignored)


@given(path=st.sampled_from(PATHS), texts=documents, options=some_options)
def test_null_is_the_same_as_no_value(path: str, texts: list[Any], options: dict[str, Any]) -> None:
    body = needed(path, texts, "documents")
    absent = dict.fromkeys([*OPTIONAL, "texts" if "documents" in body else "other"])
    assert dialect_of(path, {**absent, **body, **options}).read({**absent, **body, **options}) == (
        dialect_of(path, body).read({**body, **options})
    )


@pytest.mark.parametrize("path", [*PATHS, "/"])
@pytest.mark.parametrize(
    "keys",
    [
        ("texts", "documents"),
        ("documents", "passages"),
        ("texts", "passages"),
        ("texts", "inputs"),
        ("documents", "inputs"),
        ("documents", "text_2"),
    ],
)
def test_texts_of_two_formats_are_refused_on_every_path(path: str, keys: tuple[str, str]) -> None:
    body = {"query": "q", "queries": "q", "text_1": "q", **{key: ["a"] for key in keys}}
    with pytest.raises(AmbiguousRequestError, match=rf"\[{keys[0]}\] and \[{keys[1]}\]") as raised:
        dialect_of(path, body)
    assert {failure_of(raised.value).status_in(tei=dialect.tei_status) for dialect in DIALECTS} == {400}
    dialect_of(path, {**body, keys[0]: None})


@pytest.mark.parametrize("path", SHARED)
def test_texts_and_documents_together_are_refused_in_the_format_of_the_path(path: str) -> None:
    with pytest.raises(AmbiguousRequestError, match=r"\[texts\] and \[documents\]") as raised:
        dialect_of(path, {"query": "q", "texts": ["a"], "documents": ["a"]})
    spoken = dialect_on(path)
    assert spoken is not None
    assert spoken.name == ("tei" if path == "/rerank" else "results")
    assert failure_of(raised.value).status_in(tei=spoken.tei_status) == 400


@pytest.mark.parametrize(
    ("path", "key"), [("/rerank", "texts"), *((path, "documents") for path in SHARED[1:])]
)
def test_what_a_request_cannot_do_without_is_named(path: str, key: str) -> None:
    for body, missing in (({"query": "q"}, key), ({key: ["a"]}, "query"), ({"query": "q", key: None}, key)):
        with pytest.raises(RequestError, match=rf"^\[{missing}\] field required$"):
            dialect_of(path, body).read(body)


def test_each_path_has_one_format_of_its_own() -> None:
    assert len(PATHS) == len(set(PATHS))
    own = {"/score", "/v1/score", "/v1/ranking", "/infinity/rerank", "/weaviate/rerank"}
    assert set(PATHS) == {*SHARED, *own}
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
    assert dialect_on("/_search") is None


@pytest.mark.parametrize(
    ("document", "fields", "text"),
    [
        ("plain", None, "plain"),
        ("title: a\ntext: b\n", ["title"], "title: a\ntext: b\n"),
        ({"text": "a", "title": "t"}, None, "a"),
        ({"text": "a", "title": "t"}, ["title", "text"], "title: t\ntext: a"),
        ({"text": "a", "title": "t"}, ["title", "none"], "title: t"),
        ({"content": "a"}, None, "a"),
        ({"text": None, "content": "a"}, None, "a"),
        ({"text": None, "title": "t", "year": None}, None, "title: t"),
        ({"text": "a", "title": None}, ["title", "text"], "text: a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, None, "a\nb"),
        ({"title": "t", "year": 1666, "tags": ["ä"]}, None, 'title: t\nyear: 1666\ntags: ["ä"]'),
        ({"title": "t", "image": "http://x"}, None, "title: t"),
        ({"title": "t", "image": "of a king"}, ["image"], "image: of a king"),
    ],
)
def test_a_document_is_a_text_or_an_object(document: Any, fields: list[str] | None, text: str) -> None:
    assert text_of(document, "documents.0", fields) == text


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        (None, None),
        (1, None),
        ([], None),
        ({}, None),
        ({"text": "a"}, ["other"]),
        ({"text": "a", "other": None}, ["other"]),
        ({"text": None}, None),
        ({"content": None}, None),
        ({"text": 5}, None),
        ({"text": True, "title": "t"}, None),
        ({"content": {"text": "a"}}, None),
        ({"text": None, "image": "http://x"}, None),
        (["a"], None),
        (True, None),
    ],
)
def test_what_holds_no_text_is_refused_with_its_place(document: Any, fields: list[str] | None) -> None:
    with pytest.raises(RequestError, match=r"\[documents\.3[.\]]"):
        text_of(document, "documents.3", fields)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


@pytest.mark.parametrize(
    "document",
    [
        {"image": "http://x"},
        IMAGE,
        {"type": "input_audio", "input_audio": {"data": "AA"}},
        {"content": [{"type": "text", "text": "a"}, IMAGE]},
        {"role": "user", "content": [IMAGE]},
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_image_is_never_read_as_text(path: str, document: dict[str, Any]) -> None:
    as_query = {"text_1" if "score" in path else "query": document}
    for body in (needed(path, ["a", document], "documents"), needed(path, ["a"], "documents") | as_query):
        with pytest.raises(RequestError, match="only texts are read"):
            dialect_of(path, body).read(body)


def test_an_image_in_vllms_list_of_contents_is_not_read_either() -> None:
    body = {"text_1": "q", "text_2": {"content": [{"type": "text", "text": "b"}, IMAGE]}}
    with pytest.raises(RequestError, match=r"\[text_2\.1\] holds an image"):
        dialect_of("/score", body).read(body)


@pytest.mark.parametrize("path", PATHS)
def test_an_image_beside_a_text_is_named(path: str) -> None:
    body = needed(path, ["a", {"text": "b", "image": "http://x"}], "documents")
    (key,) = (key for key, value in body.items() if isinstance(value, list))
    asked = dialect_of(path, body).read(body)
    assert asked.texts == ("a", "b")
    assert asked.ignored == (f"{key}.image",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_n", -1),
        ("top_n", "-1"),
        ("top_n", "many"),
        ("top_n", 1.5),
        ("top_n", True),
        ("top_n", [1]),
        ("top_k", {}),
        ("raw_scores", "maybe"),
        ("raw_scores", 2),
        ("raw_scores", ["true"]),
        ("return_documents", ""),
        ("truncate", "middle"),
        ("truncation_direction", "up"),
        ("truncation_side", "up"),
        ("rank_fields", "text"),
        ("rank_fields", [1]),
        ("model", 1),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_key(key: str, value: Any) -> None:
    for path in SHARED:
        body = {"query": "q", "documents": ["a"], key: value}
        with pytest.raises(RequestError, match=rf"^\[{key}\]"):
            dialect_of(path, body).read(body)


@pytest.mark.parametrize("key", ["truncate", "truncation_direction", "truncation_side"])
def test_a_text_that_may_lose_its_beginning_only_is_read_whole(key: str) -> None:
    more = {"truncate": True} | {key: "START" if key == "truncate" else "Left"}
    for path in SHARED:
        body = {"query": "q", "documents": ["a"], **more}
        asked = dialect_of(path, body).read(body)
        assert asked.whole is True
        assert asked.most_parts is None


def test_keys_that_contradict_each_other_are_refused() -> None:
    body = {"query": "q", "documents": ["a"], "top_n": 1, "top_k": 2}
    with pytest.raises(RequestError, match="ask for different things"):
        dialect_of("/v1/rerank", body).read(body)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, MOST_CHUNKS),
        ({"truncate": None}, MOST_CHUNKS),
        ({"truncate": True}, 1),
        ({"truncation": "true"}, 1),
        ({"truncate": "END"}, 1),
        ({"truncate": False}, None),
        ({"truncate": "NONE"}, None),
        ({"max_chunks_per_doc": 3}, 3),
        ({"max_chunks_per_doc": 3, "truncate": True}, 3),
    ],
)
def test_how_much_of_a_long_text_is_read(options: dict[str, Any], parts: int | None) -> None:
    body = {"query": "q", "documents": ["a"], **options}
    assert dialect_of("/v1/rerank", body).read(body).most_parts == parts


@pytest.mark.parametrize(
    ("body", "queries", "texts"),
    [
        ({"text_1": "a", "text_2": "b"}, ("a",), ("b",)),
        ({"text_1": ["a"], "text_2": ["b", "c"]}, ("a",), ("b", "c")),
        ({"queries": ["a", "b"], "documents": ["c", "d"]}, ("a", "b"), ("c", "d")),
        ({"queries": "a", "items": ["c", "d"]}, ("a",), ("c", "d")),
        ({"data_1": ["a"], "data_2": "b"}, ("a",), ("b",)),
        (
            {
                "text_1": "a",
                "text_2": {"content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            },
            ("a",),
            ("b", "c"),
        ),
    ],
)
def test_pairs_are_one_with_many_or_one_with_one(
    body: dict[str, Any], queries: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    asked = dialect_of("/score", body).read(body)
    assert (asked.queries, asked.texts) == (queries, texts)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text_1": "a"},
        {"text_1": "a", "documents": ["b"]},
        {"text_1": ["a", "b"], "text_2": ["c"]},
        {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]},
        {"text_1": "a", "text_2": []},
        {"text_1": [], "text_2": ["a"]},
        {"text_1": "", "text_2": ["a"]},
        {"text_1": ["a", ""], "text_2": ["a", "b"]},
        {"text_1": "a", "text_2": [1]},
        {"text_1": "a", "text_2": "b", "data_1": "a", "data_2": "b"},
        {"text_1": "a", "text_2": "b", "items": ["c"]},
        {"text_1": "a", "text_2": "b", "queries": "c"},
    ],
)
def test_what_makes_no_pairs_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        dialect_of("/score", body).read(body)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_error_blames_the_same_side_in_each_format(kind: type[EsRerankError]) -> None:
    failure, outcome = failure_of(kind("why")), OUTCOMES[kind].status
    assert failure.status == outcome
    assert failure.tei_status in {outcome, 422 if issubclass(kind, RequestError) else 424}
    if outcome in {401, 408, 413, 429, 431, 504}:
        assert failure.tei_status == outcome


def test_a_document_that_was_an_object_comes_back_with_its_keys_and_its_text() -> None:
    spoken = DIALECTS[1]
    asked = spoken.read({"query": "q", "documents": [{"title": "t"}, {"text": "a", "id": 7}, "plain"]})
    rows = spoken.write(asked, scored(asked), "1")["results"]
    assert [row["document"] for row in rows] == [
        {"title": "t", "text": "title: t"},
        {"text": "a", "id": 7},
        {"text": "plain"},
    ]


@pytest.mark.parametrize(
    ("wanted", "in_results", "in_data"),
    [
        ({}, True, False),
        ({"return_documents": True}, True, True),
        ({"return_documents": False}, False, False),
    ],
)
def test_documents_come_back_as_each_client_expects_them(
    wanted: dict[str, Any], in_results: bool, in_data: bool
) -> None:
    spoken = DIALECTS[1]
    asked = spoken.read({"query": "q", "documents": ["a"], **wanted})
    answer = spoken.write(asked, scored(asked), "2")
    assert ("document" in answer["results"][0], "document" in answer["data"][0]) == (in_results, in_data)
    # Elasticsearch's client of Voyage refuses any other key in a row of ``data``
    assert set(answer["data"][0]) <= {"index", "relevance_score", "document"}
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": 7, "output_tokens": 0},
    }

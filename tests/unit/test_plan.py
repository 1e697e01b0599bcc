"""From the tree to the bodies of searches, and from hits to what a reranker reads. Pure: no search is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from es_rerank.errors import IndexMismatchError, RequestError
from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.grammar.tree import (
    Knn,
    Linear,
    Native,
    Pinned,
    Query,
    Rescorer,
    Rrf,
    Standard,
    TextSimilarityReranker,
    Weighted,
)
from es_rerank.retrievers.planning.document_sets import documents_query
from es_rerank.retrievers.planning.documents import candidates_of, rescore_body
from es_rerank.retrievers.planning.index_schema import FieldGroup, IndexSchema, schema_of
from es_rerank.retrievers.planning.leaf_queries import LeafQueries, union_of
from es_rerank.retrievers.planning.leaves import (
    LeafSearch,
    filtered,
    leaf_body,
    leaf_searches,
    pinned_query,
    with_texts_of_source,
    without_inner_hits,
)
from es_rerank.retrievers.planning.long_texts import chunks as nearest_chunks
from es_rerank.retrievers.planning.multi_field import expand_fields, uses_fields
from es_rerank.retrievers.planning.page import page_query
from es_rerank.retrievers.planning.scored_documents import scored_documents_query
from es_rerank.retrievers.planning.short_form import retriever_for
from es_rerank.retrievers.planning.text_source import (
    INNER_HITS,
    TextSource,
    text_source_of,
    texts_body,
    with_texts,
)
from es_rerank.text.strategies import SentenceSettings, WordSettings
from es_rerank.text.watch import Watch
from es_rerank.types import Candidate, Passage

OWN: dict[str, Any] = {
    "title": {"type": "text"},
    "text": {"type": "text"},
    "passages": {
        "type": "nested",
        "properties": {
            "text": {"type": "text"},
            "vector": {"type": "dense_vector", "dims": 2},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
        },
    },
}
FLAT = {
    "docs": {
        "mappings": {
            "properties": {
                "content": {"type": "text"},
                "embedding": {"type": "dense_vector", "dims": 3},
                "year": {"type": "integer"},
            }
        }
    }
}
ARTICLES = schema_of(
    {
        "a": {
            "mappings": {
                "properties": {**OWN, "notes": {"type": "nested", "properties": {"text": {"type": "text"}}}}
            }
        }
    },
    "articles",
)


def term(number: int) -> Query:
    return {"term": {"f": number}}


def match(words: str) -> Query:
    return {"match": {"text": words}}


def standard(words: str, **more: Any) -> dict[str, Any]:
    return {"standard": {"query": match(words), **more}}


KNN = {"knn": {"field": "v", "k": 5, "num_candidates": 10, "query_vector": [1.0, 0.0]}}


def reranker(**changes: Any) -> dict[str, Any]:
    return {"text_similarity_reranker": {"retriever": KNN, "field": "text", "inference_text": "q", **changes}}


def parsed_reranker(**changes: Any) -> TextSimilarityReranker:
    node = parse(reranker(**changes))
    assert isinstance(node, TextSimilarityReranker)
    return node


def document(name: str, *, index: str = "i", routing: str | None = None, score: float = 1.0) -> Candidate:
    return Candidate(index, name, score, 1, routing=routing)


# --- what a reranker reads ----------------------------------------------------------------------------------


def test_plain_fields_are_read_whole_one_line_each() -> None:
    source = text_source_of(parsed_reranker(field=["title", "text"]), ARTICLES)
    assert source == TextSource(("title",), chunked="text")
    assert (source.fields(), source.asks_nearest) == (["title", "text"], False)


def test_the_last_plain_field_is_cut_where_chunks_are_asked_for() -> None:
    source = text_source_of(parsed_reranker(field=["title", "text"], chunk_rescorer={"size": 3}), ARTICLES)
    assert source == TextSource(
        ("title",),
        nearest=3,
        chunked="text",
        chunking=SentenceSettings(max_chunk_size=300, sentence_overlap=0),
    )
    assert (source.fields(), source.asks_nearest) == (["title", "text"], False)
    settings = {"strategy": "word", "max_chunk_size": 10, "overlap": 2}
    source = text_source_of(parsed_reranker(chunk_rescorer={"chunking_settings": settings}), ARTICLES)
    assert (source.context, source.nearest, source.chunking) == (
        (),
        1,
        WordSettings(strategy="word", max_chunk_size=10, overlap=2),
    )
    with pytest.raises(RequestError, match=r"\[chunking_settings\] \[overlap\]"):
        text_source_of(
            parsed_reranker(chunk_rescorer={"chunking_settings": {**settings, "overlap": -1}}), ARTICLES
        )


def test_stored_passages_are_read_with_their_title_and_position() -> None:
    source = text_source_of(
        parsed_reranker(field=["title", "passages.text"], chunk_rescorer={"size": 2}), ARTICLES
    )
    assert source == TextSource(("title",), "passages.text", "passages", 2, offsets=True)
    assert (source.fields(), source.asks_nearest) == (["title"], True)
    assert source.passage_fields() == ["passages.text", "passages.start", "passages.end"]
    every = text_source_of(parsed_reranker(field="passages.text"), ARTICLES)
    assert (every.nearest, every.asks_nearest, every.fields()) == (
        None,
        False,
        ["passages.text", "passages.start", "passages.end"],
    )


def test_passages_without_positions_are_read_without_and_never_more_than_elasticsearch_hands_out() -> None:
    source = text_source_of(parsed_reranker(field="notes.text", chunk_rescorer={"size": 500}), ARTICLES)
    assert source == TextSource((), "notes.text", "notes", 100, offsets=False)
    assert source.passage_fields() == ["notes.text"]


@pytest.mark.parametrize("missing", ["start", "end"])
def test_half_a_position_is_none(missing: str) -> None:
    passages = {
        "type": "nested",
        "properties": {
            name: field for name, field in OWN["passages"]["properties"].items() if name != missing
        },
    }
    found = schema_of({"a": {"mappings": {"properties": {"passages": passages}}}}, "a")
    assert text_source_of(parsed_reranker(field="passages.text"), found).passage_fields() == ["passages.text"]


def test_fields_that_cannot_be_read_are_refused() -> None:
    assert str(ARTICLES.absent("body", "text")).endswith(
        "has no field [body]; its text fields are: text, title, notes.text, passages.text"
    )
    with pytest.raises(
        RequestError, match=r"\[field\] names several nested fields \[passages.text, notes.text\]"
    ):
        text_source_of(parsed_reranker(field=["passages.text", "notes.text"]), ARTICLES)
    with pytest.raises(
        RequestError,
        match=(
            r"\[chunking_settings\] cannot cut \[passages.text\]: "
            r"its passages were cut when they were indexed"
        ),
    ):
        text_source_of(
            parsed_reranker(
                field="passages.text", chunk_rescorer={"chunking_settings": {"strategy": "none"}}
            ),
            ARTICLES,
        )


def test_without_a_readable_mapping_nothing_is_missing_and_nothing_nested() -> None:
    assert text_source_of(parsed_reranker(field="a.b"), IndexSchema("secret")) == TextSource(
        (), chunked="a.b"
    )


# --- the searches of the first stage ------------------------------------------------------------------------

NESTED = {
    "rrf": {
        "rank_window_size": 40,
        "filter": term(1),
        "retrievers": [
            standard("one", filter=term(11)),
            {
                "text_similarity_reranker": {
                    "rank_window_size": 45,
                    "filter": [term(2)],
                    "field": "text",
                    "inference_text": "outer",
                    "retriever": {
                        "linear": {
                            "rank_window_size": 50,
                            "filter": term(3),
                            "retrievers": [
                                {"retriever": KNN},
                                {
                                    "retriever": {
                                        "rescorer": {
                                            "filter": term(4),
                                            "retriever": standard("two"),
                                            "rescore": [
                                                {"window_size": 60, "query": {"a": 1}},
                                                {"query": {}},
                                            ],
                                        }
                                    }
                                },
                            ],
                        }
                    },
                }
            },
            {
                "pinned": {
                    "rank_window_size": 70,
                    "filter": term(5),
                    "ids": ["a", "b"],
                    "retriever": reranker(
                        retriever=standard("three"), inference_text="inner", rank_window_size=80
                    ),
                }
            },
            {
                "rescorer": {
                    "rescore": {"window_size": 90, "query": {}},
                    "retriever": {"rrf": {"retrievers": [standard("four")], "rank_window_size": 95}},
                }
            },
            {"rule": {"retriever": standard("five")}},
        ],
    }
}


def test_leaves_are_searched_depth_first_with_the_parents_window_and_all_filters_above() -> None:
    tree = parse(NESTED)
    assert isinstance(tree, Rrf)
    outer, pinned = tree.retrievers[1].retriever, tree.retrievers[2].retriever
    assert isinstance(pinned, Pinned)
    sources = {id(outer): TextSource(("outer",)), id(pinned.retriever): TextSource(("inner",))}
    rescore: tuple[Query, ...] = ({"window_size": 60, "query": {"a": 1}}, {"query": {}})
    assert list(leaf_searches(tree, sources)) == [
        LeafSearch(Standard.model_validate({"query": match("one"), "filter": term(11)}), 40, (term(1),)),
        # Read are only the hits that a reranker is given by a search; a linear retriever needs scores.
        LeafSearch(Knn.model_validate(KNN["knn"]), 50, (term(1), term(2), term(3)), scored=True),
        LeafSearch(Standard(query=match("two")), 10, (term(1), term(2), term(3), term(4)), rescore),
        # No filter keeps a pinned document out.
        LeafSearch(pinned_query(pinned), 2),
        LeafSearch(
            Standard(query=match("three")),
            80,
            (term(1), term(5)),
            source=TextSource(("inner",)),
            text="inner",
        ),
        LeafSearch(Standard(query=match("four")), 95, (term(1),)),
        LeafSearch(
            Native(
                kind="rule", body={"retriever": standard("five")}, children=(Standard(query=match("five")),)
            ),
            40,
            (term(1),),
        ),
    ]


def test_the_search_for_pins_finds_each_by_id_and_where_it_is_named_by_index() -> None:
    node = parse({"pinned": {"docs": [{"_id": "1"}, {"_id": "2", "_index": "i"}], "retriever": KNN}})
    assert isinstance(node, Pinned)
    assert pinned_query(node).query == {
        "bool": {
            "minimum_should_match": 1,
            "should": [
                {"bool": {"filter": [{"ids": {"values": ["1"]}}]}},
                {"bool": {"filter": [{"ids": {"values": ["2"]}}, {"term": {"_index": "i"}}]}},
            ],
        }
    }


IDS_ONLY = {"_source": False, "track_total_hits": False}


def test_a_standard_leaf_carries_all_that_it_was_given() -> None:
    content = {
        "query": match("q"), "filter": term(1), "min_score": 0.5, "sort": ["year"],
        "collapse": {"field": "k"}, "search_after": [7], "terminate_after": 9,
    }  # fmt: skip
    search = LeafSearch(Standard.model_validate(content), 30, (term(2), term(3)), ({"query": {}},))
    body = {
        **IDS_ONLY,
        "size": 30,
        "query": {"bool": {"must": [match("q")], "filter": [term(1), term(2), term(3)]}},
        "min_score": 0.5,
        "sort": ["year"],
        "collapse": {"field": "k"},
        "search_after": [7],
        "terminate_after": 9,
        "rescore": [{"query": {}}],
    }
    assert leaf_body(search) == body
    assert leaf_body(search, pit=True) == {
        **body,
        "sort": ["year", "_shard_doc"],
    }


def test_a_bare_standard_leaf_finds_everything() -> None:
    search = LeafSearch(Standard(), 10)
    assert leaf_body(search) == {**IDS_ONLY, "size": 10, "query": {"match_all": {}}}
    assert leaf_body(search, pit=True) == {
        **IDS_ONLY,
        "size": 10,
        "query": {"match_all": {}},
        "sort": ["_score", "_shard_doc"],
    }


def test_a_leaf_under_a_linear_retriever_keeps_its_scores_where_it_is_sorted() -> None:
    by_year = Standard(query=match("q"), sort={"year": "desc"})
    assert leaf_body(LeafSearch(by_year, 5, scored=True), pit=True) == {
        **IDS_ONLY,
        "size": 5,
        "query": match("q"),
        "sort": [{"year": "desc"}, "_shard_doc"],
        "track_scores": True,
    }
    assert "track_scores" not in leaf_body(LeafSearch(by_year, 5), pit=True)
    assert "track_scores" not in leaf_body(LeafSearch(Standard(), 5, scored=True))


def test_a_knn_leaf_carries_its_vector_and_its_filters() -> None:
    search = LeafSearch(Knn.model_validate({**KNN["knn"], "filter": term(1)}), 30, (term(2),))
    body = {
        **IDS_ONLY,
        "size": 30,
        "knn": {
            "field": "v",
            "k": 5,
            "num_candidates": 10,
            "query_vector": [2.0],
            "filter": [term(1), term(2)],
        },
    }
    assert leaf_body(search, [2.0]) == body
    assert leaf_body(search, [2.0], pit=True) == {**body, "sort": ["_score", "_shard_doc"]}
    whole = {"similarity": 0.0, "rescore_vector": {"oversample": 2}, "visit_percentage": 0.0}
    node = Knn.model_validate(
        {"field": "v", "k": 5, "query_vector_builder": {"lookup": {}}, "min_score": 0.25, **whole}
    )
    made = {"query_vector_builder": {"lookup": {}}, **whole}
    assert leaf_body(LeafSearch(node, 3)) == {
        **IDS_ONLY,
        "size": 3,
        "knn": {"field": "v", "k": 5, **made},
        "min_score": 0.25,
    }
    assert leaf_body(LeafSearch(node, 3), "3f800000")["knn"] == {
        "field": "v",
        "k": 5,
        "query_vector": "3f800000",
        **whole,
    }


def test_a_native_leaf_goes_as_it_came_with_the_filters_above_it() -> None:
    node = Native(kind="rule", body={"ruleset_ids": ["r"], "filter": term(1), "rank_window_size": 20})
    assert leaf_body(LeafSearch(node, 30, (term(2),)), pit=True) == {
        **IDS_ONLY,
        "size": 20,
        "retriever": {"rule": {"ruleset_ids": ["r"], "filter": [term(1), term(2)], "rank_window_size": 20}},
    }
    assert leaf_body(LeafSearch(node, 5)) == {**IDS_ONLY, "size": 5, "retriever": {"rule": node.body}}
    assert leaf_body(LeafSearch(Native(kind="rule", body={}), 7, (term(2),)))["retriever"] == {
        "rule": {"filter": [term(2)]}
    }


def test_inner_hits_are_left_to_the_page() -> None:
    def nested(inner: dict[str, Any], **more: Any) -> Query:
        return {"nested": {"path": "p", "query": inner, **more}}

    deep = {
        "bool": {
            "must": [nested(nested(match("inner_hits"), inner_hits={"size": 3}), inner_hits={})],
            "should": {"has_child": {"inner_hits": {}, "type": "c"}},
        }
    }
    assert without_inner_hits(deep) == {
        "bool": {"must": [nested(nested(match("inner_hits")))], "should": {"has_child": {"type": "c"}}}
    }
    # A field may have that name.
    assert without_inner_hits({"term": {"inner_hits": 1}}) == {"term": {"inner_hits": 1}}
    assert without_inner_hits({"has_parent": {"inner_hits": {}, "parent_type": "p"}}) == {
        "has_parent": {"parent_type": "p"}
    }
    assert leaf_body(LeafSearch(Standard(query=nested(match("q"), inner_hits={})), 1))["query"] == nested(
        match("q")
    )


def test_a_query_is_wrapped_only_where_it_must_be() -> None:
    assert filtered(None, []) == {"match_all": {}}
    assert filtered(match("q"), []) == match("q")
    assert filtered(match("q"), [term(1)]) == {"bool": {"must": [match("q")], "filter": [term(1)]}}
    assert filtered(None, [], "me") == {"bool": {"must": [{"match_all": {}}], "filter": [], "_name": "me"}}


def test_the_nearest_passages_come_along_where_the_search_can_bring_them() -> None:
    source = TextSource(("title",), "passages.text", "passages", 2, offsets=True)
    inner = {
        "name": INNER_HITS,
        "size": 2,
        "_source": False,
        "fields": ["passages.text", "passages.start", "passages.end"],
    }
    near = {
        "bool": {"must": [{"match_all": {"boost": 0.0}}], "should": [{"match": {"passages.text": "who"}}]}
    }
    nested = {
        "nested": {"path": "passages", "query": near, "score_mode": "max", "boost": 0.0, "inner_hits": inner}
    }

    def read(node: Any, **changes: Any) -> tuple[dict[str, Any], bool]:
        search = LeafSearch(node, 5, source=changes.get("source", source), text="who")
        return with_texts_of_source(leaf_body(search, [1.0]), search, ARTICLES)

    body, complete = read(Standard(query=match("q")))
    assert (body["query"], body["fields"], complete) == (
        {"bool": {"must": [match("q")], "should": [nested]}},
        ["title"],
        True,
    )
    body, complete = read(Knn(field="passages.vector", k=5))
    assert (body["knn"]["inner_hits"], complete) == (inner, True)
    body, complete = read(Knn(field="elsewhere", k=5))
    assert ("inner_hits" in body["knn"], body["fields"], complete) == (False, ["title"], False)
    assert read(Native(kind="rule", body={}))[1] is False
    body, complete = read(Knn(field="elsewhere", k=5), source=TextSource(("title",)))
    assert (body["fields"], complete) == (["title"], True)
    assert texts_body(source, "who", [document("a")])["query"] == {
        "bool": {"filter": [documents_query([document("a")])], "should": [nested]}
    }
    assert texts_body(TextSource(("title",)), "who", [document("a")]) == {
        **IDS_ONLY,
        "query": documents_query([document("a")]),
        "size": 1,
        "fields": ["title"],
    }


# --- documents by name and by score -------------------------------------------------------------------------


def in_index(index: str, *ids: str, routing: str | None = None) -> Query:
    return {
        "bool": {
            "filter": [
                {"term": {"_index": index}},
                {"ids": {"values": list(ids)}},
                *([{"term": {"_routing": routing}}] if routing else []),
            ]
        }
    }


def test_only_these_documents_match() -> None:
    assert documents_query([]) == {"match_none": {}}
    assert documents_query([document("a"), document("b")]) == in_index("i", "a", "b")
    apart = documents_query(
        [document("a"), document("a", index="j"), document("b", routing="r"), document("c")]
    )
    assert apart == {
        "bool": {
            "should": [in_index("i", "a", "c"), in_index("i", "b", routing="r"), in_index("j", "a")],
            "minimum_should_match": 1,
        }
    }


def test_documents_are_given_scores_as_float32() -> None:
    assert scored_documents_query([], []) == {"match_none": {}}
    assert scored_documents_query([document("a"), document("b"), document("c")], [0.1, 2, 2]) == {
        "bool": {
            "filter": [{"term": {"_index": "i"}}],
            "should": [
                {"constant_score": {"filter": {"ids": {"values": ["a"]}}, "boost": 0.10000000149011612}},
                {"constant_score": {"filter": {"ids": {"values": ["b", "c"]}}, "boost": 2.0}},
            ],
            "minimum_should_match": 1,
        }
    }


def test_a_rescorer_over_a_compound_starts_from_the_scores_so_far() -> None:
    node = parse(
        {
            "rescorer": {
                "retriever": {"rrf": {"query": "q"}},
                "rescore": [{"window_size": 7, "query": {"rescore_query": term(1)}}],
            }
        }
    )
    assert isinstance(node, Rescorer)
    rows = [document("a", score=0.5), document("b", score=0.25)]
    rescore = [{"window_size": 7, "query": {"rescore_query": term(1)}}]
    assert rescore_body(node, rows) == {
        **IDS_ONLY,
        "query": scored_documents_query(rows, [0.5, 0.25]),
        "rescore": rescore,
        "size": 7,
    }


# --- the page -----------------------------------------------------------------------------------------------

WINDOW = [document(name, score=9.0 - number) for number, name in enumerate("abcdefg")]
UNION = LeafQueries([match("one"), match("two")])
NOTHING = LeafQueries()


def test_a_page_is_asked_for_by_places_in_our_order() -> None:
    page = page_query(WINDOW, 2, 3, {"_source": ["x"]}, UNION, window_only=False)
    places = scored_documents_query(WINDOW[2:5], [3, 2, 1])
    assert page.listed == tuple(WINDOW[2:5])
    assert page.body == {
        "_source": ["x"],
        "query": {"bool": {"should": [places, {"bool": {"should": UNION.queries, "boost": 0.0}}]}},
        "size": 3,
    }
    assert [page.candidate(score) for score in (3.0, 2.0, 1.0)] == WINDOW[2:5]


def test_a_score_that_is_no_place_names_no_document() -> None:
    page = page_query(WINDOW, 0, 3, {}, UNION, window_only=False)
    assert [page.candidate(score) for score in (None, 0, 0.0, 4.0, -1.0)] == [None] * 5


def test_the_last_page_is_short_and_one_behind_it_empty() -> None:
    last = page_query(WINDOW, 5, 10, {}, UNION, window_only=False)
    assert (last.listed, last.body["size"]) == (tuple(WINDOW[5:]), 2)
    behind = page_query(WINDOW, 7, 10, {}, UNION, window_only=False)
    assert (behind.listed, behind.body["size"]) == ((), 0)
    assert behind.body["query"]["bool"]["should"][0] == {"match_none": {}}
    assert page_query(WINDOW, 0, 0, {}, UNION, window_only=False).body["size"] == 0


def test_without_a_union_the_page_is_all_that_matches() -> None:
    assert page_query(WINDOW, 0, 2, {}, NOTHING, window_only=False).body == {
        "query": scored_documents_query(WINDOW[:2], [2, 1]),
        "size": 2,
    }


@pytest.mark.parametrize("asked", [{"collapse": {"field": "k"}}, {"post_filter": term(1)}])
def test_what_thins_the_window_out_is_given_all_of_it(asked: dict[str, Any]) -> None:
    page = page_query(WINDOW, 2, 3, asked, UNION, window_only=False)
    assert page.listed == tuple(WINDOW)
    assert page.body["query"]["bool"]["should"][0] == scored_documents_query(WINDOW, [7, 6, 5, 4, 3, 2, 1])
    assert {key: page.body[key] for key in ("from", "size", *asked)} == {"from": 2, "size": 3, **asked}
    assert "min_score" not in page.body
    assert page.candidate(7.0) == WINDOW[0]
    assert page_query(WINDOW, 6, 3, asked, UNION, window_only=False).body["size"] == 1
    assert page_query(WINDOW, 8, 3, asked, UNION, window_only=False).body["size"] == 0


def test_with_a_least_score_only_the_window_counts() -> None:
    page = page_query(WINDOW, 2, 3, {}, UNION, window_only=True)
    assert page.listed == tuple(WINDOW)
    places = scored_documents_query(WINDOW, [7, 6, 5, 4, 3, 2, 1])
    assert page.body == {
        "query": {"bool": {"must": [places], "should": [{"bool": {"should": UNION.queries, "boost": 0.0}}]}},
        "from": 2,
        "size": 3,
    }


# --- the union of the leaves --------------------------------------------------------------------------------


def found_by(leaves: int) -> Iterator[Sequence[Candidate]]:
    """What the searches of the first stage found, one document each, named by its place."""
    return iter([[document(f"leaf{number}")] for number in range(leaves)])


def test_the_union_is_of_queries_and_of_what_vectors_pins_and_natives_found() -> None:
    first_stage = found_by(7)
    queries = union_of(parse(NESTED), (), first_stage)

    def hit(number: int) -> Query:
        return in_index("i", f"leaf{number}")

    assert queries == [
        filtered(match("one"), [term(11), term(1)]),
        hit(1),
        filtered(match("two"), [term(1), term(2), term(3), term(4)]),
        hit(3),
        filtered(match("three"), [term(1), term(5)]),
        filtered(match("four"), [term(1)]),
        filtered(match("five"), [term(1)]),
    ]
    assert next(first_stage, None) is None, "one search per leaf"


def test_names_of_leaves_are_kept_in_the_union() -> None:
    tree = parse(
        {"rrf": {"retrievers": [standard("one", _name="words"), {"knn": {**KNN["knn"], "_name": "vector"}}]}}
    )
    assert union_of(tree, (), found_by(2)) == [
        {"bool": {"must": [match("one")], "filter": [], "_name": "words"}},
        {"bool": {"filter": [in_index("i", "leaf1")], "_name": "vector"}},
    ]


def test_a_native_tree_stands_for_its_leaves_and_without_any_for_what_it_found() -> None:
    content = {
        "filter": [term(2)],
        "retriever": {"rescorer": {"filter": term(3), "retriever": KNN, "rescore": {"query": {}}}},
    }
    assert union_of(parse({"rule": content}), (term(1),), found_by(1)) == [in_index("i", "leaf0")]
    words = {
        "filter": [term(2)],
        "retriever": {
            "rescorer": {"filter": term(3), "retriever": standard("one"), "rescore": {"query": {}}}
        },
    }
    assert union_of(parse({"rule": words}), (term(1),), found_by(1)) == [
        filtered(match("one"), [term(1), term(2), term(3)])
    ]
    assert union_of(parse({"rule": {"ruleset_ids": ["r"]}}), (), found_by(1)) == [in_index("i", "leaf0")]


# --- hits and their texts -----------------------------------------------------------------------------------


def test_hits_become_candidates_with_their_place_in_the_shard() -> None:
    hits: list[dict[str, Any]] = [
        {"_index": "i", "_id": "a", "_score": 2.5, "sort": [2.5, 7]},
        {"_index": "j", "_id": "b", "_score": None, "_routing": "r", "sort": ["x"]},
        {"_index": "i", "_id": "c", "_score": 1.0},
    ]
    # Without a point in time, the last sort value is that of a field.
    assert [candidate.shard_doc for candidate in candidates_of(hits)] == [None] * 3
    first, second, third = candidates_of(hits, in_pit=True)
    assert first == Candidate("i", "a", 2.5, 1, shard_doc=7, hit=hits[0])
    assert (second.rank, second.routing, second.shard_doc, second.score != second.score) == (
        2,
        "r",
        None,
        True,
    )
    assert third == Candidate("i", "c", 1.0, 3, hit=hits[2])


def test_the_nearest_chunks_of_a_plain_field_are_read_in_document_order() -> None:
    chunks = [
        "One dog barks at the quiet moon tonight. Nothing at",
        "all ever happens in this town, not even now. The",
        "treaty was signed by two kings then.",
    ]
    text = " ".join(chunks)
    hit = {"fields": {"title": ["Peace", "War"], "text": [text]}}
    settings = WordSettings(strategy="word", max_chunk_size=10, overlap=0)
    read = with_texts(
        document("a"), hit, TextSource(("title",), nearest=2, chunked="text", chunking=settings)
    )
    assert read.context == "Peace\nWar"
    assert read.passages == (Passage(text, 0, 0),), "whole, until the driver of the steps has cut it"
    assert (read.whole, read.capped) == (False, False)
    found = nearest_chunks("a dog, a treaty", [text, ""], settings, 2, Watch())
    assert found == [
        [Passage(chunks[0], 0, len(chunks[0])), Passage(chunks[2], text.index(chunks[2]), len(text))],
        [],
    ]
    assert (
        with_texts(document("a"), {}, TextSource((), nearest=1, chunked="text", chunking=settings)).passages
        == ()
    )


def test_stored_passages_are_read_from_the_hit_or_its_inner_hits() -> None:
    rows = [
        {"text": [f"p{number}"], "start": [10 * number], "end": [10 * number + 2]} for number in range(40)
    ]
    every = TextSource(("title",), "passages.text", "passages", offsets=True)
    read = with_texts(document("a"), {"fields": {"passages": rows}}, every)
    assert (read.context, read.capped, len(read.passages)) == ("", True, 32)
    assert read.passages[:2] == (Passage("p0", 0, 2), Passage("p1", 10, 12))
    assert with_texts(document("a"), {"fields": {"passages": rows[:32]}}, every).capped is False
    assert with_texts(document("a"), {"fields": {"passages": [{"text": ["p"]}]}}, every).passages == (
        Passage("p", 0, 0),
    )
    nearest = TextSource((), "passages.text", "passages", 2)
    fetched = [{"text": rows[7]["text"]}, {"text": [""]}, {"text": rows[3]["text"]}]
    inner = {
        "inner_hits": {INNER_HITS: {"hits": {"hits": [{"fields": {"passages": [row]}} for row in fetched]}}}
    }
    assert with_texts(document("a"), inner, nearest).passages == (Passage("p7", 0, 0), Passage("p3", 0, 0))


# --- one query over many fields -----------------------------------------------------------------------------


def group(*indices: str, semantic: tuple[str, ...] = (), default: tuple[str, ...] = ("*",)) -> FieldGroup:
    return FieldGroup(indices, semantic, default)


def schema(*groups: FieldGroup) -> IndexSchema:
    return IndexSchema("all", known=True, groups=groups)


def lexical(*fields: str, **more: Any) -> Weighted:
    return Weighted(
        Standard.model_validate(
            {"query": {"multi_match": {"query": "q", "type": "most_fields", "fields": list(fields)}}, **more}
        )
    )


def semantic(name: str, weight: float = 1.0, **more: Any) -> Weighted:
    return Weighted(Standard.model_validate({"query": {"match": {name: "q"}}, **more}), weight)


def test_lexical_fields_are_asked_together_and_semantic_ones_fused_apart() -> None:
    node = parse(
        {
            "rrf": {
                "query": "q",
                "fields": ["title", "meaning", "body"],
                "rank_window_size": 30,
                "rank_constant": 5,
                "filter": term(1),
                "min_score": 0.1,
            }
        }
    )
    assert expand_fields(node, schema(group("i", semantic=("meaning",)))) == Rrf.model_validate(
        {
            "rank_window_size": 30,
            "rank_constant": 5,
            "filter": term(1),
            "min_score": 0.1,
            "retrievers": (
                lexical("title", "body"),
                Weighted(Rrf(retrievers=(semantic("meaning"),), rank_window_size=30, rank_constant=5)),
            ),
        }
    )


def test_weights_multiply_what_a_field_gets() -> None:
    node = parse(
        {
            "linear": {
                "query": "q",
                "normalizer": "minmax",
                "fields": ["title^2", "body", "meaning^3", "mean*^0.5"],
                "_name": "me",
            }
        }
    )
    tree = expand_fields(node, schema(group("i", semantic=("meaning", "meant", "other"))))
    assert isinstance(tree, Linear)
    inner = Linear(retrievers=(semantic("meaning", 1.5), semantic("meant", 0.5)), normalizer="minmax")
    assert tree.retrievers == (lexical("title^2.0", "body", "mean*^0.5"), Weighted(inner))
    assert (tree.name, tree.normalizer, tree.query, tree.fields) == ("me", "minmax", None, ())


def test_a_star_reaches_every_semantic_field_and_stays_lexical_for_the_rest() -> None:
    tree = expand_fields(parse({"rrf": {"query": "q"}}), schema(group("i", semantic=("a", "b"))))
    assert isinstance(tree, Rrf)
    assert tree.retrievers == (lexical("*"), Weighted(Rrf(retrievers=(semantic("a"), semantic("b")))))
    alone = expand_fields(
        parse({"rrf": {"query": "q", "fields": ["a"]}}), schema(group("i", semantic=("a", "b")))
    )
    assert isinstance(alone, Rrf)
    assert alone.retrievers == (Weighted(Rrf(retrievers=(semantic("a"),))),)


def test_an_index_may_name_its_own_default_fields() -> None:
    tree = expand_fields(
        parse({"rrf": {"query": "q"}}), schema(group("i", semantic=("a", "b"), default=("title", "b")))
    )
    assert isinstance(tree, Rrf)
    assert tree.retrievers == (lexical("title"), Weighted(Rrf(retrievers=(semantic("b"),))))


def test_indices_that_differ_are_asked_apart() -> None:
    tree = expand_fields(
        parse({"rrf": {"query": "q", "fields": ["t", "m"]}}),
        schema(group("i", "j", semantic=("m",)), group("k")),
    )
    assert isinstance(tree, Rrf)
    first: dict[str, Any] = {"filter": {"terms": {"_index": ["i", "j"]}}}
    second: dict[str, Any] = {"filter": {"terms": {"_index": ["k"]}}}
    assert tree.retrievers == (
        lexical("t", **first),
        Weighted(Rrf(retrievers=(semantic("m", **first),))),
        lexical("t", "m", **second),
    )


def test_without_a_readable_mapping_every_field_is_lexical() -> None:
    tree = expand_fields(parse({"rrf": {"query": "q", "fields": ["m"]}}), IndexSchema("secret"))
    assert isinstance(tree, Rrf)
    assert tree.retrievers == (lexical("m"),)


def test_fusions_are_expanded_at_any_depth_and_nothing_else_is_touched() -> None:
    inner: dict[str, Any] = {"rrf": {"query": "q", "fields": ["t"]}}
    wrapped = {
        "linear": {
            "retrievers": [
                {
                    "retriever": {
                        "pinned": {
                            "ids": ["1"],
                            "retriever": {
                                "rescorer": {"rescore": {"query": {}}, "retriever": reranker(retriever=inner)}
                            },
                        }
                    },
                    "weight": 3,
                },
                {"retriever": KNN},
            ]
        }
    }
    tree = parse(wrapped)
    assert uses_fields(tree)
    done = expand_fields(tree, schema(group("i")))
    assert not uses_fields(done)
    inner["rrf"] = {"retrievers": [{"standard": lexical("t").retriever.model_dump(include={"query"})}]}
    assert done == parse(wrapped)
    plain = parse({"rrf": {"retrievers": [KNN]}})
    assert expand_fields(plain, schema(group("i"))) is plain


def test_facts_group_indices_by_semantic_and_default_fields() -> None:
    def entry(fields: dict[str, str], default: Any = None) -> dict[str, Any]:
        settings = {"index": {"query": {"default_field": default}}} if default else {}
        return {
            "mappings": {"properties": {name: {"type": kind} for name, kind in fields.items()}},
            "settings": settings,
        }

    found = schema_of(
        {
            "i": entry({"t": "text", "m": "semantic_text"}),
            "j": entry({"m": "semantic_text"}),
            "k": entry({"t": "text"}),
            "l": entry({"t": "text"}, ["t", "u"]),
            "m": entry({"t": "text"}, "t,u"),
        },
        "*",
    )
    assert found.groups == (group("i", "j", semantic=("m",)), group("k"), group("l", "m", default=("t", "u")))
    assert found.texts() == ["m", "t"]


# --- the short form -----------------------------------------------------------------------------------------


def test_short_form_reads_title_and_nearest_passage_of_our_own_index() -> None:
    tree = retriever_for(
        "who",
        schema_of({"a": {"mappings": {"_meta": {"embedder": "tiny"}, "properties": OWN}}}, "a"),
        window=20,
    )
    assert tree == reranker(
        retriever={
            "knn": {
                "field": "passages.vector",
                "k": 20,
                "num_candidates": 100,
                "query_vector_builder": {"text_embedding": {"model_text": "who"}},
            }
        },
        field=["title", "passages.text"],
        inference_text="who",
        rank_window_size=20,
        allow_rerank_failures=True,
        blend=True,
        chunk_rescorer={"size": 1},
    )


def test_short_form_serves_an_index_that_was_there_before() -> None:
    recent = {"range": {"year": {"gte": 2020}}}
    tree = retriever_for(
        "who",
        schema_of(FLAT, "docs"),
        query_vector=[1, 0, 0],
        filters=[recent],
        inference_id="mine",
        window=60,
    )
    assert tree == reranker(
        retriever={"knn": {"field": "embedding", "k": 60, "num_candidates": 120, "query_vector": [1, 0, 0]}},
        field=["content"],
        inference_text="who",
        rank_window_size=60,
        allow_rerank_failures=True,
        blend=True,
        filter=[recent],
        inference_id="mine",
    )


def test_short_form_fuses_words_and_vectors_where_asked() -> None:
    tree = retriever_for("who", schema_of(FLAT, "docs"), first_stage="hybrid", window=30)[
        "text_similarity_reranker"
    ]
    words, vectors = tree["retriever"]["rrf"]["retrievers"]
    assert tree["retriever"]["rrf"]["rank_window_size"] == 30
    assert words == {
        "standard": {"query": {"multi_match": {"query": "who", "fields": ["content"], "type": "most_fields"}}}
    }
    assert (vectors["knn"]["field"], vectors["knn"]["k"]) == ("embedding", 30)
    assert parse(retriever_for("who", schema_of(FLAT, "docs"), first_stage="hybrid")), (
        "it is Elastic's grammar"
    )


def test_short_form_over_an_index_without_vectors_says_what_to_do() -> None:
    plain = schema_of({"p": {"mappings": {"properties": {"content": {"type": "text"}}}}}, "p")
    with pytest.raises(IndexMismatchError, match=r"no dense_vector field.*bm25.*es-rerank ingest"):
        retriever_for("who", plain)
    assert retriever_for("who", plain, first_stage="bm25")["text_similarity_reranker"]["retriever"][
        "standard"
    ]["query"]["multi_match"]["fields"] == ["content"]


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(RequestError, match="query is empty"):
        retriever_for(" \n", schema_of(FLAT, "docs"))


def test_several_vector_fields_must_be_chosen_from() -> None:
    two = schema_of(
        {
            "p": {
                "mappings": {
                    "properties": {
                        "a": {"type": "dense_vector"},
                        "b": {"type": "dense_vector"},
                        "t": {"type": "text"},
                    }
                }
            }
        },
        "p",
    )
    with pytest.raises(RequestError, match=r"several vector fields \(a, b\)"):
        retriever_for("who", two)
    assert (
        retriever_for("who", two, vector_field="b")["text_similarity_reranker"]["retriever"]["knn"]["field"]
        == "b"
    )

"""The rows of the README's conformance tables: which parts of Elastic's retriever reference es-rerank serves,
and which it refuses, with which message: outside Elasticsearch, and inside, by the plugin.

Run as a program, this module writes the tables into the README. ``test_conformance`` tests every row on a
real Elasticsearch, and tests that the README has these rows. The indices and requests have the shape and the
numbers of Elastic's examples. The texts are our own, written so that BM25 puts them in the documented order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- conformance: begin -->\n", "<!-- conformance: end -->\n"

Body = dict[str, Any]
Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Inside:
    """What the plugin gives where it is not what es-rerank gives outside, for the same body in its names.

    ``refused``: the sentence, or a part of it; None if the body is served.
    """

    check: Check = lambda answer: bool(answer["hits"]["hits"])
    refused: str | None = None
    note: str = ""

    @property
    def outcome(self) -> str:
        """Return the cell of the table."""
        here = f"refused: «{self.refused}»" if self.refused else "served"
        return f"{here}; {self.note}" if self.note else here


@dataclass(frozen=True)
class Feature:
    """One feature of the reference. ``refused`` is the sentence, or a part of it, that a refusal carries.

    ``inside``: what differs inside Elasticsearch, None if nothing does.
    """

    of: str
    what: str
    body: Body
    check: Check = lambda answer: bool(answer["hits"]["hits"])
    refused: str | None = None
    status: int = 400
    note: str = ""
    parameters: Body = field(default_factory=dict)
    index: str = "retrievers_example"
    inside: Inside | None = None


@dataclass(frozen=True)
class Example:
    """One example of Elastic's documentation, by page and heading.

    ``order``: the documented ids, or None if the page shows no answer. ``scores``: the documented scores, if
    they follow from the documented formula. ``refused``: if the tests' node cannot serve the example, who
    refuses it and with which message, in «». ``inside``: what differs inside Elasticsearch, None if nothing
    does.
    """

    page: str
    heading: str
    index: str
    body: Body
    order: list[str] | None = None
    scores: list[float] | None = None
    check: Check = lambda answer: bool(answer["hits"]["hits"])
    refused: str | None = None
    note: str = ""
    inside: Inside | None = None

    @property
    def outcome(self) -> str:
        """Return the cell of the table."""
        if self.refused:
            text = f"refused: {self.refused}"
        elif self.order is None:
            text = "served (the page shows no answer)"
        else:
            text = "served, in the documented order" + (
                " and with the documented scores" if self.scores else ""
            )
        return f"{text}; {self.note}" if self.note else text


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def said_by_rerankers(answer: Any) -> bool:
    return any("rerank.probability" in hit.get("fields", {}) for hit in answer["hits"]["hits"])


def in_elasticsearchs_words(answer: Any) -> bool:
    explained = answer["hits"]["hits"][0]["_explanation"]
    return "with an original score of" in str(explained) and "at rank" in str(explained)


NO_PINNED = Inside(refused="unknown retriever [pinned]", note="the plugin has none")
NO_RULE = Inside(refused="unknown retriever [rule]", note="the tests' node has no query rules")
EXPLAINED = Inside(
    in_elasticsearchs_words, note="in Elasticsearch's words, with score and rank of each stage"
)


def match(words: str, name: str = "text") -> Body:
    return {"standard": {"query": {"match": {name: words}}}}


def rrf(*children: Body, **more: Any) -> Body:
    return {"retriever": {"rrf": {"retrievers": list(children), **more}}}


def linear(*children: Body, **more: Any) -> Body:
    return {"retriever": {"linear": {"retrievers": list(children), **more}}}


def reranker(child: Body, **more: Any) -> Body:
    return {
        "retriever": {
            "text_similarity_reranker": {
                "retriever": child,
                "field": "text",
                "inference_text": "search precision",
                **more,
            }
        }
    }


# --- indices ------------------------------------------------------------------------------------------------

TEXTS = {
    "1": (
        "With large language models, information retrieval grows more precise, understands context better "
        "and changes what users see in rich data"
    ),
    "2": "Artificial intelligence changes medicine: diagnosis, treatment plans and care for patients",
    "3": "Security gains from AI that detects threats, analyses risk and defends against attacks",
    "4": "An open assistant by Elastic brings generative AI to security teams",
    "5": "How to start a deployment on Elastic Cloud and observe applications and systems",
}
VECTORS = {
    "1": [0.23, 0.67, 0.89],
    "2": [0.12, 0.56, 0.78],
    "3": [0.45, 0.32, 0.91],
    "4": [0.34, 0.21, 0.98],
    "5": [0.11, 0.65, 0.47],
}
YEARS = {"1": 2024, "2": 2023, "3": 2024, "4": 2023, "5": 2024}
TOPICS = {
    "1": ["llm", "ai", "information_retrieval"],
    "2": ["ai", "medicine"],
    "3": ["ai", "security"],
    "4": ["ai", "elastic", "assistant"],
    "5": ["documentation", "observability", "elastic"],
}
EXAMPLE = "retrievers_example"
NESTED = "retrievers_example_nested"
FULL = "example-index"
RESTAURANTS = "restaurants"
MOVIES = "movies"
BOOKS = "books"
PAGES = "rrf-pages"
TERMS = "rrf-terms"


def dense(dims: int, how: str = "flat") -> Body:
    return {
        "type": "dense_vector",
        "dims": dims,
        "similarity": "l2_norm",
        "index": True,
        "index_options": {"type": how},
    }


INDICES: dict[str, tuple[Body, dict[str, Body]]] = {
    EXAMPLE: (
        {
            "vector": dense(3),
            "text": {"type": "text"},
            "year": {"type": "integer"},
            "topic": {"type": "keyword"},
            "timestamp": {"type": "date"},
        },
        {
            each: {
                "vector": VECTORS[each],
                "text": TEXTS[each],
                "year": YEARS[each],
                "topic": TOPICS[each],
                "timestamp": f"202{each}-01-01T12:10:30",
            }
            for each in TEXTS
        },
    ),
    NESTED: (
        {
            "nested_field": {
                "type": "nested",
                "properties": {"paragraph_id": {"type": "keyword"}, "nested_vector": dense(3)},
            },
            "topic": {"type": "keyword"},
        },
        {
            "1": {
                "nested_field": [
                    {"paragraph_id": "1a", "nested_vector": [-1.12, -0.59, 0.78]},
                    {"paragraph_id": "1b", "nested_vector": [-0.12, 1.56, 0.42]},
                    {"paragraph_id": "1c", "nested_vector": [1, -1, 0]},
                ],
                "topic": ["ai"],
            },
            "2": {
                "nested_field": [{"paragraph_id": "2a", "nested_vector": [0.23, 1.24, 0.65]}],
                "topic": ["information_retrieval"],
            },
            "3": {"topic": ["ai"]},
        },
    ),
    FULL: (
        {"text": {"type": "text"}, "vector": dense(1, "hnsw"), "integer": {"type": "integer"}},
        {
            "1": {"text": "rrf", "vector": [5], "integer": 1},
            "2": {"text": "rrf rrf", "vector": [4], "integer": 2},
            "3": {"text": "rrf rrf rrf", "vector": [3], "integer": 1},
            "4": {"text": "rrf rrf rrf rrf", "integer": 2},
            "5": {"vector": [0], "integer": 1},
        },
    ),
    RESTAURANTS: (
        {
            "region": {"type": "keyword"},
            "year": {"type": "keyword"},
            "vector": {"type": "dense_vector", "dims": 3},
        },
        {
            "1": {"region": "Austria", "year": "2019", "vector": [10, 22, 77]},
            "2": {"region": "France", "year": "2019", "vector": [10, 22, 78]},
            "3": {"region": "Austria", "year": "2020", "vector": [10, 22, 79]},
            "4": {"region": "France", "year": "2020", "vector": [10, 22, 80]},
        },
    ),
    MOVIES: (
        {
            "title": {"type": "text"},
            "plot": {"type": "text"},
            "genre": {"type": "keyword"},
            "vector": {"type": "dense_vector", "dims": 3},
        },
        {
            "1": {
                "title": "The mind",
                "plot": "films that explore psychological depths",
                "genre": "drama",
                "vector": [10, 22, 77],
            },
            "2": {
                "title": "Night train",
                "plot": "a crime and its price",
                "genre": "drama",
                "vector": [1, 2, 3],
            },
        },
    ),
    BOOKS: (
        {"title": {"type": "text"}, "description": {"type": "text"}, "note_text": {"type": "text"}},
        {
            "1": {
                "title": "elasticsearch machine learning",
                "description": "a book about search",
                "note_text": "machine",
            },
            "2": {
                "title": "gardens",
                "description": "nothing about elasticsearch but a word",
                "note_text": "learning",
            },
        },
    ),
    PAGES: ({"place": {"type": "keyword"}}, {each: {"place": each} for each in "12345"}),
    TERMS: (
        {"termA": {"type": "keyword"}, "termB": {"type": "keyword"}},
        {
            "1": {"termA": "foo"},
            "2": {"termA": "foo", "termB": "bar"},
            "3": {"termA": "aardvark", "termB": "bar"},
            "4": {"termA": "foo", "termB": "bar"},
        },
    ),
}


def ranked(*places: str) -> Body:
    """Return a standard retriever that gives these ids in this order."""
    each = [
        {"constant_score": {"filter": {"term": {"place": place}}, "boost": 10 - i}}
        for i, place in enumerate(places)
    ]
    return {"standard": {"query": {"bool": {"should": each}}}}


# --- examples -----------------------------------------------------------------------------------------------

WORDS = {
    "standard": {
        "query": {
            "query_string": {
                "query": "(information retrieval) OR (artificial intelligence)",
                "default_field": "text",
            }
        }
    }
}
NEAR = {"knn": {"field": "vector", "query_vector": [0.23, 0.67, 0.89], "k": 3, "num_candidates": 5}}
HYBRID = rrf(WORDS, NEAR, rank_window_size=10, rank_constant=1)
AUSTRIA = {"standard": {"query": {"multi_match": {"query": "Austria", "fields": ["city", "region"]}}}}
VIENNA = {"knn": {"field": "vector", "query_vector": [10, 22, 77], "k": 10, "num_candidates": 10}}
CRIME = {"standard": {"query": {"multi_match": {"query": "crime", "fields": ["plot", "title"]}}}}
ELSER = {
    "standard": {
        "query": {
            "sparse_vector": {
                "field": "plot_embedding",
                "inference_id": "my-elser-model",
                "query": "films that explore psychological depths",
            }
        }
    }
}
TERM_RRF = {"standard": {"query": {"term": {"text": "rrf"}}}}
FULL_TREE = rrf(
    TERM_RRF,
    {"knn": {"field": "vector", "query_vector": [3], "k": 5, "num_candidates": 5}},
    rank_window_size=5,
    rank_constant=1,
)
NEEDS_ELSER = (
    "Elasticsearch answers «failed to find action [cluster:internal/xpack/ml/coordinatedinference]»: only "
    "Elasticsearch can run this model"
)
LEXICAL = (
    "over the lexical fields only: `semantic_text` needs Elasticsearch's own inference, so the answer is not "
    "compared with the documented one"
)
BY_TIME = {
    "standard": {
        "query": {
            "function_score": {
                "query": {"term": {"topic": "ai"}},
                "functions": [{"field_value_factor": {"field": "timestamp"}}],
                "boost_mode": "replace",
            }
        },
        "sort": {"timestamp": {"order": "asc"}},
    }
}
BOOK_FIELDS = ["title^3", "description^2", "title_semantic", "description_semantic^2"]


INNER_HITS = rrf(
    {
        "standard": {
            "query": {
                "nested": {
                    "path": "nested_field",
                    "inner_hits": {
                        "name": "nested_vector",
                        "_source": False,
                        "fields": ["nested_field.paragraph_id"],
                    },
                    "query": {
                        "knn": {"field": "nested_field.nested_vector", "query_vector": [1, 0, 0.5], "k": 10}
                    },
                }
            }
        }
    },
    {"standard": {"query": {"term": {"topic": "ai"}}}},
    rank_window_size=10,
    rank_constant=1,
) | {"_source": ["topic"]}


def _inner(answer: Any) -> list[list[str]]:
    groups = [hit["inner_hits"]["nested_vector"]["hits"]["hits"] for hit in answer["hits"]["hits"]]
    return [[row["fields"]["nested_field"][0]["paragraph_id"][0] for row in group] for group in groups]


def _explained(answer: Any) -> bool:
    top = answer["hits"]["hits"][0]["_explanation"]
    inner = top["details"][1]["details"][0]
    return bool(
        top["description"].startswith(
            "rrf score: [0.5] computed for initial ranks [0, 1] with rankConstant: [1]"
        )
        and top["details"][0]
        == {
            "value": 0.0,
            "description": "rrf score: [0], result not found in query at index [0]",
            "details": [],
        }
        and inner["description"].startswith("rrf score: [0.8333334] computed for initial ranks [2, 1]")
    )


EXAMPLES = [
    Example(
        "standard-retriever",
        "Example",
        RESTAURANTS,
        {
            "retriever": {
                "standard": {
                    "query": {
                        "bool": {
                            "should": [{"match": {"region": "Austria"}}],
                            "filter": [{"term": {"year": "2019"}}],
                        }
                    }
                }
            }
        },
        check=lambda answer: ids(answer)[0] == "1",
        note="forwarded to Elasticsearch unchanged",
    ),
    Example(
        "knn-retriever",
        "Example",
        RESTAURANTS,
        {"retriever": VIENNA},
        check=lambda answer: ids(answer)[0] == "1",
        note="forwarded to Elasticsearch unchanged",
    ),
    Example(
        "linear-retriever",
        "Example",
        BOOKS,
        linear(
            {"retriever": match("elasticsearch", "title"), "weight": 5},
            {"retriever": match("elasticsearch", "description"), "weight": 1.5},
            normalizer="minmax",
        ),
        check=lambda answer: (
            [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]] == [("1", 5.0), ("2", 1.5)]
        ),
        note="with a second query instead of the vector",
    ),
    Example(
        "pinned-retriever",
        "Example using docs",
        RESTAURANTS,
        {
            "retriever": {
                "pinned": {
                    "docs": [{"_id": "4", "_index": RESTAURANTS}, {"_id": "2"}],
                    "retriever": match("Austria", "region"),
                }
            }
        },
        check=lambda answer: ids(answer) == ["4", "2", "1", "3"],
        inside=NO_PINNED,
    ),
    Example(
        "rescorer-retriever",
        "Example",
        MOVIES,
        {
            "size": 10,
            "retriever": {
                "rescorer": {
                    "rescore": {"window_size": 50, "query": {"rescore_query": {"match": {"title": "train"}}}},
                    "retriever": rrf(CRIME, VIENNA, rank_window_size=100)["retriever"],
                }
            },
        },
        check=lambda answer: ids(answer)[0] == "2",
        note=(
            "with a `match` instead of its script, and without its sparse vector: the tests' node has neither"
        ),
    ),
    Example(
        "rrf-retriever",
        "Parameters: direct format",
        RESTAURANTS,
        rrf(AUSTRIA, VIENNA),
        check=lambda answer: ids(answer)[0] == "1",
    ),
    Example(
        "rrf-retriever",
        "Parameters: wrapped format with custom weights",
        RESTAURANTS,
        rrf({"retriever": AUSTRIA, "weight": 2.0}, {"retriever": VIENNA, "weight": 1.0}),
        check=lambda answer: ids(answer)[0] == "1" and len(ids(answer)) == 4,
    ),
    Example(
        "rrf-retriever",
        "Hybrid search",
        RESTAURANTS,
        rrf(AUSTRIA, VIENNA, rank_constant=1, rank_window_size=50),
        check=lambda answer: ids(answer)[0] == "1",
    ),
    Example(
        "rrf-retriever",
        "Weighted hybrid search",
        RESTAURANTS,
        rrf(
            {"retriever": AUSTRIA, "weight": 2.0},
            {"retriever": VIENNA, "weight": 1.0},
            rank_constant=60,
            rank_window_size=50,
        ),
        check=lambda answer: ids(answer)[0] == "1",
    ),
    Example(
        "rrf-retriever",
        "Weighted hybrid search: both formats in one query",
        RESTAURANTS,
        rrf(AUSTRIA, {"retriever": VIENNA, "weight": 2.0}),
        check=lambda answer: ids(answer)[0] == "1" and len(ids(answer)) == 4,
    ),
    Example(
        "rrf-retriever",
        "Hybrid search with sparse vectors",
        MOVIES,
        rrf(ELSER, CRIME, VIENNA),
        refused=NEEDS_ELSER,
    ),
    Example(
        "rule-retriever",
        "Rule retriever",
        MOVIES,
        {
            "retriever": {
                "rule": {
                    "match_criteria": {"query_string": "harry potter"},
                    "ruleset_ids": ["my-ruleset"],
                    "retriever": match("harry potter", "title"),
                }
            }
        },
        refused=(
            "Elasticsearch answers «unknown retriever [rule]»: the request is forwarded unchanged, "
            "and the tests' node has no query rules"
        ),
    ),
    Example(
        "rule-retriever",
        "Rule retriever combined with RRF",
        MOVIES,
        {
            "retriever": {
                "rule": {
                    "match_criteria": {"query_string": "harry potter"},
                    "ruleset_ids": ["my-ruleset"],
                    "retriever": rrf(
                        match("sorcerer's stone", "title"), match("chamber of secrets", "title")
                    )["retriever"],
                }
            }
        },
        refused="«[rule] is run by Elasticsearch alone, with everything under it, and [rrf] is run here»",
        inside=NO_RULE,
    ),
    Example(
        "diversify-retriever",
        "Example",
        RESTAURANTS,
        {
            "retriever": {
                "diversify": {
                    "type": "mmr",
                    "field": "vector",
                    "lambda": 0.7,
                    "size": 3,
                    "query_vector": [0.1, 0.2, 0.3],
                    "retriever": match("Austria", "region"),
                }
            }
        },
        note="forwarded to Elasticsearch unchanged",
    ),
    *(
        Example(
            "text-similarity-reranker-retriever",
            heading,
            MOVIES,
            {
                "retriever": {
                    "text_similarity_reranker": {
                        "retriever": {"standard": {"query": query}},
                        "field": "plot",
                        "inference_id": model,
                        "inference_text": "films that explore psychological depths",
                        **more,
                    }
                }
            },
            check=lambda answer: ids(answer)[0] == "1" and answer["rerank"]["status"] == "reranked",
        )
        for heading, model, query, more in (
            (
                "Elastic Rerank",
                "my-elastic-rerank",
                {"match": {"plot": "explore depths"}},
                {"rank_window_size": 100, "min_score": 0.5},
            ),
            (
                "Cohere Rerank",
                "my-cohere-rerank-model",
                {"match_phrase": {"plot": "psychological depths"}},
                {"rank_window_size": 100, "min_score": 0.5},
            ),
            (
                "Semantic re-ranking with a Hugging Face model",
                "my-msmarco-minilm-model",
                {"match": {"genre": "drama"}},
                {},
            ),
        )
    ),
    Example(
        "retrievers",
        "Linear retriever field boosting",
        BOOKS,
        {"retriever": {"linear": {"query": "elasticsearch", "fields": BOOK_FIELDS, "normalizer": "minmax"}}},
        check=lambda answer: ids(answer) == ["1", "2"],
        note=LEXICAL,
    ),
    Example(
        "retrievers",
        "Linear retriever field boosting: without boosts",
        BOOKS,
        {
            "retriever": {
                "linear": {
                    "query": "elasticsearch",
                    "fields": [name.split("^")[0] for name in BOOK_FIELDS],
                    "normalizer": "minmax",
                }
            }
        },
        check=lambda answer: sorted(ids(answer)) == ["1", "2"],
        note=LEXICAL,
    ),
    Example(
        "retrievers",
        "Wildcard field patterns",
        BOOKS,
        {"retriever": {"rrf": {"query": "machine learning", "fields": ["title*", "*_text"]}}},
        check=lambda answer: ids(answer) == ["1", "2"],
    ),
    Example(
        "retrievers-examples",
        "Combining query and kNN with RRF",
        EXAMPLE,
        HYBRID,
        ["1", "2", "3"],
        [0.8333334, 0.8333334, 0.25],
    ),
    Example(
        "retrievers-examples",
        "Using the expanded format with weights",
        EXAMPLE,
        rrf(
            {"retriever": WORDS, "weight": 2.0},
            {"retriever": NEAR, "weight": 1.0},
            rank_window_size=10,
            rank_constant=1,
        ),
        check=lambda answer: (
            [hit["_score"] for hit in answer["hits"]["hits"]] == [1.3333334, 1.1666667, 0.25]
        ),
    ),
    Example(
        "retrievers-examples",
        "Hybrid search with linear retriever",
        EXAMPLE,
        linear(
            {"retriever": WORDS, "weight": 2, "normalizer": "minmax"},
            {"retriever": NEAR, "weight": 1.5, "normalizer": "minmax"},
            rank_window_size=10,
        ),
        ["2", "1", "3"],
        note="the scores follow the documented formula; those on the page do not",
    ),
    Example(
        "retrievers-examples",
        "Hybrid search with linear retriever: timestamps as scores",
        EXAMPLE,
        linear(
            {"retriever": BY_TIME, "weight": 2, "normalizer": "minmax"},
            {"retriever": NEAR, "weight": 1.5},
            rank_window_size=10,
        ),
        ["3", "2", "4", "1"],
        note="with `field_value_factor` instead of its script: the tests' node has no script language",
    ),
    Example(
        "retrievers-examples",
        "RRF with the multi-field query format",
        EXAMPLE,
        {"retriever": {"rrf": {"query": "artificial intelligence"}}},
        check=lambda answer: ids(answer) == ["2"],
        note=LEXICAL,
    ),
    Example(
        "retrievers-examples",
        "RRF with the multi-field query format: fields",
        EXAMPLE,
        {"retriever": {"rrf": {"query": "artificial intelligence", "fields": ["text", "text_semantic"]}}},
        check=lambda answer: ids(answer) == ["2"],
        note=LEXICAL,
    ),
    Example(
        "retrievers-examples",
        "Linear retriever with the multi-field query format",
        EXAMPLE,
        {
            "retriever": {
                "linear": {
                    "query": "artificial intelligence",
                    "fields": ["text", "text_semantic", "topic^2"],
                    "normalizer": "minmax",
                }
            }
        },
        check=lambda answer: ids(answer) == ["2"],
        note=LEXICAL,
    ),
    Example(
        "retrievers-examples",
        "Grouping results by year with collapse",
        EXAMPLE,
        HYBRID
        | {
            "collapse": {
                "field": "year",
                "inner_hits": {"name": "topic related documents", "_source": ["year"]},
            }
        },
        ["1", "2"],
        [0.8333334, 0.8333334],
        check=lambda answer: (
            [
                [
                    (row["_id"], row["_score"])
                    for row in hit["inner_hits"]["topic related documents"]["hits"]["hits"]
                ]
                for hit in answer["hits"]["hits"]
            ]
            == [[("1", 0.8333334), ("3", 0.25)], [("2", 0.8333334)]]
        ),
    ),
    Example(
        "retrievers-examples",
        "Highlighting results based on nested sub-retrievers",
        EXAMPLE,
        HYBRID | {"highlight": {"fields": {"text": {"fragment_size": 150, "number_of_fragments": 3}}}},
        ["1", "2", "3"],
        [0.8333334, 0.8333334, 0.25],
        check=lambda answer: (
            [
                "<em>information</em> <em>retrieval</em>" in str(hit.get("highlight"))
                for hit in answer["hits"]["hits"]
            ]
            == [True, False, False]
            and "<em>Artificial</em> <em>intelligence</em>" in str(answer["hits"]["hits"][1]["highlight"])
            and "highlight" not in answer["hits"]["hits"][2]
        ),
    ),
    Example(
        "retrievers-examples",
        "Computing inner hits from nested sub-retrievers",
        NESTED,
        INNER_HITS,
        ["1", "2", "3"],
        [1.0, 0.33333334, 0.33333334],
        check=lambda answer: _inner(answer) == [["1c", "1b", "1a"], ["2a"], []],
    ),
    Example(
        "retrievers-examples",
        "Combine RRF with aggregations",
        EXAMPLE,
        rrf(
            {"standard": {"query": {"range": {"year": {"gt": 2023}}}}},
            {"standard": {"query": {"term": {"topic": "elastic"}}}},
            rank_window_size=10,
            rank_constant=1,
        )
        | {"_source": False, "aggs": {"topics": {"terms": {"field": "topic"}}}},
        ["5", "1", "4", "3"],
        [0.5833334, 0.5, 0.5, 0.33333334],
        check=lambda answer: (
            [(bucket["key"], bucket["doc_count"]) for bucket in answer["aggregations"]["topics"]["buckets"]]
            == [
                ("ai", 3),
                ("elastic", 2),
                ("assistant", 1),
                ("documentation", 1),
                ("information_retrieval", 1),
                ("llm", 1),
                ("observability", 1),
                ("security", 1),
            ]
        ),
    ),
    Example(
        "retrievers-examples",
        "Multi-level nested retrievers with min_score",
        EXAMPLE,
        rrf(
            rrf(
                linear(
                    {
                        "retriever": {
                            "standard": {
                                "query": {
                                    "query_string": {
                                        "query": "artificial intelligence",
                                        "default_field": "text",
                                    }
                                }
                            }
                        }
                    },
                    min_score=0.5,
                    rank_window_size=100,
                    normalizer="minmax",
                )["retriever"],
                rank_window_size=50,
            )["retriever"],
            rank_window_size=20,
        ),
        ["2"],
        [0.016393442],
        check=lambda answer: answer["hits"]["total"] == {"value": 1, "relation": "eq"},
    ),
    Example(
        "retrievers-examples",
        "Explainability with multiple retrievers",
        EXAMPLE,
        rrf(
            {"standard": {"query": {"term": {"topic": "elastic"}}}},
            HYBRID["retriever"],
            rank_window_size=10,
            rank_constant=1,
        )
        | {"size": 1, "explain": True},
        ["1"],
        [0.5],
        check=_explained,
        inside=EXPLAINED,
    ),
    Example(
        "retrievers-examples",
        "Rerank results of an RRF retriever",
        EXAMPLE,
        reranker(
            HYBRID["retriever"],
            inference_id="my-rerank-model",
            inference_text="What are the state of the art applications of AI in information retrieval?",
            chunk_rescorer={
                "size": 1,
                "chunking_settings": {"strategy": "sentence", "max_chunk_size": 300, "sentence_overlap": 0},
            },
        ),
        check=lambda answer: ids(answer)[0] == "1",
    ),
    Example(
        "retrievers-examples",
        "RRF with semantic reranker",
        EXAMPLE,
        rrf(
            NEAR,
            reranker(
                {"standard": {"query": {"term": {"topic": "ai"}}}},
                inference_id="my-rerank-model",
                inference_text=(
                    "Can I use generative AI to identify user intent and improve search relevance?"
                ),
            )["retriever"],
            rank_window_size=10,
            rank_constant=1,
        ),
        check=lambda answer: len(ids(answer)) == 4,
    ),
    Example(
        "retrievers-examples",
        "Chaining multiple semantic rerankers",
        EXAMPLE,
        reranker(
            reranker(NEAR, rank_window_size=100, inference_id="my-rerank-model")["retriever"],
            rank_window_size=10,
            inference_id="my-other-more-expensive-rerank-model",
            inference_text="Large language models and what users see",
        ),
        check=lambda answer: ids(answer)[0] == "1",
    ),
    Example(
        "retrievers-overview",
        "Example",
        MOVIES,
        rrf(ELSER, match("crime", "plot")),
        refused=NEEDS_ELSER,
    ),
    *(
        Example(
            "semantic-reranking",
            heading,
            MOVIES,
            reranker(
                match("explore depths", "plot"),
                field="plot",
                inference_id="elastic-rerank",
                inference_text="explore depths",
                rank_window_size=100,
                **more,
            ),
            check=lambda answer: ids(answer) == ["1"] and answer["rerank"]["status"] == "reranked",
        )
        for heading, more in (
            ("Retriever-based semantic reranking", {"min_score": 0.5}),
            ("Semantic reranker using chunk rescoring", {"min_score": 0.5, "chunk_rescorer": {}}),
        )
    ),
    Example(
        "reciprocal-rank-fusion",
        "Reciprocal rank fusion API",
        FULL,
        rrf(
            {"standard": {"query": {"term": {"text": "rrf"}}}},
            {"knn": {"field": "vector", "query_vector": [1.25], "k": 50, "num_candidates": 100}},
            rank_window_size=50,
            rank_constant=20,
        ),
    ),
    Example(
        "reciprocal-rank-fusion",
        "RRF using multiple standard retrievers",
        FULL,
        rrf(
            {"standard": {"query": {"term": {"text": "blue shoes sale"}}}},
            {
                "standard": {
                    "query": {
                        "sparse_vector": {
                            "field": "ml.tokens",
                            "inference_id": "my_elser_model",
                            "query": "What blue shoes are on sale?",
                        }
                    }
                }
            },
            rank_window_size=50,
            rank_constant=20,
        ),
        refused=NEEDS_ELSER,
    ),
    Example(
        "reciprocal-rank-fusion",
        "RRF full example",
        FULL,
        FULL_TREE | {"size": 3, "aggs": {"int_count": {"terms": {"field": "integer"}}}},
        ["3", "2", "4"],
        [0.8333334, 0.5833334, 0.5],
        check=lambda answer: (
            answer["hits"]["total"] == {"value": 5, "relation": "eq"}
            and [
                (bucket["key"], bucket["doc_count"])
                for bucket in answer["aggregations"]["int_count"]["buckets"]
            ]
            == [(1, 3), (2, 2)]
        ),
    ),
    Example(
        "reciprocal-rank-fusion",
        "Explain in RRF",
        FULL,
        FULL_TREE | {"size": 3, "explain": True},
        ["3", "2", "4"],
        [0.8333334, 0.5833334, 0.5],
        check=lambda answer: answer["hits"]["hits"][0]["_explanation"]["description"].startswith(
            "rrf score: [0.8333334] computed for initial ranks [2, 1]"
        ),
        inside=EXPLAINED,
    ),
    Example(
        "reciprocal-rank-fusion",
        "Explain in RRF: named queries",
        FULL,
        rrf(
            TERM_RRF,
            {
                "knn": {
                    "field": "vector",
                    "query_vector": [3],
                    "k": 5,
                    "num_candidates": 5,
                    "_name": "my_knn_query",
                }
            },
            rank_window_size=5,
            rank_constant=1,
        )
        | {"size": 3, "explain": True},
        ["3", "2", "4"],
        [0.8333334, 0.5833334, 0.5],
        check=lambda answer: (
            "[my_knn_query] computed as [1 / (1 + 1)]"
            in answer["hits"]["hits"][0]["_explanation"]["details"][1]["description"]
        ),
        inside=EXPLAINED,
    ),
    *(
        Example(
            "reciprocal-rank-fusion",
            f"Pagination in RRF: window {window}, from {offset}",
            PAGES,
            rrf(
                ranked("1", "2", "3", "4"),
                ranked("5", "4", "3", "1", "2"),
                rank_constant=1,
                rank_window_size=window,
            )
            | {"from": offset, "size": 2},
            order,
            check=lambda answer: True,
        )
        for window, offset, order in (
            (5, 0, ["1", "4"]),
            (5, 2, ["2", "3"]),
            (5, 4, ["5"]),
            (5, 6, []),
            (2, 0, ["1", "5"]),
            (2, 2, []),
        )
    ),
    Example(
        "reciprocal-rank-fusion",
        "Aggregations in RRF",
        TERMS,
        rrf(
            {"standard": {"query": {"term": {"termB": "bar"}}}},
            {"standard": {"query": {"match_all": {}}}},
            rank_window_size=1,
        )
        | {"size": 1, "aggs": {"termA_agg": {"terms": {"field": "termA"}}}},
        check=lambda answer: (
            [
                (bucket["key"], bucket["doc_count"])
                for bucket in answer["aggregations"]["termA_agg"]["buckets"]
            ]
            == [("foo", 3), ("aardvark", 1)]
        ),
    ),
]


# --- features -----------------------------------------------------------------------------------------------

MODEL = {"inference_id": "my-rerank-model"}
TWO = (match("search information"), NEAR)
AGGS = {"aggs": {"years": {"terms": {"field": "year"}}}}


def _standard(**more: Any) -> Body:
    return rrf({"standard": {"query": {"match": {"text": "AI"}}, **more}}, NEAR)


def _knn(**more: Any) -> Body:
    return rrf({"knn": {"field": "vector", "query_vector": [0.23, 0.67, 0.89], "k": 3, **more}}, match("AI"))


def _request(**more: Any) -> Body:
    return HYBRID | more


FEATURES = [
    Feature("standard", "`query`", _standard(), lambda answer: set(ids(answer)) == {"1", "2", "3", "4"}),
    Feature(
        "standard",
        "`filter`, an object or a list",
        _standard(filter=[{"term": {"year": 2023}}]),
        lambda answer: ids(answer).index("4") < 4,
    ),
    Feature(
        "standard",
        "`sort`",
        rrf({"standard": {"query": {"term": {"topic": "ai"}}, "sort": {"timestamp": "desc"}}}),
        lambda a: ids(a) == ["4", "3", "2", "1"],
    ),
    Feature(
        "standard",
        "`min_score`",
        rrf({"standard": {"query": {"match": {"text": "AI security"}}, "min_score": 1.0}}),
        lambda a: ids(a)[0] in "34" and len(ids(a)) == 2,
    ),
    Feature(
        "standard",
        "`collapse`",
        rrf({"standard": {"query": {"term": {"topic": "ai"}}, "collapse": {"field": "year"}}}),
        lambda a: len(ids(a)) == 2,
    ),
    Feature(
        "standard",
        "`_name`",
        _standard(_name="words"),
        lambda a: any("words" in hit.get("matched_queries", []) for hit in a["hits"]["hits"]),
    ),
    Feature(
        "standard",
        "`search_after` under a compound",
        _standard(search_after=[1]),
        refused="[search_after] cannot be used in children of compound retrievers",
    ),
    Feature(
        "standard",
        "`terminate_after` under a compound",
        _standard(terminate_after=1),
        refused="[terminate_after] cannot be used in children of compound retrievers",
    ),
    Feature("knn", "`field`, `query_vector`, `k`", _knn(num_candidates=5), lambda answer: "1" in ids(answer)),
    Feature("knn", "`num_candidates` left out", _knn(), lambda answer: "1" in ids(answer)),
    Feature(
        "knn",
        "`filter`",
        rrf({"knn": {**NEAR["knn"], "filter": {"term": {"year": 2023}}}}),
        lambda answer: ids(answer) == ["2", "4"],
    ),
    Feature(
        "knn",
        "`similarity`",
        rrf({"knn": {**NEAR["knn"], "similarity": 0.25}}),
        lambda answer: ids(answer) == ["1", "2"],
    ),
    Feature(
        "knn",
        "`min_score`",
        rrf({"knn": {**NEAR["knn"], "min_score": 0.9}}),
        lambda answer: ids(answer) == ["1", "2"],
        inside=Inside(
            lambda answer: ids(answer) == ["1", "2", "3"],
            note="without effect: Elasticsearch 9.5 ignores it in every kNN retriever; use `similarity`",
        ),
    ),
    Feature(
        "knn",
        "`_name`",
        rrf({"knn": {**NEAR["knn"], "_name": "near"}}),
        lambda answer: answer["hits"]["hits"][0]["matched_queries"] == ["near"],
    ),
    Feature(
        "knn",
        "`rescore_vector`",
        _knn(num_candidates=5, rescore_vector={"oversample": 2.0}),
        lambda answer: "1" in ids(answer),
    ),
    Feature(
        "knn",
        "`visit_percentage`",
        _knn(num_candidates=5, visit_percentage=50),
        lambda answer: "1" in ids(answer),
    ),
    Feature(
        "knn",
        "`query_vector_builder.text_embedding`, on any licence",
        rrf(
            {
                "knn": {
                    "field": "vector",
                    "k": 3,
                    "query_vector_builder": {"text_embedding": {"model_text": "search"}},
                }
            }
        ),
        note="es-rerank's embedder makes the vector",
    ),
    Feature(
        "knn",
        "`query_vector` and `query_vector_builder` together",
        _knn(query_vector_builder={"text_embedding": {"model_text": "x"}}),
        refused="only one of [query_vector] and [query_vector_builder] must be provided",
    ),
    Feature(
        "knn",
        "`num_candidates` under `k`",
        _knn(num_candidates=2),
        refused="[num_candidates] cannot be less than [k]",
    ),
    Feature(
        "rrf",
        "`retrievers`, direct and wrapped",
        rrf(TWO[0], {"retriever": TWO[1]}),
        lambda answer: ids(answer)[0] == "1",
    ),
    Feature(
        "rrf",
        "`weight` (9.2)",
        rrf({"retriever": TWO[0], "weight": 0}, TWO[1]),
        lambda answer: ids(answer) == ["1", "2", "3"],
    ),
    Feature(
        "rrf",
        "`rank_constant`, default 60",
        rrf(NEAR),
        lambda answer: answer["hits"]["hits"][0]["_score"] == 0.016393442,
    ),
    Feature(
        "rrf",
        "a `size` over `rank_window_size` (default 10)",
        rrf(*TWO) | {"size": 11},
        refused="[rrf] requires [rank_window_size: 10] be greater than or equal to [size: 11]",
    ),
    Feature(
        "rrf",
        "`filter`",
        rrf(match("AI"), NEAR, filter={"term": {"year": 2023}}),
        lambda answer: set(ids(answer)) == {"2", "4"},
    ),
    Feature(
        "rrf", "`min_score`", rrf(*TWO, rank_constant=1, min_score=0.4), lambda answer: ids(answer) == ["1"]
    ),
    Feature(
        "rrf",
        "`query` and `fields`",
        {"retriever": {"rrf": {"query": "medicine", "fields": ["text", "topic"]}}},
        lambda answer: ids(answer) == ["2"],
    ),
    Feature(
        "rrf",
        "`query` alone, over the default fields",
        {"retriever": {"rrf": {"query": "medicine"}}},
        lambda answer: ids(answer) == ["2"],
    ),
    Feature(
        "rrf",
        "weights in `fields`",
        {"retriever": {"rrf": {"query": "AI security", "fields": ["text^0", "topic^3"]}}},
        lambda answer: ids(answer)[0] == "3",
    ),
    Feature(
        "rrf",
        "a weight in `fields` that is no number from 0 on",
        {"retriever": {"rrf": {"query": "x", "fields": ["text^-2"]}}},
        refused="[rrf] per-field weights must be non-negative",
        inside=Inside(refused="[es_rrf] [fields] holds [text^-2], whose weight is no number from 0 on"),
    ),
    Feature(
        "rrf",
        "`query` with `retrievers`",
        {"retriever": {"rrf": {"query": "x", "retrievers": [NEAR]}}},
        refused="[rrf] cannot combine [retrievers] and [query]",
    ),
    Feature(
        "rrf", "neither `query` nor `retrievers`", rrf(), refused="[rrf] must provide [retrievers] or [query]"
    ),
    Feature(
        "rrf",
        "a negative `weight`",
        rrf({"retriever": NEAR, "weight": -1}),
        refused="[weight] must be non-negative, found [-1.0]",
    ),
    Feature(
        "rrf",
        "a `rank_window_size` over that of its compound child",
        rrf(rrf(NEAR)["retriever"], rank_window_size=20),
        refused=(
            "[rrf] requires [rank_window_size: 20] to be smaller than or equal to "
            "its sub retriever's rrf [rank_window_size: 10]"
        ),
    ),
    Feature(
        "linear",
        "`weight`",
        linear({"retriever": NEAR, "weight": 3}),
        lambda answer: answer["hits"]["hits"][0]["_score"] == 3.0,
    ),
    Feature(
        "linear",
        "`normalizer` per child: `minmax`",
        linear({"retriever": NEAR, "normalizer": "minmax"}),
        lambda answer: answer["hits"]["hits"][-1]["_score"] == 0.0,
    ),
    Feature(
        "linear",
        "`normalizer` per child: `l2_norm`",
        linear({"retriever": NEAR, "normalizer": "l2_norm"}),
        lambda a: abs(sum(hit["_score"] ** 2 for hit in a["hits"]["hits"]) - 1) < 1e-5,
    ),
    Feature(
        "linear",
        "`normalizer` per child: `none`",
        linear({"retriever": NEAR, "normalizer": "none"}),
        lambda answer: answer["hits"]["hits"][0]["_score"] == 1.0,
    ),
    Feature(
        "linear",
        "`normalizer` of the whole retriever, as the default",
        linear({"retriever": NEAR}, normalizer="minmax"),
        lambda answer: answer["hits"]["hits"][-1]["_score"] == 0.0,
    ),
    Feature(
        "linear",
        "`query`, `fields` with boosts, `normalizer`",
        {
            "retriever": {
                "linear": {"query": "medicine ai", "fields": ["text", "topic^2"], "normalizer": "minmax"}
            }
        },
        lambda answer: ids(answer)[0] == "2",
    ),
    Feature(
        "linear",
        "`min_score`",
        linear({"retriever": NEAR, "normalizer": "minmax"}, min_score=0.5),
        lambda answer: ids(answer) == ["1", "2"],
    ),
    Feature(
        "linear",
        "`filter`",
        linear({"retriever": NEAR}, filter={"term": {"year": 2024}}),
        lambda answer: ids(answer) == ["1", "3", "5"],
    ),
    Feature(
        "linear",
        "`query` without `normalizer`",
        {"retriever": {"linear": {"query": "x"}}},
        refused="[linear] [normalizer] must be provided when [query] is specified",
    ),
    Feature(
        "linear",
        "an unknown `normalizer`",
        linear({"retriever": NEAR, "normalizer": "softmax"}),
        refused="Unknown normalizer [softmax]",
        inside=Inside(refused="unknown normalizer [softmax]; choose one of [none, minmax, l2_norm]"),
    ),
    Feature(
        "linear",
        "a negative `min_score`",
        linear({"retriever": NEAR}, min_score=-1),
        refused="[min_score] must be greater than or equal to 0, was: [-1.0]",
        inside=Inside(),
    ),
    Feature(
        "text_similarity_reranker",
        "`retriever`, `field`, `inference_text`",
        reranker(match("AI")),
        note="`_score` is the probability 0..1",
    ),
    Feature(
        "text_similarity_reranker",
        "`inference_id` of a served model",
        reranker(match("AI"), **MODEL),
        lambda answer: answer["rerank"]["model"] == "my-rerank-model",
        inside=Inside(said_by_rerankers, note="an answer of Elasticsearch has no `rerank` block"),
    ),
    Feature(
        "text_similarity_reranker",
        "`inference_id` left out: the default model",
        reranker(match("AI")),
        lambda answer: answer["rerank"]["status"] == "reranked",
    ),
    Feature(
        "text_similarity_reranker",
        "an unknown `inference_id`",
        reranker(match("AI"), inference_id="other"),
        refused="inference endpoint [other] is not served here",
        status=404,
    ),
    Feature(
        "text_similarity_reranker",
        "an unknown `inference_id` with `allow_rerank_failures`",
        reranker(NEAR, inference_id="other", allow_rerank_failures=True),
        lambda answer: ids(answer) == ["1", "2", "3"],
        note="the order of the first stage, and `reason` says so",
        inside=Inside(lambda answer: ids(answer) == ["1", "2", "3"], note="a `Warning` header says so"),
    ),
    Feature(
        "text_similarity_reranker",
        "a `size` over `rank_window_size` (default 10)",
        reranker(match("AI")) | {"size": 11},
        refused=(
            "[text_similarity_reranker] requires [rank_window_size: 10] "
            "be greater than or equal to [size: 11]"
        ),
    ),
    Feature(
        "text_similarity_reranker",
        "`min_score`",
        reranker(match("AI"), min_score=0.99),
        lambda answer: ids(answer) == [],
        note="compared with the probability",
    ),
    Feature(
        "text_similarity_reranker",
        "`filter`",
        reranker(match("AI"), filter={"term": {"year": 2023}}),
        lambda answer: ids(answer) == ["4"],
    ),
    Feature(
        "text_similarity_reranker",
        "`chunk_rescorer.size`",
        reranker(match("AI"), chunk_rescorer={"size": 2}),
        lambda a: "rerank.passage" in a["hits"]["hits"][0]["fields"],
    ),
    *(
        Feature(
            "text_similarity_reranker",
            f"`chunk_rescorer.chunking_settings`: `{settings['strategy']}`",
            reranker(match("AI"), chunk_rescorer={"chunking_settings": settings}),
            note="`separators` in RE2's syntax, which has no look-around"
            if settings["strategy"] == "recursive"
            else "",
        )
        for settings in (
            {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1},
            {"strategy": "word", "max_chunk_size": 10, "overlap": 2},
            {"strategy": "recursive", "max_chunk_size": 10, "separator_group": "plaintext"},
            {"strategy": "none"},
        )
    ),
    Feature(
        "text_similarity_reranker",
        "`allow_rerank_failures`",
        reranker(match("AI"), inference_id="broken", allow_rerank_failures=True),
        lambda a: a["rerank"]["status"] == "first_stage",
    ),
    Feature(
        "text_similarity_reranker",
        "over a fusion",
        reranker(rrf(*TWO)["retriever"]),
        lambda answer: answer["rerank"]["status"] == "reranked",
    ),
    Feature(
        "text_similarity_reranker",
        "under a fusion, at any depth",
        rrf(rrf(NEAR, reranker(rrf(*TWO)["retriever"])["retriever"])["retriever"]),
        lambda a: a["rerank"]["status"] == "reranked",
    ),
    Feature(
        "text_similarity_reranker",
        "`inference_text` left out",
        {"retriever": {"text_similarity_reranker": {"retriever": NEAR, "field": "text"}}},
        refused="Required [inference_text]",
    ),
    Feature(
        "pinned",
        "`ids`",
        {"retriever": {"pinned": {"ids": ["5", "4"], "retriever": NEAR}}},
        lambda answer: ids(answer) == ["5", "4", "1", "2", "3"],
        inside=NO_PINNED,
    ),
    Feature(
        "pinned",
        "`docs`",
        {"retriever": {"pinned": {"docs": [{"_id": "5", "_index": EXAMPLE}], "retriever": NEAR}}},
        lambda answer: ids(answer)[0] == "5",
        inside=NO_PINNED,
    ),
    Feature(
        "pinned",
        "`rank_window_size`",
        {"retriever": {"pinned": {"ids": ["5"], "retriever": NEAR, "rank_window_size": 2}}, "size": 2},
        lambda answer: ids(answer) == ["5", "1"],
        inside=NO_PINNED,
    ),
    Feature(
        "pinned",
        "over or under any compound",
        rrf({"pinned": {"ids": ["5"], "retriever": rrf(*TWO)["retriever"]}}, rank_window_size=10),
        lambda answer: ids(answer)[0] == "5",
        inside=Inside(refused="unknown field [pinned]", note="the plugin has none"),
    ),
    Feature(
        "pinned",
        "`ids` and `docs` together",
        {"retriever": {"pinned": {"ids": ["5"], "docs": [{"_id": "4"}], "retriever": NEAR}}},
        refused="Both 'ids' and 'docs' cannot be specified at the same time",
        inside=NO_PINNED,
    ),
    Feature(
        "pinned",
        "over a `standard` retriever without a query and without a filter",
        {"retriever": {"pinned": {"ids": ["5"], "retriever": {"standard": {}}}}},
        refused="pinned retriever requires retriever with associated query",
        inside=NO_PINNED,
    ),
    Feature(
        "rescorer",
        "over retrievers that Elasticsearch runs",
        {
            "retriever": {
                "rescorer": {
                    "rescore": {"query": {"rescore_query": {"term": {"year": 2024}}}},
                    "retriever": match("AI"),
                }
            }
        },
        note="forwarded to Elasticsearch unchanged",
    ),
    Feature(
        "rescorer",
        "over a fusion or a reranker",
        {
            "retriever": {
                "rescorer": {
                    "rescore": {"query": {"rescore_query": {"term": {"topic": "security"}}}},
                    "retriever": rrf(*TWO)["retriever"],
                }
            }
        },
        lambda answer: ids(answer)[0] == "3",
        note="Elasticsearch rescores our scores",
    ),
    Feature(
        "rescorer",
        "a `window_size` over the `rank_window_size` of its child",
        {
            "retriever": {
                "rescorer": {
                    "rescore": {"window_size": 20, "query": {"rescore_query": {"match_all": {}}}},
                    "retriever": rrf(NEAR)["retriever"],
                }
            }
        },
        refused=(
            "[rescorer] requires [window_size: 20] to be smaller than or equal to "
            "its sub retriever's rrf [rank_window_size: 10]"
        ),
    ),
    Feature(
        "diversify",
        "over retrievers that Elasticsearch runs, and under one that es-rerank runs",
        rrf(
            {
                "diversify": {
                    "type": "mmr",
                    "field": "vector",
                    "lambda": 0.5,
                    "query_vector": [0.1, 0.2, 0.3],
                    "retriever": NEAR,
                }
            }
        ),
        note="sent to Elasticsearch with its subtree",
    ),
    Feature(
        "diversify",
        "over a retriever that es-rerank runs",
        {
            "retriever": {
                "diversify": {
                    "type": "mmr",
                    "field": "vector",
                    "lambda": 0.5,
                    "retriever": rrf(NEAR)["retriever"],
                }
            }
        },
        refused="[diversify] is run by Elasticsearch alone, with everything under it, and [rrf] is run here",
        inside=Inside(),
    ),
    Feature(
        "rule",
        "over a retriever that es-rerank runs",
        {
            "retriever": {
                "rule": {"ruleset_ids": ["r"], "match_criteria": {}, "retriever": rrf(NEAR)["retriever"]}
            }
        },
        refused="[rule] is run by Elasticsearch alone, with everything under it, and [rrf] is run here",
        inside=NO_RULE,
    ),
    Feature(
        "rule",
        "over retrievers that Elasticsearch runs",
        {"retriever": {"rule": {"ruleset_ids": ["r"], "match_criteria": {"q": "x"}, "retriever": NEAR}}},
        refused="unknown retriever [rule]",
        note="Elasticsearch's own answer: the request is forwarded, and the tests' node has no query rules",
    ),
    Feature(
        "any",
        "an unknown retriever",
        rrf({"standrad": {}}),
        refused="unknown retriever [standrad] did you mean [standard]?",
        inside=Inside(refused="unknown field [standrad]"),
    ),
    Feature(
        "any",
        "an unknown key",
        rrf(NEAR, rank_windw_size=5),
        refused="[retriever.rrf] [rrf] unknown field [rank_windw_size] did you mean [rank_window_size]?",
        inside=Inside(refused="[es_rrf] unknown field [rank_windw_size] did you mean [rank_window_size]?"),
    ),
    Feature(
        "any",
        "a wrong type",
        rrf(NEAR, rank_constant="many"),
        refused="[rrf] failed to parse field [rank_constant]",
    ),
    Feature(
        "request",
        "`from`, `size` (default: the whole window)",
        _request(**{"from": 1, "size": 1}),
        lambda answer: ids(answer) == ["2"],
    ),
    Feature(
        "request",
        "numbers and booleans as strings, whole numbers with decimal places",
        _request(**{"from": "1", "size": 1.0, "version": "true"}),
        lambda answer: ids(answer) == ["2"] and "_version" in answer["hits"]["hits"][0],
    ),
    Feature(
        "request",
        "null",
        _request(size=None),
        refused="Unknown key for a VALUE_NULL in [size].",
    ),
    Feature(
        "request",
        "`from` past the window",
        _request(**{"from": 10}),
        lambda answer: ids(answer) == [],
        note="an empty page",
    ),
    Feature(
        "request",
        "`_source`",
        _request(_source=["year"]),
        lambda answer: answer["hits"]["hits"][0]["_source"] == {"year": 2024},
    ),
    Feature(
        "request",
        "`fields`, `docvalue_fields`",
        _request(fields=["year"], docvalue_fields=["topic"]),
        lambda a: set(a["hits"]["hits"][0]["fields"]) == {"year", "topic"},
    ),
    Feature(
        "request",
        "`stored_fields`",
        _request(stored_fields="_none_", _source=False),
        lambda answer: (
            "_id" not in answer["hits"]["hits"][0] and answer["hits"]["hits"][0]["_score"] == 0.8333334
        ),
    ),
    Feature(
        "request",
        "`version`, `seq_no_primary_term`",
        _request(version=True, seq_no_primary_term=True),
        lambda a: {"_version", "_seq_no"} <= set(a["hits"]["hits"][0]),
    ),
    Feature(
        "request",
        "`runtime_mappings`",
        _request(runtime_mappings={"subject": {"type": "keyword"}}, fields=["subject"]),
    ),
    Feature(
        "request",
        "`highlight`",
        _request(highlight={"fields": {"text": {}}}),
        lambda answer: "highlight" in answer["hits"]["hits"][0],
    ),
    Feature(
        "request",
        "`highlight` of type `plain`",
        _request(highlight={"type": "plain", "fields": {"text": {}}}),
        lambda answer: "<em>" in str(answer["hits"]["hits"][0]["highlight"]["text"]),
    ),
    Feature(
        "request",
        "`inner_hits` of a leaf retriever",
        INNER_HITS,
        lambda answer: _inner(answer) == [["1c", "1b", "1a"], ["2a"], []],
        index=NESTED,
    ),
    Feature(
        "request",
        "`aggs` over the union of the leaf retrievers",
        _request(**AGGS),
        lambda a: (
            {b["key"]: b["doc_count"] for b in a["aggregations"]["years"]["buckets"]} == {2023: 1, 2024: 2}
        ),
    ),
    Feature(
        "request",
        "`aggs` that read scores: `top_hits`, `sampler`",
        _request(
            aggs={
                "best": {"top_hits": {"size": 1}},
                "sample": {"sampler": {"shard_size": 1}, "aggs": {"years": {"max": {"field": "year"}}}},
            },
            size=2,
        ),
        lambda answer: (
            answer["aggregations"]["best"]["hits"]["hits"][0]["_score"] == answer["hits"]["max_score"]
            and answer["aggregations"]["sample"]["doc_count"] == 1
        ),
    ),
    Feature(
        "request",
        "`collapse` over the ranked window",
        _request(collapse={"field": "year"}),
        lambda answer: ids(answer) == ["1", "2"],
    ),
    Feature(
        "request",
        "`post_filter`",
        _request(post_filter={"term": {"year": 2023}}),
        lambda answer: ids(answer) == ["2"],
    ),
    Feature("request", "`min_score`", _request(min_score=0.5), lambda answer: ids(answer) == ["1", "2"]),
    Feature(
        "request",
        "`track_total_hits`",
        _request(track_total_hits=False),
        lambda answer: "total" not in answer["hits"],
    ),
    Feature(
        "request",
        "`explain`",
        _request(explain=True),
        lambda answer: "rankConstant: [1]" in answer["hits"]["hits"][0]["_explanation"]["description"],
        inside=EXPLAINED,
    ),
    Feature(
        "request",
        "`profile`",
        _request(profile=True),
        lambda answer: bool(answer["profile"]["shards"]),
        note="of the page only, as in Elasticsearch",
    ),
    Feature(
        "request",
        "`suggest`",
        _request(suggest={"s": {"text": "informaton", "term": {"field": "text"}}}),
        lambda answer: answer["suggest"]["s"][0]["options"][0]["text"] == "information",
    ),
    Feature("request", "`timeout`", _request(timeout="5s"), lambda answer: answer["timed_out"] is False),
    Feature(
        "request",
        "`indices_boost`",
        _request(indices_boost=[{EXAMPLE: 2.0}]),
        lambda a: a["hits"]["max_score"] == 0.8333334,
        note="without effect on the scores of a compound retriever, as in Elasticsearch",
    ),
    Feature(
        "request",
        "`routing`, `preference`, `search_type`",
        _request(),
        note="`dfs_query_then_fetch` is used for the leaf retrievers, unlike in Elasticsearch",
        parameters={"preference": "_local", "search_type": "dfs_query_then_fetch"},
        inside=Inside(note="as in Elasticsearch"),
    ),
    Feature(
        "request",
        "several indices, aliases, `ignore_unavailable`",
        _request(),
        parameters={"index": f"{EXAMPLE},absent", "ignore_unavailable": True},
    ),
    Feature(
        "request",
        "`typed_keys`, `rest_total_hits_as_int`",
        _request(**AGGS),
        lambda a: "lterms#years" in a["aggregations"] and a["hits"]["total"] == 3,
        parameters={"typed_keys": True, "rest_total_hits_as_int": True},
    ),
    Feature(
        "request",
        "`filter_path`, on the final answer",
        _request(),
        lambda answer: set(answer) == {"hits"} and set(answer["hits"]) == {"max_score"},
        parameters={"filter_path": "hits.max_score"},
    ),
    Feature(
        "request",
        "`suggest_field`, `suggest_text`, `suggest_mode` in the URL",
        _request(),
        lambda answer: answer["suggest"]["text"][0]["options"][0]["text"] == "information",
        parameters={"suggest_field": "text", "suggest_text": "informaton", "suggest_mode": "missing"},
    ),
    *(
        Feature(
            "request",
            f"`{key}` beside a retriever",
            _request(**{key: value}),
            refused=f"cannot specify [retriever] and [{key}]",
        )
        for key, value in (
            ("query", {"match_all": {}}),
            ("knn", NEAR["knn"]),
            ("sort", ["_doc"]),
            ("search_after", [1]),
            ("terminate_after", 1),
            ("rescore", {"query": {"rescore_query": {"match_all": {}}}}),
        )
    ),
    Feature(
        "request",
        "`scroll`",
        _request(),
        refused="cannot specify [rrf] and [scroll]",
        parameters={"scroll": "1m"},
    ),
    Feature(
        "request",
        "`slice`",
        _request(slice={"id": 0, "max": 2}),
        refused="[slice] cannot be combined with a compound retriever",
        inside=Inside(refused="[slice] can only be used with [scroll] or [point-in-time] requests"),
    ),
    Feature(
        "request",
        "an unknown key",
        _request(highlite={}),
        refused="Unknown key in [highlite]. did you mean [highlight]?",
        inside=Inside(refused="Unknown key for a START_OBJECT in [highlite]."),
    ),
]


WAYS = ("outside Elasticsearch", "inside, by the plugin")
SAME = "the same"


def tables() -> str:
    """Return both tables as Markdown."""
    features, of = [], ""
    for each in FEATURES:
        kind = each.of if each.of in ("any", "request") else f"`{each.of}`"
        here = f"refused ({each.status}): «{each.refused}»" if each.refused else "served"
        note = f"; {each.note}" if each.note else ""
        within = each.inside.outcome if each.inside else SAME
        features.append(f"| {'' if each.of == of else kind} | {each.what} | {here}{note} | {within} |")
        of = each.of
    examples, page = [], ""
    for example in EXAMPLES:
        named = "" if example.page == page else example.page
        within = example.inside.outcome if example.inside else SAME
        examples.append(f"| {named} | {example.heading} | {example.outcome} | {within} |")
        page = example.page
    return _folded(
        f"{len(FEATURES)} features of Elastic's reference",
        ("retriever", "feature", *WAYS),
        "\n".join(features),
    ) + _folded(
        f"{len(EXAMPLES)} examples of Elastic's retriever documentation",
        ("page", "example", *WAYS),
        "\n".join(examples),
    )


def _folded(summary: str, columns: tuple[str, ...], rows: str) -> str:
    header = f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    return f"<details><summary>{summary}</summary>\n\n{header}\n{rows}\n\n</details>\n\n"


def written(readme: str) -> str:
    """Return a README with today's tables between its markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{len(FEATURES)} features and {len(EXAMPLES)} examples written into {README.name}\n")

"""What a search through the plugin gives, each against a calculation that the plugin has no part in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, ElasticsearchWarning
from elasticsearch.helpers import bulk
from plugin_searches import first_stage, rerank
from tiny_models import tiny_cross_encoder

from es_rerank import load_reranker

NAME = "plugin-searches"
DOCUMENTS = 60
WANTED = "moon over the river"
Probabilities = Callable[[Sequence[int]], list[float]]
MAPPINGS = {
    "properties": {
        "text": {"type": "text"},
        "n": {"type": "long"},
        "half": {"type": "keyword"},
        "vector": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
    }
}


def text_of(number: int) -> str:
    return f"river {'moon ' * (number % 4)}number {number}"


@pytest.fixture(scope="module")
def es(plugin_es: Elasticsearch, plugin_sidecar: str) -> Iterator[Elasticsearch]:
    """The node, whose index of 60 documents on three shards has the ids 0 to 59."""
    plugin_es.options(ignore_status=404).indices.delete(index=NAME)
    settings = {"number_of_shards": 3, "number_of_replicas": 0}
    plugin_es.indices.create(index=NAME, mappings=MAPPINGS, settings=settings)
    documents = (
        {
            "_id": str(number),
            "text": text_of(number),
            "n": number,
            "half": "lower" if number < DOCUMENTS / 2 else "upper",
            "vector": [number, 1],
        }
        for number in range(DOCUMENTS)
    )
    bulk(plugin_es, documents, index=NAME, refresh="wait_for")
    yield plugin_es
    plugin_es.indices.delete(index=NAME)


@pytest.fixture(scope="module")
def probabilities(tmp_path_factory: pytest.TempPathFactory) -> Probabilities:
    """Calculates the probability of documents for ``WANTED``, from the logits of the sidecar's model."""
    reranker = load_reranker(tiny_cross_encoder(tmp_path_factory.mktemp("model")))

    def of(numbers: Sequence[int]) -> list[float]:
        logits = reranker.score(WANTED, [text_of(number) for number in numbers]).values
        return [1 / (1 + math.exp(-float(logit))) for logit in logits]

    return of


def best(probabilities: Probabilities, numbers: Sequence[int]) -> list[tuple[str, Any]]:
    """Return (id, score) of documents, the best first."""
    pairs = zip(numbers, probabilities(numbers), strict=True)
    return [
        (str(number), pytest.approx(score, rel=1e-6))
        for number, score in sorted(pairs, key=lambda pair: -pair[1])
    ]


def scores(answer: Any) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


def reranked(child: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    return rerank(child, **{"inference_text": WANTED, "rank_window_size": DOCUMENTS, **parameters})


def knn(**parameters: Any) -> dict[str, Any]:
    return {"knn": {"field": "vector", "query_vector": [0, 1], "k": 3, "num_candidates": 60, **parameters}}


def rrf(*children: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {"es_rrf": {"retrievers": list(children), **parameters}}


def refused(es: Elasticsearch, retriever: dict[str, Any], index: str = NAME) -> tuple[int, str]:
    """Return status and sentence of a search that is refused."""
    with pytest.raises(ApiError) as caught:
        es.search(index=index, retriever=retriever)
    return caught.value.status_code, caught.value.body["error"]["root_cause"][0]["reason"]


# -- what Elasticsearch computes over the order --------------------------------------------------------------


def test_top_hits_have_the_scores_of_the_reranker(es: Elasticsearch, probabilities: Probabilities) -> None:
    aggs = {"halves": {"terms": {"field": "half"}, "aggs": {"best": {"top_hits": {"size": 4}}}}}
    answer = es.search(index=NAME, retriever=reranked(), size=1, aggs=aggs).body
    buckets = {bucket["key"]: bucket for bucket in answer["aggregations"]["halves"]["buckets"]}
    for key, numbers in (("lower", range(30)), ("upper", range(30, 60))):
        assert buckets[key]["doc_count"] == 30
        assert scores(buckets[key]["best"]) == best(probabilities, numbers)[:4]


def test_a_plain_highlighter_marks_the_words_of_a_leaf(es: Elasticsearch) -> None:
    leaf = {"standard": {"query": {"match": {"text": "moon"}}}}
    answer = es.search(
        index=NAME,
        retriever=rrf(reranked(leaf), knn(), rank_window_size=20),
        highlight={"fields": {"text": {"type": "plain", "number_of_fragments": 0}}},
    )
    for hit in answer["hits"]["hits"]:
        text = text_of(int(hit["_id"]))
        marked = text.replace("moon", "<em>moon</em>")
        assert hit.get("highlight", {}).get("text", [text]) == [marked]


def test_an_explanation_holds_the_scores_of_all_stages(
    es: Elasticsearch, probabilities: Probabilities
) -> None:
    answer = es.search(index=NAME, retriever=reranked(rrf(knn(), rank_window_size=60)), size=1, explain=True)
    top = answer["hits"]["hits"][0]
    assert scores(answer) == best(probabilities, range(3))[:1]
    said = str(top["_explanation"])
    for score in (top["_score"], top["fields"]["rerank.first_stage_score"][0]):
        assert f"with an original score of [{score}]" in said


def test_names_of_the_root_and_of_leaves_are_matched_queries(es: Elasticsearch) -> None:
    # Elasticsearch leaves out the name of a compound between a root and leaves, also of its own retrievers.
    words = {"standard": {"query": {"match": {"text": "river"}}, "_name": "words"}}
    near = knn(_name="near")
    answer = es.search(index=NAME, retriever=reranked(rrf(words, near, rank_window_size=60), _name="root"))
    names = {hit["_id"]: set(hit["matched_queries"]) for hit in answer["hits"]["hits"]}
    assert names == {each: {"root", "words"} | ({"near"} if int(each) < 3 else set()) for each in names}


# -- windows and depth ---------------------------------------------------------------------------------------


def test_a_fusion_of_windows_of_5000_is_right(es: Elasticsearch, plugin_index: str) -> None:
    count = 6000
    es.indices.create(index=plugin_index, mappings={"properties": {"n": {"type": "long"}}})
    documents = ({"_id": str(number), "n": number} for number in range(1, count + 1))
    bulk(es, documents, index=plugin_index, refresh="wait_for", chunk_size=3000)
    by_n = {"query": {"match_all": {}}, "field_value_factor": {"field": "n"}, "boost_mode": "replace"}
    high = {"standard": {"query": {"function_score": by_n}}}
    reciprocal = {**by_n, "field_value_factor": {"field": "n", "modifier": "reciprocal"}}
    low = {"standard": {"query": {"function_score": reciprocal}}}
    answer = es.search(
        index=plugin_index,
        retriever=rrf(high, low, rank_window_size=5000),
        size=5000,
        source=False,
        aggs={"most": {"max": {"field": "n"}}},
    ).body
    expected = {
        str(number): sum(1 / (60 + rank) for rank in (count + 1 - number, number) if rank <= 5000)
        for number in range(1, count + 1)
    }
    highest = sorted(expected.values(), reverse=True)[:5000]
    assert [score for _, score in scores(answer)] == pytest.approx(highest, rel=1e-6)
    assert all(score == pytest.approx(expected[each], rel=1e-6) for each, score in scores(answer))
    assert len({each for each, _ in scores(answer)}) == 5000
    assert answer["aggregations"]["most"]["value"] == count


def test_a_window_beyond_what_the_sidecar_takes_is_one_sentence(es: Elasticsearch, plugin_index: str) -> None:
    es.indices.create(index=plugin_index, mappings=MAPPINGS)
    documents = ({"_id": str(number), "text": "moon", "n": number} for number in range(1, 1202))
    bulk(es, documents, index=plugin_index, refresh="wait_for", chunk_size=1500)
    sentence = (
        "the sidecar refused: 1201 documents are more than one request may hold "
        "(1000, setting max_documents); send them in parts"
    )
    assert refused(es, reranked(rank_window_size=5000), plugin_index) == (413, sentence)


def deep(levels: int, **parameters: Any) -> dict[str, Any]:
    """Return compounds above one another, of the three kinds in turn."""
    tree = first_stage()
    for level in range(levels):
        if level % 3 == 0:
            tree = reranked(tree, **parameters)
        elif level % 3 == 1:
            tree = rrf(tree, rank_window_size=DOCUMENTS)
        else:
            tree = {"es_linear": {"retrievers": [{"retriever": tree}], "rank_window_size": DOCUMENTS}}
    return tree


def test_eight_compounds_may_stand_above_one_another(es: Elasticsearch, probabilities: Probabilities) -> None:
    order = [each for each, _ in best(probabilities, range(DOCUMENTS))]
    for tree in (deep(8), deep(8, min_score=0.01), deep(8, min_probability=0.01)):
        answer = es.search(index=NAME, retriever=tree, size=DOCUMENTS)
        assert [each for each, _ in scores(answer)] == order


@pytest.mark.parametrize("levels", [9, 12])
def test_more_than_eight_compounds_above_one_another_are_refused(es: Elasticsearch, levels: int) -> None:
    status, sentence = refused(es, deep(levels))
    assert status == 400
    assert sentence == (
        "Validation Failed: 1: at most [8] compound retrievers can stand above one another; take one out;"
    )


# -- what a hit says -----------------------------------------------------------------------------------------


def test_hits_say_what_the_reranker_said_also_below_compounds(
    es: Elasticsearch, probabilities: Probabilities
) -> None:
    inner = reranked(knn())
    answer = es.search(index=NAME, retriever=rrf(rrf(inner), knn(k=5)), fields=[{"field": "n"}])
    expected = dict(zip("012", probabilities(range(3)), strict=True))
    assert [hit["_id"] for hit in answer["hits"]["hits"]][3:] == ["3", "4"]
    for hit in answer["hits"]["hits"]:
        fields, number = hit["fields"], int(hit["_id"])
        assert fields["n"] == [number]
        if number >= 3:  # the reranker did not see it
            assert set(fields) == {"n"}
            continue
        probability = expected[hit["_id"]]
        assert fields["rerank.probability"] == [pytest.approx(probability, rel=1e-6)]
        logit = math.log(probability / (1 - probability))
        assert fields["rerank.logit"] == [pytest.approx(logit, abs=1e-5)]
        assert fields["rerank.first_stage_score"] == [pytest.approx(1 / (1 + number**2), rel=1e-3)]
        assert fields["rerank.first_stage_rank"] == [number + 1]


# -- filters and failures ------------------------------------------------------------------------------------


def test_a_filter_reaches_the_leaves(es: Elasticsearch, probabilities: Probabilities) -> None:
    upper = {"term": {"half": "upper"}}
    for tree in (
        reranked(rrf(knn(), rank_window_size=60), filter=upper),
        reranked(rrf(knn(), filter=upper, rank_window_size=60)),
        reranked(knn(), filter=[upper, {"range": {"n": {"gte": 0}}}]),
    ):
        # A filter after the leaf would leave none: the nearest three of all are 0, 1 and 2.
        assert scores(es.search(index=NAME, retriever=tree)) == best(probabilities, [30, 31, 32])


def test_the_order_of_the_first_stage_stays_where_failures_are_allowed(es: Elasticsearch) -> None:
    by_n = {"standard": {"query": {"match_all": {}}, "sort": [{"n": "desc"}]}}
    expected = [str(number) for number in range(59, 49, -1)]
    for child in (first_stage(), by_n):
        failing = rerank(child, inference_id="absent", allow_rerank_failures=True, min_score=0.99)
        for tree in (failing, rrf(failing)):
            with pytest.warns(ElasticsearchWarning, match="the order of the first stage stays") as said:
                answer = es.search(index=NAME, retriever=tree)
            assert [each for each, _ in scores(answer)] == expected
            assert "inference endpoint [absent] is not served here" in str(said[0].message)
    assert refused(es, rerank(inference_id="absent")) == (
        404,
        (
            "the sidecar refused: inference endpoint [absent] is not served here; "
            "served rerankers: tiny-cross-encoder"
        ),
    )


def test_a_field_that_no_index_has_is_named(es: Elasticsearch) -> None:
    assert refused(es, rerank(field="body")) == (
        400,
        f"[es_rerank] no field with text [body] in [{NAME}]; check the name in the mapping",
    )


@pytest.mark.parametrize("weight", [-1, "NaN", "Infinity", 1e39])
def test_a_weight_is_a_number_from_0_on(es: Elasticsearch, weight: Any) -> None:
    child = {"retriever": first_stage(), "weight": weight}
    for tree in (rrf(child), {"es_linear": {"retrievers": [child]}}):
        with pytest.raises(ApiError) as caught:
            es.search(index=NAME, retriever=tree)
        assert caught.value.status_code == 400
        assert "[weight] must be non-negative" in str(caught.value.body)


@pytest.mark.parametrize("name", ["min_score", "min_probability"])
def test_a_minimum_is_a_number(es: Elasticsearch, name: str) -> None:
    minimum: dict[str, Any] = {name: "NaN"}
    status, sentence = refused(es, rerank(**minimum))
    assert (status, sentence) == (400, f"[{name}] must be a number, found [NaN]; scores are from 0 to 1")


@pytest.mark.parametrize("kind", ["es_rrf", "es_linear"])
def test_a_minimum_of_a_fusion_is_a_number(es: Elasticsearch, kind: str) -> None:
    tree = {kind: {"retrievers": [{"retriever": first_stage()}], "min_score": "NaN"}}
    sentence = "[min_score] must be a number, found [NaN]; leave it out for no minimum"
    assert refused(es, tree) == (400, sentence)


def test_a_wrong_request_stays_wrong_where_failures_are_allowed(es: Elasticsearch) -> None:
    status, sentence = refused(es, rerank(aggregation="best", allow_rerank_failures=True))
    assert status == 400
    assert 'Unknown aggregation [best]; use "max", "first", "mean"' in sentence


def test_passages_of_nested_objects_in_nested_objects_are_read(es: Elasticsearch, plugin_index: str) -> None:
    inner = {"type": "nested", "properties": {"text": {"type": "text"}}}
    mappings = {
        "properties": {"n": {"type": "long"}, "outer": {"type": "nested", "properties": {"in": inner}}}
    }
    es.indices.create(index=plugin_index, mappings=mappings)
    outer = [{"in": [{"text": "one"}, {"text": WANTED}]}, {"in": [{"text": "three"}]}]
    es.index(index=plugin_index, id="1", document={"n": 1, "outer": outer}, refresh=True)
    answer = es.search(index=plugin_index, retriever=reranked(field="outer.in.text"))
    (hit,) = answer["hits"]["hits"]
    assert hit["fields"]["rerank.passage"][0]["text"] in {"one", WANTED, "three"}


def test_an_object_is_no_text(es: Elasticsearch, plugin_index: str) -> None:
    es.indices.create(index=plugin_index, mappings={"properties": {"at": {"type": "geo_point"}}})
    es.index(index=plugin_index, id="1", document={"n": 1, "at": {"lat": 1, "lon": 2}}, refresh=True)
    with pytest.warns(
        ElasticsearchWarning, match=r"none of the 1 documents of the window has text in \[at\];"
    ):
        answer = es.search(index=plugin_index, retriever=rerank(field="at"))
    assert scores(answer) == [("1", 1.0)], "the order of the first stage"


def test_what_was_not_read_is_told_in_a_header(es: Elasticsearch, plugin_index: str) -> None:
    passages = {"type": "nested", "properties": {"text": {"type": "text"}}}
    es.indices.create(index=plugin_index, mappings={"properties": {"passages": passages}})
    many = [{"text": f"passage {number}"} for number in range(40)]
    es.index(index=plugin_index, id="1", document={"n": 1, "passages": many}, refresh=True)
    with pytest.warns(ElasticsearchWarning, match=r"of 1 of 1 documents the first 32 passages were read"):
        es.search(index=plugin_index, retriever=reranked(field="passages.text"))
    with pytest.warns(ElasticsearchWarning, match="passages were cut to the model's length"):
        es.search(index=NAME, retriever=reranked(inference_text="moon " * 2_000))


def test_passages_that_source_lacks_are_not_read(es: Elasticsearch, plugin_index: str) -> None:
    """The README says so; outside Elasticsearch they are read."""
    stored = {"type": "nested", "properties": {"text": {"type": "text", "store": True}}}
    properties = {"passages": stored, "n": {"type": "long"}}
    es.indices.create(index=plugin_index, mappings={"_source": {"enabled": False}, "properties": properties})
    es.index(index=plugin_index, id="1", document={"passages": [{"text": "moon"}], "n": 1}, refresh=True)
    with pytest.warns(ElasticsearchWarning, match="none of the 1 documents of the window has text"):
        es.search(index=plugin_index, retriever=reranked(field="passages.text"))


def test_an_index_without_source_has_no_text(es: Elasticsearch, plugin_index: str) -> None:
    mappings = {"_source": {"enabled": False}, "properties": MAPPINGS["properties"]}
    es.indices.create(index=plugin_index, mappings=mappings)
    es.index(index=plugin_index, id="1", document={"text": "moon", "n": 1}, refresh=True)
    for allowed in (False, True):
        with pytest.warns(ElasticsearchWarning) as said:
            answer = es.search(index=plugin_index, retriever=rerank(allow_rerank_failures=allowed))
        assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["1"]
        assert "fields" not in answer["hits"]["hits"][0]
        assert str(said[0].message) == (
            f"[es_rerank] none of the 1 documents of the window has text in [text]: index [{plugin_index}] "
            "keeps no [_source]; name a field that they have, or index them with [_source]"
        )


def test_documents_of_an_index_without_the_field_are_counted_in_a_header(
    es: Elasticsearch, plugin_index: str, probabilities: Probabilities
) -> None:
    es.indices.create(index=plugin_index, mappings={"properties": {"n": {"type": "long"}}})
    es.index(index=plugin_index, id="other", document={"n": 1}, refresh=True)
    with pytest.warns(ElasticsearchWarning, match=r"1 of 61 documents have no text in \[text\]"):
        answer = es.search(index=[NAME, plugin_index], retriever=reranked(rank_window_size=100), size=100)
    found = [pair for pair in scores(answer) if pair[0] != "other"]
    assert found == best(probabilities, range(DOCUMENTS))


def test_shards_that_fail_in_the_first_stage_are_told_by_every_retriever(
    es: Elasticsearch, plugin_index: str
) -> None:
    es.indices.create(index=plugin_index, mappings={"properties": {"text": {"type": "long"}}})
    es.index(index=plugin_index, id="other", document={"text": 1}, refresh=True)
    leaf = {"standard": {"query": {"match": {"text": "moon"}}}}
    for name, tree in (
        ("es_rrf", rrf(leaf)),
        ("es_linear", {"es_linear": {"retrievers": [{"retriever": leaf}]}}),
        ("es_rerank", reranked(leaf)),
        ("es_rrf", reranked(rrf(leaf, rank_window_size=DOCUMENTS))),
    ):
        with pytest.warns(ElasticsearchWarning) as said:
            answer = es.search(index=[NAME, plugin_index], retriever=tree, track_total_hits=False)
        assert answer["hits"]["hits"]
        sentences = [str(warning.message) for warning in said]
        assert any(
            sentence.startswith(f"[{name}] 1 of 4 shards failed in the first stage: failed to create query")
            for sentence in sentences
        ), sentences


def test_a_caller_who_wants_no_partial_results_gets_an_error_of_every_retriever(
    es: Elasticsearch, plugin_index: str
) -> None:
    es.indices.create(index=plugin_index, mappings={"properties": {"text": {"type": "long"}}})
    es.index(index=plugin_index, id="other", document={"text": 1}, refresh=True)
    leaf = {"standard": {"query": {"match": {"text": "moon"}}}}
    trees = [
        rrf(leaf),
        {"es_linear": {"retrievers": [{"retriever": leaf}]}},
        reranked(leaf),
        reranked(rrf(leaf, rank_window_size=DOCUMENTS)),
    ]
    where = [NAME, plugin_index]
    for tree in trees:
        with pytest.raises(BadRequestError) as caught:
            es.search(index=where, retriever=tree, allow_partial_search_results=False)
        assert "failed to create query" in str(caught.value.body)
        assert es.search(index=NAME, retriever=tree, allow_partial_search_results=False)["hits"]["hits"]
    searches: list[dict[str, Any]] = [
        {"index": where, "allow_partial_search_results": False},
        {"retriever": trees[0]},
        {"index": where},
        {"retriever": trees[0]},
    ]
    with pytest.warns(ElasticsearchWarning) as said:
        refused, partial = es.msearch(searches=searches)["responses"]
    assert any("1 of 4 shards failed in the first stage" in str(warning.message) for warning in said)
    assert (refused["status"], partial["status"]) == (400, 200), "each search says it for itself"


# -- limits that the README names ----------------------------------------------------------------------------


def test_equal_scores_are_in_the_order_of_the_index(es: Elasticsearch, plugin_index: str) -> None:
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    es.indices.create(index=plugin_index, mappings=MAPPINGS, settings=settings)
    documents = ({"_id": str(number), "text": "moon", "n": number} for number in range(20))
    bulk(es, documents, index=plugin_index, refresh="wait_for")
    last_first = {"standard": {"query": {"match_all": {}}, "sort": [{"n": "desc"}]}}
    answer = es.search(index=plugin_index, retriever=reranked(last_first), size=20)
    assert [each for each, _ in scores(answer)] == [str(number) for number in range(20)]
    assert len({score for _, score in scores(answer)}) == 1


def test_a_post_filter_may_bring_documents_that_were_not_ranked(
    es: Elasticsearch, probabilities: Probabilities
) -> None:
    leaf = {"standard": {"query": {"match_all": {}}, "sort": [{"n": "asc"}]}}
    kept = {"range": {"n": {"gte": 2}}}
    answer = es.search(index=NAME, retriever=reranked(leaf, rank_window_size=4), size=4, post_filter=kept)
    found = scores(answer)
    ranked = [pair for pair in best(probabilities, range(4)) if int(pair[0]) >= 2]
    assert found[:2] == ranked
    assert [score for _, score in found[2:]] == [0.0, 0.0]
    assert all(int(each) >= 4 for each, _ in found[2:])


def test_statistics_of_all_shards_are_not_used_for_leaves(es: Elasticsearch) -> None:
    leaf = {"standard": {"query": {"match": {"text": "moon number 7"}}}}
    fused = {"es_linear": {"rank_window_size": DOCUMENTS, "retrievers": [{"retriever": leaf}]}}

    def found(retriever: dict[str, Any], search_type: str) -> list[tuple[str, float]]:
        return sorted(scores(es.search(index=NAME, retriever=retriever, size=60, search_type=search_type)))

    ways = ("query_then_fetch", "dfs_query_then_fetch")
    alone, over = ([found(tree, way) for way in ways] for tree in (leaf, fused))
    assert alone[0] != alone[1]
    expected: list[tuple[str, Any]] = [(each, pytest.approx(score)) for each, score in alone[0]]
    assert over[0] == over[1]
    assert over[0] == expected


@pytest.mark.parametrize(
    ("more", "marked"),
    [
        ({}, True),
        ({"track_total_hits": False}, False),
        ({"track_total_hits": False, "aggs": {"m": {"max": {"field": "n"}}}}, True),
    ],
    ids=str,
)
def test_without_totals_and_aggregations_nothing_is_marked(
    es: Elasticsearch, more: dict[str, Any], marked: bool
) -> None:
    """It is Elasticsearch's own way, which the README tells."""
    leaf = {"standard": {"query": {"match": {"text": "moon"}}}}
    answer = es.search(index=NAME, retriever=reranked(leaf), highlight={"fields": {"text": {}}}, **more)
    assert all(("highlight" in hit) == marked for hit in answer["hits"]["hits"])

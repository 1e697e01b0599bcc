"""Measuring: against numbers worked out by hand, and against scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluations import write_collection
from scipy import stats

from es_rerank.collection import read_corpus, read_qrels, read_queries
from es_rerank.errors import SettingsError, SourceError
from es_rerank.research.evaluation.experiment import observed
from es_rerank.research.evaluation.measures import Measures, compared, mean, measures_by_query, run_of
from es_rerank.research.evaluation.packaged import Drawn, by_hash, draw, packaged
from es_rerank.research.evaluation.topics import read_topics, the_split

# --- measures -----------------------------------------------------------------------------------------------


def test_measures_are_those_worked_out_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 0}}
    measures = measures_by_query(qrels, {"q": run_of(["x", "b", "a", "c"])})["q"]
    ideal = 2 + 1 / math.log2(3)
    assert measures.ndcg_at_10 == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / ideal)
    assert measures.rr_at_10 == pytest.approx(1 / 2)
    assert measures.recall_at_100 == 1.0


def test_the_tenth_counts_and_the_eleventh_does_not() -> None:
    qrels = {"tenth": {"a": 1}, "eleventh": {"a": 1}}
    found = measures_by_query(
        qrels, {"tenth": run_of([*map(str, range(9)), "a"]), "eleventh": run_of([*map(str, range(10)), "a"])}
    )
    assert found["tenth"] == Measures(ndcg_at_10=1 / math.log2(11), rr_at_10=0.1, recall_at_100=1.0)
    assert found["eleventh"] == Measures(ndcg_at_10=0.0, rr_at_10=0.0, recall_at_100=1.0)


def test_a_query_without_hits_counts_as_zero() -> None:
    nothing = Measures(ndcg_at_10=0.0, rr_at_10=0.0, recall_at_100=0.0)
    assert measures_by_query({"q": {"a": 1}, "r": {"a": 1}}, {"q": {}}) == {"q": nothing, "r": nothing}
    assert measures_by_query({"q": {"a": 1}}, {}) == {"q": nothing}


def test_an_order_has_no_ties_that_trec_eval_would_break_by_name() -> None:
    assert measures_by_query({"q": {"a": 1}}, {"q": run_of(["a", "z"])})["q"].rr_at_10 == 1.0
    assert measures_by_query({"q": {"z": 1}}, {"q": run_of(["z", "a"])})["q"].rr_at_10 == 1.0


def _of(values: Sequence[float]) -> dict[str, Measures]:
    return {
        str(position): Measures(ndcg_at_10=value, rr_at_10=0.0, recall_at_100=0.0)
        for position, value in enumerate(values)
    }


def test_the_paired_test_is_scipys() -> None:
    before, after = [0.2, 0.5, 0.9, 0.4, 0.6], [0.4, 0.5, 0.8, 0.9, 0.7]
    difference = compared(_of(before), _of(after))
    assert difference.p_value == pytest.approx(stats.ttest_rel(after, before).pvalue)
    assert difference.ndcg_at_10 == pytest.approx(0.14)
    assert (difference.wins, difference.losses, difference.ties) == (3, 1, 1)


@pytest.mark.parametrize(
    ("before", "after", "p_value"),
    [([0.5], [0.7], None), ([0.5, 0.2], [0.5, 0.2], 1.0), ([0.0, 0.0], [1.0, 1.0], 0.0)],
)
def test_where_the_t_statistic_does_not_exist_the_p_value_is_its_limit(
    before: list[float], after: list[float], p_value: float | None
) -> None:
    assert compared(_of(before), _of(after)).p_value == p_value


def test_the_mean_is_over_queries() -> None:
    assert mean(_of([0.0, 0.5, 1.0]).values()).ndcg_at_10 == pytest.approx(0.5)


# --- the packaged collection --------------------------------------------------------------------------------


def test_the_packaged_collection_is_what_its_attribution_says() -> None:
    folder = packaged()
    corpus = {document.id: document for document in read_corpus(folder)}
    qrels, queries = read_qrels(folder, "test"), read_queries(folder)
    assert set(qrels) == set(queries)
    assert all(name in corpus for judged in qrels.values() for name in judged)
    assert all(max(judged.values()) == 1 for judged in qrels.values())
    judgements = [grade for judged in qrels.values() for grade in judged.values()]
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert (
        f"{len(queries)} questions, {len(corpus):,} sentences of Wikipedia articles, "
        f"{len(judgements):,} judgements, {sum(judgements)} of them"
    ) in text
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_the_packaged_collection_has_no_fault_and_is_small() -> None:
    topics = read_topics(packaged(), "test")
    assert (len(topics.queries), topics.skipped, topics.documents) == (300, 0, 6_135)
    assert sum(path.stat().st_size for path in packaged().rglob("*")) < 1_500_000


@pytest.fixture
def both_splits(tmp_path: Path) -> Path:
    """A source in which ``test`` shares a sentence with ``dev`` by id (d1)
    and another by its text (d2, t2).
    """
    texts = {
        "d1": "one",
        "d2": "two",
        "t1": "three",
        "t2": "Two ",
        "t3": "four",
        "t4": "five",
        "t5": "three",
        "t6": "six",
    }
    rows = {
        "dev": [("dev0", "d1", 1), ("dev0", "d2", 0)],
        "test": [
            ("a", "t1", 1),
            ("a", "t3", 0),
            ("b", "d1", 1),
            ("b", "t4", 0),
            ("c", "t2", 1),
            ("d", "t5", 0),
            ("e", "t6", 1),
        ],
    }
    return write_collection(
        tmp_path / "source",
        texts,
        {name: f"question {name}" for name in ("dev0", "a", "b", "c", "d", "e")},
        rows,
    )


def test_a_draw_leaves_out_what_was_trained_on_and_copies_of_what_is_judged(
    both_splits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert draw(both_splits, out, questions=10, others=10) == Drawn(
        questions=2, documents=4, judgements=3, relevant=2
    )
    assert {document.id for document in read_corpus(out)} == {
        "t1",
        "t3",
        "t4",
        "t6",
    }  # d1, d2, t2 read as in dev; t5 is a copy of the answer t1
    assert read_qrels(out, "test") == {"a": {"t1": 1, "t3": 0}, "e": {"t6": 1}}


def test_a_draw_is_the_same_each_time(both_splits: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        draw(both_splits, tmp_path / name, questions=1, others=1)
    for path in ("corpus.jsonl.gz", "queries.jsonl.gz", "qrels/test.tsv"):
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes()
    assert list(read_queries(tmp_path / "first")) == by_hash(["a", "e"])[:1]


# --- topics -------------------------------------------------------------------------------------------------


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    rows = [("q1", "a", 0), ("q1", "gone", 0), ("q2", "a", 0), ("absent", "a", 0)]
    folder = write_collection(tmp_path / "c", {"a": "text"}, {"q1": "words", "q2": " "}, {"test": rows})
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "a", "text": "again"}\n')
    with pytest.raises(SourceError) as caught:
        read_topics(folder, "test")
    assert caught.value.message.splitlines()[1:] == [
        "- 1 documents have the id of another one: 'a'",
        "- 1 judged queries are not in queries.jsonl: 'absent'",
        "- 1 judged queries have no words: 'q2'",
        "- no query has a relevant document (a judgement above 0)",
    ]


def test_files_that_cannot_be_read_come_in_one_report_too(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c", {"a": "text"}, {"q": "words"}, {"test": [("q", "a", 1)]})
    (folder / "corpus.jsonl").write_text("not JSON\n")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(SourceError) as caught:
        read_topics(folder, "tset")
    faults = caught.value.message.splitlines()[1:]
    assert len(faults) == 3
    assert "line 1: not JSON" in faults[0]
    assert "queries.jsonl" in faults[1]
    assert faults[2].endswith("no split 'tset'; splits with judgements: test")


def test_queries_without_a_relevant_document_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [("q1", "a", 2), ("q2", "a", 0), ("q3", "a", -1), ("q4", "a", 1)]
    folder = write_collection(
        tmp_path / "c", {"a": "text"}, {f"q{number}": "words" for number in range(1, 6)}, {"test": rows}
    )
    topics = read_topics(folder, "test")
    assert (set(topics.queries), topics.skipped) == ({"q1", "q4"}, 2)
    assert list(read_topics(folder, "test", limit=1).queries) == by_hash(["q1", "q4"])[:1]


def test_the_only_split_needs_no_name(tmp_path: Path) -> None:
    one = write_collection(tmp_path / "one", {}, {}, {"test": []})
    two = write_collection(tmp_path / "two", {}, {}, {"test": [], "dev": []})
    assert (the_split(one, None), the_split(two, "dev")) == ("test", "dev")
    with pytest.raises(SettingsError, match=r"\(dev, test\); name one: DIR:SPLIT"):
        the_split(two, None)
    with pytest.raises(SourceError, match="has no judgements"):
        the_split(tmp_path, None)


# --- three runs from one answer -----------------------------------------------------------------------------


def _hit(name: str, rank: int, logit: float) -> dict[str, Any]:
    return {
        "_id": name,
        "_score": 0.5,
        "fields": {
            "rerank.first_stage_rank": [rank],
            "rerank.logit": [logit],
            "rerank.probability": [rank / 4],
        },
    }


def _answer(hits: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "hits": {"hits": hits},
        "rerank": {
            "model": "m",
            "candidates": len(hits),
            "cached": 0,
            "milliseconds": {"rerank": 40.0, "total": 50.0},
        },
    }


def test_one_answer_holds_three_orders_and_a_common_tail() -> None:
    hits = [_hit("b", 2, 1.0), _hit("a", 1, -1.0), _hit("c", 3, 1.0)]
    seen = observed(_answer(hits), ["c", "a", "t1", "b", "t2"])
    assert seen.orders.first_stage == ["a", "b", "c", "t1", "t2"]
    assert seen.orders.cross_encoder == [
        "b",
        "c",
        "a",
        "t1",
        "t2",
    ]  # b and c tie at 1.0 and keep first-stage order
    assert seen.orders.reranked == ["b", "a", "c", "t1", "t2"]
    assert seen.probabilities == {"b": 0.5, "a": 0.5, "c": 0.5}
    assert seen.pair_probabilities == {"b": 0.5, "a": 0.25, "c": 0.75}
    assert (seen.model, seen.texts, seen.rerank_s, seen.search_s) == ("m", 3, 0.04, 0.05)


def test_an_answer_without_hits_is_an_observation() -> None:
    answer = _answer([])
    del answer["rerank"]["milliseconds"]["rerank"]
    assert observed(answer, []).orders == ([], [], [])

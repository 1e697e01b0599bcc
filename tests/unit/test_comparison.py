"""Several experiments side by side: arithmetic by hand, and the page as a browser would read it."""

from __future__ import annotations

import io
import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from commands import run
from evaluations import Page, numbered_collection
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from es_rerank.cli import evaluation_tables
from es_rerank.cli.evaluate import first_stages
from es_rerank.collection import held_out
from es_rerank.errors import SourceError
from es_rerank.research.evaluation.comparison import comparison, labels
from es_rerank.research.evaluation.experiment import QueryResult, Result
from es_rerank.research.evaluation.measures import Difference, Measures, difference
from es_rerank.research.evaluation.report import page
from es_rerank.research.evaluation.topics import CollectionArgument, lacks, read_topics
from es_rerank.research.plots.bars import Bar, chart
from es_rerank.research.plots.differences import differences
from es_rerank.research.reliability import reliability, says_what_is_irrelevant, with_relevance
from es_rerank.retrievers.grammar.tree import FirstStage

_SVG = "{http://www.w3.org/2000/svg}"
# --- reliability --------------------------------------------------------------------------------------------


def test_the_expected_error_is_the_one_worked_out_by_hand() -> None:
    found = reliability([(0.81, True), (0.89, False), (0.11, False), (0.13, False), (1.0, True)])
    assert found is not None
    assert [(each.low, each.high, each.documents) for each in found.bins] == [
        (0.1, 0.2, 2),
        (0.8, 0.9, 2),
        (0.9, 1.0, 1),
    ]
    assert [each.probability for each in found.bins] == pytest.approx([0.12, 0.85, 1.0])
    assert [each.relevant for each in found.bins] == [0.0, 0.5, 1.0]
    assert found.expected_error == pytest.approx((2 * 0.12 + 2 * 0.35) / 5)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_every_document_is_in_one_bin_that_holds_its_probability(seen: list[tuple[float, bool]]) -> None:
    found = reliability(seen)
    assert found is not None
    assert found.documents == len(seen) == sum(each.documents for each in found.bins)
    assert 0 <= found.expected_error <= 1
    assert all(each.low - 1e-9 <= each.probability <= each.high + 1e-9 for each in found.bins)
    assert sum(each.documents * each.relevant for each in found.bins) == pytest.approx(
        sum(relevant for _, relevant in seen)
    )


def test_nothing_judged_has_no_reliability() -> None:
    assert reliability([]) is None


def test_a_document_without_a_judgement_is_unknown_only_where_others_are_judged_irrelevant() -> None:
    pool, positives = {"q": {"a": 1, "b": 0}}, {"q": {"a": 1}}
    assert says_what_is_irrelevant(pool)
    assert not says_what_is_irrelevant(positives)
    probabilities = {"a": 0.9, "b": 0.2, "c": 0.4}
    assert with_relevance(probabilities, pool["q"], known=True) == [(0.9, True), (0.2, False)]
    assert with_relevance(probabilities, positives["q"], known=False) == [
        (0.9, True),
        (0.2, False),
        (0.4, False),
    ]


# --- what is asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("c", CollectionArgument(Path("c"))),
        ("some/c:test", CollectionArgument(Path("some/c"), "test")),
        ("c:all:held-out", CollectionArgument(Path("c"), "all", held_out=True)),
        ("c:held-out", CollectionArgument(Path("c"), None, held_out=True)),
    ],
)
def test_a_collection_may_name_its_split_and_its_tenth(text: str, source: CollectionArgument) -> None:
    assert CollectionArgument.named(text) == source


def test_a_folder_with_a_colon_in_its_name_is_that_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a:test"
    folder.mkdir()
    assert CollectionArgument.named(str(folder)) == CollectionArgument(folder)
    assert CollectionArgument.named(f"{folder}:dev") == CollectionArgument(folder, "dev")
    assert CollectionArgument.named(f"{folder}:held-out") == CollectionArgument(folder, held_out=True)


def test_the_held_out_tenth_is_the_one_that_training_leaves_out(tmp_path: Path) -> None:
    folder = numbered_collection(tmp_path / "c", 60)
    topics = read_topics(folder, "all", only_held_out=True)
    assert set(topics.queries) == {f"q{i}" for i in range(60) if held_out(f"q{i}")}
    assert 0 < len(topics.queries) < 20
    assert topics.split == "all:held-out"
    assert topics.skipped == 0
    with pytest.raises(SourceError, match="no query of the split 'all' in the tenth that is held out"):
        read_topics(numbered_collection(tmp_path / "small", 1), "all", only_held_out=True)


def test_a_pool_holds_what_the_split_judges_under_the_titles_of_the_relevant(tmp_path: Path) -> None:
    folder = numbered_collection(tmp_path / "c", 6)
    rows = [{"_id": f"d{i}", "title": f"article {i % 2}", "text": f"the word w{i}"} for i in range(6)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "all.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t1\nq0\td2\t0\nq1\td1\t1\nq1\td3\t2\nq3\td4\t1\nq3\td3\t1\n"
    )
    topics = read_topics(folder, "all", same_title=True)
    assert {query: sorted(pool) for query, pool in topics.pools.items()} == {
        "q0": ["d0", "d2", "d4"],
        "q1": ["d1", "d3"],
        "q3": ["d0", "d1", "d2", "d3", "d4"],
    }
    assert topics.split == "all:same title"
    assert read_topics(folder, "all").pools == {}


def test_judged_documents_that_the_corpus_lacks_are_said_and_count_as_not_found(tmp_path: Path) -> None:
    folder = numbered_collection(tmp_path / "c", 3)
    with (folder / "qrels" / "all.tsv").open("a") as qrels:
        qrels.write("q0\tgone\t1\n")
    topics = read_topics(folder, "all", same_title=False)
    assert topics.missing == ["gone"]
    assert lacks(topics) == "c: 1 judged documents are not in corpus.jsonl and count as not found: 'gone'"
    assert lacks(read_topics(numbered_collection(tmp_path / "whole", 3), "all")) is None
    (folder / "qrels" / "all.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tgone\t1\nq1\tlost\t1\n")
    with pytest.raises(
        SourceError, match=r"2 judged documents are not in corpus\.jsonl, and none is: 'gone', 'lost'"
    ):
        read_topics(folder, "all")


# --- results by hand ----------------------------------------------------------------------------------------


def _measures(values: Sequence[float]) -> Measures:
    return Measures(ndcg_at_10=float(np.mean(values)), rr_at_10=0.5, recall_at_100=1.0)


def _result(
    collection: str,
    recalled_by: FirstStage,
    reranker: str,
    *,
    first: Sequence[float],
    alone: Sequence[float],
    default: Sequence[float],
    model: str = "m",
    embedder: str | None = None,
) -> Result:
    rows = [
        QueryResult(query=str(i), text=f"what is <{i}> & why", first_stage=f, cross_encoder=a, reranked=d)
        for i, (f, a, d) in enumerate(zip(first, alone, default, strict=True))
    ]
    return Result(
        collection=collection,
        split="test",
        queries=len(rows),
        window=50,
        first_stage=_measures(first),
        cross_encoder=_measures(alone),
        reranked=_measures(default),
        difference=difference([row.reranked - row.first_stage for row in rows]),
        pairs_per_second=None,
        recalled_by=recalled_by,
        embedder=embedder,
        model=model,
        reranker=reranker,
        blend=None,
        left_alone=0,
        skipped_queries=0,
        missing_documents=0,
        search_p50=0.1,
        recall_at_window=0.9,
        reliability=reliability([(0.3, False), (0.7, True)]),
        pair_reliability=reliability([(0.2, False), (0.9, True)]),
        per_query=rows,
    )


def _results() -> list[Result]:
    return [
        _result("one", "knn", "./fp32", first=[0.2, 0.4], alone=[0.5, 0.5], default=[0.6, 0.4], model="fp32"),
        _result("one", "knn", "./int8", first=[0.2, 0.4], alone=[0.4, 0.5], default=[0.6, 0.5], model="int8"),
        _result(
            "one", "bm25", "./fp32", first=[0.3, 0.9], alone=[0.5, 0.5], default=[0.6, 0.6], model="fp32"
        ),
        _result(
            "one", "bm25", "./int8", first=[0.3, 0.9], alone=[0.5, 0.5], default=[0.6, 0.6], model="int8"
        ),
        _result("two", "knn", "./fp32", first=[0.0, 0.0], alone=[1.0, 0.5], default=[1.0, 1.0], model="fp32"),
        _result("two", "knn", "./int8", first=[0.0, 0.0], alone=[1.0, 0.5], default=[1.0, 0.5], model="int8"),
    ]


def test_means_weigh_collections_alike() -> None:
    means = {(each.recalled_by, each.reranker): each for each in comparison(_results()).means}
    knn = means["knn", "./int8"]
    assert knn.collections == 2
    assert (knn.first_stage, knn.cross_encoder, knn.reranked) == pytest.approx((0.15, 0.6, 0.65))
    assert means["bm25", "./int8"].collections == 1


def test_every_default_is_held_against_bm25_and_every_other_reranker_against_the_first() -> None:
    contrasts = {
        (each.collection, each.order, each.against): each.difference
        for each in comparison(_results()).contrasts
    }
    against_bm25 = contrasts["one", "int8 over knn, default", "bm25 without reranking"]
    assert (against_bm25.ndcg_at_10, against_bm25.wins, against_bm25.losses) == pytest.approx((-0.05, 1, 1))
    assert contrasts["one", "int8 over knn, default", "fp32 over knn, default"].ndcg_at_10 == pytest.approx(
        0.05
    )
    assert contrasts["one", "int8 over knn, alone", "fp32 over knn, alone"].ndcg_at_10 == pytest.approx(-0.05)
    assert contrasts["two", "int8 over knn, default", "fp32 over knn, default"].ndcg_at_10 == pytest.approx(
        -0.25
    )
    assert {name for name, _, against in contrasts if against == "bm25 without reranking"} == {
        "one"
    }  # of two, BM25 was not asked
    assert len(contrasts) == 2 + 2 * 3


def test_first_stages_of_several_embedders_have_means_and_contrasts_of_their_own() -> None:
    stages: list[tuple[FirstStage, str | None]] = [
        ("knn", "minilm"),
        ("knn", "bge"),
        ("bm25", None),
        ("hybrid", "bge"),
    ]
    results = [
        _result(
            name, kind, reranker, first=[0.5], alone=[0.4], default=[default], model=reranker, embedder=by
        )
        for name in ("one", "two")
        for kind, by in stages
        for reranker, default in (("old", 0.48 if name == "two" else 0.6), ("new", 0.7))
    ]
    found = comparison(results)
    kinds = [(each.recalled_by, each.embedder, each.reranker) for each in found.means]
    assert kinds == [
        (kind, by, reranker)
        for kind, by in (("knn", "minilm"), ("knn", "bge"), ("bm25", None), ("hybrid", "bge"))
        for reranker in ("old", "new")
    ]
    assert [each.collections for each in found.means] == [2] * 8
    assert [each.harmed for each in found.means] == [["two:test"], []] * 4
    assert [each.stage for each in found.means[0].of(found.results)] == ["knn (minilm)"] * 2
    before_after = [
        each for each in found.contrasts if each.order.startswith("new") and "old" in each.against
    ]
    assert len(before_after) == 2 * 4 * 2  # default and alone, over each first stage, of each collection
    assert {(each.order, each.against) for each in before_after if "bge" in each.order} == {
        (f"new over {stage}, {order}", f"old over {stage}, {order}")
        for stage in ("knn (bge)", "hybrid (bge)")
        for order in ("default", "alone")
    }


@pytest.mark.parametrize(("change", "harmed"), [(-0.02, True), (-0.01, False), (0.02, False)])
def test_a_collection_is_harmed_where_the_default_loses_more_than_a_hundredth(
    change: float, harmed: bool
) -> None:
    (first, second) = (0.5, 0.75)
    result = _result(
        "one", "knn", "m", first=[first, second], alone=[0.1, 0.1], default=[first, second + 2 * change]
    )
    assert result.harmed == harmed
    assert ("harmed" in evaluation_tables.verdict(result)) == harmed


def test_the_mean_error_is_that_of_the_collections_with_judged_hits() -> None:
    one, two = _results()[0], _results()[4]
    known = one.reliability
    assert known is not None
    (mean,) = comparison([one, two.model_copy(update={"reliability": None, "pair_reliability": None})]).means
    assert mean.expected_error == pytest.approx(known.expected_error)
    (none,) = comparison([one.model_copy(update={"reliability": None, "pair_reliability": None})]).means
    assert none.expected_error is none.pair_expected_error is None


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["knn"], [("knn", "a", "a"), ("knn", "b", "b")]),
        (["bm25"], [("bm25", "a", None)]),
        (
            ["knn", "bm25", "hybrid"],
            [
                ("knn", "a", "a"),
                ("knn", "b", "b"),
                ("bm25", "a", None),
                ("hybrid", "a", "a"),
                ("hybrid", "b", "b"),
            ],
        ),
    ],
)
def test_bm25_is_measured_once_and_the_others_with_each_embedder(
    stages: list[FirstStage], expected: list[tuple[str, str, str | None]]
) -> None:
    assert [tuple(over) for over in first_stages(stages, ["a", "b"])] == expected


def test_rerankers_of_the_same_model_name_are_called_as_they_were_named() -> None:
    same = [_result("one", "knn", name, first=[0.1], alone=[0.1], default=[0.1]) for name in ("./a", "./b")]
    assert labels(same) == {"./a": "./a", "./b": "./b"}
    assert labels(_results()) == {"./fp32": "fp32", "./int8": "int8"}


# --- pictures and the page ----------------------------------------------------------------------------------


def test_differences_are_drawn_up_and_down_in_order() -> None:
    drawn = ET.fromstring(differences("a & b", [-0.5, 0.0, 1.0]))
    bars = [each.attrib for each in drawn.iter(f"{_SVG}rect") if each.attrib["width"] != "100%"]
    assert [float(each["height"]) for each in bars] == [
        150.0,
        75.0,
    ]  # of 300 pixels for 2; what did not change has none
    assert float(bars[0]["y"]) + 150 == float(bars[1]["y"])  # one ends at zero, the other begins there
    assert bars[0]["fill"] != bars[1]["fill"]


def test_bars_print_as_many_digits_as_they_are_told() -> None:
    assert "0.123<" in chart("x", [Bar("a", 0.1234, 0.1, 0.2)], digits=3)


def test_bars_of_one_thing_stand_together() -> None:
    drawn = ET.fromstring(chart("x", [Bar(str(n), 1.0, 1.0, 1.0) for n in range(6)], together=3))
    tops = [float(bar.attrib["y"]) for bar in drawn.iter() if bar.tag.endswith("rect") and "y" in bar.attrib][
        -6:
    ]
    steps = [after - before for before, after in itertools.pairwise(tops)]
    assert steps[2] > steps[0] == steps[1] == steps[3] == steps[4]


def test_nothing_found_is_drawn_too() -> None:
    nothing = _result("none", "knn", "m", first=[0.0], alone=[0.0], default=[0.0])
    html = page(comparison([nothing.model_copy(update={"reliability": None, "pair_reliability": None})]), [])
    assert "0.000" in html
    assert "nan" not in html.lower()


def test_tables_show_names_as_they_are_and_numbers_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {
        "queries": 12_345,
        "difference": Difference(ndcg_at_10=-0.1234, p_value=1.2e-105, wins=4_123, losses=3_187, ties=0),
    }
    results = [
        each.model_copy(
            update={
                **many,
                "collection": "product_qa[en]",
                "reranker": f"runs[/{each.reranker[2:]}]",
                "model": "m",
            }
        )
        for each in _results()[:4]
    ]
    out = io.StringIO()
    monkeypatch.setattr(evaluation_tables, "stdout", Console(file=out, width=80))
    evaluation_tables.show_comparison(comparison(results))
    lines = out.getvalue().splitlines()
    assert "knn, runs[/fp32], window 50" in [line.strip() for line in lines]
    rows = [line.split() for line in lines if line.startswith("product_qa[en] ") and "12,345" in line]
    errors = [".300", ".150"]  # bins of one document each: |0.3 - 0| and |0.7 - 1|, |0.2 - 0| and |0.9 - 1|
    shown = ["-0.1234", "<.0001", "4123/3187", *errors]
    assert [row[-5:] for row in rows] == [shown] * len(rows)
    assert sum(line.startswith("harmed ") for line in lines) >= len(rows)
    assert "runs[/int8] over knn, default, against runs[/fp32] over knn, default" in lines
    assert len(rows) == 4
    assert max(map(len, lines)) <= 80


def test_splits_of_one_collection_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(evaluation_tables, "stdout", Console(file=out, width=80))
    first, other = _results()[0], _results()[4]
    evaluation_tables.show_comparison(comparison([first, first.model_copy(update={"split": "dev"}), other]))
    names = [" ".join(line.split()[:2]) for line in out.getvalue().splitlines()]
    assert {"one test", "one dev"} <= set(names)
    assert "two test" not in names


def test_the_page_needs_nothing_else_and_shows_texts_as_they_are() -> None:
    html = page(comparison(_results()), ["evaluate", "one dir", "--html", "x.html"])
    shown = Page(html)
    assert shown.open == []
    assert shown.links == []
    assert "es-rerank evaluate 'one dir' --html x.html" in shown.text
    assert "what is <0> & why" in shown.text
    assert "+0.0500" in shown.text
    assert (
        html.count("<svg") == 4 + 2 * 6
    )  # an overview of each mean; differences and reliability of each result
    assert "@import" not in html
    assert "url(" not in html


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_cannot_be_done_is_said_before_anything_is_indexed(tmp_path: Path) -> None:
    folders = [numbered_collection(tmp_path / place / "same", 3) for place in ("a", "b")]
    twice = run("evaluate", *map(str, folders))
    assert twice.returncode == 2
    assert "same:all is given twice" in twice.stderr
    unknown = run("evaluate", str(folders[0]), "--first-stage", "tfidf")
    assert unknown.returncode == 2
    sentence = "--first-stage tfidf is not a known first stage; choose one of: knn, bm25, hybrid"
    assert sentence in unknown.stderr
    assert "is a folder" in run("evaluate", str(folders[0]), "--html", str(tmp_path)).stderr
    assert "have no title" in run("evaluate", str(folders[0]), "--same-title").stderr
    nowhere = run("evaluate", str(folders[0]), "--html", str(tmp_path / "absent" / "x.html"))
    assert nowhere.returncode == 2
    assert "there is no folder" in nowhere.stderr
    faults = run("evaluate", f"{folders[0]}:dev", f"{tmp_path / 'gone'}:test")
    assert faults.returncode == 3
    assert "no split 'dev'" in faults.stderr
    assert "gone" in faults.stderr

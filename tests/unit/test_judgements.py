"""Judgements of users: what a file of them may look like, what is counted, and the two halves."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.errors import SettingsError, SourceError
from es_rerank.research.tuning.judgements import (
    HIGHEST_RATING,
    SAID,
    Judgement,
    joined,
    kept_for_verdict,
    says_what_is_irrelevant,
)
from es_rerank.research.tuning.reading import format_of, read_qrels_file, read_query_texts, read_table
from es_rerank.research.tuning.texts import text_of

FILE = Path("judgements.csv")

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(
    lambda text: bool(" ".join(text.split()))
)
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
ROWS = st.lists(st.tuples(WORDS, IDS, st.integers(0, 10)), min_size=1, max_size=20)


def read(text: str, **options: float) -> dict[str, dict[str, float]]:
    found = read_table(FILE, text, **options)
    return {query: dict(rated) for query, rated in found.ratings.items()}


# --- tables -------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    ROWS,
    st.sampled_from(",;\t|"),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16")),
    st.sampled_from(("\r\n", "\n")),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    st.permutations(["query", "docid", "rating", "comment"]),
    st.booleans(),
)
def test_a_table_reads_the_same_however_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, int]],
    separator: str,
    encoding: str,
    end: str,
    quoting: int,
    columns: list[str],
    packed: bool,
) -> None:
    written = io.StringIO()
    table = csv.writer(written, delimiter=separator, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    table.writerow(columns)
    for query, document, rating in rows:
        fields = {"query": query, "docid": document, "rating": rating, "comment": 'so, so; "yes"\nor no'}
        table.writerow([fields[column] for column in columns])
    path = tmp_path_factory.mktemp("table") / ("t.csv.gz" if packed else "t.csv")
    content = written.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content) if packed else content)
    text = text_of(path)
    assert format_of(path, text) == "csv"
    assert read_table(path, text) == joined(Judgement(*row) for row in rows)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_has_no_influence(rows: list[tuple[str, str, int]], chance: random.Random) -> None:
    mixed = list(rows)
    chance.shuffle(mixed)
    assert joined(Judgement(*row) for row in rows) == joined(Judgement(*row) for row in mixed)


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, IDS, st.none() | st.floats(-3, 13)), max_size=30))
def test_no_row_is_lost_without_being_counted(rows: list[tuple[str, str, float | None]]) -> None:
    found = joined(Judgement(*row) for row in rows)
    left_out = ("without_rating", "without_query_or_document", "out_of_range", "repeated", "averaged")
    kept = sum(len(rated) for rated in found.ratings.values())
    assert (
        kept + sum(found.counts.get(name, 0) for name in left_out) == found.counts.get("rows", 0) == len(rows)
    )
    assert set(found.counts) <= set(SAID)
    assert all(0 <= rating <= HIGHEST_RATING for rated in found.ratings.values() for rating in rated.values())


def test_what_quepid_exports_is_read() -> None:
    text = 'query,docid,rating\n"star wars, episode 4",11,3\nrambo,1369,\n"a ""quoted"" one",5,0\n'
    assert read(text) == {"star wars, episode 4": {"11": 3.0}, 'a "quoted" one': {"5": 0.0}}
    assert read_table(FILE, text).counts == {"rows": 3, "without_rating": 1}


def test_headers_have_the_names_of_other_exports() -> None:
    text = "Query Text;Doc ID;Judgment\nred shoe;4;0,5\n"
    assert read(text) == {"red shoe": {"4": 0.5}}


def test_equal_rows_count_once_and_the_mean_of_different_ones_counts() -> None:
    found = joined(
        [Judgement("a  b", "1", 2), Judgement("a b", "1", 2), Judgement("c", "1", 0), Judgement("c", "1", 3)]
    )
    assert found.ratings == {"a b": {"1": 2.0}, "c": {"1": 1.5}}
    assert found.counts == {"rows": 4, "repeated": 1, "averaged": 1}


def test_ratings_out_of_range_are_left_out_and_counted() -> None:
    text = "query,docid,rating\na,1,3\na,2,30\na,3,-1\n"
    assert read(text) == {"a": {"1": 3.0}}
    assert read_table(FILE, text).counts["out_of_range"] == 2
    assert read(text, highest=30) == {"a": {"1": 3.0, "2": 30.0}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("query,docid,rating\na,1,good\n", "line 2: the rating 'good' is not a number"),
        ("query,docid,rating\na,1,nan\n", "line 2: the rating 'nan' is not a number"),
        ("query,docid,rating\na,1\n", "line 2: 2 fields where the header has 3"),
        ("query,docid,rating\nred, warm,1,2\n", "put quotes around a field that holds ','"),
        ('query,docid,rating\n"a,1,2\n', "this is no table with the separator ','"),
        ("query,docid\na,1\n", "lacks one of the columns query, docid and rating"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        read_table(FILE, text)
    assert said in refused.value.message
    assert str(FILE) in refused.value.message


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("query,docid,rating\ncafé,1,2\n".encode("latin-1"))
    with pytest.raises(SourceError, match=r"line 2: the text is not in UTF-8 .* save the file as UTF-8"):
        text_of(path)


# --- qrels --------------------------------------------------------------------------------------------------


QUERIES = {"1": "red\u2028shoe", "q2": "blue shoe"}


@pytest.fixture(params=["json", "tabs"])
def queries(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "queries"
    lines = (
        [json.dumps({"_id": name, "text": text}, ensure_ascii=False) for name, text in QUERIES.items()]
        if request.param == "json"
        else [f"{name}\t{text}" for name, text in QUERIES.items()]
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1 0 d1 2\nq2 Q0 d1 0\nq2 0 d2 -2\nlost 0 d1 1\n",
        "query-id\tcorpus-id\tscore\n1\td1\t2\nq2\td1\t0\nq2\td2\t-2\nlost\td1\t1\n",
    ],
)
def test_qrels_get_their_texts(text: str, queries: Path) -> None:
    assert format_of(FILE, text) == "qrels"
    found = read_qrels_file(FILE, text, queries)
    assert found.ratings == {"red shoe": {"d1": 2.0}, "blue shoe": {"d1": 0.0, "d2": 0.0}}
    assert found.counts == {"rows": 3, "queries_without_text": 1}


def test_qrels_without_texts_say_which_option_names_them() -> None:
    with pytest.raises(SettingsError, match="--queries"):
        read_qrels_file(FILE, "1 0 d1 2\n", None)


def test_qrels_of_other_queries_are_refused(queries: Path) -> None:
    with pytest.raises(SourceError, match="the text of none of the queries"):
        read_qrels_file(FILE, "other 0 d1 2\n", queries)
    with pytest.raises(SourceError, match="line 2: 5 fields"):
        read_qrels_file(FILE, "1 0 d1 2\n1 0 d1 2 3\n", queries)


def test_a_line_of_no_query_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.tsv"
    path.write_text("1\tred\nno tab\n")
    with pytest.raises(SourceError, match="line 2: expected the id of a query, a tab"):
        read_query_texts(path)
    path.write_text('{"_id": 1, "text": "red"}\n{"_id": 2}\n')
    with pytest.raises(SourceError, match='line 2: a query needs "_id" and "text"'):
        read_query_texts(path)


# --- formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"action_name": "click"}\n', "ubi"),
        ("timestamp,action_name,query_id\n", "ubi"),
        ("\n\nquery,docid,rating\n", "csv"),
        ("1 0 d1 2\n", "qrels"),
        ("1\td1\t2\n", "qrels"),
    ],
)
def test_the_first_line_tells_the_format(text: str, form: str) -> None:
    assert format_of(FILE, text) == form


@pytest.mark.parametrize("text", ["", "\n \n", "some words\n", "a,b,c\n"])
def test_a_file_of_no_format_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=str(FILE)):
        format_of(FILE, text)


# --- halves -------------------------------------------------------------------------------------------------


@given(WORDS, st.integers(0, 2**31))
def test_spellings_of_a_query_are_in_one_half(query: str, seed: int) -> None:
    cased = query.upper() if query.upper().casefold() == query.casefold() else query
    assert kept_for_verdict(f"  {cased}  ", seed) == kept_for_verdict(query, seed)


def test_about_half_of_the_queries_are_kept_and_the_seed_draws_others() -> None:
    queries = [f"query {n}" for n in range(1000)]
    halves = [[kept_for_verdict(query, seed) for query in queries] for seed in (13, 14)]
    assert all(430 < sum(half) < 570 for half in halves)
    assert halves[0] != halves[1]


def test_the_half_of_a_query_is_the_same_everywhere() -> None:
    queries = ("anchor", "bridge", "candle", "desert", "engine", "falcon", "garden", "harbor")
    kept = [query for query in queries if kept_for_verdict(query, 13)]
    assert kept == ["anchor", "desert", "falcon"]


def test_judgements_say_what_is_irrelevant_by_a_rating_below_the_least_relevant_one() -> None:
    found = joined([Judgement("a", "1", 1), Judgement("a", "2", 3)])
    assert not says_what_is_irrelevant(found, 1)
    assert says_what_is_irrelevant(found, 2)

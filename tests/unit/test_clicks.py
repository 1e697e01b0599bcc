"""Clicks of users: how logs of User Behavior Insights are read, and which ratings their clicks give."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from es_rerank.errors import SourceError
from es_rerank.research.tuning.clicks import ClickLog, Shown, click_rates, ratings_of
from es_rerank.research.tuning.judgements import SAID
from es_rerank.research.tuning.ubi import check_log, read_log, records_of


def search(name: str, query: str, *hits: str) -> dict[str, Any]:
    return {"query_id": name, "user_query": query, "query_response_hit_ids": list(hits), "timestamp": "now"}


def event(name: str, document: str, action: str = "click", position: int | None = None) -> dict[str, Any]:
    attributes: dict[str, Any] = {"object": {"object_id": document, "object_id_field": "ean"}}
    if position is not None:
        attributes["position"] = {"ordinal": position}
    return {"action_name": action, "query_id": name, "event_attributes": attributes}


# --- logs ---------------------------------------------------------------------------------------------------


def test_a_click_counts_at_the_position_where_the_search_showed_it() -> None:
    log = read_log(
        [search("s1", "red  shoe", "a", "b"), event("s1", "b"), event("s1", "b"), event("s1", "z")]
    )
    assert log.shown == Counter({Shown("red shoe", "a", 1): 1, Shown("red shoe", "b", 2): 1})
    assert log.clicked == Counter({Shown("red shoe", "b", 2): 1})
    assert log.counts == {"clicks": 3, "repeated_clicks": 1, "clicks_not_shown": 1, "searches": 1}


def test_impressions_stand_for_a_list_of_hits() -> None:
    records = [
        {**event("s1", "a", "impression", 4), "user_query": "red"},
        event("s1", "b", "impression", 5),
        event("s1", "b"),
        event("s1", "c", "login"),
    ]
    log = read_log(records)
    assert log.shown == Counter({Shown("red", "a", 4): 1, Shown("red", "b", 5): 1})
    assert log.clicked == Counter({Shown("red", "b", 5): 1})
    assert log.counts["unreadable_events"] == 1


def test_actions_that_count_as_a_click_are_named() -> None:
    records = [search("s", "red", "a"), event("s", "a", "add_to_cart")]
    assert not read_log(records).clicked
    assert read_log(records, clicks=["add_to_cart"]).clicked


RECORDS = st.lists(
    st.builds(
        search, st.sampled_from("xyz"), st.sampled_from(["red", "blue", ""]), *[st.sampled_from("abc")] * 2
    )
    | st.builds(
        event,
        st.sampled_from(["x", "y", "z", ""]),
        st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from(["click", "impression", "scroll"]),
        st.none() | st.integers(1, 9),
    ),
    max_size=10,
)


@settings(max_examples=25)
@given(RECORDS)
def test_a_log_is_consistent_and_no_click_is_lost_without_being_counted(
    records: list[dict[str, Any]],
) -> None:
    log = read_log(records)
    assert all(log.shown[place] >= times for place, times in log.clicked.items())
    assert set(log.counts) <= set(SAID)
    assert all(0 <= rate <= 1 for rate in click_rates(log).values())
    ratings = ratings_of(log, least_shown=1).ratings
    assert all(rating in (0.0, 1.0, 2.0) for rated in ratings.values() for rating in rated.values())


@settings(max_examples=25)
@given(RECORDS, st.randoms(use_true_random=False))
def test_events_may_come_before_their_search(records: list[dict[str, Any]], chance: random.Random) -> None:
    one_each = list(
        {
            (record.get("query_id"), record.get("action_name"), str(record)): record for record in records
        }.values()
    )
    listed = [record for record in one_each if record.get("action_name") != "impression"]
    unique = {record["query_id"]: record for record in listed if "action_name" not in record}
    kept = [record for record in listed if "action_name" in record or unique[record["query_id"]] is record]
    mixed = list(kept)
    chance.shuffle(mixed)
    assert read_log(kept) == read_log(mixed)


@pytest.mark.parametrize("form", ["json", "hits", "csv"])
def test_exports_of_every_kind_give_the_same_log(tmp_path: Path, form: str) -> None:
    records = [search("s1", "red", "a", "b"), event("s1", "b", position=2)]
    path = tmp_path / "export"
    if form == "csv":
        names = [
            *("query_id", "user_query", "query_response_hit_ids", "action_name"),
            *("event_attributes.object.object_id", "event_attributes.position.ordinal"),
        ]
        rows = [["s1", "red", "a, b", "", "", ""], ["s1", "", "", "click", "b", "2"]]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        wrapped = [{"_index": "ubi", "_source": record} if form == "hits" else record for record in records]
        path.write_text("".join(json.dumps(record) + "\n" for record in wrapped), encoding="utf-8")
    assert read_log(records_of(path)) == read_log(records)


def test_a_log_that_shows_nothing_says_what_is_missing() -> None:
    with pytest.raises(SourceError, match=r"add the searches .* with --queries"):
        check_log(read_log([event("s", "a")]), "events.ndjson")
    with pytest.raises(SourceError, match="--click-action"):
        check_log(read_log([search("s", "red", "a")]), "events.ndjson")


# --- ratings ------------------------------------------------------------------------------------------------


def log_of(rows: dict[tuple[str, str, int], tuple[int, int]]) -> ClickLog:
    """A log from (query, document, position) to (times shown, clicks)."""
    shown = Counter({Shown(*place): times for place, (times, _) in rows.items()})
    return ClickLog(shown, Counter({Shown(*place): clicks for place, (_, clicks) in rows.items() if clicks}))


def test_the_position_has_no_part_in_a_rating() -> None:
    """Both queries click their second hit less than their first one, as everybody does; only one of the
    second hits is clicked less than second hits are.
    """
    log = log_of(
        {
            ("one", "a", 1): (100, 40),
            ("one", "b", 2): (100, 30),
            ("two", "c", 1): (100, 40),
            ("two", "d", 2): (100, 2),
        }
    )
    assert click_rates(log) == {1: 0.4, 2: 0.16}
    assert ratings_of(log).ratings == {"one": {"a": 1.0, "b": 1.0}, "two": {"c": 1.0, "d": 0.0}}


def test_twice_the_expected_clicks_are_the_highest_rating() -> None:
    log = log_of({("one", "a", 1): (50, 40), ("two", "b", 1): (150, 0)})
    assert ratings_of(log).ratings == {"one": {"a": 2.0}, "two": {"b": 0.0}}


def test_too_little_evidence_is_no_judgement() -> None:
    log = log_of(
        {
            ("one", "seldom", 1): (9, 5),
            ("one", "slip", 2): (20, 1),
            ("one", "unseen", 3): (20, 0),
            ("two", "often", 3): (1000, 10),
        }
    )
    found = ratings_of(log)
    assert found.ratings == {"two": {"often": 1.0}}
    assert found.counts == {"seldom_shown": 1, "little_evidence": 2}
    assert "seldom" in ratings_of(log, least_shown=9).ratings["one"]


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("qr"), st.sampled_from("abcd"), st.integers(1, 4)),
        st.integers(1, 200),
        min_size=1,
        max_size=6,
    ),
    st.integers(2, 5),
)
def test_more_of_the_same_clicks_changes_no_quotient(
    shown: dict[tuple[str, str, int], int], times: int
) -> None:
    chance = random.Random(str(sorted(shown.items())))
    rows = {place: (number, chance.randint(0, number)) for place, number in shown.items()}
    more = {place: (times * number, times * clicks) for place, (number, clicks) in rows.items()}
    before, after = ratings_of(log_of(rows)).ratings, ratings_of(log_of(more)).ratings
    for query, rated in before.items():
        for document, rating in rated.items():
            assert after[query][document] == rating

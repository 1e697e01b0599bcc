"""The ``rerank`` block of a search inside Elasticsearch, from hits and the header ``Warning``."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from es_rerank.models.scripts import script_warning
from es_rerank.retrievers.response.answer import SearchStats
from es_rerank.retrievers.response.inside_answer import Told, inside_answer, warnings_in
from es_rerank.sidecar.messages.wire import warning

FAILED = (
    '299 Elasticsearch-9.5.0-abc "[es_rerank] the reranker failed, the order of the first stage stays: x"'
)
LATE = '299 Elasticsearch-9.5.0-abc "[es_rerank] the deadline came when 2 of 5 passages were scored"'
EMPTY = '299 Elasticsearch-9.5.0-abc "[es_rerank] 1 of 5 documents have no text in [text]"'
NONE = (
    '299 Elasticsearch-9.5.0-abc "[es_rerank] none of the 5 documents of the window has text in [text]; '
    'name a field that they have, or index them with [_source]"'
)
SHARDS = '299 Elasticsearch-9.5.0-abc "[es_rrf] 2 of 4 shards failed in the first stage: no"'
OTHER = '299 Elasticsearch-9.5.0-abc "[match] is old"'

SCORED: dict[str, Any] = {"_id": "1", "fields": {"rerank.logit": [1.0]}}
PLAIN: dict[str, Any] = {"_id": "2", "_score": 1.5}


class Reads(NamedTuple):
    """What ``script_warning`` asks of a model."""

    name: str
    scripts: tuple[str, ...]


def block(header: str | None, *hits: dict[str, Any], **tree: bool) -> dict[str, Any]:
    answer = {"took": 3, "hits": {"hits": list(hits)}}
    stats, said = SearchStats(requests=1), {"reranks": True, "scores_hits": True, "blended": True, **tree}
    made = inside_answer(answer, Told(header), ["tiny", "tiny"], 50, stats, **said)
    assert {key: made[key] for key in answer} == answer
    account: dict[str, Any] = made["rerank"]
    return account


def test_warnings_are_read_with_their_escapes_undone() -> None:
    header = '299 Elasticsearch-9.5.0 "a \\"b\\", c\\\\d", 299 Elasticsearch-9.5.0 "%e4%b8%ad 5%25"'
    assert warnings_in(header) == ['a "b", c\\d', "中 5%"]
    assert warnings_in(None) == []


@pytest.mark.parametrize(
    ("warning", "hits", "status", "reason"),
    [
        (None, [SCORED], "reranked", None),
        (OTHER, [SCORED], "reranked", None),
        (EMPTY, [SCORED, PLAIN], "reranked", None),
        (FAILED, [PLAIN], "first_stage", "the reranker failed, the order of the first stage stays: x"),
        (SHARDS, [SCORED], "partial", "2 of 4 shards failed in the first stage: no"),
        (
            f"{FAILED}, {SHARDS}",
            [PLAIN],
            "first_stage",
            (
                "the reranker failed, the order of the first stage stays: x; "
                "2 of 4 shards failed in the first stage: no"
            ),
        ),
        (
            NONE,
            [PLAIN],
            "first_stage",
            (
                "none of the 5 documents of the window has text in [text]; "
                "name a field that they have, or index them with [_source]"
            ),
        ),
        (
            f"{EMPTY}, {LATE}",
            [SCORED, PLAIN],
            "partial",
            "the deadline came when 2 of 5 passages were scored",
        ),
    ],
)
def test_the_status_comes_from_warnings_and_hits(
    warning: str | None, hits: list[dict[str, Any]], status: str, reason: str | None
) -> None:
    said = block(warning, *hits)
    assert (said["status"], said.get("reason")) == (status, reason)


def test_the_block_leaves_out_what_is_not_known() -> None:
    said = block(None, SCORED)
    assert said == {
        "model": "tiny",
        "score": "blend",
        "status": "reranked",
        "window": 50,
        "requests": 1,
        "bytes": 0,
        "bytes_sent": 0,
        "milliseconds": {},
        "inside": True,
    }


def test_a_tree_without_a_reranker_is_fused() -> None:
    assert block(None, PLAIN, reranks=False, scores_hits=False)["status"] == "fused"


def test_hits_without_scores_are_of_the_first_stage_without_a_header_too() -> None:
    said = block(None, PLAIN)
    assert (said["status"], said["reason"]) == ("first_stage", "the reranker gave no scores")
    assert block(None, PLAIN, scores_hits=False)["status"] == "reranked", "the reranker is below a fusion"
    assert block(None)["status"] == "reranked", "there is no hit to score"
    assert block(None, {**PLAIN, "_score": 0.0})["status"] == "reranked", "the hit was not ranked"


def test_documents_without_text_are_counted() -> None:
    assert block(EMPTY, SCORED)["without_text"] == 1
    assert block(NONE, PLAIN)["without_text"] == 5
    assert "without_text" not in block(None, SCORED)


def test_scores_that_mean_little_are_warned_of_and_are_no_failure() -> None:
    sentence = script_warning(Reads("tiny", ("Latin",)), "他们", ["one", "二"])
    assert sentence is not None
    (value,) = warning(f"[es_rerank] {sentence}").values()
    said = block(value, SCORED)
    assert (said["status"], said["warnings"]) == ("reranked", [sentence])
    assert "reason" not in said


def test_a_fusion_of_failed_shards_is_partial() -> None:
    said = block(SHARDS, PLAIN, reranks=False, scores_hits=False)
    assert (said["status"], said["reason"]) == ("partial", "2 of 4 shards failed in the first stage: no")


def test_shards_that_failed_below_the_page_are_counted() -> None:
    def shards(header: dict[str, int], warning: str | None) -> dict[str, int]:
        stats = SearchStats()
        answer = {"_shards": header, "hits": {"hits": [SCORED]}}
        stats.parts.see("elasticsearch", answer)
        made = inside_answer(
            answer, Told(warning), [], 50, stats, reranks=True, scores_hits=True, blended=None
        )
        counted: dict[str, int] = made["_shards"]
        return counted

    whole = {"total": 4, "successful": 4, "skipped": 0, "failed": 0}
    assert shards(whole, SHARDS) == {**whole, "successful": 2, "failed": 2}
    assert shards(whole, f"{SHARDS}, {SHARDS}") == {**whole, "successful": 2, "failed": 2}
    assert shards(whole, EMPTY) == whole
    worse = {**whole, "successful": 1, "failed": 3}
    assert shards(worse, SHARDS) == worse


def test_a_page_that_misses_shards_is_partial() -> None:
    stats = SearchStats()
    header = {"total": 4, "successful": 3, "skipped": 0, "failed": 1}
    stats.parts.see("elasticsearch", {"_shards": header})
    made = inside_answer(
        {"_shards": header, "hits": {"hits": [SCORED]}},
        Told(),
        [],
        50,
        stats,
        reranks=True,
        scores_hits=True,
        blended=None,
    )
    assert made["rerank"]["status"] == stats.told == "partial"
    assert made["rerank"]["reason"] == "1 of 4 shards failed in the search"
    assert stats.fallbacks == ["incomplete"]


def test_the_plugin_tells_the_blend_and_an_order_that_was_left_alone() -> None:
    answer: dict[str, Any] = {"hits": {"hits": [SCORED]}}

    def told(headers: dict[str, str]) -> dict[str, Any]:
        made = inside_answer(
            answer,
            Told.of(headers),
            ["tiny"],
            50,
            SearchStats(),
            reranks=True,
            scores_hits=True,
            blended=True,
        )
        block: dict[str, Any] = made["rerank"]
        return {key: block[key] for key in ("blend", "order") if key in block}

    assert told({"x-rerank-blend": "dense%3A%E4%B8%AD"}) == {"blend": "dense:中"}
    assert told({"x-rerank-blend": "bm25, dense", "x-rerank-order": "first_stage"}) == {
        "blend": "bm25, dense",
        "order": "first_stage",
    }
    assert told({}) == told({"x-rerank-order": "of a later release"}) == {}

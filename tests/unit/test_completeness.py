"""What the requests of one search left out, merged into one header of shards and into reasons."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.retrievers.response.answer import SearchStats
from es_rerank.retrievers.response.completeness import Completeness


def failure(index: str | None, shard: int, reason: str | None = "no", kind: str = "a_kind") -> dict[str, Any]:
    return {"shard": shard, "index": index, "node": None, "reason": {"type": kind, "reason": reason}}


def answer(failed: int = 0, *failures: dict[str, Any], skipped: int = 0, **more: Any) -> dict[str, Any]:
    header: dict[str, Any] = {"total": 6, "successful": 6 - failed, "skipped": skipped, "failed": failed}
    return {
        "timed_out": False,
        "_shards": header | ({"failures": list(failures)} if failures else {}),
        "hits": {},
        **more,
    }


def seen(**stages: Any) -> Completeness:
    found = Completeness()
    for stage, one in stages.items():
        found.see(stage, one)
    return found


def test_a_complete_search_has_the_header_of_elasticsearch() -> None:
    found = seen(first_stage=answer(), page=answer())
    assert found.reasons() == []
    assert found.merged() == {
        "timed_out": False,
        "_shards": {"total": 6, "successful": 6, "skipped": 0, "failed": 0},
    }


@pytest.mark.parametrize("stage", ["first_stage", "rescore", "passages", "page"])
def test_a_shard_that_failed_in_any_stage_is_counted_and_named(stage: str) -> None:
    found = seen(**{"first_stage": answer(), "page": answer()} | {stage: answer(1, failure("a", 0))})
    assert found.merged()["_shards"] == {
        "total": 6,
        "successful": 5,
        "skipped": 0,
        "failed": 1,
        "failures": [failure("a", 0)],
    }
    (reason,) = found.reasons()
    assert reason.startswith("1 of 6 shards failed ")
    assert reason.endswith(": no")


@pytest.mark.parametrize(
    ("answers", "failed", "listed"),
    [
        # The same shards fail in each request: they are counted once.
        ([answer(2, failure("a", 0)), answer(2, failure("a", 0))], 2, 1),
        # Two causes in one index: Elasticsearch lists both, and the shards are the same.
        ([answer(2, failure("a", 0)), answer(2, failure("a", 0, "other"))], 2, 2),
        # Other shards of the same index are known only where they are named.
        ([answer(1, failure("a", 0)), answer(1, failure("a", 1))], 2, 1),
        # Another index has other shards.
        ([answer(2, failure("a", 0)), answer(2, failure("b", 0))], 4, 2),
        # A request that failed in both joins them.
        ([answer(2, failure("a", 0)), answer(2, failure("b", 0)),
          answer(4, failure("a", 0), failure("b", 0))], 4, 2),
        # A search has no more shards than there are.
        ([answer(4, failure("a", 0)), answer(4, failure("b", 0))], 6, 2),
        # Elasticsearch may count a shard without saying why.
        ([answer(1), answer()], 1, 0),
        ([answer(1), answer(1, failure("a", 0))], 1, 1),
        ([answer(1, failure(None, -1))], 1, 1),
    ],
)  # fmt: skip
def test_a_shard_that_several_requests_lost_is_counted_once(
    answers: list[dict[str, Any]], failed: int, listed: int
) -> None:
    found = Completeness()
    found.see("first_stage", {"took": 1, "responses": answers})
    header = found.merged()["_shards"]
    assert (header["failed"], header["successful"]) == (failed, 6 - failed)
    assert len(header.get("failures", [])) == listed


def test_a_fault_of_several_requests_is_told_once() -> None:
    found = seen(first_stage=answer(2, failure("a", 0)), page=answer(2, failure("a", 0)))
    assert found.reasons() == ["2 of 6 shards failed in the first stage: no"]
    found.see("page", answer(1, failure("a", 0, None, "no_shard")))
    assert found.reasons()[1:] == ["1 of 6 shards failed when the page was fetched: no_shard"]


def test_a_timeout_of_elasticsearch_is_told() -> None:
    found = seen(first_stage=answer(timed_out=True), page=answer())
    assert found.merged()["timed_out"] is True
    assert found.reasons() == ["Elasticsearch's timeout passed in the first stage; hits may be missing"]


def test_a_search_that_ended_early_says_so_as_in_elasticsearch() -> None:
    assert seen(first_stage=answer(terminated_early=True), page=answer()).merged()["terminated_early"] is True
    assert (
        seen(first_stage=answer(terminated_early=False), page=answer()).merged()["terminated_early"] is False
    )
    assert "terminated_early" not in seen(page=answer()).merged()


def test_a_shard_is_skipped_only_if_every_request_skipped_it() -> None:
    found = seen(first_stage=answer(skipped=1), page=answer(skipped=4))
    assert found.merged()["_shards"]["skipped"] == 1


def test_a_cluster_that_gave_nothing_is_told() -> None:
    whole = {"total": 2, "successful": 2, "skipped": 0, "partial": 0, "failed": 0}
    part = {
        **whole,
        "successful": 1,
        "skipped": 1,
        "details": {"(local)": {"status": "successful"}, "far": {"status": "skipped"}},
    }
    found = seen(first_stage=answer(_clusters=part), page=answer(_clusters=whole))
    assert found.merged()["_clusters"] == part
    assert found.reasons() == ["1 of 2 clusters gave no complete answer in the first stage: far"]
    later = {**whole, "details": {}}
    assert (
        seen(first_stage=answer(_clusters=whole), page=answer(_clusters=later)).merged()["_clusters"] == later
    )


@pytest.mark.parametrize(
    "odd", [None, 7, "x", [], {"failed": "many"}, {"failed": 1, "failures": [{}, 3, None]}]
)
def test_a_response_that_a_caller_sends_may_hold_anything(odd: Any) -> None:
    found = Completeness()
    found.see("response", {"_shards": odd, "_clusters": odd, "timed_out": odd, "responses": odd})
    found.see("response", {"_shards": {"failed": 1, "failures": [{"index": {}, "reason": odd}]}})
    assert "_shards" in found.merged()
    assert isinstance(found.reasons(), list)


def test_shards_that_a_point_in_time_lacks_are_counted_by_its_searches() -> None:
    opened = {"id": "x", "_shards": {"total": 6, "successful": 5, "skipped": 0, "failed": 1}}
    assert seen(point_in_time=opened).merged() == {}
    found = seen(
        point_in_time=opened, first_stage=answer(1, failure("a", 0)), page=answer(1, failure("a", 0))
    )
    assert found.merged()["_shards"]["failed"] == 1
    assert found.reasons() == ["1 of 6 shards failed in the first stage: no"]


def test_the_status_says_that_an_answer_is_partial() -> None:
    stats = SearchStats(models=["tiny"], reranked=True)
    assert stats.status == "reranked"
    stats.parts.see("first_stage", answer(1, failure("a", 0)))
    assert stats.status == stats.block()["status"] == "partial"
    assert stats.block()["reason"] == "1 of 6 shards failed in the first stage: no"
    stats.fail("the reranker was late", "late", reached=True)
    assert stats.block()["reason"] == "the reranker was late; 1 of 6 shards failed in the first stage: no"
    fused = SearchStats()
    assert fused.status == "fused"
    fused.parts.see("page", answer(timed_out=True))
    assert fused.status == "partial"
    failed = SearchStats(models=["tiny"])
    failed.fail("the reranker failed: x", "failed", reached=False)
    failed.parts.see("page", answer(1))
    assert failed.status == "first_stage", "no document was scored"

"""What /metrics, /_rerank/status and Server-Timing tell of requests: stages, ends, and nothing they held."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from elastic_transport import ConnectionError as NoConnection
from elastic_transport import ConnectionTimeout
from observed_apps import LENIENT, SEARCH, TREE, answering, observed, read_samples, samples
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from rerank_paths import body_for
from scripted_elasticsearch import Reply, Script

from es_rerank.dialects.table import PATHS
from es_rerank.errors import ModelFolderError, OverloadError
from es_rerank.models import Reranker
from es_rerank.observation import Runs
from es_rerank.sidecar.access.keys import Keys, key_hash
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.server.connections import Connections
from es_rerank.sidecar.server.progress import ConnectionLimits
from es_rerank.sidecar.service import Observing, Service
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Scores

SECRET = "attorney-client-privileged"


def count(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


class Failing(WordOverlapReranker):
    """Raises an error for each query but that of the warm-up."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        if query != "ready":
            raise self.error
        return await super().ascore(query, passages, deadline=deadline)


async def test_a_search_is_counted_with_its_stages_and_its_end() -> None:
    async with observed() as (caller, _):
        answer = await caller.post("/articles/_search", json=SEARCH)
        assert answer.json()["rerank"]["status"] == "reranked"
        found = await samples(caller)
    route = {"route": "/{index}/_search"}
    assert count(found, "es_rerank_http_requests_total", method="POST", status="200", **route) == 1
    assert count(found, "es_rerank_outcomes_total", outcome="reranked") == 1
    assert count(found, "es_rerank_searches_total", outcome="reranked") == 1
    assert count(found, "es_rerank_documents_total") == 3
    assert count(found, "es_rerank_http_response_bytes_total", **route) == len(answer.content)
    stages = {
        dict(labels)["stage"] for name, labels in found if name == "es_rerank_stage_duration_seconds_count"
    }
    assert stages == set(answer.json()["rerank"]["milliseconds"]) - {"total"}


async def test_server_timing_tells_the_stages_of_searches_and_rerank_calls_only() -> None:
    rescore = {
        "query": "red fox",
        "field": "text",
        "response": {
            "hits": {"hits": [{"_index": "a", "_id": "1", "_score": 1.0, "_source": {"text": "x"}}]}
        },
    }
    async with observed() as (caller, _):
        timed = {
            "/articles/_search": SEARCH,
            **{path: body_for(path, ["red fox", "hen"]) for path in PATHS},
            "/_inference/rerank/word-overlap": {"query": "red fox", "input": ["red fox"]},
            "/rescore": rescore,
        }
        for path, body in timed.items():
            value = (await caller.post(path, json=body)).headers["server-timing"]
            parts = value.split(", ")
            # https://www.w3.org/TR/server-timing/: a token, and the parameter dur as a number
            assert all(re.fullmatch(r"[a-z_]+;dur=\d+\.\d", part) for part in parts)
            assert {part.partition(";")[0] for part in parts} >= {"rerank", "total"}
        lines = "{}\n" + json.dumps(SEARCH) + "\n"
        searched = await caller.post(
            "/articles/_msearch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert "first_stage;dur=" in searched.headers["server-timing"]
        for path in ("/healthz", "/readyz", "/metrics", "/_rerank/status", "/info"):
            assert "server-timing" not in (await caller.get(path)).headers


async def test_an_msearch_counts_each_search_and_ends_like_the_worst() -> None:
    broken = {
        "retriever": {"text_similarity_reranker": {**TREE["text_similarity_reranker"], "inference_id": "no"}}
    }
    lines = "".join(f"{{}}\n{json.dumps(body)}\n" for body in (SEARCH, SEARCH, broken))
    async with observed() as (caller, _):
        before = await samples(caller)
        answer = await caller.post(
            "/articles/_msearch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert [item["status"] for item in answer.json()["responses"]] == [200, 200, 404]
        found = await samples(caller)
    assert count(found, "es_rerank_searches_total", outcome="reranked") == 2
    assert count(found, "es_rerank_searches_total", outcome="refused") == 1
    ended = [count(figures, "es_rerank_outcomes_total", outcome="refused") for figures in (before, found)]
    assert ended[1] - ended[0] == 1
    assert count(found, "es_rerank_stage_duration_seconds_count", stage="first_stage") == 1, "one request"


@pytest.mark.parametrize(
    ("error", "reason"), [(OverloadError("full"), "overload"), (RuntimeError(SECRET), "failed")]
)
async def test_a_fallback_is_counted_by_a_reason_of_a_closed_set(error: Exception, reason: str) -> None:
    async with observed(reranker=Failing(error)) as (caller, _):
        answer = await caller.post("/articles/_search", json={"retriever": LENIENT})
        assert answer.json()["rerank"]["status"] == "first_stage"
        text = (await caller.get("/metrics")).text
    assert count(read_samples(text), "es_rerank_fallbacks_total", reason=reason) == 1
    assert count(read_samples(text), "es_rerank_outcomes_total", outcome="first_stage") == 1
    assert SECRET not in text
    # A stage that failed took its time all the same.
    assert count(read_samples(text), "es_rerank_stage_duration_seconds_count", stage="rerank") == 1
    assert "rerank" in answer.json()["rerank"]["milliseconds"]


async def test_a_late_search_is_late_and_a_partial_one_is_a_fallback() -> None:
    class Late(WordOverlapReranker):
        """Scores the first passage only."""

        async def ascore(
            self, query: str, passages: Sequence[str], *, deadline: float | None = None
        ) -> Scores:
            scores = await super().ascore(query, passages)
            scores.done[1:] = query == "ready"
            return scores

    async with observed(reranker=Late()) as (caller, _):
        assert (await caller.post("/articles/_search", json=SEARCH)).status_code == 504
        assert (await caller.post("/rerank", json={"query": "q", "texts": ["a", "b"]})).status_code == 504
        partial = await caller.post("/articles/_search", json={"retriever": LENIENT})
        assert partial.json()["rerank"]["status"] == "partial"
        found = await samples(caller)
    assert count(found, "es_rerank_outcomes_total", outcome="late") == 2
    assert count(found, "es_rerank_searches_total", outcome="late") == 1
    assert count(found, "es_rerank_fallbacks_total", reason="late") == 1
    assert count(found, "te_request_failure", err="deadline") == 2
    assert count(found, "es_rerank_stage_duration_seconds_count", stage="rerank") == 3


async def test_the_names_of_tei_count_requests_that_ask_models() -> None:
    async with observed() as (caller, _):
        await caller.post("/rerank", json={"query": "q", "texts": ["a"]})
        await caller.post("/rerank", json={"query": "q", "texts": ["a", "b"]})
        await caller.post("/rerank", json={"query": "q", "texts": []})
        await caller.post("/rerank", json={"query": "q", "texts": ["a"] * 1001})
        await caller.get("/info")
        found = await samples(caller)
    assert count(found, "te_request_success", method="single") == 1
    assert count(found, "te_request_success", method="batch") == 1
    assert count(found, "te_request_failure", err="validation") == 1
    assert count(found, "te_request_failure", err="batch_size") == 1
    assert sum(value for (name, _), value in found.items() if name == "te_request_count") == 4
    assert count(found, "te_request_duration_count") == 2
    assert count(found, "es_rerank_refusals_total", reason="content_too_long_exception") == 1
    assert {name for name, _ in found} >= {
        "te_request_tokenization_duration_count",
        "te_request_queue_duration_count",
        "te_request_inference_duration_count",
        "te_batch_next_size_count",
        "te_batch_next_tokens_count",
        "process_cpu_seconds_total",
        "es_rerank_build_info",
    }


async def test_the_work_of_a_model_is_told_in_its_parts() -> None:
    class Working(WordOverlapReranker):
        """Tells what an engine tells."""

        async def ascore(
            self, query: str, passages: Sequence[str], *, deadline: float | None = None
        ) -> Scores:
            from es_rerank.observation import OBSERVER  # noqa: PLC0415 what a model imports

            observer = OBSERVER.get()
            if observer is not None:
                runs = Runs(observer)
                observer.took("tokenization", 0.5)
                await asyncio.to_thread(runs.timed(len, lambda batch: 7 * len(batch)), ["a", "b"])
                runs.tell()
            return await super().ascore(query, passages, deadline=deadline)

    async with observed(reranker=Working()) as (caller, _):
        await caller.post("/rerank", json={"query": "q", "texts": ["a", "b"]})
        found = await samples(caller)
    assert count(found, "te_request_tokenization_duration_sum") == 0.5
    assert count(found, "te_request_queue_duration_count") == 1
    assert count(found, "te_request_inference_duration_count") == 1
    assert count(found, "te_batch_next_size_sum") == 2
    assert count(found, "te_batch_next_tokens_sum") == 14
    assert count(found, "es_rerank_tokens_total") == 14


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (Reply(error=NoConnection("refused")), "unreachable", 503),
        (Reply(error=ConnectionTimeout("late")), "timeout", 504),
        (Reply(status=429, body={"error": {"type": "x", "reason": SECRET}, "status": 429}), "rejected", 429),
        (Reply(status=404, body={"error": {"type": "x", "reason": SECRET}, "status": 404}), "refused", 404),
        (Reply(status=500, body={"error": {"type": "x", "reason": SECRET}, "status": 500}), "failed", 500),
    ],
    ids=["unreachable", "timeout", "rejected", "refused", "failed"],
)
async def test_errors_of_elasticsearch_are_counted_by_kind(reply: Reply, kind: str, status: int) -> None:
    def answer(asked: str, body: Any) -> Reply:
        return reply if asked == "POST /articles/_search" else answering(asked, body)

    async with observed(answer=answer) as (caller, _):
        assert (await caller.post("/articles/_search", json=SEARCH)).status_code == status
        text = (await caller.get("/metrics")).text
    assert count(read_samples(text), "es_rerank_elasticsearch_errors_total", kind=kind) == 1
    assert count(read_samples(text), "es_rerank_stage_duration_seconds_count", stage="first_stage") == 1
    assert SECRET not in text


async def test_labels_are_bounded_whatever_callers_write() -> None:
    async with observed() as (caller, _):
        await caller.get("/metrics")
        for number in range(40):
            await caller.request(f"M{number}", f"/{SECRET}-{number}")
            await caller.get(f"/{SECRET}-{number}/x/y")
            await caller.post(f"/{SECRET}-{number}/_search", json=SEARCH | {"size": f"{SECRET}-{number}"})
            await caller.post(
                f"/rerank?model={SECRET}{number}", json={"query": SECRET, "texts": [SECRET], f"{SECRET}": 1}
            )
            await caller.get(f"/_inference/{SECRET}-{number}", headers={"authorization": f"Bearer {SECRET}"})
        text = (await caller.get("/metrics")).text
    assert SECRET not in text
    found = read_samples(text)
    requests = {labels for name, labels in found if name == "es_rerank_http_requests_total"}
    assert {dict(labels)["method"] for labels in requests} <= {"GET", "POST", "other"}
    assert len(requests) < 12
    assert (
        count(found, "es_rerank_http_requests_total", method="other", route="unmatched", status="501")
        + count(found, "es_rerank_http_requests_total", method="other", route="/{index}", status="405")
        == 40
    )


async def test_prometheus_and_openmetrics_are_negotiated() -> None:
    async with observed() as (caller, _):
        await caller.post("/rerank", json={"query": "q", "texts": ["a"]})
        plain = await caller.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        asked = await caller.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        assert asked.headers["content-type"].startswith("application/openmetrics-text")
        families = {family.name for family in open_metrics(asked.text)}  # type: ignore[no-untyped-call]
        assert {"es_rerank_outcomes", "te_request_duration"} <= families
        assert (await caller.get("/_rerank/metrics")).status_code == 200


async def test_the_status_page_says_why_no_model_is_loaded() -> None:
    def broken() -> tuple[dict[str, Reranker], None]:
        raise ModelFolderError("a file is missing")

    script = Script(answering)
    service = Service(script.async_client()._client, broken)  # noqa: SLF001 the plain client
    app = create_app(service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with pytest.raises(ModelFolderError):
        await service.start()
    async with httpx.AsyncClient(transport=transport) as caller:
        said = (await caller.get("http://sidecar/_rerank/status")).json()
        found = read_samples((await caller.get("http://sidecar/metrics")).text)
    assert (said["ready"], said["models"], said["embedder"]) == (False, [], None)
    assert said["not_loaded"] == "a file is missing"
    assert said["not_loaded"] in said["reasons"]
    assert count(found, "es_rerank_models_loaded") == count(found, "es_rerank_ready") == 0


async def test_two_applications_count_apart() -> None:
    async with observed() as (first, _), observed() as (second, _):
        await first.post("/rerank", json={"query": "q", "texts": ["a"]})
        assert count(await samples(first), "te_request_success", method="single") == 1
        assert count(await samples(second), "te_request_success", method="single") == 0


async def test_metrics_and_status_ask_for_their_own_keys() -> None:
    told = Observing(keys=Keys((key_hash("operator"),)))
    async with observed(told, api_key_hashes=(key_hash("caller"),)) as (caller, _):
        for path in ("/metrics", "/_rerank/metrics", "/_rerank/status"):
            assert (await caller.get(path)).status_code == 401
            for wrong in ("Bearer caller", "Bearer ", "Basic operator"):
                assert (await caller.get(path, headers={"authorization": wrong})).status_code == 401
            for right in ("Bearer operator", "ApiKey operator"):
                assert (await caller.get(path, headers={"authorization": right})).status_code == 200


async def test_the_status_page_tells_models_limits_and_elasticsearch() -> None:
    async with observed(connections=Connections(ConnectionLimits(idle_s=75.0))) as (caller, _):
        said = (await caller.get("/_rerank/status")).json()
    assert said["connections"]["idle_s"] == 75.0
    assert said["ready"] is True
    assert said["models"][0]["name"] == "word-overlap"
    assert said["elasticsearch"] == {"url": "http://scripted:9200", "version": "9.5.0"}
    assert said["limits"]["documents"] == 1000
    assert {"release", "uptime_seconds", "embedder"} <= set(said)


async def test_a_caller_of_the_status_page_learns_nothing_of_other_callers() -> None:
    from es_rerank.engine.pool import Pool  # noqa: PLC0415 it is closed here
    from es_rerank.models.wrappers.cached import ScoreCache  # noqa: PLC0415

    pool, cache = Pool(1), ScoreCache(8)
    key = (key_hash("caller"),)
    async with observed(api_key_hashes=key, pool=pool, cache=cache) as (caller, _):
        assert (await caller.get("/_rerank/status")).status_code == 401
        said = (await caller.get("/_rerank/status", headers={"authorization": "Bearer caller"})).json()
        assert set(said["queue"]) == {"running", "waiting", "waiting_s", "threads"}
        assert "score_cache" not in said
    told = Observing(keys=Keys((key_hash("operator"),)))
    async with observed(told, pool=pool, cache=cache) as (caller, _):
        said = (await caller.get("/_rerank/status", headers={"authorization": "Bearer operator"})).json()
        assert said["score_cache"] == {"entries": 0, "hits": 0, "misses": 0}
        assert "tokens" in said["queue"]
    pool.close()


async def test_requests_side_by_side_have_records_of_their_own() -> None:
    turn = asyncio.Event()

    class Slow(WordOverlapReranker):
        """Waits for another request."""

        async def ascore(
            self, query: str, passages: Sequence[str], *, deadline: float | None = None
        ) -> Scores:
            if query == "first":
                await turn.wait()
            elif query == "second":
                turn.set()
            return await super().ascore(query, passages, deadline=deadline)

    async with observed(reranker=Slow()) as (caller, _):
        answers = await asyncio.gather(
            caller.post("/rerank", json={"query": "first", "texts": ["a"] * 5}),
            caller.post("/rerank", json={"query": "second", "texts": ["a"]}),
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        found = await samples(caller)
    assert count(found, "te_request_success", method="batch") == 1
    assert count(found, "te_request_success", method="single") == 1
    assert count(found, "es_rerank_documents_total") == 6

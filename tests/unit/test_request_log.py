"""The line of a request in the log: its fields, and nothing that a caller wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnection
from observed_apps import LENIENT, SEARCH, answering, observed
from scripted_elasticsearch import Reply

from es_rerank.defaults import LogFormat
from es_rerank.sidecar.access.keys import Keys, key_hash
from es_rerank.sidecar.observation.log_stream import LogStream
from es_rerank.sidecar.observation.request_log import RequestLog
from es_rerank.sidecar.record import Record
from es_rerank.sidecar.service import Observing

SECRET = "attorney-client-privileged"


class Lines(LogStream):
    """A log that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def write(self, entry: Any) -> int:
        self.lines.append(entry if isinstance(entry, str) else entry())
        return 0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr("es_rerank.sidecar.app.STREAM", lines)
    return lines


HEADERS = {
    "authorization": "ApiKey c2VjcmV0",
    "x-opaque-id": "job 7\tnext=1 " + "x" * 100,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


async def test_a_line_of_json_has_the_names_of_ecs(log: Lines) -> None:
    async with observed(Observing(log_requests=True, log_format="json")) as (caller, _):
        log.lines.clear()
        answer = await caller.post("/articles/_search", json=SEARCH, headers=HEADERS)
    (line,) = map(json.loads, log.lines)
    assert list(line)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    assert line["message"] == "POST /{index}/_search 200"
    assert line["http.request.method"] == "POST"
    assert line["http.response.status_code"] == 200
    assert line["http.response.body.bytes"] == len(answer.content)
    assert line["http.request.body.bytes"] == len(answer.request.content)
    assert line["event.outcome"] == "success"
    assert line["trace.id"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["es_rerank.outcome"] == "reranked"
    assert line["es_rerank.documents"] == 3
    assert set(line["es_rerank.stages"]) == set(answer.json()["rerank"]["milliseconds"]) - {"total"}
    assert line["es_rerank.opaque_id"] == "job_7_next=1_" + "x" * 51
    assert re.fullmatch(r"[0-9a-f]{12}", line["user.hash"])


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
)
async def test_an_invalid_trace_has_no_id_in_the_log(log: Lines, parent: str) -> None:
    async with observed(Observing(log_requests=True, log_format="json")) as (caller, _):
        log.lines.clear()
        await caller.post("/articles/_search", json=SEARCH, headers={"traceparent": parent})
    (line,) = map(json.loads, log.lines)
    assert "trace.id" not in line


@pytest.mark.parametrize("form", ["console", "json"])
async def test_the_log_holds_nothing_that_a_caller_wrote(form: Any, log: Lines) -> None:
    async with observed(Observing(log_requests=True, log_format=form)) as (caller, _):
        secret = {"authorization": f"Bearer {SECRET}", "cookie": SECRET, "user-agent": SECRET}
        tree = {"retriever": {**LENIENT, "filter": {"term": {SECRET: SECRET}}}}
        for path, body in (
            (f"/{SECRET}/_search?q={SECRET}", {"query": {"match": {"text": SECRET}}}),
            (f"/{SECRET}/_search", tree),
            (f"/{SECRET}/_search", SEARCH),
            (f"/rerank?model={SECRET}", {"query": SECRET, "texts": [SECRET]}),
            ("/rerank", {"query": SECRET, "texts": [SECRET]}),
            (f"/{SECRET}/{SECRET}", {}),
        ):
            await caller.post(path, json=body, headers=secret)
    assert len(log.lines) >= 6
    assert SECRET not in "".join(log.lines)


async def test_a_line_of_text_is_one_line_with_fields_apart(log: Lines) -> None:
    async with observed(Observing(log_requests=True)) as (caller, _):
        log.lines.clear()
        await caller.post("/rerank", json={"query": "q", "texts": ["a"]}, headers=HEADERS)
    (line,) = log.lines
    assert line.endswith("\n")
    assert line.count("\n") == 1
    fields = dict(part.partition("=")[::2] for part in line.split() if "=" in part)
    assert fields["route"] == "/rerank"
    assert fields["outcome"] == "reranked"
    assert fields["opaque_id"] == "job_7_next=1_" + "x" * 51
    assert fields["trace"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("pass_through", [False, True])
@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v3/rerank", "/v3/rerank"),
        ("/api//V1/rerank/?key=secret", "/api/v1/rerank"),
        (f"/{SECRET}/rerank", "/*/rerank"),
        (f"/{SECRET}%0Anext=1/v1/rerank", "/*/v1/rerank"),
        (f"/{SECRET}" * 50 + "/embeddings", "/*/*/*/*/*/*/*/embeddings"),
        (f"/{SECRET}/_doc/rerank", None),
        (f"/{SECRET}/unknown", None),
    ],
)
async def test_a_wrong_address_is_logged_by_its_known_words(
    path: str, shape: str | None, pass_through: bool, log: Lines
) -> None:
    forms: tuple[LogFormat, ...] = ("console", "json")
    for form in forms:
        observing = Observing(log_requests=True, log_format=form)
        async with observed(observing, pass_through=pass_through) as (caller, _):
            log.lines.clear()
            await caller.post(path, json={"query": "q", "documents": ["d"]})
        (line,) = log.lines
        assert SECRET not in line
        if form == "json":
            assert json.loads(line).get("es_rerank.asked") == shape
        else:
            assert f"asked={shape}" in line.split() if shape else "asked=" not in line


async def test_health_checks_are_logged_when_they_fail_only(log: Lines) -> None:
    def answer(asked: str, body: Any) -> Reply:
        return Reply(error=NoConnection("down")) if down else answering(asked, body)

    down = False
    async with observed(Observing(log_requests=True), answer=answer) as (caller, _):
        log.lines.clear()
        for path in ("/health", "/healthz", "/readyz", "/metrics", "/_rerank/metrics"):
            assert (await caller.get(path)).status_code == 200
        assert log.lines == []
    down = True
    service_lines = log.lines
    async with observed(Observing(log_requests=True, keys=Keys((key_hash("k"),)))) as (caller, _):
        service_lines.clear()
        assert (await caller.get("/metrics")).status_code == 401
        assert len(service_lines) == 1


async def test_the_name_of_a_key_is_in_the_log_and_hashes_tell_other_callers_apart(log: Lines) -> None:
    hashes = (key_hash("one"),)
    async with observed(Observing(log_requests=True, log_format="json"), api_key_hashes=hashes) as (
        caller,
        _,
    ):
        log.lines.clear()
        body = {"query": "q", "texts": ["a"]}
        await caller.post("/rerank", json=body, headers={"authorization": "Bearer one"})
        for wrong in ("Bearer two", "Bearer three", "Bearer two"):
            await caller.post("/rerank", json=body, headers={"authorization": wrong})
    named, two, three, again = map(json.loads, log.lines)
    assert named["user.name"] == f"sha256-{hashes[0][:8]}"
    assert two["user.hash"] == again["user.hash"] != three["user.hash"]
    # A hash that can be computed from a key would let a reader of the log try keys.
    assert two["user.hash"] not in (key_hash("two"), key_hash("Bearer two")[:12], key_hash("two")[:12])


async def test_the_line_of_an_expired_key_has_its_name(log: Lines, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[old]\nsha256 = "{key_hash("one")}"\nexpires = 1999-12-31\n')
    observing = Observing(log_requests=True, log_format="json")
    async with observed(observing, api_keys_file=file) as (caller, _):
        log.lines.clear()
        headers = {"authorization": "Bearer one"}
        await caller.post("/rerank", json={"query": "q", "texts": ["a"]}, headers=headers)
    (line,) = map(json.loads, log.lines)
    assert (line["http.response.status_code"], line["user.name"]) == (401, "old")


def test_request_log_of_nothing_known() -> None:
    lines = Lines()
    record = Record("GET", {"type": "http", "headers": []})
    record.end()
    for form in ("console", "json"):
        RequestLog(lines, form).write(record)
    assert len(lines.lines) == 2


def test_a_full_queue_drops_and_counts_and_a_function_that_fails_ends_nothing() -> None:
    stream, entered, go_on = LogStream(most=1), threading.Event(), threading.Event()

    def stuck() -> str:
        entered.set()
        go_on.wait(60)
        return ""

    stream.write(stuck)
    entered.wait(60)
    for _ in range(3):
        stream.write("line\n")
    assert stream.dropped == 2
    go_on.set()
    stream.close()
    failing = LogStream()
    failing.write(lambda: str(1 // 0))
    failing.close()
    assert failing.dropped == 1


def test_a_reader_that_does_not_read_holds_nothing_up() -> None:
    code = """
import structlog
from es_rerank.sidecar.observation.log import STREAM, configure_log
configure_log()
structlog.get_logger("x").error("x" * 100_000)
for number in range(30_000):
    STREAM.write("x" * 1000)
print("went on", STREAM.dropped > 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "went on True\n"
        assert process.wait(60) == 0  # although nobody has read a byte of its log


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_log_is_written_before_the_process_ends(form: str) -> None:
    code = f"""
import logging, structlog
from es_rerank.sidecar.observation.log import configure_log
configure_log({form!r})
structlog.get_logger("x").warning("an event", reason="why")
try:
    raise RuntimeError({SECRET!r})
except RuntimeError:
    logging.getLogger("library").exception("it failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert SECRET not in done.stderr
    if form == "console":
        assert "an event" in done.stderr
        assert "library: it failed" in done.stderr
        return
    event, failure = map(json.loads, done.stderr.splitlines())
    assert (event["log.level"], event["message"], event["es_rerank.reason"]) == ("warning", "an event", "why")
    assert (failure["log.level"], failure["log.logger"]) == ("error", "library")
    assert failure["error.stack_trace"].endswith("builtins.RuntimeError")

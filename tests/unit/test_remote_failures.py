"""Deadlines, cancellation, retries and refusals of a rerank service over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import stamina
from http_servers import Quiet, serving_in_thread
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Hang, Host, serve_tei, tei_error
from starlette.responses import JSONResponse, Response

from es_rerank.errors import OverloadError, RemoteModelError, ScoreError
from es_rerank.models.hosted.remote import RemoteReranker

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Waits between attempts are left out; there are four all the same."""
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.fixture
def service(host: Host) -> FakeService:
    return serve_tei(host)


@pytest.fixture
def reranker(url: str) -> Iterator[RemoteReranker]:
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
        yield loaded


def test_a_deadline_keeps_what_is_done(reranker: RemoteReranker, service: FakeService) -> None:
    """A sidecar that has no time left says 504 by itself; what other requests brought is kept."""
    service.replies = [tei_error(504, "the deadline passed", "Backend")]
    scores = reranker.score(QUERY, ["treaty"] * 10, deadline=time.monotonic() + 60)
    assert scores.done.sum() in (6, 8)
    assert (scores.values[scores.done] == scores.values[scores.done][0]).all()


def test_a_service_without_time_is_an_error_where_there_is_no_deadline(
    reranker: RemoteReranker, service: FakeService
) -> None:
    service.replies = [tei_error(504, "the deadline passed", "Backend")]
    with pytest.raises(
        RemoteModelError, match="answered 504: the deadline passed; see whether it is overloaded"
    ):
        reranker.score(QUERY, PASSAGES)


def test_what_is_late_is_not_done_and_its_request_is_closed(
    reranker: RemoteReranker, service: FakeService
) -> None:
    service.replies = [Hang()]
    assert not reranker.score(QUERY, PASSAGES, deadline=time.monotonic() + 0.5).done.any()
    assert int(service.headers[0]["x-rerank-timeout-ms"]) <= 500
    assert service.left.wait(30)


async def test_cancelling_closes_the_request(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [Hang()]
    task = asyncio.create_task(reranker.ascore(QUERY, PASSAGES))
    assert await asyncio.to_thread(service.asked.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(service.left.wait, 30)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [429, 502, 503])
def test_failures_that_may_pass_are_tried_again(
    reranker: RemoteReranker, service: FakeService, status: int
) -> None:
    service.replies = [
        tei_error(status, "Model is overloaded", "Overloaded", {"Retry-After": "1"}),
        tei_error(status, "later", "Overloaded"),
    ]
    assert reranker.score(QUERY, PASSAGES).done.all()
    assert len(service.bodies) == 3


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_overloaded(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [tei_error(429, "Model is overloaded", "Overloaded", {"Retry-After": "7"})] * 4
    with pytest.raises(OverloadError, match="answered 429: Model is overloaded") as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.retry_after_s, len(service.bodies)) == (7, 4)


def test_a_connection_that_breaks_is_opened_anew() -> None:
    """As one does that the server has closed for being idle, just when it is used again."""
    asked: list[str] = []

    class Breaking(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            if len(asked) > 1:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'[{"index": 0, "score": 1.5}]')

    with (
        serving_in_thread(HTTPServer(("127.0.0.1", 0), Breaking)) as url,
        RemoteReranker(url, dialect="tei") as loaded,
    ):
        assert loaded.score(QUERY, PASSAGES[:1]).values.tolist() == [1.5]
    assert asked == ["/rerank", "/rerank"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (tei_error(424, "Inference failed", "Backend"), "answered 424: Inference failed"),
        (tei_error(413, "too large", "Validation"), "answered 413: too large"),
        (tei_error(422, "no such field", "Tokenizer"), "answered 422: no such field"),
        (tei_error(403, "no", "Unauthorized"), "answered 403: no; check the key"),
        (tei_error(500, "no", "Backend"), "answered 500: no"),
        (Response(status_code=302, headers={"Location": "/rerank"}), "answered 302: without a reason"),
        (
            JSONResponse({"error": {"reason": "no handler", "type": "x"}, "status": 404}, 404),
            "answered 404: no handler",
        ),
        (Response("<html>" + "x" * 2_000, 405), "answered 405: <html>x{494}…"),
        (Response("<html>Log in</html>"), "answered 200: <html>Log in"),
        (JSONResponse({"results": []}), "answered 200: {'results': "),
    ],
)
def test_a_refusal_is_not_repeated(
    reranker: RemoteReranker, service: FakeService, reply: Response, message: str
) -> None:
    service.replies = [reply]
    with pytest.raises(RemoteModelError, match=message) as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, len(service.bodies)) == (reply.status_code, 1)


def test_an_answer_that_cannot_be_read(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [Response(b"not compressed", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(RemoteModelError, match="cannot be asked: Error -3 while decompressing") as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, len(service.bodies)) == (None, 1)


@pytest.mark.usefixtures("impatient")
def test_nobody_at_the_address() -> None:
    with RemoteReranker("http://user:s3cret@127.0.0.1:9") as loaded:
        with pytest.raises(
            RemoteModelError, match=r"the rerank service http://127\.0\.0\.1:9/rerank cannot be reached"
        ) as caught:
            loaded.score(QUERY, PASSAGES)
        assert "s3cret" not in str(caught.value)
        with pytest.raises(
            RemoteModelError, match="cannot be reached"
        ):  # and not late: the reason would be lost
            loaded.score(QUERY, PASSAGES, deadline=time.monotonic() + 60)
        assert not loaded.score(QUERY, PASSAGES, deadline=time.monotonic() - 1).done.any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[1:], "2 scores for 3 passages, none for passage 2"),
        (lambda rows: [*rows, rows[0]], "two scores for passage 2"),
        (lambda rows: [rows[0] | {"index": 1.0}, *rows[1:]], r"a score for passage 1\.0 where 3 were sent"),
        (lambda rows: [rows[0] | {"index": True}, *rows[1:]], "a score for passage True"),
        (
            lambda rows: [rows[0] | {"score": float("nan")}, *rows[1:]],
            "the score nan, which is not a finite number",
        ),
        (
            lambda rows: [rows[0] | {"score": 1e39}, *rows[1:]],
            r"the score 1e\+39, which is not a finite number in float32",
        ),
        (lambda rows: [rows[0] | {"score": None}, *rows[1:]], "the score None"),
        (lambda rows: [rows[0] | {"score": False}, *rows[1:]], "the score False"),
        (lambda rows: [3, *rows], "a score for passage None"),
    ],
)
def test_an_answer_that_is_not_one_score_per_passage(
    reranker: RemoteReranker, service: FakeService, spoil: Any, message: str
) -> None:
    service.spoil = spoil
    with pytest.raises(ScoreError, match=message):
        reranker.score(QUERY, PASSAGES)


@pytest.mark.parametrize("positions", ["3", "-1", "one", "0,99"])
def test_a_cut_of_passages_that_were_not_sent(
    reranker: RemoteReranker, service: FakeService, positions: str
) -> None:
    rows = [{"index": index, "score": 0.5} for index in range(3)]
    service.replies = [JSONResponse(rows, headers={"x-rerank-truncated-at": positions})]
    with pytest.raises(ScoreError, match=f"says that it cut the passages {positions} of 3"):
        reranker.score(QUERY, PASSAGES)

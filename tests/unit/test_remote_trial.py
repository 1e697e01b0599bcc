"""The trial that finds the dialect of a rerank service: shared, bounded, kept, and tried again."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from pydantic import SecretStr
from rerank_dialects import MODEL, serve
from rerank_services import KEY, FakeService, Hang, Host, serve_tei, serving_whichever
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from es_rerank.errors import OverloadError, RemoteModelError, ScoreError
from es_rerank.models.hosted import remote
from es_rerank.models.hosted.remote import RemoteReranker

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Waits between attempts are left out; there are two."""
    with stamina.set_testing(True, attempts=2):
        yield


def _always(host: Host, response: Response) -> FakeService:
    """Answer every request with ``response``."""
    service = FakeService()

    async def answer(request: Request) -> Response:
        service.paths.append(request.url.path)
        return response

    host.app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    return service


def _dialect(loaded: RemoteReranker) -> str | None:
    return loaded.dialect


async def _at_once(loaded: RemoteReranker, count: int) -> list[Any]:
    asked = (loaded.ascore(QUERY, PASSAGES) for _ in range(count))
    return await asyncio.gather(*asked, return_exceptions=True)


def test_fifty_callers_share_one_trial(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    served = serve(host, "vllm")
    with (
        caplog.at_level(logging.INFO, logger="es_rerank.models.hosted.remote"),
        RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded,
    ):
        scores = asyncio.run(_at_once(loaded, 50))
    assert all(each.scale == "logit" and each.done.all() for each in scores)
    examples = [body for body in served.service.bodies if body["query"] != QUERY]
    assert [sorted(body) for body in examples] == [
        ["query", "raw_scores", "texts", "truncate"],
        ["documents", "model", "query"],
        ["documents", "model", "query", "truncate_prompt_tokens", "use_activation"],
    ]
    assert len(served.service.bodies) == 53
    assert [record.getMessage() for record in caplog.records] == [
        f"the rerank service {served.url}/rerank is asked in the dialect vllm, scale logit"
    ]


@pytest.mark.usefixtures("impatient")
def test_fifty_callers_of_a_page_of_html_send_one_trial(host: Host) -> None:
    service = _always(host, HTMLResponse("<html>Log in</html>"))
    with RemoteReranker(f"{host.url}?model={MODEL}") as loaded:
        failures = asyncio.run(_at_once(loaded, 50))
        tried = len(service.paths)
        assert len(set(service.paths)) == tried - 1, "a path is asked twice only for its two bodies"
        for failure in failures:
            assert isinstance(failure, RemoteModelError)
            assert "understands no dialect of rerank services" in str(failure)
            assert "(tei at /rerank: it answered 200: <html>Log in</html>; results at" in str(failure)
            assert "name the dialect (remote:DIALECT:URL, with one of tei, results, cohere" in str(failure)
        with pytest.raises(RemoteModelError, match="understands no dialect"):
            loaded.score(QUERY, PASSAGES)
        assert len(service.paths) == tried, "a service that understands nothing is left alone for a while"


def test_a_service_that_understood_nothing_is_tried_again_later(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "AGAIN_S", 0.0)
    _always(host, HTMLResponse("<html>Log in</html>"))
    with RemoteReranker(f"{host.url}?model={MODEL}", api_key=SecretStr(KEY)) as loaded:
        for _ in range(2):
            with pytest.raises(RemoteModelError, match="understands no dialect"):
                loaded.score(QUERY, PASSAGES)
        serve(host, "voyage")
        assert loaded.score(QUERY, PASSAGES).scale == "probability"


def test_a_failed_trial_repeats_no_key(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    _always(host, JSONResponse({"detail": f"Bearer {KEY}?" + "x" * 300}, 404))
    with (
        caplog.at_level(logging.DEBUG),
        RemoteReranker(f"{host.url}?token=t0ken", api_key=SecretStr(KEY)) as loaded,
        pytest.raises(RemoteModelError, match=r"answered 404: Bearer \*+\?x+…") as caught,
    ):
        loaded.score(QUERY, PASSAGES)
    assert KEY not in f"{caught.value} {caught.value!r} {caplog.text}"
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (JSONResponse({"detail": "no"}, 401), RemoteModelError, "answered 401: no; check the key"),
        (JSONResponse({"detail": "slow down"}, 429), OverloadError, "answered 429: slow down"),
        (JSONResponse({"error": "loading"}, 503), RemoteModelError, "answered 503: loading"),
        (JSONResponse({"error": "broken"}, 500), RemoteModelError, "answered 500: broken"),
        (JSONResponse({"error": "not yours"}, 403), RemoteModelError, "answered 403: not yours; check the"),
        (JSONResponse({"error": "late"}, 504), RemoteModelError, "answered 504: late; see whether it is"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_service_that_is_not_ready_is_tried_again_by_the_next_call(
    host: Host, reply: Response, error: type[Exception], message: str
) -> None:
    _always(host, reply)
    with RemoteReranker(f"{host.url}?model={MODEL}", api_key=SecretStr(KEY)) as loaded:
        with pytest.raises(error, match=message):
            loaded.score(QUERY, PASSAGES)
        assert _dialect(loaded) is None
        served = serve(host, "voyage")
        assert loaded.score(QUERY, PASSAGES).done.all()
        assert (_dialect(loaded), served.service.paths[-1]) == ("voyage", "/v1/rerank")


def test_what_a_starting_service_did_not_know_is_asked_again(host: Host) -> None:
    """A proxy answers 404 for the paths of a service that is not there yet."""
    starting = FakeService()

    async def answer(request: Request) -> Response:
        starting.paths.append(request.url.path)
        return Response(status_code=404 if request.url.path in ("/rerank", "/info") else 401)

    host.app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    with RemoteReranker(host.url, api_key=SecretStr(KEY)) as loaded:
        with pytest.raises(RemoteModelError, match="answered 401"):
            loaded.score(QUERY, PASSAGES)
        serve(host, "llama_cpp")
        assert loaded.score(QUERY, PASSAGES).done.all()
        assert loaded.dialect == "tei"


@pytest.mark.usefixtures("impatient")
def test_nobody_at_first_and_a_service_later() -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    with RemoteReranker(f"http://127.0.0.1:{bound.getsockname()[1]}", api_key=SecretStr(KEY)) as loaded:
        failures = asyncio.run(_at_once(loaded, 10))
        assert all("cannot be reached" in str(failure) for failure in failures)
        assert len({id(failure) for failure in failures}) == 10, "each caller has its own traceback"
        assert _dialect(loaded) is None
        with serving_whichever(bound) as host:
            serve(host, "vllm")
            assert loaded.score(QUERY, PASSAGES).done.all()
            assert loaded.dialect == "vllm"


def test_a_trial_ends_at_the_deadline_and_the_next_call_goes_on_there(host: Host) -> None:
    served = serve(host, "vllm")
    served.service.replies = [JSONResponse({"detail": "no"}, 422), Hang()]
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        assert not loaded.score(QUERY, PASSAGES, deadline=time.monotonic() + 1.0).done.any()
        assert served.service.left.wait(30)
        assert [("texts" in body) for body in served.service.bodies] == [True, False]
        assert loaded.score(QUERY, PASSAGES).done.all()
    assert not any("texts" in body for body in served.service.bodies[1:])


async def test_a_caller_who_leaves_does_not_end_the_trial_of_the_others(host: Host) -> None:
    served = serve(host, "vllm")
    served.service.replies = [Hang()]
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        first = asyncio.create_task(loaded.ascore(QUERY, PASSAGES))
        assert await asyncio.to_thread(served.service.asked.wait, 30)
        others = [asyncio.create_task(loaded.ascore(QUERY, PASSAGES)) for _ in range(5)]
        first.cancel()
        assert all(scores.done.all() for scores in await asyncio.gather(*others))
        assert first.cancelled()


@pytest.mark.parametrize("dialect", ["tei", "results", "score", "weaviate"])
def test_a_wrong_dialect_that_is_named(host: Host, dialect: str) -> None:
    served = serve(host, "voyage")
    with (
        RemoteReranker(served.address, dialect=dialect, api_key=SecretStr(KEY)) as loaded,
        pytest.raises(
            RemoteModelError,
            match=rf"answered (200|400|404): .*; it was asked in the dialect {dialect}, which was named: ",
        ),
    ):
        loaded.score(QUERY, PASSAGES)


@pytest.mark.parametrize("named", [None, "results"])
def test_a_probability_out_of_its_range_is_an_error_that_names_the_scale(
    host: Host, named: str | None
) -> None:
    served = serve(host, "localai")
    with RemoteReranker(served.address, dialect=named, api_key=SecretStr(KEY)) as loaded:
        assert loaded.score(QUERY, PASSAGES).scale == "probability"
        served.service.spoil = lambda rows: [row | {"relevance_score": 4.25} for row in rows]
        with pytest.raises(ScoreError, match=r"score 4\.25, .* from 0 to 1; .* remote:results:logit:URL"):
            loaded.score(QUERY, PASSAGES)
        served.service.spoil = lambda rows: rows
        assert loaded.score(QUERY, PASSAGES).scale == "probability", "the scale never changes"


@pytest.mark.parametrize("named", [None, "results"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[1:], "1 scores for 2 passages, none for passage 0"),
        (lambda rows: [rows[0], rows[0]], "two scores for passage 0"),
        (lambda rows: [row | {"index": -1} for row in rows], "a score for passage -1 where 2 were sent"),
        (lambda rows: [row | {"relevance_score": "1"} for row in rows], "the score '1', which is not"),
    ],
)
def test_scores_of_the_example_that_cannot_be_used(
    host: Host, named: str | None, spoil: Any, message: str
) -> None:
    served = serve(host, "localai")
    served.service.spoil = spoil
    with RemoteReranker(served.address, dialect=named, api_key=SecretStr(KEY)) as loaded:
        with pytest.raises(ScoreError, match=message):
            loaded.score(QUERY, PASSAGES)
        served.service.spoil = lambda rows: rows
        assert loaded.score(QUERY, PASSAGES).done.all()


def test_another_service_at_the_address_is_found_by_the_call_after_its_first_answer(host: Host) -> None:
    serve_tei(host)
    with RemoteReranker(f"{host.url}?model={MODEL}", api_key=SecretStr(KEY)) as loaded:
        assert loaded.score(QUERY, PASSAGES).done.all()
        serve(host, "voyage")
        with pytest.raises(RemoteModelError, match="answered 404"):
            loaded.score(QUERY, PASSAGES)
        assert loaded.score(QUERY, PASSAGES).scale == "probability"
        assert loaded.dialect == "voyage"

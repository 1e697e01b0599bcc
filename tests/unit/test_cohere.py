"""Cohere's models through Cohere's own SDK,
against a local server that speaks the v2 wire format strictly.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stamina
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Hang, Host, Rows, cohere_app, cohere_error
from starlette.responses import Response

from es_rerank.errors import (
    MissingExtraError,
    ModelError,
    OverloadError,
    RemoteModelError,
    RequestError,
    ScoreError,
    SettingsError,
    outcome_of,
)
from es_rerank.models import LoadedReranker, Reranker
from es_rerank.models.access import Access
from es_rerank.models.hosted.cohere import CohereReranker
from es_rerank.models.load import load_reranker
from es_rerank.testing.contract import RerankerContract

MODEL = "rerank-v3.5"
QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]


@pytest.fixture
def service(host: Host) -> FakeService:
    service = FakeService()
    host.app = cohere_app(service)
    return service


@pytest.fixture
def reranker(url: str) -> Iterator[CohereReranker]:
    with CohereReranker(MODEL, api_key=SecretStr(KEY), base_url=url) as loaded:
        yield loaded


@pytest.fixture
def impatient() -> Iterator[None]:
    """Waits between attempts are left out; there are four all the same."""
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.fixture
def broken(reranker: CohereReranker, service: FakeService) -> CohereReranker:
    service.spoil = lambda rows: [row | {"relevance_score": float("nan")} for row in rows]
    return reranker


class TestCohereContract(RerankerContract):
    """Over a service that scores each passage alone, as Cohere says its own does."""


def test_it_is_what_the_protocols_ask_for(reranker: CohereReranker) -> None:
    assert isinstance(reranker, Reranker)
    assert isinstance(reranker, LoadedReranker)
    assert (reranker.name, reranker.calibration) == (MODEL, None)


def test_scores_are_cohere_s_probabilities(reranker: CohereReranker, service: FakeService) -> None:
    scores = reranker.score(QUERY, PASSAGES)
    assert scores.scale == "probability"
    assert np.argsort(-scores.values).tolist() == [2, 0, 1]
    assert service.bodies == [
        {"model": MODEL, "query": QUERY, "documents": PASSAGES, "max_tokens_per_doc": 4096}
    ]


def test_it_is_loaded_by_its_prefix(url: str, service: FakeService) -> None:
    with load_reranker(
        f"cohere:{MODEL}", name="hosted", access=Access(cohere_api_key=SecretStr(KEY), cohere_url=url)
    ) as loaded:
        assert loaded.name == "hosted"
        assert loaded.score(QUERY, PASSAGES).done.all()
    assert len(service.bodies) == 1


def test_the_cut_of_documents_is_the_caller_s(url: str, service: FakeService) -> None:
    with CohereReranker(MODEL, api_key=SecretStr(KEY), base_url=url, max_tokens_per_doc=512) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert service.bodies[0]["max_tokens_per_doc"] == 512


def test_a_list_over_a_thousand_is_split_and_merged_by_index(
    reranker: CohereReranker, service: FakeService
) -> None:
    passages = [f"the treaty {number}" if number % 3 else "who signed" for number in range(2_300)]
    scores = reranker.score(QUERY, passages)
    assert scores.done.all()
    assert sorted(len(body["documents"]) for body in service.bodies) == [300, 1000, 1000]
    assert sorted(text for body in service.bodies for text in body["documents"]) == sorted(passages)
    expected = {text: reranker.score(QUERY, [text]).values[0] for text in ("the treaty 1", "who signed")}
    assert (
        scores.values == [expected["the treaty 1" if number % 3 else "who signed"] for number in range(2_300)]
    ).all()


# --- texts --------------------------------------------------------------------------------------------------


def test_empty_passages_are_not_sent_and_come_last(reranker: CohereReranker, service: FakeService) -> None:
    scores = reranker.score(QUERY, ["", "bread", " \n", PASSAGES[0]])
    assert service.bodies[0]["documents"] == ["bread", PASSAGES[0]]
    assert scores.done.all()
    assert scores.values[[0, 2]].tolist() == [0.0, 0.0]
    assert (scores.values[[1, 3]] > 0).all()
    assert reranker.score(QUERY, ["", " "]).done.all()
    assert len(service.bodies) == 1


def test_an_empty_query_is_the_caller_s_mistake(reranker: CohereReranker, service: FakeService) -> None:
    for query in ("", " \n"):
        with pytest.raises(RequestError, match="the query is empty"):
            reranker.score(query, PASSAGES)
    assert len(reranker.score("", [])) == 0
    assert service.bodies == []


def test_what_is_no_unicode_is_made_so_before_it_is_sent(
    reranker: CohereReranker, service: FakeService
) -> None:
    assert reranker.score("who \udfff", ["lone \ud800", "a\x00b", "\ud83d\ude00"]).done.all()
    assert (service.bodies[0]["query"], service.bodies[0]["documents"]) == (
        "who \ufffd",
        ["lone \ufffd", "a\x00b", "😀"],
    )


def test_a_text_of_which_only_the_beginning_is_sent_is_marked(
    reranker: CohereReranker, service: FakeService
) -> None:
    scores = reranker.score(QUERY, ["treaty " * 100_000, "treaty"])
    assert scores.truncated.tolist() == [True, False]
    assert len(service.bodies[0]["documents"][0]) == 250_000


# --- deadlines, cancellation, closing -----------------------------------------------------------------------


def test_a_deadline_that_has_passed_sends_nothing(reranker: CohereReranker, service: FakeService) -> None:
    assert not reranker.score(QUERY, PASSAGES, deadline=time.monotonic() - 1).done.any()
    assert service.bodies == []


def test_what_is_late_is_not_done_and_its_request_is_closed(
    reranker: CohereReranker, service: FakeService
) -> None:
    service.replies = [Hang()]
    scores = reranker.score(QUERY, PASSAGES, deadline=time.monotonic() + 0.5)
    assert not scores.done.any()
    assert service.left.wait(30)


def test_a_deadline_keeps_what_is_done(reranker: CohereReranker, service: FakeService) -> None:
    reranker.score(QUERY, PASSAGES)
    service.replies = [Hang()]
    passages = [f"treaty {number}" for number in range(1_200)]
    scores = reranker.score(QUERY, passages, deadline=time.monotonic() + 3)
    assert scores.done.sum() in (200, 1_000)
    assert np.isfinite(scores.values).all()


def test_a_service_that_hangs_is_an_error_where_there_is_no_deadline(url: str, service: FakeService) -> None:
    service.replies = [Hang()]
    with CohereReranker(MODEL, api_key=SecretStr(KEY), base_url=url, timeout_s=0.5) as loaded:
        with pytest.raises(RemoteModelError, match=r"did not answer within 0\.5 seconds"):
            loaded.score(QUERY, PASSAGES)
        assert loaded.score(QUERY, PASSAGES).done.all()


async def test_cancelling_closes_the_request(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [Hang()]
    task = asyncio.create_task(reranker.ascore(QUERY, PASSAGES))
    assert await asyncio.to_thread(service.asked.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(service.left.wait, 30)
    assert (await reranker.ascore(QUERY, PASSAGES)).done.all()


def test_closing_fails_the_calls_that_wait(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [Hang(), Hang()]
    failures: list[Exception] = []

    def waits() -> None:
        try:
            reranker.score(QUERY, PASSAGES)
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=waits) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert service.asked.wait(30)
    reranker.close()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 2
    assert all("closed" in str(error) for error in failures)
    with pytest.raises(ModelError, match="the model is closed"):
        reranker.score(QUERY, PASSAGES)


async def test_closing_from_within_a_loop_fails_the_calls_that_wait(
    reranker: CohereReranker, service: FakeService
) -> None:
    service.replies = [Hang()]
    task = asyncio.create_task(reranker.ascore(QUERY, PASSAGES))
    assert await asyncio.to_thread(service.asked.wait, 30)
    await reranker.aclose()
    with pytest.raises(ModelError, match="was closed while passages were waiting"):
        await task
    with pytest.raises(ModelError, match="the model is closed"):
        await reranker.ascore(QUERY, PASSAGES)


# anyio's own, where it is cancelled between two addresses of a host that it tries one after the other
@pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning")
async def test_calls_that_are_cancelled_at_once_leave_nothing_behind(
    reranker: CohereReranker, service: FakeService
) -> None:
    service.replies = [Hang()] * 50  # none can be answered before it is cancelled
    for turns in range(50):
        task = asyncio.create_task(reranker.ascore(QUERY, PASSAGES))
        for _ in range(turns % 3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    service.replies.clear()
    assert (await reranker.ascore(QUERY, PASSAGES)).done.all()
    gc.collect()  # a coroutine that was never awaited would be a warning, and so an error


def test_one_connection_serves_callers_of_every_loop(reranker: CohereReranker, service: FakeService) -> None:
    for _ in range(3):
        reranker.score(QUERY, PASSAGES)
        asyncio.run(reranker.ascore(QUERY, PASSAGES))
    assert len(service.bodies) == 6
    assert len(service.connections) == 1


# --- retries and refusals -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_failures_that_may_pass_are_tried_again(
    reranker: CohereReranker, service: FakeService, status: int
) -> None:
    service.replies = [cohere_error(status, "later"), cohere_error(status, "later", {"Retry-After": "0"})]
    assert reranker.score(QUERY, PASSAGES).done.all()
    assert len(service.bodies) == 3


@pytest.mark.usefixtures("impatient")
def test_a_limit_that_persists_is_overload(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [cohere_error(429, "You are using a Trial key", {"Retry-After": "2.5"})] * 4
    with pytest.raises(OverloadError, match="answered 429: You are using a Trial key") as caught:
        reranker.score(QUERY, PASSAGES)
    assert caught.value.retry_after_s == 3
    assert len(service.bodies) == 4


def test_a_wait_past_the_deadline_is_not_begun(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [cohere_error(429, "later", {"Retry-After": "3600"})]
    with pytest.raises(OverloadError) as caught:
        reranker.score(QUERY, PASSAGES, deadline=time.monotonic() + 60)
    assert (caught.value.retry_after_s, len(service.bodies)) == (300, 1)


@pytest.mark.usefixtures("impatient")
def test_a_service_that_goes_on_failing_is_named(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [Response("<html>Bad gateway</html>", 502)] * 4
    with pytest.raises(
        RemoteModelError, match=r"Cohere's rerank-v3\.5 answered 502: <html>Bad gateway"
    ) as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, outcome_of(caught.value).status, len(service.bodies)) == (502, 502, 4)
    assert pickle.loads(pickle.dumps(caught.value)).status == 502


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "invalid request"),
        (403, "not allowed"),
        (404, "model not found"),
        (422, "unknown field"),
        (501, "no"),
    ],
)
def test_a_refusal_is_not_repeated(
    reranker: CohereReranker, service: FakeService, status: int, message: str
) -> None:
    service.replies = [cohere_error(status, message)]
    with pytest.raises(RemoteModelError, match=f"answered {status}: {message}") as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, len(service.bodies)) == (status, 1)


def test_a_model_that_is_not_there_is_named(url: str) -> None:
    with (
        CohereReranker("rerank-v99", api_key=SecretStr(KEY), base_url=url) as loaded,
        pytest.raises(RemoteModelError, match="model 'rerank-v99' not found"),
    ):
        loaded.score(QUERY, PASSAGES)


@pytest.mark.usefixtures("impatient")
def test_a_refusal_among_several_requests_ends_the_others(
    reranker: CohereReranker, service: FakeService
) -> None:
    service.replies = [Hang(), cohere_error(400, "too much")]
    with pytest.raises(RemoteModelError, match="too much"):
        reranker.score(QUERY, ["treaty"] * 1_500)
    assert service.left.wait(30)


@pytest.mark.usefixtures("impatient")
def test_nobody_at_the_address() -> None:
    with (
        CohereReranker(MODEL, api_key=SecretStr(KEY), base_url="http://127.0.0.1:9") as loaded,
        pytest.raises(RemoteModelError, match="cannot be reached"),
    ):
        loaded.score(QUERY, PASSAGES)


def _first(rows: Rows, **changes: Any) -> Rows:
    return [rows[0] | changes, *rows[1:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[1:], "2 scores for 3 passages, none for passage 2"),
        (lambda rows: [*rows, rows[0]], "two scores for passage 2"),
        (lambda rows: _first(rows, index=3), "a score for passage 3 where 3 were sent"),
        (lambda rows: _first(rows, index=-1), "a score for passage -1"),
        (lambda rows: _first(rows, index="0"), "two scores for passage 0"),
        (lambda rows: _first(rows, index="one"), "a score for passage 'one'"),
        (
            lambda rows: _first(rows, relevance_score=1.5),
            "the score 1.5, which is not a finite number from 0 to 1",
        ),
        (lambda rows: _first(rows, relevance_score=-0.1), "the score -0.1"),
        (lambda rows: _first(rows, relevance_score=float("nan")), "the score nan"),
        (lambda rows: _first(rows, relevance_score=10**400), "the score 1000"),
        (lambda rows: _first(rows, relevance_score="0.5"), "the score '0.5'"),
        (lambda rows: [{}, *rows], "a score for passage None"),
        (lambda rows: ["no", *rows], "in a shape that Cohere's SDK cannot read"),
        (lambda rows: None, "in a shape that Cohere's SDK cannot read"),
        (lambda rows: [], "0 scores for 3 passages"),
    ],
)
def test_an_answer_that_is_not_one_score_per_passage(
    reranker: CohereReranker, service: FakeService, spoil: Any, message: str
) -> None:
    service.spoil = spoil
    with pytest.raises(ScoreError, match=message):
        reranker.score(QUERY, PASSAGES)


@pytest.mark.parametrize(
    "body", ["[]", '"x"', "7", "null", "{}", '{"results": null}', '{"meta": 3}', '{"results": [], "meta": 3}']
)
def test_an_answer_in_no_known_shape(reranker: CohereReranker, service: FakeService, body: str) -> None:
    service.replies = [Response(body, media_type="application/json")]
    with pytest.raises((ScoreError, RemoteModelError), match=r"Cohere's rerank-v3\.5"):
        reranker.score(QUERY, PASSAGES)


def test_an_answer_that_is_no_json(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [Response("<html>Log in</html>")]
    with pytest.raises(RemoteModelError, match="answered 200: <html>Log in"):
        reranker.score(QUERY, PASSAGES)


def test_text_follows_no_redirect(reranker: CohereReranker, service: FakeService) -> None:
    service.replies = [Response(status_code=307, headers={"Location": "/v2/rerank"})]
    with pytest.raises(RemoteModelError, match="answered 307"):
        reranker.score(QUERY, PASSAGES)
    assert len(service.bodies) == 1


def test_warnings_of_cohere_are_logged_and_their_text_for_who_looks_for_it(
    reranker: CohereReranker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        reranker.score(QUERY, PASSAGES)
    assert "sent 1 warnings with its answer" in caplog.text
    assert "this model is old" not in caplog.text
    with caplog.at_level(logging.DEBUG):
        reranker.score(QUERY, PASSAGES)
    assert "this model is old" in caplog.text


# --- the key, the SDK ---------------------------------------------------------------------------------------


def test_the_key_is_masked_everywhere(
    url: str, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "w0ng-secret"
    service.replies = [cohere_error(401, f"invalid api token: {wrong}")]
    with (
        caplog.at_level(logging.DEBUG),
        CohereReranker(MODEL, api_key=SecretStr(wrong), base_url=url) as loaded,
    ):
        with pytest.raises(
            RemoteModelError,
            match=r"answered 401: invalid api token.*check the key \(setting ES_RERANK_COHERE_API_KEY",
        ) as caught:
            loaded.score(QUERY, PASSAGES)
        assert service.headers[0]["authorization"] == f"Bearer {wrong}"
        shown = [
            repr(loaded),
            str(caught.value),
            repr(caught.value),
            repr(caught.value.__cause__),
            caplog.text,
        ]
    assert not any(wrong in text for text in shown), shown


def test_without_a_key_the_settings_are_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="ES_RERANK_COHERE_API_KEY or CO_API_KEY"):
        CohereReranker(MODEL, base_url=url)
    monkeypatch.setenv("CO_API_KEY", KEY)
    with CohereReranker(MODEL, base_url=url) as loaded:
        assert loaded.score(QUERY, PASSAGES).done.all()


@pytest.mark.parametrize("key", ["", " ", "two\nlines", "schlüssel", " padded-key"])
def test_a_key_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="ES_RERANK_COHERE_API_KEY") as caught:
        CohereReranker(MODEL, api_key=SecretStr(key))
    assert not key.strip() or key not in str(caught.value)


def test_arguments_out_of_range() -> None:
    key = SecretStr(KEY)
    with pytest.raises(SettingsError, match="no model of Cohere's is named"):
        CohereReranker("", api_key=key)
    with pytest.raises(SettingsError, match="max_tokens_per_doc must be at least 1, found 0"):
        CohereReranker(MODEL, api_key=key, max_tokens_per_doc=0)
    for address in ("api.cohere.com", "http://host:port"):
        with pytest.raises(SettingsError, match="the address that ES_RERANK_COHERE_URL names"):
            CohereReranker(MODEL, api_key=key, base_url=address)
    with pytest.raises(SettingsError, match="holds credentials") as caught:
        CohereReranker(MODEL, api_key=key, base_url="https://user:s3cret@host")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(
        SettingsError, match="timeout_s must be over 0 and concurrency at least 1, found 0 and 4"
    ):
        CohereReranker(MODEL, api_key=key, timeout_s=0)
    with pytest.raises(SettingsError, match="found 60 and 0"):
        CohereReranker(MODEL, api_key=key, concurrency=0)


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[cohere\]") as caught:
        CohereReranker(MODEL, api_key=SecretStr(KEY))
    assert caught.value.extra == "cohere"


@pytest.mark.skipif(
    "TEST_COHERE_API_KEY" not in os.environ,
    reason="set TEST_COHERE_API_KEY to send three short texts to Cohere, which bills them",
)
def test_the_real_service() -> None:
    with CohereReranker(MODEL, api_key=SecretStr(os.environ["TEST_COHERE_API_KEY"])) as loaded:
        scores = loaded.score(QUERY, [*PASSAGES, "", "a\x00b"])
    assert scores.done.all()
    assert scores.values[0] > scores.values[1]

"""A reranker over HTTP that speaks TEI's wire format, and the parts that it is made of."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Host, broken_over_tei, serve_tei, tei_app, tei_error
from stamina.instrumentation import RetryDetails
from starlette.responses import JSONResponse, Response

from es_rerank.errors import OverloadError, RemoteModelError, ScoreError, SettingsError
from es_rerank.models import LoadedReranker, Reranker
from es_rerank.models.hosted.answers import reason, values_by_index
from es_rerank.models.hosted.http_service import request_batches
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.hosted.retrying import RetryPolicy, TransientError, retry_after
from es_rerank.testing import WordOverlapReranker
from es_rerank.testing.contract import PASSAGES as SHORT
from es_rerank.testing.contract import RerankerContract

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]
# --- a sidecar of our own, in a process of its own ----------------------------------------------------------


@pytest.fixture
def broken(url: str, service: FakeService) -> Iterator[RemoteReranker]:
    with broken_over_tei(url, service) as loaded:
        yield loaded


# --- a TEI server -------------------------------------------------------------------------------------------


@pytest.fixture
def service(host: Host) -> FakeService:
    return serve_tei(host)


@pytest.fixture
def reranker(url: str) -> Iterator[RemoteReranker]:
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
        yield loaded


class TestTeiContract(RerankerContract):
    """Over a server that takes four texts at a time, so that every list is split."""


def test_it_is_what_the_protocols_ask_for(reranker: RemoteReranker, url: str) -> None:
    assert isinstance(reranker, Reranker)
    assert isinstance(reranker, LoadedReranker)
    assert (reranker.name, reranker.calibration) == (url.removeprefix("http://"), None)


def test_raw_scores_are_asked_for(reranker: RemoteReranker, service: FakeService) -> None:
    scores = reranker.score(QUERY, PASSAGES)
    assert scores.scale == "logit"
    assert scores.values.tolist() == WordOverlapReranker().score(QUERY, PASSAGES).values.tolist()
    assert service.bodies == [{"query": QUERY, "texts": PASSAGES, "truncate": True, "raw_scores": True}]
    assert 0 < int(service.headers[0]["x-rerank-timeout-ms"]) <= 60_000


def test_the_server_s_limit_is_kept_and_asked_for_once(
    reranker: RemoteReranker, service: FakeService
) -> None:
    passages = [f"the treaty {number}" if number % 3 else "who signed" for number in range(50)]
    for _ in range(2):
        assert (
            reranker.score(QUERY, passages).values.tolist()
            == WordOverlapReranker().score(QUERY, passages).values.tolist()
        )
    assert [len(body["texts"]) for body in service.bodies].count(4) == 24
    assert sum(len(body["texts"]) for body in service.bodies) == 100
    assert service.most_at_once <= 4


@pytest.mark.parametrize(
    ("info", "size"),
    [
        (JSONResponse({"max_client_batch_size": 7}), 7),
        (JSONResponse({"max_client_batch_size": 5_000}), 1_000),
        (JSONResponse({"max_client_batch_size": 5_000, "served_by": "es-rerank"}), 250),
        (JSONResponse({"max_client_batch_size": 100, "served_by": "es-rerank"}), 100),
        (JSONResponse({"max_client_batch_size": "7"}), 250),
        (JSONResponse({"max_client_batch_size": True}), 250),
        (JSONResponse({"max_client_batch_size": 0}), 250),
        (JSONResponse([]), 250),
        (Response("no"), 250),
        (Response(status_code=404), 250),
        (Response(status_code=401), 250),
        (Response(status_code=503), 32),
    ],
)
def test_what_info_says_of_the_limit(
    host: Host, url: str, service: FakeService, info: Response, size: int
) -> None:
    host.app = tei_app(service, batch=1_000, info=info)
    with RemoteReranker(url, dialect="tei", api_key=SecretStr(KEY)) as reranker:
        assert reranker.score(QUERY, ["treaty"] * (size + 1)).done.all()
    assert sorted(len(body["texts"]) for body in service.bodies) == [1, size]


@pytest.mark.parametrize(
    "stated",
    [
        None,
        [],
        {"logit": 1.0},
        {"logit": 1.0, "first_stage": "0.5", "intercept": 0.0},
        {"logit": True, "first_stage": 0.5, "intercept": 0.0},
    ],
)
def test_a_calibration_that_is_none_is_not_taken(
    host: Host, reranker: RemoteReranker, service: FakeService, stated: object
) -> None:
    host.app = tei_app(service, batch=100, info=JSONResponse({"calibration": stated}))
    reranker.score(QUERY, SHORT)
    assert reranker.calibration is None


def test_the_caller_s_batch_size_comes_first(url: str, service: FakeService) -> None:
    with RemoteReranker(url, api_key=SecretStr(KEY), batch_size=2) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert sorted(len(body["texts"]) for body in service.bodies) == [1, 2]
    with (
        RemoteReranker(url, api_key=SecretStr(KEY), batch_size=5) as loaded,
        pytest.raises(RemoteModelError, match="422: batch size 5 > maximum allowed"),
    ):
        loaded.score(QUERY, ["treaty"] * 5)


def test_requests_stay_under_the_payload_limit(
    host: Host, reranker: RemoteReranker, service: FakeService
) -> None:
    host.app = tei_app(service, batch=100)
    passages = ["\x00" * 90_000, "word " * 40_000, "é" * 250_000, *["word " * 40_000] * 10]
    assert reranker.score(QUERY, passages).done.all()
    assert len(service.bodies) > 1


def test_empty_texts_are_sent_and_an_empty_query_is_a_space(
    reranker: RemoteReranker, service: FakeService
) -> None:
    assert reranker.score("", ["", "treaty"]).done.all()
    assert (service.bodies[0]["query"], service.bodies[0]["texts"]) == (" ", ["", "treaty"])


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/rerank"),
        ("/", "/rerank"),
        ("/rerank", "/rerank"),
        ("/rerank/", "/rerank"),
        ("?model=bge&x=%2F", "/rerank?model=bge&x=%2F"),
        ("/rerank?model=bge", "/rerank?model=bge"),
    ],
)
def test_the_address_is_completed_and_its_query_kept(
    url: str, service: FakeService, suffix: str, path: str
) -> None:
    with RemoteReranker(url + suffix, api_key=SecretStr(KEY)) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert service.paths == [path]


def test_credentials_in_the_address_are_sent_and_not_shown(
    url: str, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    secret = url.replace("http://", "http://user:s3cret@")
    with caplog.at_level(logging.DEBUG), RemoteReranker(secret) as loaded:
        assert loaded.name == url.removeprefix("http://")
        with pytest.raises(
            RemoteModelError, match=f"the rerank service {url}/rerank answered 401: without a reason"
        ) as caught:
            loaded.score(QUERY, PASSAGES)
        shown = f"{loaded!r} {caught.value} {caught.value!r} {caplog.text}"
    assert service.headers[0]["authorization"].startswith("Basic ")
    assert "s3cret" not in shown
    with pytest.raises(SettingsError, match="hold credentials; give one of them"):
        RemoteReranker(secret, api_key=SecretStr(KEY))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host:8080",
        "ftp://host",
        "http://",
        "http://[::1",
        "http://host:notaport",
        "http://u:s3cret@",
        "http://u:s3cret@host:notaport",
    ],
)
def test_addresses_that_cannot_be_used(address: str) -> None:
    with pytest.raises(SettingsError, match="the address that remote: names") as caught:
        RemoteReranker(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1_001])
def test_a_batch_size_out_of_range(size: int) -> None:
    with pytest.raises(SettingsError, match=f"batch_size must be between 1 and 1000, found {size}"):
        RemoteReranker("http://host", batch_size=size)


def test_one_connection_serves_callers_of_every_loop(reranker: RemoteReranker, service: FakeService) -> None:
    for _ in range(5):
        reranker.score(QUERY, PASSAGES)
        asyncio.run(reranker.ascore(QUERY, PASSAGES))
    assert len(service.bodies) == 10
    assert len(service.connections) == 1


# --- the parts ----------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    data=st.data(),
)
def test_scores_come_through_json_bit_for_bit_and_in_order(values: list[float], data: st.DataObject) -> None:
    rows = json.loads(json.dumps(data.draw(st.permutations(list(enumerate(values))))))
    assert (
        values_by_index(rows, len(values), "logit", "it").tobytes()
        == np.asarray(values, dtype=np.float32).tobytes()
    )


@given(lengths=st.lists(st.integers(0, 50), max_size=30), size=st.integers(1, 5), most=st.integers(1, 100))
def test_batches_hold_everything_in_order_within_both_limits(
    lengths: list[int], size: int, most: int
) -> None:
    texts = ["x" * length for length in lengths]
    found = list(request_batches(range(len(texts)), texts, size, most))
    assert [position for batch in found for position in batch] == list(range(len(texts)))
    assert all(0 < len(batch) <= size for batch in found)
    assert all(len(batch) == 1 or sum(lengths[position] + 2 for position in batch) <= most for batch in found)


def test_retry_after_is_a_number_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3_000 < (retry_after(later) or 0) <= 3_600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after(value) for value in ("2", "0.5", "-3")] == [2.0, 0.5, 0.0]
    assert [retry_after(value) for value in (None, "", "soon", "nan", "inf", "Wed, 99 Oct 2015")] == [
        None
    ] * 6


def test_what_the_service_asks_to_wait_is_waited_and_no_wait_passes_the_end() -> None:
    overloaded = OverloadError("later")
    assert RetryPolicy(time.monotonic() + 60)(TransientError(overloaded, 7.0)) == 7.0
    assert RetryPolicy(time.monotonic() + 5)(TransientError(overloaded, 7.0)) is False
    assert RetryPolicy(time.monotonic())(TransientError(overloaded)) is False
    assert RetryPolicy(time.monotonic() + 60)(ScoreError("broken")) is False
    patience = RetryPolicy(time.monotonic() + 60)
    for most in (0.25, 0.5, 1.0):
        assert most / 2 <= patience(TransientError(overloaded)) <= most


def test_what_a_retry_logs_holds_neither_text_nor_key(url: str, service: FakeService) -> None:
    service.replies = [tei_error(503, f"not with {KEY}", "Unhealthy", {"Retry-After": "0.3"})]
    seen: list[RetryDetails] = []

    def record(details: RetryDetails) -> None:
        seen.append(details)

    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([record])
    try:
        with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
            assert loaded.score(QUERY, PASSAGES).done.all()
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)
    assert [retry.wait_for for retry in seen] == [0.3]
    assert "the service answered 503" in repr(seen)
    assert "503" in repr(seen)
    assert "not with" not in repr(seen), "a service may repeat what it was sent"
    assert KEY not in repr(seen)
    assert QUERY not in repr(seen)


def test_the_reason_is_found_in_every_shape() -> None:
    assert reason({"id": "1", "message": "cohere"}) == "cohere"
    assert reason({"error": "tei", "error_type": "Validation"}) == "tei"
    assert (
        reason({"error": {"root_cause": [], "type": "x", "reason": "elasticsearch"}, "status": 400})
        == "elasticsearch"
    )
    assert reason({"detail": "fastapi"}) == "fastapi"
    assert reason({"other": 1}) == "{'other': 1}"
    assert reason("") == reason(" ") == "without a reason"

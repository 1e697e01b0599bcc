"""A rerank service that is broken or means harm costs its own requests, and not the process."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import stamina
from hostile_services import MOST, UNREAD, Answering, bomb, hostile, rows
from observed_apps import observed
from pydantic import SecretStr

from es_rerank.bounded_answers import ERROR_BYTES, Bound, LongAnswerError, _Meter, bounded, is_cut
from es_rerank.dialects.asking import BY_NAME, SERVICES
from es_rerank.errors import OverloadError, RemoteModelError, RemoteScoreError, UnreachableError
from es_rerank.models.hosted import answers, remote
from es_rerank.models.hosted.answers import FEW_BYTES, most_bytes
from es_rerank.models.hosted.cohere import CohereReranker
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.hosted.service_facts import facts_in
from es_rerank.node.probe import probe

QUERY, PASSAGES = "who signed the treaty", ["envoys signed", "bread rises", "tides"]
BLANKS = b" " * 65_536

Plan = Callable[[Answering, int], None]


def _cohere(url: str) -> CohereReranker:
    return CohereReranker("rerank-v3.5", api_key=SecretStr("k"), base_url=url)


def _remote(url: str) -> RemoteReranker:
    return RemoteReranker(url, dialect="results", scale="probability")


EACH = pytest.mark.parametrize("opened", [_remote, _cohere], ids=["remote", "cohere"])


# --- how much is read ---------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}], ids=["plain", "gzip"])
def test_an_answer_without_end_is_not_read_to_its_end(
    opened: Callable[[str], Any], headers: dict[str, Any]
) -> None:
    packed = bomb(1 << 20) if headers else BLANKS
    with (
        hostile(lambda to, _: to.without_end(b"", packed, **headers)) as service,
        opened(service.url) as loaded,
    ):
        with pytest.raises(RemoteModelError, match=r"has over [\d,]+ bytes|answered 200: over [\d,]+ bytes"):
            loaded.score(QUERY, PASSAGES)
        assert len(service.asked) == 1
    assert service.broken_off
    assert service.sent < UNREAD < MOST


@EACH
def test_a_bomb_of_gzip_is_not_inflated(opened: Callable[[str], Any]) -> None:
    packed = bomb(1 << 25)
    with (
        hostile(lambda to, _: to.reply(packed, Content_Encoding="gzip")) as service,
        opened(service.url) as loaded,
        pytest.raises(RemoteModelError, match="bytes"),
    ):
        loaded.score(QUERY, PASSAGES)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_without_end_keeps_its_status(status: int) -> None:
    with (
        stamina.set_testing(True, attempts=1),
        hostile(lambda to, _: to.without_end(b"<html>", BLANKS, status)) as service,
        _remote(service.url) as loaded,
        pytest.raises((RemoteModelError, OverloadError), match=f"answered {status}: over 65,536 bytes"),
    ):
        loaded.score(QUERY, PASSAGES)
    assert service.broken_off


def test_a_trial_and_what_a_service_says_of_itself_are_bounded() -> None:
    with (
        hostile(lambda to, _: to.without_end(b"<html>", BLANKS)) as service,
        RemoteReranker(service.url) as loaded,
        pytest.raises(RemoteModelError, match=r"no dialect .*answered 200: over [\d,]+ bytes"),
    ):
        loaded.score(QUERY, PASSAGES)
    assert service.asked[0] == "GET /info"
    assert service.broken_off
    assert service.sent < UNREAD


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_texts_fit_into_an_answer(service: Any) -> None:
    """Some services return the texts with the scores, in escapes."""
    texts = ["\0" * 1_000, "\U0001f600" * 1_000, "a" * 1_000] * 100
    row = {"index": 100, "relevance_score": -0.12345678901234567, "meta_info": {"id": "0" * 400}}
    answer = json.dumps({"query": QUERY, "results": [row | {"document": {"text": text}} for text in texts]})
    assert len(answer) <= most_bytes(QUERY, texts)
    assert service.read(None, texts) is None


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_too_many_rows_are_not_built(service: Any) -> None:
    many = [{"index": 0, "relevance_score": 0.5, "score": 0.5, "logit": 0.5, "document": "a"}] * 10_000
    keys = ("results", "data", "scores", "rankings", "rerank")
    found = service.read(many, ["a", "b"]) or service.read(dict.fromkeys(keys, many), ["a", "b"])
    assert found is not None
    assert len(found) == 3


# --- the bound itself ---------------------------------------------------------------------------------------


def _read(body: bytes, bound: Bound, status: int = 200, **headers: str) -> httpx.Response:
    with (
        hostile(lambda to, _: to.reply(body, status, **headers)) as service,
        httpx.Client(event_hooks=bounded(lambda: bound)) as client,
    ):
        return client.get(service.url)


def test_an_answer_of_the_longest_length_is_read() -> None:
    packed: dict[str, Any] = {"Content_Encoding": "gzip"}
    for body, headers in ((b"x" * 100, {}), (gzip.compress(b"x" * 100), packed)):
        assert _read(body, Bound(100), **headers).content == b"x" * 100
        with pytest.raises(LongAnswerError, match="over 99 bytes"):
            _read(body, Bound(99), **headers)
        cut = _read(body, Bound(99, cut=True), **headers)
        assert (cut.content, is_cut(cut)) == (b"x" * 99, True)


def test_what_is_over_the_bound_is_not_inflated() -> None:
    meter = _Meter(Bound(1_000, cut=True), zipped=True)
    assert meter.take(bomb(1 << 24)) == b" " * 1_000
    assert meter.full
    assert meter._inflater is not None  # noqa: SLF001 what it kept
    assert len(meter._inflater.unconsumed_tail) > 10_000  # noqa: SLF001 what it kept


def test_members_of_gzip_are_read_one_after_the_other() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    assert _read(body, Bound(100), Content_Encoding="x-gzip").content == b"one two"
    with pytest.raises(LongAnswerError):
        _read(body, Bound(6), Content_Encoding="gzip")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate", "nonsense"])
def test_other_compressions_are_not_inflated(coding: str) -> None:
    with pytest.raises(httpx.DecodingError, match="which is not gzip"):
        _read(b"x", Bound(100), Content_Encoding=coding)


def test_an_error_is_cut_whatever_the_bound() -> None:
    assert len(_read(b"x" * 100_000, Bound(1_000_000), 500).content) == ERROR_BYTES


def test_a_long_event_of_a_stream_is_refused() -> None:
    events = b"data: x\n\n" * 100
    assert _read(events, Bound(10_000, event=1)).content == events
    with pytest.raises(LongAnswerError, match="an event of the answer has over 99 bytes"):
        _read(b"data: x" * 100, Bound(10_000, event=99))


# --- what is in it ------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 30_000,
        b"[" * 300 + b"]" * 300,
        b'{"results":' * 10_000,
        b'{"results":[{"index":0,"relevance_score":' + b"[" * 20_000 + b"]" * 20_000 + b"}]}",
        b'{"results":[{"index":%s,"relevance_score":1}]}' % (b"9" * 5_000),
        b"\xff\xfe{",
        rows(3, lambda _: "y" * 50_000),
        rows(3, lambda _: [[[]]]),
        rows(2),
        rows(4),
        rows(3, lambda _: float("nan")),
        b"",
    ],
    ids=range(12),
)
def test_a_broken_answer_is_the_fault_of_the_service(opened: Callable[[str], Any], body: bytes) -> None:
    with (
        hostile(lambda to, _: to.reply(body, Content_Type="application/json")) as service,
        opened(service.url) as loaded,
        pytest.raises(RemoteModelError) as caught,
    ):
        loaded.score(QUERY, PASSAGES)
    assert len(caught.value.message) < 2_000


def test_a_number_of_a_header_is_bounded() -> None:
    plan: Plan = lambda to, count: to.reply(rows(count), x_rerank_truncated_at="1" * 5_000)  # noqa: E731 short
    with (
        hostile(plan) as service,
        _remote(service.url) as loaded,
        pytest.raises(RemoteScoreError, match="says that it cut the passages"),
    ):
        loaded.score(QUERY, PASSAGES)


@pytest.mark.parametrize("value", [10**400, 1e308, float("nan"), -1e7])
def test_a_calibration_beyond_use_is_not_taken(value: float) -> None:
    stated = {"logit": value, "first_stage": 1.0, "intercept": 0.0}
    assert facts_in({"served_by": "es-rerank", "calibration": stated}, 250).calibration is None


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/rerank", {"query": "q", "texts": ["a", "b"]}, 424),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, 502),
        ("/v2/rerank", {"model": "evil", "query": "q", "documents": ["a", "b"]}, 502),
        ("/score", {"text_1": "q", "text_2": ["a", "b"]}, 502),
        ("/v1/ranking", {"model": "evil", "query": {"text": "q"}, "passages": [{"text": "a"}]}, 502),
        ("/_inference/rerank/evil", {"query": "q", "input": ["a", "b"]}, 502),
    ],
)
async def test_scores_that_cannot_be_used_are_a_bad_gateway_in_each_format(
    path: str, body: dict[str, Any], status: int
) -> None:
    with (
        hostile(lambda to, count: to.reply(rows(count - 1))) as service,
        RemoteReranker(service.url, dialect="results", scale="probability", name="evil") as loaded,
    ):
        async with observed(reranker=loaded) as (caller, _):
            answer = await caller.post(path, json=body)
    assert answer.status_code == status
    assert "scores for" in answer.text


@pytest.mark.parametrize(("document", "large"), [("a", False), ("a" * 70_000, True)])
def test_a_large_answer_is_parsed_in_a_thread_of_its_own(document: str, large: bool) -> None:
    """It returns the texts, as vLLM's does."""
    where: list[str] = []

    def answer(to: Answering, count: int) -> None:
        said = [{"index": n, "relevance_score": 0.5, "document": {"text": document}} for n in range(count)]
        to.reply(json.dumps({"results": said}).encode())

    def noted(content: bytes) -> object:
        where.append(threading.current_thread().name)
        return parsed(content)

    parsed = answers._parsed  # noqa: SLF001 which thread runs it
    with pytest.MonkeyPatch.context() as patch, hostile(answer) as service, _remote(service.url) as loaded:
        patch.setattr(answers, "_parsed", noted)
        assert loaded.score(QUERY, [document] * 2).done.all()
    assert [name.startswith("es-rerank-off-loop") for name in where] == [large]


# --- one bad answer, and another service --------------------------------------------------------------------


def _page(to: Answering, _: int) -> None:
    to.reply(b"<html>Log in</html>")


def _good(to: Answering, count: int) -> None:
    to.reply(b"{}", 404) if to.command == "GET" else to.reply(rows(count), Content_Type="application/json")


def _refuses(status: int) -> Plan:
    return lambda to, _: to.reply(b'{"detail":"no"}', status)


@pytest.mark.parametrize("bad", [_page, *map(_refuses, (400, 404, 405, 422, 500))])
def test_bad_answers_do_not_forget_a_dialect(bad: Plan) -> None:
    with hostile(_good) as service, RemoteReranker(service.url) as loaded:
        loaded.score(QUERY, PASSAGES)
        found = (loaded.dialect, loaded.answers)
        for _ in range(4):
            service.plan = bad
            with pytest.raises(RemoteModelError, match=r"answered \d+: ") as caught:
                loaded.score(QUERY, PASSAGES)
            assert caught.value.retry_after_s is None
            assert (loaded.dialect, loaded.answers) == found
            service.plan = _good
            assert loaded.score(QUERY, PASSAGES).done.all(), "the service is well again"
        service.plan = bad
        for _ in range(4):
            with pytest.raises(RemoteModelError, match=r"answered \d+: "):
                loaded.score(QUERY, PASSAGES)
        service.plan = _good
        assert loaded.score(QUERY, PASSAGES).done.all()


@pytest.mark.parametrize("status", [400, 404, 422])
def test_another_service_is_found_by_the_call_after_its_first_answer(status: int) -> None:
    def other(to: Answering, count: int) -> None:
        if to.path == "/v1/ranking":
            to.reply(json.dumps({"rankings": [{"index": n, "logit": n} for n in range(count)]}).encode())
        elif to.path == "/v2/rerank":
            to.reply(rows(count, lambda index: 3.5 + index))
        else:
            to.reply(b"{}", status)

    with hostile(_good) as service, RemoteReranker(service.url) as loaded:
        loaded.score(QUERY, PASSAGES)
        service.plan = other
        with pytest.raises(RemoteModelError, match=f"answered {status}"):
            loaded.score(QUERY, PASSAGES)
        assert loaded.score(QUERY, PASSAGES).values.tolist() == [3.5, 4.5, 5.5]
        assert loaded.answers == "logit"


def test_a_second_look_is_not_taken_at_every_call() -> None:
    with hostile(_good) as service, RemoteReranker(service.url) as loaded:
        loaded.score(QUERY, PASSAGES)
        service.plan = _page
        for _ in range(2):  # the second one looks
            with pytest.raises(RemoteModelError):
                loaded.score(QUERY, PASSAGES)
        before = len(service.asked)
        for _ in range(5):
            with pytest.raises(RemoteModelError):
                loaded.score(QUERY, PASSAGES)
        assert len(service.asked) == before + 5


async def test_a_service_that_understands_nothing_says_when_it_is_asked_again() -> None:
    with hostile(_page) as service, RemoteReranker(service.url, name="evil") as loaded:
        async with observed(reranker=loaded) as (caller, _):
            for path, body in (
                ("/v1/rerank", {"query": "q", "documents": ["a"]}),
                ("/_inference/rerank/evil", {"query": "q", "input": ["a"]}),
            ):
                answer = await caller.post(path, json=body)
                assert (answer.status_code, "understands no dialect" in answer.text) == (502, True)
                assert 1 <= int(answer.headers["retry-after"]) <= remote.AGAIN_S


# --- waits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("99999999999", 300),
        ("9" * 400, 1),
        ("1e300", 300),
        ("-5", 1),
        ("nan", 1),
        ("inf", 1),
        ("abc", 1),
        (format_datetime(datetime(9999, 1, 1, tzinfo=UTC)), 300),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 300),
        (format_datetime(datetime(1970, 1, 1, tzinfo=UTC)), 1),
        ("7", 7),
    ],
)
def test_a_wait_that_a_service_names_is_bounded_for_callers(said: str, told: int) -> None:
    with (
        stamina.set_testing(True, attempts=1),
        hostile(lambda to, _: to.reply(b"{}", 429, Retry_After=said)) as service,
        _remote(service.url) as loaded,
        pytest.raises(OverloadError) as caught,
    ):
        loaded.score(QUERY, PASSAGES, deadline=time.monotonic() + 60)
    assert caught.value.retry_after_s == told


def test_what_a_service_says_of_itself_has_room_in_a_small_answer() -> None:
    assert most_bytes("", []) == FEW_BYTES
    assert BY_NAME["tei"].read([], []) == []


# --- an address that is no Elasticsearch --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            lambda to, _: to.without_end(b"", BLANKS, X_Elastic_Product="Elasticsearch"),
            "over 4,194,304 bytes",
        ),
        (lambda to, _: to.reply(b"[" * 50_000, X_Elastic_Product="Elasticsearch"), "recursion"),
    ],
)
def test_what_a_node_says_of_itself_is_bounded(plan: Plan, message: str) -> None:
    with hostile(plan) as service, pytest.raises(UnreachableError, match=message):
        probe(service.url)
    assert service.sent < UNREAD

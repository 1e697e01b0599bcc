"""Embedders over HTTP: how services are found and asked, what of their answers is refused, and how long they
are waited for.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from embedding_services import DIMS, MODEL, TOO_LONG, FakeEmbedder, embedding_app, in_base64
from pydantic import SecretStr
from rerank_services import KEY, Hang, Host, json_with_nan, serving_whichever
from starlette.responses import JSONResponse, Response

from es_rerank.errors import (
    DeadlineError,
    EsRerankError,
    OverloadError,
    RemoteModelError,
    RemoteScoreError,
    SettingsError,
)
from es_rerank.models import AsyncEmbedder, BoundedEmbedder, HostedEmbedder
from es_rerank.models.access import Access
from es_rerank.models.embedder_spec import parse_embedder
from es_rerank.models.hosted import retrying
from es_rerank.models.hosted.remote_embedder import RemoteEmbedder
from es_rerank.models.load import load_embedder, served_embedders, tokenizer_for
from es_rerank.testing import HashEmbedder
from es_rerank.text.chunking import Chunker

TEXTS = ["who signed the treaty", "bread rises", "who signed the treaty"]
WANTED = HashEmbedder(DIMS).embed(TEXTS)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with serving_whichever() as served:
        yield served


@pytest.fixture
def service() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_FIRST_WAIT_S", 0.001)


Opened = Callable[..., RemoteEmbedder]


@pytest.fixture
def opened(host: Host, service: FakeEmbedder) -> Iterator[Opened]:
    """Open an embedder over the service at some paths; ``name`` has the place of its address."""
    made: list[RemoteEmbedder] = []

    def make(name: str = "remote:{}?model=hash-16", *paths: str, **more: Any) -> RemoteEmbedder:
        host.app = embedding_app(service, *(paths or ("/v1/embeddings",)))
        spec = parse_embedder(name.format(host.url))
        more = {"dialect": spec.dialect, "api_key": SecretStr(KEY)} | more
        made.append(RemoteEmbedder(spec, spec.model, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


PATHS = {
    "openai": "/v1/embeddings",
    "tei": "/embed",
    "ollama": "/api/embed",
    "cohere": "/v2/embed",
}


def test_a_trial_finds_each_format(opened: Opened, service: FakeEmbedder) -> None:
    for dialect, path in PATHS.items():
        embedder = opened("remote:{}/?model=hash-16", path)
        vectors = embedder.embed(TEXTS)
        assert (embedder.dialect, embedder.name, embedder.dims) == (dialect, MODEL, DIMS)
        np.testing.assert_allclose(vectors, WANTED, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert isinstance(embedder, AsyncEmbedder)
    assert isinstance(embedder, HostedEmbedder)
    assert isinstance(embedder, BoundedEmbedder)
    assert vectors.dtype == np.float32
    assert KEY not in str(embedder.served_by())


def test_purposes_prefixes_and_dimensions_are_sent(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened(
        "remote:cohere:{}?model=embed-v4.0&dims=16&passage_prefix=p:&query_prefix=q:", "/v2/embed"
    )
    asyncio.run(embedder.aembed(["treaty"], purpose="query"))
    query = service.bodies[-1]
    embedder.embed(["treaty"])
    passage = service.bodies[-1]
    assert query == {
        "model": "embed-v4.0",
        "texts": ["q:treaty"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "truncate": "END",
        "output_dimension": 16,
    }
    assert passage == query | {"texts": ["p:treaty"], "input_type": "search_document", "truncate": "NONE"}
    # Other prefixes make other vectors: they are a part of the name.
    assert embedder.name == "embed-v4.0?query_prefix=q%3A&passage_prefix=p%3A"


def test_a_prefix_takes_room(opened: Opened) -> None:
    tokenizer = tokenizer_for("")[0]
    name = "remote:openai:{}?model=m&room=100&passage_prefix=search_document: "
    taken = Chunker(tokenizer).count("search_document: ")
    room = opened(name, measure=lambda _: (tokenizer, None)).room
    assert taken > 0
    assert room == 100 - taken


def test_tei_tells_its_model_its_room_and_its_batch(opened: Opened, service: FakeEmbedder) -> None:
    service.info = {"model_id": "e5", "max_input_length": 512, "max_client_batch_size": 2}
    embedder = opened("remote:{}", "/embed")
    embedder.embed(TEXTS)
    assert (embedder.name, embedder.room, embedder.dialect) == ("e5", 510, "tei")
    assert [len(body["inputs"]) for body in service.bodies[1:]] == [2, 1]
    assert all(body["truncate"] is False for body in service.bodies[1:])


@pytest.mark.parametrize("dialect", ["", "tei:"])
def test_tei_with_another_model_than_the_named_one_is_refused(
    opened: Opened, service: FakeEmbedder, dialect: str
) -> None:
    service.info = {"model_id": "e5", "max_client_batch_size": 2}
    with pytest.raises(RemoteModelError, match="its model is 'e5', and not other"):
        opened(f"remote:{dialect}{{}}?model=other", "/embed").embed(TEXTS)
    service.info["model_id"] = "/data"  # a folder there: the caller may know the model's name
    assert opened(f"remote:{dialect}{{}}?model=other", "/embed").name == "other"


SPOILT: list[tuple[Callable[[list[Any]], Any], str]] = [
    (lambda vectors: [*vectors[:-1], vectors[-1][:-1]], "of 15 dimensions where 16"),
    (lambda vectors: [vector[:-1] for vector in vectors], "of 15 dimensions where 16"),
    (lambda vectors: vectors[:-1], "2 vectors for 3 texts"),
    (lambda vectors: [*vectors, vectors[0]], "a vector for text 3 where 3 texts"),
    (lambda vectors: [[float("nan")] * DIMS, *vectors[1:]], "not finite"),
    (lambda vectors: [[0.0] * DIMS, *vectors[1:]], "only zeros"),
    (lambda vectors: [[1e39] * DIMS, *vectors[1:]], "not finite"),
    (lambda vectors: [["1"] * DIMS, *vectors[1:]], "not a vector of numbers"),
    (lambda vectors: ["!!!", *vectors[1:]], "not a vector of numbers"),
    (lambda vectors: [None, *vectors[1:]], "not a vector of numbers"),
]


def test_an_answer_that_cannot_be_right_names_the_service(
    opened: Opened, service: FakeEmbedder, host: Host
) -> None:
    embedder = opened()
    embedder.embed(TEXTS)
    for spoil, told in SPOILT:
        service.vectors_spoilt = spoil
        with pytest.raises(RemoteScoreError, match=told) as raised:
            embedder.embed(TEXTS)
        assert host.url in str(raised.value)


def test_base64_and_a_missing_index_are_read(opened: Opened, service: FakeEmbedder) -> None:
    service.vectors_spoilt = in_base64
    np.testing.assert_allclose(opened().embed(TEXTS), WANTED, atol=1e-6)


def test_a_service_with_other_dimensions_than_asked_for_is_refused(opened: Opened) -> None:
    with pytest.raises(RemoteScoreError, match="16 dimensions where 8"):
        opened("remote:{}?model=hash-16&dims=8").embed(TEXTS)


def test_another_model_behind_the_same_address_is_refused(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened("remote:{}")
    assert embedder.name == MODEL
    service.model = "other"
    with pytest.raises(RemoteModelError, match="the model other now, and answered with hash-16 before"):
        embedder.embed(TEXTS)


def test_the_first_model_that_is_named_stays(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    service.model = ""
    embedder.embed(TEXTS)
    service.model = "a"
    embedder.embed(TEXTS)
    service.model = "b"
    with pytest.raises(RemoteModelError, match="answers with the model b now"):
        embedder.embed(TEXTS)


def test_a_service_that_returns_with_another_model_is_refused(opened: Opened, service: FakeEmbedder) -> None:
    service.info = {"model_id": "e5", "max_client_batch_size": 32}
    embedder = opened("remote:{}", "/embed")
    embedder.embed(TEXTS)
    service.info = {"model_id": "bge", "max_client_batch_size": 32}
    service.replies = [Response(status_code=503)]
    with pytest.raises(RemoteModelError, match="the model bge now"):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("name", ["a\n\x1b[31mred", "x" * 60_000])
def test_a_name_that_cannot_be_shown_is_refused(opened: Opened, service: FakeEmbedder, name: str) -> None:
    service.info = {"model_id": name, "model_type": {"embedding": {}}, "max_client_batch_size": 32}
    with pytest.raises(RemoteModelError, match="is no name of at most 256 characters") as raised:
        opened("remote:{}", "/embed").embed(TEXTS)
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_a_redirect_names_its_address(opened: Opened, service: FakeEmbedder) -> None:
    service.replies = [Response(status_code=307, headers={"location": "https://u:p@h/v1?token=geheim"})]
    with pytest.raises(RemoteModelError, match="redirects to https://h/v1, and") as raised:
        opened("remote:openai:{}?model=m").embed(TEXTS)
    assert "geheim" not in raised.value.message


def test_a_model_without_a_name_is_refused(opened: Opened, service: FakeEmbedder) -> None:
    service.model = ""
    with pytest.raises(RemoteModelError, match=r"add \?model=NAME"):
        opened("remote:{}").embed(TEXTS)


def test_a_text_that_is_refused_takes_no_other_with_it(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    texts = [f"text {place}" if place not in (3, 7) else TOO_LONG for place in range(12)]
    for service.status in (400, 413, 500):
        vectors, refused = embedder.embed_accepted(texts) or pytest.fail("nobody has given up")
        assert sorted(refused) == [3, 7]
        assert all(f"answered {service.status}" in why for why in refused.values())
        good = [place for place in range(12) if place not in refused]
        wanted = HashEmbedder(DIMS).embed([texts[place] for place in good])
        np.testing.assert_allclose(vectors[good], wanted, atol=1e-6)
        assert not vectors[[3, 7]].any()
    with pytest.raises(RemoteModelError, match="text 3 of 12"):
        embedder.embed(texts)


def test_too_many_texts_make_batches_smaller_for_good(opened: Opened, service: FakeEmbedder) -> None:
    service.most = 10
    embedder = opened()
    texts = [f"text {place}" for place in range(40)]
    embedder.embed(texts)
    asked = len(service.bodies)
    np.testing.assert_allclose(embedder.embed(texts), HashEmbedder(DIMS).embed(texts), atol=1e-6)
    assert len(service.bodies) - asked <= 8


def test_a_service_that_refuses_everything_ends_the_work(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    embedder.embed(TEXTS)
    service.replies = [JSONResponse({"message": "model retired"}, 400)] * 100
    with pytest.raises(RemoteModelError, match="model retired"):
        embedder.embed_accepted(["a", "b"])
    assert len(service.replies) > 90


def test_a_rate_limit_slows_passages_and_does_not_end_them(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened(most=1)
    embedder.embed(TEXTS)
    service.replies = [JSONResponse({"error": "slow"}, 429, {"retry-after": "0.01"})] * 15
    np.testing.assert_allclose(embedder.embed(TEXTS), WANTED, atol=1e-6)
    assert not service.replies  # more often than the four attempts that a query has


@pytest.mark.parametrize("status", [429, 503])
def test_a_call_that_is_given_up_waits_no_more(opened: Opened, service: FakeEmbedder, status: int) -> None:
    embedder = opened(most=1)
    embedder.embed(TEXTS)
    service.replies = [JSONResponse({"error": "busy"}, status, {"retry-after": "500"})] * len(TEXTS)
    assert embedder.embed_accepted(TEXTS, lambda: not service.replies) is None
    embedder._free_at = 0.0  # noqa: SLF001 the time has passed
    vectors, _ = embedder.embed_accepted(TEXTS, lambda: True) or pytest.fail("nothing had to wait")
    np.testing.assert_allclose(vectors, WANTED, atol=1e-6)


def test_patience_ends_with_an_error(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened(patience_s=5.0)
    embedder.embed(TEXTS)
    service.replies = [JSONResponse({"error": "slow"}, 429, {"retry-after": "3600"})]
    with pytest.raises(OverloadError, match="answered 429"):
        embedder.embed(TEXTS)


def test_an_account_without_money_is_not_waited_for(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    embedder.embed(TEXTS)
    empty = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    service.replies = [JSONResponse(empty, 429)]
    with pytest.raises(RemoteModelError, match="exceeded your current quota"):
        embedder.embed(TEXTS)


def test_a_query_does_not_wait_for_a_trial_beyond_its_deadline(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    service.replies = [Hang()]

    async def late() -> None:
        first = asyncio.create_task(embedder.aembed(["x"]))
        await asyncio.to_thread(service.asked.wait, 10)
        with pytest.raises(DeadlineError):
            await embedder.aembed(["x"], purpose="query", deadline=time.monotonic() + 0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(late())
    assert service.left.wait(10)


def test_a_query_keeps_its_deadline_and_cancelled_work_stops(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    embedder.embed(TEXTS)
    with pytest.raises(DeadlineError):
        asyncio.run(embedder.aembed(["x"], purpose="query", deadline=time.monotonic() - 1))
    service.replies = [Hang()]
    with pytest.raises(DeadlineError):
        asyncio.run(embedder.aembed(["x"], purpose="query", deadline=time.monotonic() + 0.05))
    service.left.clear()
    service.asked.clear()
    service.replies = [Hang()]

    async def cancelled() -> None:
        task = asyncio.create_task(embedder.aembed(["x"]))
        await asyncio.to_thread(service.asked.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert service.left.wait(10)


def test_an_answer_is_bounded(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    embedder.embed(TEXTS)
    service.replies = [Response(b"[" + b" " * 10_000_000, media_type="application/json")]
    with pytest.raises(RemoteModelError, match=r"over .* bytes"):
        embedder.embed(TEXTS)


def test_keys_are_in_no_message_and_no_log(
    opened: Opened, service: FakeEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.key = "another"  # the service then repeats the key that it was sent
    with pytest.raises(RemoteModelError, match="answered 401") as raised:
        opened().embed(TEXTS)
    assert KEY not in str(raised.value) + caplog.text
    embedder = opened("remote:http://user:pass@127.0.0.1:9/v1?token=geheim&model=m", api_key=None)
    with pytest.raises(RemoteModelError, match="cannot be reached") as raised:
        embedder.embed(TEXTS)
    for secret in ("pass", "geheim"):
        assert secret not in f"{raised.value}{embedder!r}{embedder.served_by()}"


@pytest.mark.parametrize("before", [0, 450, 475, 499])
def test_a_secret_is_masked_before_an_answer_is_cut(
    opened: Opened, service: FakeEmbedder, before: int
) -> None:
    basic = base64.b64encode(b"user:g/heim-4711").decode()
    said = f"{basic} g/heim-4711 g%2Fheim-4711 to+ken-0815 to%2Bken-0815 "
    for words in (said, '{"error": "' + said, "<html>" + said + " " * 70_000):
        secrets = opened().origin.replace("//", "//user:g%2Fheim-4711@") + "/v1?model=m&token=to%2Bken-0815"
        embedder = opened("remote:openai:" + secrets, api_key=None)
        service.replies = [Response("x" * before + words, 401)]
        with pytest.raises(RemoteModelError, match="answered 401") as raised:
            embedder.embed(TEXTS)
        for secret in (basic, "g/heim-4711", "to+ken-0815"):
            assert secret[:5] not in raised.value.message.partition("check the key")[0]
    service.replies = [JSONResponse({"error": {"message": "x" * before + f" Bearer {KEY}"}}, 401)]
    with pytest.raises(RemoteModelError, match="answered 401") as raised:
        opened().embed(TEXTS)
    assert KEY[:5] not in raised.value.message


def test_a_wait_beyond_the_end_of_a_call_is_an_error_at_once(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened(timeout_s=30.0, patience_s=30.0)
    embedder.embed(TEXTS)
    service.replies = [JSONResponse({"error": "daily limit"}, 429, {"retry-after": "3600"})]
    asked = len(service.bodies)
    for purpose in ("query", "query", "passage"):
        with pytest.raises(OverloadError, match="429") as raised:
            embedder.embed(["x"], purpose=purpose)
        assert raised.value.retry_after_s == 300  # the longest that a caller is told
    with pytest.raises(OverloadError, match="asked to wait"):
        asyncio.run(embedder.aembed(["x"], purpose="query", deadline=time.monotonic() + 30))
    assert len(service.bodies) == asked + 1


def test_an_empty_call_and_empty_texts(opened: Opened, service: FakeEmbedder) -> None:
    embedder = opened()
    assert embedder.embed([]).shape == (0, DIMS)
    assert embedder.embed(["", "\ud800"]).shape == (2, DIMS)
    assert service.sent[-2:] == [" ", "\ufffd"]


def test_a_nan_in_json_and_html_are_told(opened: Opened, service: FakeEmbedder) -> None:
    service.replies = [json_with_nan({"data": [{"index": 0, "embedding": [float("nan")]}] * 2})]
    with pytest.raises(RemoteScoreError):
        opened().embed(TEXTS)
    service.replies = [Response("<html>hello", media_type="text/html")] * 9
    with pytest.raises(RemoteModelError, match="understands no dialect"):
        opened().embed(TEXTS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("openai:", "names nothing"),
        ("remote:nope:http://x", "names the dialect nope"),
        ("remote:tei:logit:http://x", "no scale"),
        ("openai:m?dims=0", "dims= with a whole number over 0"),
        ("openai:m?dims=5000", "4096"),
        ("openai:m?dim=5", "no option dim"),
        ("remote:ftp://x", "must begin with http"),
        ("remote:cohere:http://x", "needs a model"),
        ("openai:m", "OPENAI_API_KEY"),
        ("cohere:m", "CO_API_KEY"),
    ],
)
def test_names_that_cannot_be_used(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=told):
        load_embedder(name)


def test_names_of_services_are_known_before_they_answer() -> None:
    served = served_embedders(("openai:text-embedding-3-small?dims=512", "b=remote:http://h:1/v1"))
    assert [name for name, _ in served] == ["text-embedding-3-small", "b"]
    with load_embedder("openai:m?dims=8", access=Access(openai_url="http://127.0.0.1:9")) as embedder:
        assert (embedder.name, embedder.dims) == ("m", 8)
    assert isinstance(SettingsError("x"), EsRerankError)

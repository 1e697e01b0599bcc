"""The official SDK against a server that speaks OpenAI's wire format."""

from __future__ import annotations

from typing import Any

import pytest
from hostile_services import MOST, Answering, bomb, hostile
from language_model import language_model
from pydantic import SecretStr

from es_rerank.errors import GenerationError, SettingsError
from es_rerank.integrations.openai_chat import AsyncChatModel, ChatModel
from es_rerank.text.prompt import Message

CHAT: list[Message] = [
    {"role": "system", "content": "Answer."},
    {"role": "user", "content": "谁签署了条约？"},  # noqa: RUF001 Chinese
]


def test_deltas_come_with_the_finish_reason() -> None:
    with language_model(parts=["a", "", "béé王"]) as said, ChatModel(said.url) as model:
        deltas = list(model.stream(CHAT))
        assert model.model == "parrot"
    assert "".join(delta.text for delta in deltas) == "abéé王"
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    assert said.requests == [{"model": "parrot", "messages": CHAT, "stream": True}]


def test_half_a_surrogate_pair_in_an_answer_can_be_printed() -> None:
    with language_model(parts=["a \ud83d b"]) as said, ChatModel(said.url) as model:
        assert "".join(delta.text for delta in model.stream(CHAT)) == "a � b"


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ("torn", "incomplete"),
        ("early", "without a finish_reason"),
        ("error", "the GPU fell out"),
        ("garbage", "Expecting value"),
    ],
)
def test_a_stream_that_breaks_is_no_answer(ending: Any, cause: str) -> None:
    came: list[str] = []
    with (
        language_model(parts=["The king", " signed"], ending=ending) as said,
        ChatModel(said.url) as model,
        pytest.raises(GenerationError, match=rf"broke off after 15 characters: .*{cause}"),
    ):
        came += (delta.text for delta in model.stream(CHAT))
    assert "".join(came) == "The king signed"


@pytest.mark.parametrize(
    ("script", "model", "status", "message"),
    [
        ({"key": "secret"}, "parrot", 401, "put the key in ES_RERANK_LLM_API_KEY"),
        ({}, "owl", 404, r"model owl, answered 404: .*`owl` does not exist.*--llm-model"),
        ({"status": 500}, "parrot", 500, "answered 500: .*out of order"),
        ({"status": 403}, None, 403, "its list of models, answered 403"),
        ({"models": ["a", "b"]}, None, None, r"several models or none \(a, b\); name one"),
        ({"models": []}, None, None, r"several models or none \(none\)"),
    ],
)
def test_a_refusal_says_what_to_do(
    script: dict[str, Any], model: str | None, status: int | None, message: str
) -> None:
    with (
        language_model(**script) as said,
        ChatModel(said.url, model) as chat,
        pytest.raises(GenerationError, match=message) as caught,
    ):
        list(chat.stream(CHAT))
    assert caught.value.status == status


def test_a_wrong_key_is_told_from_none() -> None:
    with (
        language_model(key="secret") as said,
        ChatModel(said.url, "parrot", api_key=SecretStr("wrong")) as chat,
        pytest.raises(GenerationError, match="check the key in ES_RERANK_LLM_API_KEY"),
    ):
        list(chat.stream(CHAT))


def test_a_path_that_the_server_does_not_have() -> None:
    with (
        language_model() as said,
        ChatModel(said.url.removesuffix("/v1"), "parrot") as chat,
        pytest.raises(GenerationError, match="often with /v1 at its end"),
    ):
        list(chat.stream(CHAT))


def test_a_server_that_is_not_there() -> None:
    with (
        ChatModel("http://127.0.0.1:9/v1", "parrot") as chat,
        pytest.raises(GenerationError, match=r"no server answers at http://127.0.0.1:9/v1 .*refused"),
    ):
        list(chat.stream(CHAT))


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:99999/v1", "http://host:port/v1"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="http://HOST:PORT/v1"):
        ChatModel(url)


def test_credentials_do_not_stand_in_the_address() -> None:
    with pytest.raises(SettingsError, match="ES_RERANK_LLM_API_KEY") as caught:
        ChatModel("http://me:hunter2@host/v1")
    assert "hunter2" not in caught.value.message


# --- answers that are meant to do harm ----------------------------------------------------------------------


BLANKS = b" " * 65_536


def _streamed(to: Answering, first: bytes, piece: bytes) -> None:
    to.without_end(first, piece, Content_Type="text/event-stream")


HARM = pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda to, _: _streamed(to, b"data: ", BLANKS), "an event of the answer has over 4,194,304 bytes"),
        (lambda to, _: _streamed(to, b"", b"data: x\n" * 8_000), "an event of the answer has over 4,194,304"),
        (
            lambda to, _: to.reply(bomb(1 << 24), Content_Type="text/event-stream", Content_Encoding="gzip"),
            "an event of the answer has over 4,194,304 bytes",
        ),
        (
            lambda to, _: to.reply(b"data: " + b"[" * 50_000 + b"\n\n", Content_Type="text/event-stream"),
            "recursion",
        ),
        (lambda to, _: to.without_end(b"", BLANKS, 400), "answered 400"),
    ],
    ids=["line", "event", "bomb", "levels", "error"],
)


@HARM
def test_a_stream_without_end_is_not_held(plan: Any, message: str) -> None:
    with (
        hostile(plan) as service,
        ChatModel(service.url, "parrot") as model,
        pytest.raises(GenerationError, match=message),
    ):
        list(model.stream(CHAT))
    assert service.sent < MOST


@HARM
async def test_a_stream_without_end_is_not_held_by_the_asynchronous_client(plan: Any, message: str) -> None:
    with hostile(plan) as service:
        model = AsyncChatModel(service.url, "parrot")
        with pytest.raises(GenerationError, match=message):
            _ = [delta async for delta in model.stream(CHAT)]
        await model.close()
    assert service.sent < MOST


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda to, _: to.without_end(b"[", BLANKS), "its list of models, .* over 4,194,304 bytes"),
        (
            lambda to, _: to.reply(b"[" * 50_000, Content_Type="application/json"),
            "no answer in OpenAI's form",
        ),
    ],
    ids=["endless", "levels"],
)
def test_a_list_of_models_is_bounded(plan: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the SDK tries again
    with (
        hostile(plan) as service,
        ChatModel(service.url) as model,
        pytest.raises(GenerationError, match=message),
    ):
        list(model.stream(CHAT))

"""Asks a language model over OpenAI's chat completions API, as OpenAI, vLLM, llama.cpp and Ollama serve it.

Importing this module raises MissingExtraError if the openai SDK is not installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from httpx import HTTPError
from pydantic import SecretStr

from ..addresses import masked
from ..bounded_answers import HEADERS, Bound, bounded, bounded_async
from ..errors import GenerationError, SettingsError
from ..extras import missing_extra
from ..forks import in_every_child
from ..text.pairs import well_formed
from ..text.prompt import Message

try:
    from openai import (
        APIConnectionError,
        APIError,
        APIStatusError,
        AsyncOpenAI,
        DefaultAsyncHttpxClient,
        DefaultHttpxClient,
        Omit,
        OpenAI,
    )
    from openai.types.chat import (
        ChatCompletionChunk,
        ChatCompletionMessageParam,
        ChatCompletionSystemMessageParam,
        ChatCompletionUserMessageParam,
    )
except ModuleNotFoundError as error:
    _what = f"asking a language model needs {error.name}, which is not installed"
    raise missing_extra(_what, "llm") from error

_KEY = "ES_RERANK_LLM_API_KEY"

_BOUND = Bound(1 << 26, event=1 << 22)
"""Most bytes of an answer: 128,000 tokens, of 400 bytes each as they are streamed, are 51 MB. An event has a
few hundred bytes, a long list of models a million."""


class Delta(NamedTuple):
    """A piece of an answer.

    ``finish_reason`` is set once, at the end of the answer: ``stop``, or ``length`` if the server cut the
    answer off. It is None in all other pieces.
    """

    text: str
    finish_reason: str | None = None


class _Server:
    """An OpenAI-compatible server and one of its models: what both clients of it share."""

    def __init__(self, base_url: str, model: str | None = None, *, api_key: SecretStr | None = None) -> None:
        _check_address(base_url)
        self.base_url = base_url
        self._model = model
        self._key = api_key
        self._headers = {} if api_key else {"Authorization": Omit()}

    @property
    def _sdk_key(self) -> str:
        """The key for the SDK, which requires one even if the header with the key is not sent."""
        return self._key.get_secret_value() if self._key else "none"

    def _only(self, names: Sequence[str]) -> str:
        """Return the server's only model. Raises GenerationError if it has none or several."""
        if len(names) != 1:
            served = ", ".join(names) or "none"
            raise GenerationError(
                f"{self.base_url} serves several models or none ({served}); name one (model, --llm-model)"
            )
        return names[0]

    def _incomplete(self, characters: int, cause: str) -> GenerationError:
        return GenerationError(
            f"the answer from {self.base_url} broke off after {characters} characters: {cause}; ask again"
        )

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        """Raise the SDK's errors as GenerationError. ``what`` is what the server was asked for."""
        try:
            yield
        except APIConnectionError as error:
            raise GenerationError(
                f"no server answers at {self.base_url} ({_cause(error)}); check the address (--llm)"
            ) from error
        except APIStatusError as error:
            status = error.status_code
            raise GenerationError(
                f"{self.base_url}, asked for {what}, answered {status}: "
                f"{error.message}{self._remedy(status)}",
                status=status,
            ) from error
        except (APIError, ValueError, RecursionError) as error:
            raise GenerationError(
                f"{self.base_url}, asked for {what}, gave no answer in OpenAI's form: {_cause(error)}; "
                "check the address (--llm)"
            ) from error

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return f"; check the key in {_KEY}" if self._key else f"; put the key in {_KEY}"
        if status == 404:
            return (
                "; check the name (--llm-model) and that the address (--llm) is the one "
                "to which /chat/completions is added, often with /v1 at its end"
            )
        return ""


class ChatModel(_Server):
    """A language model on an OpenAI-compatible server, which is asked with the official SDK.

    ``base_url`` is the address to which ``/chat/completions`` is added, such as ``http://localhost:8000/v1``.
    ``model`` is the name of the model on the server, None for the only model that the server has. ``api_key``
    is sent as ``Authorization: Bearer``. Without a key this header is not sent. Prompts are sent to that
    address, and with them the text of documents. The SDK repeats a failed request up to two times. A forked
    child process opens its own connections. Raises SettingsError for an address that cannot be used.
    """

    def __init__(self, base_url: str, model: str | None = None, *, api_key: SecretStr | None = None) -> None:
        super().__init__(base_url, model, api_key=api_key)
        self._opened: OpenAI | None = self._open()
        in_every_child(self._disconnect)

    def _open(self) -> OpenAI:
        http = DefaultHttpxClient(headers=HEADERS, event_hooks=bounded(lambda: _BOUND))
        return OpenAI(base_url=self.base_url, api_key=self._sdk_key, http_client=http)

    def _disconnect(self) -> None:
        """Stop using the connections of the parent process. The next request opens new ones.

        They are not opened here, because every child process would then have to wait for them.
        """
        if self._opened is not None and not self._opened.is_closed():
            self._opened = None

    @property
    def _client(self) -> OpenAI:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @property
    def model(self) -> str:
        """The name of the model on the server. If no name was given, the server is asked for its models once.

        Raises GenerationError when the server does not answer, or does not have exactly one model.
        """
        if self._model is None:
            self._model = self._only(self._names())
        return self._model

    def stream(self, messages: Sequence[Message]) -> Iterator[Delta]:
        """Yield the pieces of the answer to a chat as they arrive.

        Raises GenerationError when the server does not answer, refuses the request, or stops before the
        answer is complete. The pieces that were yielded before the error are valid.
        """
        model, chat = self.model, [_param(message) for message in messages]
        with self._translated_errors(f"model {model}"):
            chunks = self._client.chat.completions.create(
                model=model, messages=chat, stream=True, extra_headers=self._headers
            )
        finished, characters = False, 0
        with chunks:
            try:
                for delta in map(_delta, chunks):
                    finished |= delta.finish_reason is not None
                    characters += len(delta.text)
                    yield delta
            # For a line that is not JSON, the SDK raises a ValueError. Its versions 1 and 2 raise httpx's own
            # errors for a connection that breaks.
            except (APIError, HTTPError, ValueError, RecursionError) as error:
                raise self._incomplete(characters, _cause(error)) from error
        if not finished:
            raise self._incomplete(characters, "the stream ended without a finish_reason")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        with self._translated_errors("its list of models"):
            return [model.id for model in self._client.models.list(extra_headers=self._headers)]


class AsyncChatModel(_Server):
    """The asynchronous ``ChatModel``. An answer that is cancelled ends its request.

    It opens its connections in the event loop of its first request, and cannot be used in another one.
    """

    def __init__(self, base_url: str, model: str | None = None, *, api_key: SecretStr | None = None) -> None:
        super().__init__(base_url, model, api_key=api_key)
        http = DefaultAsyncHttpxClient(headers=HEADERS, event_hooks=bounded_async(lambda: _BOUND))
        self._client = AsyncOpenAI(base_url=base_url, api_key=self._sdk_key, http_client=http)

    async def named(self) -> str:
        """Return the name of the model on the server, as ``ChatModel.model`` does. Raises GenerationError."""
        if self._model is None:
            with self._translated_errors("its list of models"):
                found = [model.id async for model in self._client.models.list(extra_headers=self._headers)]
            self._model = self._only(found)
        return self._model

    async def stream(self, messages: Sequence[Message]) -> AsyncIterator[Delta]:
        """Yield the pieces of the answer to a chat as ``ChatModel.stream`` does. Raises GenerationError."""
        model, chat = await self.named(), [_param(message) for message in messages]
        with self._translated_errors(f"model {model}"):
            chunks = await self._client.chat.completions.create(
                model=model, messages=chat, stream=True, extra_headers=self._headers
            )
        finished, characters = False, 0
        async with chunks:
            try:
                async for chunk in chunks:
                    delta = _delta(chunk)
                    finished |= delta.finish_reason is not None
                    characters += len(delta.text)
                    yield delta
            # Those that the blocking client raises.
            except (APIError, HTTPError, ValueError, RecursionError) as error:
                raise self._incomplete(characters, _cause(error)) from error
        if not finished:
            raise self._incomplete(characters, "the stream ended without a finish_reason")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _delta(chunk: ChatCompletionChunk) -> Delta:
    if not chunk.choices:  # the last chunk may hold the usage only
        return Delta("")
    choice = chunk.choices[0]
    return Delta(well_formed(choice.delta.content or choice.delta.refusal or ""), choice.finish_reason)


def _param(message: Message) -> ChatCompletionMessageParam:
    if message["role"] == "system":
        return ChatCompletionSystemMessageParam(role="system", content=message["content"])
    return ChatCompletionUserMessageParam(role="user", content=message["content"])


def _cause(error: Exception) -> str:
    """Return the message of the error's cause: the SDK has the same message for every connection error."""
    return str(error.__cause__ or error) or type(error.__cause__ or error).__name__


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{masked(url)!r} is not the address of a language model's server; write it as http://HOST:PORT/v1"
        )
    if parts.username or parts.password:
        raise SettingsError(
            "the address of the language model's server holds credentials; "
            f"leave them out and put the key in {_KEY}"
        )

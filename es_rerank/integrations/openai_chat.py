"""A language model behind a server that speaks OpenAI's chat completions: OpenAI's own, vLLM, llama.cpp, Ollama, ...

Importing this module raises MissingExtraError where the openai SDK is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..addresses import masked
from ..errors import GenerationError, MissingExtraError, SettingsError
from ..forks import in_every_child
from ..text.pairs import well_formed
from ..text.prompt import Message

try:
    from openai import APIConnectionError, APIError, APIStatusError, Omit, OpenAI
    from openai.types.chat import (
        ChatCompletionChunk,
        ChatCompletionMessageParam,
        ChatCompletionSystemMessageParam,
        ChatCompletionUserMessageParam,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"asking a language model needs {error.name}, which is not installed; install the extra with: pip install 'es-rerank[llm]'",
        extra="llm",
    ) from error

_KEY = "ES_RERANK_LLM_API_KEY"


class Delta(NamedTuple):
    """What an answer grows by; ``finish_reason`` comes once, with the last: ``stop``, or ``length`` where the server cut it off."""

    text: str
    finish_reason: str | None = None


class ChatModel:
    """A model of an OpenAI-compatible server, asked with the official SDK, which tries a request that failed twice more.

    ``base_url``: the address to which ``/chat/completions`` is added, such as ``http://localhost:8000/v1``. ``model``: its
    name there; None takes the only one that the server has. ``api_key``: sent as ``Authorization: Bearer``; without it
    no such header is sent. Prompts, and with them the text of documents, leave the machine for that address. A forked child
    opens connections of its own. Raises SettingsError for an address that cannot be used.
    """

    def __init__(self, base_url: str, model: str | None = None, *, api_key: SecretStr | None = None) -> None:
        _check_address(base_url)
        self.base_url = base_url
        self._model = model
        self._key = api_key
        self._opened: OpenAI | None = self._open()
        self._headers = {} if api_key else {"Authorization": Omit()}
        in_every_child(self._disconnect)

    def _open(self) -> OpenAI:
        # The SDK asks for a key even where none is sent.
        return OpenAI(base_url=self.base_url, api_key=self._key.get_secret_value() if self._key else "none")

    def _disconnect(self) -> None:
        """Use the parent's connections no more. The next request makes others; here every child would wait."""
        if self._opened is not None and not self._opened.is_closed():
            self._opened = None

    @property
    def _client(self) -> OpenAI:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @property
    def model(self) -> str:
        """The model's name at the server, which is asked for it where none was given.

        Raises GenerationError when the server does not answer or has not exactly one model.
        """
        if self._model is None:
            names = self._names()
            if len(names) != 1:
                found = ", ".join(names) or "none"
                raise GenerationError(
                    f"{self.base_url} serves several models or none ({found}); name one (model, --llm-model)"
                )
            self._model = names[0]
        return self._model

    def stream(self, messages: Sequence[Message]) -> Iterator[Delta]:
        """Yield the answer to a chat as it comes.

        Raises GenerationError when the server does not answer, refuses, or breaks off before the answer is complete; what
        was yielded until then stands.
        """
        model, chat = self.model, [_param(message) for message in messages]
        with self._answering(f"model {model}"):
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
            except (
                APIError,
                ValueError,
            ) as error:  # the SDK lets a line that is not JSON through as a ValueError
                raise self._broken(characters, _cause(error)) from error
        if not finished:
            raise self._broken(characters, "the stream ended without a finish_reason")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        with self._answering("its list of models"):
            return [model.id for model in self._client.models.list(extra_headers=self._headers)]

    def _broken(self, characters: int, cause: str) -> GenerationError:
        return GenerationError(
            f"the answer from {self.base_url} broke off after {characters} characters: {cause}; ask again"
        )

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Turn the SDK's errors into ours; ``what`` the server was asked for."""
        try:
            yield
        except APIConnectionError as error:
            raise GenerationError(
                f"no server answers at {self.base_url} ({_cause(error)}); check the address (--llm)"
            ) from error
        except APIStatusError as error:
            raise GenerationError(
                f"{self.base_url}, asked for {what}, answered {error.status_code}: {error.message}{self._remedy(error.status_code)}",
                status=error.status_code,
            ) from error
        except (APIError, ValueError) as error:
            raise GenerationError(
                f"{self.base_url}, asked for {what}, gave no answer in OpenAI's form: {_cause(error)}; check the address (--llm)"
            ) from error

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return f"; check the key in {_KEY}" if self._key else f"; put the key in {_KEY}"
        if status == 404:
            return "; check the name (--llm-model) and that the address (--llm) is the one to which /chat/completions is added, often with /v1 at its end"
        return ""


def _delta(chunk: ChatCompletionChunk) -> Delta:
    if not chunk.choices:  # the last chunk may bring the usage alone
        return Delta("")
    choice = chunk.choices[0]
    return Delta(well_formed(choice.delta.content or choice.delta.refusal or ""), choice.finish_reason)


def _param(message: Message) -> ChatCompletionMessageParam:
    if message["role"] == "system":
        return ChatCompletionSystemMessageParam(role="system", content=message["content"])
    return ChatCompletionUserMessageParam(role="user", content=message["content"])


def _cause(error: Exception) -> str:
    """Return what lies beneath: the SDK's own words for a connection are the same for every fault."""
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
            f"{masked(url)!r} is no address of a language model's server; write it as http://HOST:PORT/v1"
        )
    if parts.username or parts.password:
        raise SettingsError(
            f"the address of the language model's server holds credentials; leave them out and put the key in {_KEY}"
        )

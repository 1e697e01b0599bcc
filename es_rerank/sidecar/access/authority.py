"""Checks the sidecar's own API keys on the paths that use the models directly: rerank, embedding, inference.

Searches need no key of the sidecar. Elasticsearch decides whether a caller may search.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from ...caller import CALLER, Caller, during
from ...defaults import MAX_OPTIONS, MAX_TEXT_CHARACTERS
from ...errors import RequestError, TooLargeError, UnauthorizedError
from ...off_loop import is_large
from ...retrievers.grammar.json_values import read_json
from ...retrievers.grammar.validation import check_query_length
from ..messages.body import Counted, check_length, read_body
from ..messages.wire import check_utf8, parsed
from ..record import tell_key
from .admission import peer_of
from .keys import KEY, Key, Keys, too_many_documents

BODY = "es_rerank.body"
"""The key of a scope under which the JSON value of the body stands, as soon as it is read."""


def sent_key(request: Request, keys: Keys) -> Key | None:
    """Return the one of ``keys`` that the ``Authorization`` header of a request holds, None if it holds none.

    It is ``Bearer KEY``, or ``ApiKey KEY`` as for Elasticsearch. Some clients of text-embeddings-inference
    send ``KEY`` alone. The key may have expired.
    """
    scheme, _, given = request.headers.get("authorization", "").strip().partition(" ")
    found = keys.find((given.strip() or scheme).encode("latin-1"))  # the bytes that came
    return found if not given or scheme.lower() in {"bearer", "apikey"} else None


def require_key(request: Request) -> Key | None:
    """Return the key of the sidecar that the ``Authorization`` header of a request holds.

    It is None if the sidecar asks for no key. Raises UnauthorizedError when the key is missing or wrong, or
    has expired.
    """
    keys: Keys = request.app.state.service.keys
    if not keys.asked:
        return None
    found = sent_key(request, keys)
    if found is None:
        raise UnauthorizedError(
            "this path needs a key of the sidecar: send Authorization: Bearer KEY "
            "(settings api_keys_file and api_key_hashes hold the hashes of its keys)"
        )
    if found.expired:
        tell_key(found.name)  # the operator sees in the log whose key it was
        raise UnauthorizedError(
            f"the key [{found.name}] of the sidecar has expired; ask its operator for a new one"
        )
    return found


@contextmanager
def _served_as(key: Key | None, request: Request) -> Iterator[None]:
    """Set the key of the request that the block serves, and the caller whose share of the models it takes."""
    if key is not None:
        tell_key(key.name)
    # By its name: the same key written in another way is the same caller.
    # Without keys nobody has checked the header: with a new one for each request, a caller would be many.
    caller = peer_of(request.scope) if key is None else _caller_of(key)
    with during(KEY, key), during(CALLER, caller):
        yield


def _caller_of(key: Key) -> Caller:
    limit = f"most_waiting_seconds of key [{key.name}]"
    return Caller(f"key {key.name}", key.most_waiting_seconds, limit)


class KeyedRoute(APIRoute):
    """A route that uses the models and needs a key.

    It checks the declared length of the body, then the key. Only then it reads the body, counts what is in it
    and parses it. A large body is parsed and checked beside the event loop.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, preceded by the checks."""
        handle, model = super().get_route_handler(), _model_of(self.endpoint)

        async def handle_admitted(request: Request) -> Response:
            limit = request.app.state.service.limits.body_bytes
            check_length(request, limit)
            with _served_as(require_key(request), request):
                body = await read_body(request, limit, Counted())
                most = request.app.state.service.most_documents
                value = await parsed(request, body.plain, lambda plain: _read(plain, most, model, request))
                return await handle(_Admitted(request, body.plain, value))

        return handle_admitted


def _model_of(endpoint: Callable[..., Any]) -> type[BaseModel] | None:
    """Return the model of the body of a route, None for a route without a body."""
    kinds = get_type_hints(endpoint).values()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _read(
    data: bytes,
    documents: int,
    model: type[BaseModel] | None,
    request: Request,
) -> Any:  # noqa: ANN401 any JSON value
    """Return the JSON value in a body, None for an empty body; an instance of ``model`` if it is a large
    object. The value stands in the scope of ``request`` before it is checked, so that an error can be told in
    its format.

    Raises RetrieverParsingError for what is not JSON, RequestValidationError for what the model refuses, and
    what ``check_utf8``, ``_check_counts`` and ``_check_texts`` raise.
    """
    value = request.scope[BODY] = read_json(data) if data and not data.isspace() else None
    check_utf8(data, value)
    _check_counts(value, documents)
    _check_texts(value, data)
    if model is None or not isinstance(value, dict) or not is_large(value):
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestValidationError([{**first, "loc": ("body", *first["loc"])}]) from error


def _check_texts(body: Any, data: bytes) -> None:  # noqa: ANN401 any JSON value
    """Check the length of the texts in a body, whose bytes are ``data``.

    The texts of a response of Elasticsearch are not checked: few of them are read, and those are cut. Raises
    TooLargeError.
    """
    query = body.get("query") if isinstance(body, dict) else None
    if isinstance(query, str):
        check_query_length("query", query)
    if len(data) <= MAX_TEXT_CHARACTERS:
        return
    waiting = [part for key, part in body.items() if key != "response"] if isinstance(body, dict) else []
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and len(part) > MAX_TEXT_CHARACTERS:
            raise TooLargeError(
                f"a text has {len(part)} characters, at most {MAX_TEXT_CHARACTERS} are read; send its parts"
            )
        if isinstance(part, (list, dict)):
            waiting.extend(part.values() if isinstance(part, dict) else part)


def _check_counts(body: Any, documents: int) -> None:  # noqa: ANN401 any JSON value
    """Check how many keys and how many documents a body holds, before each of them is checked by itself.

    Raises RequestError for more than 50 keys: no request has as many. Raises TooLargeError for a list, or the
    hits of a response, with more entries than ``documents``.
    """
    if not isinstance(body, dict):
        return
    if len(body) > MAX_OPTIONS:
        raise RequestError(
            f"the request body has {len(body)} keys, at most {MAX_OPTIONS} are read; remove keys"
        )
    response = body.get("response")
    hits = response.get("hits") if isinstance(response, dict) else None
    lists = [*body.values(), hits.get("hits") if isinstance(hits, dict) else None]
    count = max((len(entries) for entries in lists if isinstance(entries, list)), default=0)
    if count > documents:
        raise too_many_documents(count, documents)


class _Admitted(Request):
    """A request that passed the checks, with the body that was read within the limit."""

    def __init__(self, request: Request, data: bytes, value: Any) -> None:  # noqa: ANN401 any JSON value
        super().__init__(request.scope, request.receive)
        self._data, self._value = data, value

    async def body(self) -> bytes:
        return self._data

    async def json(self) -> Any:  # noqa: ANN401 any JSON value
        return self._value

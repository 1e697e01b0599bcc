"""The calls over HTTP that are being answered, so that their caller can cancel them.

The server keeps no sessions: nobody can use up what there is none of. Only to cancel a call, a host of the
protocols before 2026 sends a request of its own, which names the session and the call. So the answer to the
handshake names a session, and what is kept of a session is the calls that are being answered.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import anyio
from mcp.server.streamable_http import REQUEST_CANCELLED
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..caller import CALLER
from .messages import mended

_SESSION = "mcp-session-id"


class Cancellable:
    """Serves requests whose body comes as one message, and ends a call when its caller cancels it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: dict[tuple[str, ...], anyio.CancelScope] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        first = await receive()
        body = _mended(first.get("body", b""))
        first = {**first, "body": body} if body else first
        message = _message_of(body)
        session = Headers(scope=scope).get(_SESSION)
        given = iter((first,))

        async def receive_again() -> Message:
            return next(given, None) or await receive()

        if message.get("method") == "initialize":
            await self._app(scope, receive_again, _with_session(send))
        elif session is None or message.get("method") is None:
            await self._app(scope, receive_again, send)
        elif message["method"] == "notifications/cancelled":
            named = message.get("params")
            running = self._running.get(
                _name_of(session, named.get("requestId") if isinstance(named, dict) else 0)
            )
            if running is not None:
                running.cancel()
            await self._app(scope, receive_again, send)
        else:
            await self._serve(_name_of(session, message.get("id")), message, scope, receive_again, send)

    async def _serve(
        self, name: tuple[str, ...], message: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        begun = ended = False

        async def send_and_note(sent: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended |= sent["type"] == "http.response.body" and not sent.get("more_body", False)
            await send(sent)

        with anyio.CancelScope() as running:
            self._running[name] = running
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                if self._running.get(name) is running:
                    del self._running[name]
        if running.cancelled_caught and not ended:
            error = {"code": REQUEST_CANCELLED, "message": "Request cancelled"}
            said = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "error": error})
            if not begun:
                await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            await send(
                {"type": "http.response.body", "body": f"event: message\r\ndata: {said}\r\n\r\n".encode()}
            )


_EVENTS = [(b"content-type", b"text/event-stream")]


def _mended(body: bytes) -> bytes:
    try:
        return mended(body.decode()).encode()
    except UnicodeError:
        return body


def _message_of(body: bytes) -> dict[str, Any]:
    """Return the message in a body, an empty one if it holds none: the SDK answers it."""
    try:
        value = from_json(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _name_of(session: str, number: object) -> tuple[str, ...]:
    """Return what names a call. Only its own caller can name it; 1 and "1" are different calls."""
    return CALLER.get().name, session, repr(number)


def _with_session(send: Send) -> Send:
    async def send_with_session(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            headers = [*message.get("headers", ()), (_SESSION.encode(), uuid4().hex.encode())]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_session

"""One connection of the sidecar: how long it may take, and what is answered at its end.

uvicorn reads HTTP with h11 and calls the application. It has no limit of time for a request or for a caller
that does not read its answer, and no bound on connections. These are here, and so are the answers that no
application can give: in the format of the path that is asked.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from contextlib import suppress
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from ...dialects.failures import failure_of
from ...dialects.paths import spoken_at
from ...errors import (
    EsRerankError,
    LargeHeadersError,
    RequestError,
    SlowClientError,
    UnavailableError,
    error_body,
    message_of,
    outcome_of,
)
from ...retrievers.execution.product import PRODUCT, PRODUCT_HEADER
from ..record import ENDING, Ending
from ..reset import reset
from .connections import RETRY_BUSY_S, RETRY_STOPPING_S, Connections
from .progress import BodyClock, ConnectionLimits, WriteClock
from .target import first_line, to_origin_form

_LINGER_S = 2.0
"""How long a connection is still read, and what comes is dropped, after an answer that ends it: a caller
that is still sending would otherwise get a reset instead of the answer (as nginx's ``lingering_close``)."""


class Connection(H11Protocol):
    """One connection: uvicorn's, with limits of time and size."""

    def __init__(self, *, connections: Connections, **uvicorns: Any) -> None:  # noqa: ANN401 uvicorn's own
        super().__init__(**uvicorns)
        self._all = connections
        self._limits = connections.limits
        self._served: ASGIApp = self.app
        self.app = self._answered
        self.address = ""
        self._since = 0.0
        self._head_since: float | None = None
        self._task: asyncio.Task[Any] | None = None
        self._body: BodyClock | None = None
        self._writing = WriteClock(self._limits)
        self._answered_at: float | None = None
        self._lingers_until: float | None = None
        self._silent = True
        self._aborted = self._counted = False

    # -- what the transport says -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the headers of the first request are awaited."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._all.open.add(self)
        self.address = _party(self.client)
        self._since = self._head_since = self._all.clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: uvicorn tells the application."""
        self._all.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give bytes to uvicorn; headers in pieces, so that no more is parsed than they may have."""
        if self._lingers_until is not None:
            return
        self._silent = False
        now = self._all.clock()
        rest = memoryview(data)
        while rest and self.conn.their_state is h11.IDLE and self._lingers_until is None:
            if self._head_since is None:
                self._head_since = now
            super().data_received(bytes(rest[: self._limits.header_bytes]))
            rest = rest[self._limits.header_bytes :]
        if rest and self._lingers_until is None:
            super().data_received(bytes(rest))
        self._note(len(data), now)

    def resume_writing(self) -> None:
        """Note that the caller reads."""
        self._writing.took()
        super().resume_writing()

    def reading(self, goes_on: bool) -> None:  # noqa: FBT001 it is told by one caller
        """Note whether the sidecar reads: the clock of the body stands still while it does not."""
        if self._body is not None:
            (self._body.go_on if goes_on else self._body.pause)(self._all.clock())

    def _note(self, size: int, now: float) -> None:
        their = self.conn.their_state
        if their is not h11.IDLE:
            self._head_since = None
        if their is not h11.SEND_BODY:
            self._body = None
        elif self._body is None:
            self._body = BodyClock(self._limits, now)
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:
                self._body.pause(now)
        else:
            self._body.arrived(size, now)

    # -- what uvicorn does -----------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Note that the answer is written, and go on with what came after its request."""
        self._answered_at = self._since = self._all.clock()
        super().on_response_complete()
        self._note(0, self._since)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._head_since = self._since

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, or whose headers are too long."""
        fault = sys.exc_info()[1]
        if isinstance(fault, h11.RemoteProtocolError) and fault.error_status_hint == 431:
            self.refuse(_large_headers(self._limits))
        else:
            self.refuse(RequestError(msg))

    def _should_upgrade(self) -> bool:
        return False  # there is no WebSocket here; uvicorn would log each request that asks for one

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        to_origin_form(scope)
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        error = self._all.refusal(scope["raw_path"])
        if size > self._limits.header_bytes or len(scope["headers"]) > self._limits.headers:
            error = _large_headers(self._limits)
        if error is not None:
            self._count("refused")
            self.refuse(error)
            return

        async def in_pieces(message: Message) -> None:
            """Send an answer so that not much of it waits when the caller does not read."""
            body = message.get("body", b"")
            if message["type"] == "http.response.start" and (self._all.leaving or self._all.stopping):
                message = {**message, "headers": [*message.get("headers", ()), CLOSE_HEADER]}
            for begin in range(0, len(body) - HIGH_WATER_LIMIT, HIGH_WATER_LIMIT):
                piece = body[begin : begin + HIGH_WATER_LIMIT]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if len(body) > HIGH_WATER_LIMIT:
                message = {**message, "body": body[(len(body) - 1) // HIGH_WATER_LIMIT * HIGH_WATER_LIMIT :]}
            await send(message)

        self._answered_at = None
        task = self._task = asyncio.current_task()
        cycle = self.cycle
        self._all.busy += 1
        try:
            await self._served(scope, receive, in_pieces)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                raise
        finally:
            self._all.busy -= 1
            if self._task is task:  # else the next request has begun
                self._task = None

    # -- how a connection ends -------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End the connection if it takes too long."""
        waiting = self.transport.get_write_buffer_size()
        if self._writing.is_late(waiting, now):
            self._count("unread")
            self.reset()
        elif self._lingers_until is not None:
            if now >= self._lingers_until:
                self._abort()
        elif self.transport.is_closing():
            return
        elif now >= self._deadline(now):
            self._count("slow")
            what = "headers" if self._head_since is not None else "body"
            if self._silent or (what == "body" and self._answered_at is not None):
                self.transport.close()
            else:
                self.refuse(
                    SlowClientError(
                        f"the {what} of the request came too slowly (setting {_SLOW[what]}); send it again"
                    )
                )

    def _deadline(self, now: float) -> float:
        if self._head_since is not None:
            return self._head_since + self._limits.header_s
        if self._body is None:
            return math.inf
        # A caller may wait until it is asked for the body ("Expect: 100-continue").
        if not self.flow.read_paused and not self.cycle.waiting_for_100_continue:
            self._body.go_on(now)
        if self._answered_at is not None:  # the rest of a body that nobody needs
            return self._answered_at + self._limits.body_s
        return self._body.deadline()

    def is_free(self) -> bool:
        """Return whether no whole request is here, so that the connection may make room for another.

        One that was aborted stays in ``open`` until the next turn of the event loop, and makes no room again.
        """
        return not self._aborted and (self._task is None or self._body is not None)

    def sends_body(self) -> bool:
        """Return whether a request is being answered whose body is not here yet."""
        return not self._aborted and self._task is not None and self._body is not None

    def is_idle(self) -> bool:
        """Return whether the connection waits between two requests."""
        return self._task is None and self._head_since is None

    def is_running(self) -> bool:
        """Return whether a request is being answered, or its answer waits to be read."""
        return self._task is not None or (
            self._lingers_until is None and self.transport.get_write_buffer_size() > 0
        )

    def waited(self, now: float) -> float:
        """Return for how long the connection has waited for its request, or since its last answer."""
        return now - self._since

    def evict(self) -> None:
        """End the connection at once, to make room."""
        self._count("evicted")
        if self._has_begun():
            self.reset()
        elif self._silent or self.is_idle() or self.transport.is_closing():
            self._abort()
        else:
            self.refuse(
                UnavailableError(
                    "there are too many connections (setting max_connections), and the request of this one "
                    "was not here yet",
                    retry_after_s=RETRY_BUSY_S,
                )
            )
            self._abort()

    def end(self) -> None:
        """End the connection because the sidecar stops."""
        task = self._task
        if self._lingers_until is not None:
            return
        if self._has_begun():
            self._count("cut")
            _tell(self.scope, Ending(None))
            self.reset()
        elif task is not None or (self._head_since is not None and not self._silent):
            self._count("cut")
            self.refuse(
                UnavailableError(
                    "the sidecar is stopping, and the request was not answered in time; send it again",
                    retry_after_s=RETRY_STOPPING_S,
                )
            )
        else:
            self.transport.close()
        if task is not None:
            task.cancel()

    def _has_begun(self) -> bool:
        """Return whether a part of an answer was sent, and the rest is still to come."""
        return self._task is not None and self.cycle.response_started and not self.cycle.response_complete

    def drop(self) -> None:
        """Close the connection at once: with a reset if a part of an answer was not read."""
        self.reset() if self.is_running() else self._abort()

    def reset(self) -> None:
        """Close the connection so that the caller sees that something is missing."""
        self._aborted = True
        reset(self.transport)

    def _abort(self) -> None:
        self._aborted = True
        self.transport.abort()

    def _count(self, why: str) -> None:
        """Count why the connection ends. Only the first reason counts."""
        if not self._counted:
            self._counted = True
            self._all.ended[why] += 1

    def _is_asked(self) -> bool:
        """Return whether a request is read as far as its body, and not answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _told(self, error: EsRerankError) -> dict[str, Any]:
        """Return the body of an error, in the format of the path if the first line of the request is read."""
        if self.scope is None or not self._is_asked():
            method, path = first_line(self.conn.trailing_data[0])
        else:
            method, path = self.scope["method"], self.scope["raw_path"]
        spoken = spoken_at(path.decode("latin-1"), method)
        if spoken is None:
            return error_body(error)
        return spoken.error(message_of(error), failure_of(error), outcome_of(error).status)

    def refuse(self, error: EsRerankError) -> None:
        """Answer with an error and end the connection. The application is told that the caller left."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.reset()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        outcome = outcome_of(error)
        body = json.dumps(self._told(error)).encode()
        if cycle is not None and not cycle.response_complete:
            _tell(self.scope, Ending(error, len(body)))
        wait_s = getattr(error, "retry_after_s", None)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (PRODUCT_HEADER.encode(), PRODUCT.encode()),
            (b"content-length", str(len(body)).encode()),
            *([] if wait_s is None else [(b"retry-after", str(wait_s).encode())]),
            CLOSE_HEADER,
        ]
        is_head = self.scope is not None and self.scope["method"] == "HEAD" and self._is_asked()
        try:
            start = h11.Response(
                status_code=outcome.status, headers=headers, reason=STATUS_PHRASES[outcome.status]
            )
            events = [start, *([] if is_head else [h11.Data(data=body)]), h11.EndOfMessage()]
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        except h11.LocalProtocolError:
            self.transport.close()  # an answer was sent already
            return
        self._unset_keepalive_if_required()
        self._lingers_until = self._all.clock() + _LINGER_S
        self.flow.resume_reading()  # to drop what comes
        if self.transport.can_write_eof():
            with suppress(OSError):  # the caller has left
                self.transport.write_eof()


class _Flow(FlowControl):
    """uvicorn's control of reading, which tells the connection when it reads and when not."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        super().__init__(transport)
        self._connection = connection

    def pause_reading(self) -> None:
        super().pause_reading()
        self._connection.reading(False)

    def resume_reading(self) -> None:
        super().resume_reading()
        self._connection.reading(True)


def _tell(scope: Any, ending: Ending) -> None:  # noqa: ANN401 uvicorn's type has no room for extensions
    """Tell the record of the request that the application is answering how the server ends it."""
    scope[ENDING] = ending


_SLOW = {"headers": "header_timeout_ms", "body": "body_timeout_ms or body_bytes_per_s"}


def _large_headers(limits: ConnectionLimits) -> LargeHeadersError:
    return LargeHeadersError(
        f"the request line and headers are over {limits.header_bytes} bytes, or over {limits.headers} headers"
    )


def _party(client: tuple[str, int] | None) -> str:
    """Return whose connections are counted together: an IPv4 address, or the first half of an IPv6 address,
    for its second half is the caller's to choose.
    """
    host = client[0] if client else ""
    if ":" not in host or host.startswith("::"):
        return host
    return ":".join(host.split(":")[:4])

"""A sidecar for the plugin whose answers a test decides: right, wrong, late, broken or held back.

It is written on plain sockets, because a web framework cannot break an answer in the middle.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

API_VERSION = 1

MIB = 1 << 20


@dataclass(frozen=True)
class Asked:
    """One request of the plugin. The names of ``headers`` are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """All texts of documents, passages and queries in the body."""
        documents = self.body.get("documents", [])
        passages = [part["text"] for document in documents for part in document.get("passages", [])]
        whole = [document[key] for document in documents for key in ("text", "title") if key in document]
        return [*passages, *whole, *self.body.get("texts", [])]


@dataclass(frozen=True)
class Line:
    """The connection on which a request came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the plugin has closed the connection. It sends nothing more on it before that."""
        with suppress(OSError):
            await self.reader.read(1)


Behaviour = Callable[[Asked, Line], Awaitable[None]]
"""Answers one request."""


@dataclass
class ScriptedSidecar:
    """``script`` holds the behaviours of the next requests, ``usual`` answers when it is empty.

    It listens at ``port`` of 127.0.0.1, which 0 leaves to the system, over https if ``tls`` is given.

    ``asked`` are the requests so far, without those of ``GET /_es_rerank``. ``now`` counts the requests that
    are held back, ``left`` the connections that the plugin closed while it waited for an answer.
    """

    port: int = 0
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    script: list[Behaviour] = field(default_factory=list)
    usual: Behaviour = field(default_factory=lambda: right)
    now: int = 0
    left: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None

    def forget(self) -> None:
        """Answer rightly from now on, and forget what was asked."""
        self.release()
        self.asked.clear()
        self.script.clear()
        self.usual = right
        self.left = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """Answer all requests that are held back, and hold none back from now on."""
        self._loop.call_soon_threadsafe(self._released.set)

    def held(self, then: Behaviour | None = None) -> Behaviour:
        """Return a behaviour that waits for ``release``, then answers as ``then``, by default rightly."""

        async def wait(asked: Asked, line: Line) -> None:
            self.now += 1
            try:
                await self._released.wait()
            finally:
                self.now -= 1
            await (then or right)(asked, line)

        return wait

    def stalled(self) -> Behaviour:
        """Return a behaviour that begins an answer and never ends it; ``left`` counts who hung up."""

        async def begin(asked: Asked, line: Line) -> None:
            await line.send(_head(200, length=1000) + b'{"version":')
            await line.gone()
            self.left += 1

        return begin

    def endless(self) -> Behaviour:
        """Return a behaviour whose answer has no end; ``left`` counts who hung up."""

        async def send(asked: Asked, line: Line) -> None:
            blank = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
            with suppress(OSError):
                await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await line.send(blank)
            self.left += 1

        return send

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve in a thread until the block ends."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self._run(self._listen())
            yield
            self._run(self._shut())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Close the port and all connections until the block ends."""
        self._run(self._shut())
        try:
            yield
        finally:
            self._run(self._listen())

    def _run(self, steps: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(steps, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self.tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        assert self._server is not None
        self._server.close()
        open_still = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (asked := await _request(reader)) is not None:
                if asked.path == "/_rerank/v1/info":
                    await right(asked, line)
                    continue
                self.asked.append(asked)
                behaviour = self.script.pop(0) if self.script else self.usual
                await behaviour(asked, line)
                if writer.is_closing():
                    break
        writer.transport.abort()


@contextmanager
def scripted(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedSidecar]:
    """Serve a scripted sidecar until the block ends."""
    fake = ScriptedSidecar(port, tls)
    with fake.running():
        yield fake


# -- behaviours ----------------------------------------------------------------------------------------------


async def right(asked: Asked, line: Line) -> None:
    """Answer as a sidecar does. A text's score is the number after "relevance", in hundredths."""
    await line.send(_whole(200, right_body(asked)))


def spoiled(change: Callable[[dict[str, Any]], object]) -> Behaviour:
    """Return a behaviour that answers rightly but for what ``change`` does to the body, in place."""

    def changed(body: dict[str, Any]) -> dict[str, Any]:
        change(body)
        return body

    return answering(changed)


def answering(make: Callable[[dict[str, Any]], Any]) -> Behaviour:
    """Return a behaviour that answers with what ``make`` returns for the right body, text as it stands."""

    async def answer(asked: Asked, line: Line) -> None:
        await line.send(_whole(200, make(right_body(asked))))

    return answer


def status(code: int, body: Any = None, **headers: str) -> Behaviour:
    """Return a behaviour that answers with a status, and a body: JSON, or text as it stands."""

    async def answer(asked: Asked, line: Line) -> None:
        await line.send(_whole(code, {"error": {"reason": "as scripted"}} if body is None else body, headers))

    return answer


async def hung_up(asked: Asked, line: Line) -> None:
    """Close the connection without an answer."""
    line.writer.close()


async def half(asked: Asked, line: Line) -> None:
    """Close the connection in the middle of the body."""
    whole = _whole(200, right_body(asked))
    await line.send(whole[: -len(whole) // 4])
    line.writer.close()


def huge(mib: int) -> Behaviour:
    """Return a behaviour whose body is right JSON after this many MiB of blanks."""

    async def answer(asked: Asked, line: Line) -> None:
        body = json.dumps(right_body(asked)).encode()
        await line.send(_head(200, length=len(body) + mib * MIB))
        for _ in range(mib):
            await line.send(b" " * MIB)
        await line.send(body)

    return answer


def right_body(asked: Asked) -> dict[str, Any]:
    """Return the body of the right answer to a request."""
    documents = asked.body.get("documents", [])
    match asked.path.rpartition("/")[2]:
        case "score":
            scores = [_score(document) for document in documents]
            order = sorted(range(len(scores)), key=lambda place: -scores[place])
            found = [_scored(place, scores[place]) for place in order]
            return {"version": API_VERSION, "model": "scripted", "documents": found}
        case "embed":
            return {"version": API_VERSION, "vectors": [[1.0, 0.0] for _ in asked.body["texts"]]}
        case "passages":
            cut = [
                [{"text": document["text"], "start": 0, "end": len(document["text"]), "vector": [1.0, 0.0]}]
                for document in documents
            ]
            return {"version": API_VERSION, "documents": cut}
    return {"version": API_VERSION, "release": "scripted", "models": ["scripted"], "embedder": None}


def _scored(place: int, score: float) -> dict[str, Any]:
    logit = math.log(score / (1 - score))
    return {"index": place, "score": score, "logit": logit, "probability": score}


def _score(document: dict[str, Any]) -> float:
    text = " ".join(part["text"] for part in document["passages"])
    found = re.search(r"relevance (\d+)", text)
    return min(99, int(found[1]) + 1) / 100 if found else 0.005


# -- HTTP ----------------------------------------------------------------------------------------------------


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    """Read the next request of a connection, None if the other side has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split(" ")[1], headers, json.loads(content or b"{}"))


def _whole(code: int, body: Any, headers: dict[str, str] | None = None) -> bytes:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return _head(code, length=len(content), headers=headers) + content


def _head(code: int, *, length: int, headers: dict[str, str] | None = None) -> bytes:
    lines = {"Content-Type": "application/json", "Content-Length": str(length), **(headers or {})}
    head = [f"HTTP/1.1 {code} Status", *(f"{name}: {value}" for name, value in lines.items())]
    return ("\r\n".join(head) + "\r\n\r\n").encode()

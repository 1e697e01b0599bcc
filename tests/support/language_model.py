"""A server that speaks OpenAI's streaming chat completions and refuses what does not;
what it says is written beforehand.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from http_servers import Quiet, serving_in_thread

Ending = Literal["stop", "length", "torn", "early", "error", "garbage"]
"""How the stream ends: with a finish reason and ``[DONE]``; ``torn``: the connection breaks; ``early``: it
ends without either; ``error``: an error comes as an event; ``garbage``: a line that is not JSON."""

_LONGEST_S = 60.0


@dataclass
class LanguageModel:
    """What the server says and heard. ``parts``: the deltas of its answer;
    before each part after the first it waits for ``go``.
    """

    url: str = ""
    parts: Sequence[str] = ("The king signed [1].",)
    ending: Ending = "stop"
    key: str | None = None
    models: Sequence[str] = ("parrot",)
    status: int = 200
    go: threading.Event = field(default_factory=threading.Event)
    requests: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def language_model(**script: Any) -> Iterator[LanguageModel]:
    """Run the server in a thread until the block ends; ``go`` is set unless the script says otherwise."""
    said = LanguageModel(**script)
    if "go" not in script:
        said.go.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"said": said}))
    with serving_in_thread(server) as url:
        said.url = f"{url}/v1"
        try:
            yield said
        finally:
            said.go.set()


class _Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    said: LanguageModel

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path != "/v1/models":
            self._fault(404, f"no such path: {self.path}")
            return
        self._json(
            200,
            {
                "object": "list",
                "data": [
                    {"id": name, "object": "model", "created": 0, "owned_by": "test"}
                    for name in self.said.models
                ],
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._refused():
            return
        if self.path != "/v1/chat/completions":
            self._fault(404, f"no such path: {self.path}")
            return
        request = json.loads(body)
        fault = _fault_of(request)
        if fault or request["model"] not in self.said.models:
            self._fault(400 if fault else 404, fault or f"The model `{request['model']}` does not exist.")
            return
        self.said.requests.append(request)
        self._stream(request["model"])

    def _refused(self) -> bool:
        given = self.headers.get("authorization")
        if given != (f"Bearer {self.said.key}" if self.said.key else None):
            self._fault(401, f"unexpected Authorization: {given}")
            return True
        if self.said.status != 200:
            self._fault(self.said.status, "out of order")
        return self.said.status != 200

    def _stream(self, model: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._delta(model, {"role": "assistant", "content": ""})
        for number, part in enumerate(self.said.parts):
            assert number == 0 or self.said.go.wait(_LONGEST_S)
            self._delta(model, {"content": part})
        if self.said.ending == "torn":
            self.wfile.write(b"100\r\ndata: {")  # 256 bytes are announced
            self.close_connection = True
            return
        if self.said.ending == "error":
            self._event(json.dumps({"error": {"message": "the GPU fell out", "type": "server_error"}}))
        elif self.said.ending == "garbage":
            self._event("<html>")
        elif self.said.ending != "early":
            self._delta(model, {}, self.said.ending)
            self._event(
                json.dumps(
                    {
                        **_chunk(model),
                        "choices": [],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    }
                )
            )
            self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _delta(self, model: str, delta: dict[str, str], finish_reason: str | None = None) -> None:
        self._event(
            json.dumps(
                {**_chunk(model), "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
            )
        )

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.flush()

    def _fault(self, status: int, message: str) -> None:
        self._json(
            status,
            {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
        )

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(body)


def _chunk(model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model}


def _fault_of(request: dict[str, Any]) -> str:
    """Return what is wrong with a request; empty where nothing is."""
    if set(request) != {"model", "messages", "stream"}:
        return f"unexpected keys: {sorted(request)}"
    if request["stream"] is not True:
        return "only streams are served"
    messages = request["messages"]
    if [message["role"] for message in messages] != ["system", "user"]:
        return "a system message and a user message are expected"
    if any(
        set(message) != {"role", "content"} or not isinstance(message["content"], str) for message in messages
    ):
        return "a message has a role and a text"
    return ""

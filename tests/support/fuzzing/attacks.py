"""The requests, as bytes, by seed and number."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal
from urllib.parse import quote

from es_rerank.defaults import MAX_BODY_BYTES

from . import mutations, transport
from .drafts import INDEX, SOURCE, Draft, Style
from .json_texts import Value, lines, written
from .routes import draft
from .searches import Drawing

Leaving = Literal["", "after half", "after all"]


@dataclass(frozen=True)
class Attack:
    """A request as it is sent.

    ``framed``: whether it is well-formed HTTP; if not, the server may refuse it in its own words, or wait for
    the rest. ``leaves``: when the caller closes the connection without waiting for an answer.
    """

    number: int
    route: str
    style: Style
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    framed: bool = True
    leaves: Leaving = ""
    chunked: bool = False

    @property
    def data(self) -> bytes:
        """The whole request."""
        head = [self.method.encode() + b" " + self.target + b" HTTP/1.1"]
        head += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join(head) + b"\r\n\r\n" + (chunks(self.body) if self.chunked else self.body)


def chunks(body: bytes) -> bytes:
    """Return a body in two chunks."""
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def attack(seed: int, number: int, index: str) -> Attack:
    """Return the request with this number. ``index`` is the index that it searches."""
    draw = Drawing(f"{seed} {number}")
    wanted = draft(draw)
    body = _body(draw, wanted).replace(INDEX.encode(), index.encode())
    headers = [(b"Host", b"fuzz"), *((name.encode(), value) for name, value in wanted.headers.items())]
    if wanted.has_body:
        headers.append((b"Content-Type", b"application/x-ndjson" if wanted.lines else b"application/json"))
    framed = True
    while draw.random() < 0.2:
        name, value, allowed = transport.header(draw)
        if draw.random() < 0.7:
            headers = [entry for entry in headers if entry[0].lower() != name.lower()]
        headers.append((name, value))
        framed = framed and allowed and name not in {b"Connection", b"Upgrade", b"Host"}
    if wanted.has_body and draw.random() < 0.06:
        encoding, body = transport.compressed(draw, body)
        headers.append((b"Content-Encoding", encoding))
    target, clean = _target(draw, wanted, body)
    method = draw.choice(transport.METHODS) if draw.random() < 0.04 else wanted.method
    if not wanted.has_body:
        body = b""
    length, chunked, fits = _framing(draw, body, has_body=wanted.has_body)
    known = method.isupper() and method not in {"CONNECT", "M-X"}
    leaves: Leaving = draw.choice(["after half", "after all"]) if draw.random() < 0.04 else ""
    return Attack(
        number,
        wanted.route,
        wanted.style,
        method,
        target.replace(INDEX.encode(), index.encode()),
        (*headers, *length),
        body,
        framed and clean and fits and known,
        leaves,
        chunked,
    )


def _body(draw: Random, wanted: Draft) -> bytes:
    value: Value = wanted.body
    if draw.random() < 0.93:
        for _ in range(draw.choice([1, 1, 1, 1, 2, 3])):
            value = mutations.changed(draw, value)
    separate = wanted.lines and isinstance(value, list)
    data = lines(value) if separate else written(value)
    if draw.random() < 0.0007:
        return data.ljust(MAX_BODY_BYTES + draw.choice([-1, 0, 1]))
    return transport.changed_bytes(draw, data) if draw.random() < 0.06 else data


def _target(draw: Random, wanted: Draft, body: bytes) -> tuple[bytes, bool]:
    """Return path and query, and whether all their bytes may stand in a URL."""
    path = transport.path(draw, wanted.path) if draw.random() < 0.06 else wanted.path
    entries = [
        (name, quote(body[:20_000]) if value == SOURCE else quote(value, safe=""))
        for name, value in wanted.parameters.items()
    ]
    while draw.random() < 0.1:
        entries.append(transport.parameter(draw))
    query = "&".join(f"{name}={value}" for name, value in entries)
    target = (path + (f"?{query}" if query else "")).encode("utf-8")
    return target, all(33 <= sign < 127 for sign in target)


def _framing(draw: Random, body: bytes, *, has_body: bool) -> tuple[list[tuple[bytes, bytes]], bool, bool]:
    """Return the headers about the length, whether the body is sent in chunks, and whether they are right."""
    right = (b"Content-Length", b"%d" % len(body))
    chance = draw.random()
    if not has_body and chance < 0.9:
        return [], False, True
    if chance < 0.9:
        return [right], False, True
    if chance < 0.96:
        return [(b"Transfer-Encoding", b"chunked")], True, True
    wrong: list[tuple[list[tuple[bytes, bytes]], bool]] = [
        ([(b"Content-Length", b"%d" % (len(body) + 5))], False),
        ([(b"Content-Length", b"%d" % max(len(body) - 5, 0))], False),
        ([(b"Content-Length", b"-1")], False),
        ([(b"Content-Length", b"abc")], False),
        ([(b"Content-Length", b"9" * 30)], False),
        ([(b"Content-Length", b"16777217")], False),
        ([(b"Content-Length", b"+%d" % len(body))], False),
        ([right, right], False),
        ([right, (b"Content-Length", b"1")], False),
        ([right, (b"Transfer-Encoding", b"chunked")], True),
        ([(b"Transfer-Encoding", b"gzip, chunked")], True),
        ([(b"Transfer-Encoding", b"chunked")], False),
        ([(b"Transfer-Encoding", b"xchunked")], False),
        ([], False),
    ]
    headers, chunked = draw.choice(wrong)
    return headers, chunked, False

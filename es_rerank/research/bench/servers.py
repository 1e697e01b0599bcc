"""Rerank servers in their own processes, asked over HTTP: the sidecar, and infinity's server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import DeadlineError, outcome_of
from ...models.manifest import MANIFEST, Precision, read_manifest, write_manifest
from .load import RequestOutcome, SendRequest
from .peers import Peer
from .peers.environment import variables
from .process_tree import ProcessTree
from .workers import Lists, ScoreArray, WorkerError, last_words

INFINITY = Peer("infinity-server", "0.0.78", "infinity-emb[torch,optimum,server]")
"""Its own environment, apart from infinity's library: the server pins the versions of the web framework."""

READY_TIMEOUT_S = 300.0
_SCORES_TIMEOUT_S = 30.0
_INTERVAL_S = 0.1
_KEPT_S = 2.0
"""Seconds that an idle connection is kept: less than uvicorn's 5, so that no request meets a connection that
the server has just closed.
"""

_IDLE_SHARE = 0.2
"""A server that uses at most this share of a core has no work left."""

_IDLE_INTERVAL_S = 0.5
_STATUS: dict[int, RequestOutcome] = {
    200: "answered",
    429: "rejected",
    503: "rejected",
    outcome_of(DeadlineError("")).status: "late",
}
_NO_ELASTICSEARCH = "http://127.0.0.1:9"
"""A URL where nothing answers (port 9, discard): reranking does not use Elasticsearch."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server is asked to rerank.

    ``path`` is the path of the request, ``body`` makes the request's body, and ``scores`` reads each text's
    raw score from the answer, by position. ``deadline`` is the header with the milliseconds that the caller
    waits, "" for a server that reads none.
    """

    path: str
    body: Callable[[str, Sequence[str]], dict[str, Any]]
    scores: Callable[[Any], Mapping[int, float]]
    deadline: str = ""


TEI_DIALECT = Dialect(
    "/rerank",
    lambda query, texts: {"query": query, "texts": texts, "raw_scores": True, "truncate": True},
    lambda answer: {result["index"]: result["score"] for result in answer},
    "X-Rerank-Timeout-Ms",
)
INFINITY_DIALECT = Dialect(
    "/rerank",
    lambda query, texts: {"model": "bench", "query": query, "documents": texts, "raw_scores": True},
    lambda answer: {result["index"]: result["relevance_score"] for result in answer["results"]},
)


class Server:
    """A server process on ``port`` of this machine; its output goes to the file ``log``.

    It is ready when the constructor returns. Raises WorkerError, with the last output of the process, when it
    is not ready within ``timeout_s``.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        dialect: Dialect,
        log: Path,
        *,
        env: Mapping[str, str],
        timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        self._log, self._dialect = log, dialect
        self._url = f"http://127.0.0.1:{port}{dialect.path}"
        try:
            with log.open("wb") as out:
                self._process = subprocess.Popen(  # noqa: S603 command from the bench's own table  # nosec B603
                    list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
                )
        except OSError as error:
            raise WorkerError(f"{command[0]} does not run ({error.strerror})") from error
        self.process_tree = ProcessTree(self._process.pid)
        try:
            self._wait(time.monotonic() + timeout_s)
        except BaseException:
            self.close()
            raise

    def scores(self, query: str, texts: Sequence[str], *, timeout_s: float = _SCORES_TIMEOUT_S) -> ScoreArray:
        """Return the raw scores of texts, in their order. Raises WorkerError unless there is one score for
        each text.
        """
        import httpx  # noqa: PLC0415 --help must not wait for it

        try:
            answer = httpx.post(
                self._url, json=self._dialect.body(query, texts), timeout=timeout_s, trust_env=False
            )
            answer.raise_for_status()
            scores = self._dialect.scores(answer.json())
            return np.asarray([scores[position] for position in range(len(texts))], dtype=np.float64)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise WorkerError(
                f"gave no scores ({type(error).__name__}: {error}); it said: {self._said()}"
            ) from error

    @asynccontextmanager
    async def sender(
        self, requests: Lists, *, deadline_s: float | None = None, failures: Counter[str] | None = None
    ) -> AsyncIterator[SendRequest]:
        """Yield the function that sends the request with a number; each open request has its own connection.

        The server is told ``deadline_s``, the seconds that the caller waits, if it reads such a header. The
        function raises WorkerError for an answer that is not scores, a refusal or a timeout, and for a broken
        connection. With ``failures`` it returns "failed" instead, and counts there what happened, by status
        or by the name of the error.
        """
        import aiohttp  # noqa: PLC0415 --help must not wait for it

        bodies = [json.dumps(self._dialect.body(query, texts)).encode() for query, texts in requests]
        headers, unbounded = {"Content-Type": "application/json"}, aiohttp.ClientTimeout(total=None)
        if deadline_s is not None and self._dialect.deadline:
            headers[self._dialect.deadline] = str(round(deadline_s * 1000))

        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S),
            headers=headers,
            timeout=unbounded,
        ) as http:

            async def send(number: int) -> RequestOutcome:
                try:
                    async with http.post(self._url, data=bodies[number]) as answer:
                        text = await answer.read()
                except aiohttp.ClientError as error:
                    if failures is not None:
                        failures[type(error).__name__] += 1
                        return "failed"
                    raise WorkerError(
                        f"broke the connection ({error or type(error).__name__}); it said: {self._said()}"
                    ) from error
                if answer.status in _STATUS:
                    return _STATUS[answer.status]
                if failures is not None:
                    failures[str(answer.status)] += 1
                    return "failed"
                raise WorkerError(f"answered {answer.status}: {text[:200].decode(errors='replace')}")

            yield send

    def wait_until_idle(self, timeout_s: float) -> None:
        """Return when the server has no work left: it answers, and its processes hardly use a core.

        Raises WorkerError when the server has ended, or still works after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._wait(deadline)
            used = self.process_tree.clock()
            before = used()
            time.sleep(_IDLE_INTERVAL_S)
            if used() - before <= _IDLE_SHARE * _IDLE_INTERVAL_S:
                return
        raise WorkerError(f"is still busy {timeout_s:g} s after the last request; it said: {self._said()}")

    def close(self) -> None:
        """End the process and its children."""
        self.process_tree.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise WorkerError(f"ended: {self._said()}")
            try:
                self.scores("ready", ["steady"])
            except WorkerError:
                time.sleep(_INTERVAL_S)
            else:
                return
        raise WorkerError(f"is not ready: {self._said()}")

    def _said(self) -> str:
        return last_words(self._log.read_text(encoding="utf-8", errors="replace"))


def start_sidecar(folder: Path, scratch: Path, *, threads: int, timeout_s: float) -> Server:
    """Start the sidecar with the reranker of an exported folder. Its score cache is off, so every pair is
    scored.
    """
    from ...settings import PREFIX  # noqa: PLC0415 the help of the bench does not wait for it

    port = free_port()
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "serve",
        "--port",
        str(port),
        "--elasticsearch-url",
        _NO_ELASTICSEARCH,
        "--reranker",
        str(folder),
    ]
    settings = {"SCORE_CACHE": 0, "THREADS": threads, "TIMEOUT_MS": round(timeout_s * 1000)}
    kept = {
        name: value for name, value in variables(scratch, own=True).items() if not name.startswith(PREFIX)
    }
    env = {**kept, **{PREFIX + name: str(value) for name, value in settings.items()}}
    return Server(command, port, TEI_DIALECT, scratch / f"sidecar-{port}.log", env=env)


def start_infinity(python: Path, folder: Path, scratch: Path, *, threads: int, batch: int) -> Server:
    """Start infinity's server from its environment's ``python`` on a torch folder.

    It uses the torch engine, because infinity's ONNX engine does not pass token types.
    """
    port = free_port()
    options = {
        "model-id": folder,
        "served-model-name": "bench",
        "engine": "torch",
        "device": "cpu",
        "dtype": "float32",
        "batch-size": batch,
    }
    command = [
        str(python.with_name("infinity_emb")),
        "v2",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-model-warmup",
        "--log-level",
        "warning",
    ]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    env = {**variables(scratch, own=False), "OMP_NUM_THREADS": str(threads)}
    return Server(command, port, INFINITY_DIALECT, scratch / f"infinity-{port}.log", env=env)


def in_precision(folder: Path, precision: Precision, out: Path) -> Path:
    """Make ``out`` a copy, by links, of an exported model that has one precision only; return ``out``.

    Raises ModelFolderError when the model does not have that precision.
    """
    manifest = read_manifest(folder)
    variants = {precision: manifest.variant(precision)}
    out.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != MANIFEST:
            (out / path.name).symlink_to(path.resolve())
    write_manifest(out, manifest.model_copy(update={"variants": variants, "default_variant": precision}))
    return out


def free_port() -> int:
    """Return a port of this machine on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

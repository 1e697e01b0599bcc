"""A sidecar as a process of its own, whose reranker answers when a test says so. It needs no Elasticsearch.

As a program: ``waiting_sidecar.py FOLDER ELASTICSEARCH_URL``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx
from elasticsearch import AsyncElasticsearch
from server import address_in
from waiting import until

from es_rerank.cli.listening import listen, tls_of
from es_rerank.cli.serve import run_server
from es_rerank.settings import read_settings
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker
from es_rerank.types import Scores

NOWHERE = "http://127.0.0.1:9"
"""An address where no Elasticsearch is."""

_GUARD_S = 60.0


class Waiting(WordOverlapReranker):
    """Says in a file that it was asked, and answers when another file is there. Nothing ends its thread."""

    def __init__(self, folder: Path) -> None:
        super().__init__("waiting")
        self._folder = folder

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        await asyncio.to_thread(self._wait, query)
        return super().score(query, passages)

    def _wait(self, query: str) -> None:
        (self._folder / f"asked-{query}").touch()
        while not (self._folder / f"answer-{query}").exists():
            time.sleep(0.01)  # between two looks; what is awaited is the file


@dataclass
class Sidecar:
    """A running sidecar, and the folder of its files."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        """What it printed by now."""
        return (self.folder / "log").read_text()

    def answers(self, query: str) -> None:
        """Let a query be answered."""
        (self.folder / f"answer-{query}").touch()

    def is_asked(self, query: str) -> bool:
        """Return whether a query has reached the reranker."""
        return (self.folder / f"asked-{query}").exists()

    def rerank(self, query: str) -> httpx.Response:
        """Rerank two texts; it takes until the query may be answered."""
        return httpx.post(f"{self.url}/rerank", json={"query": query, "texts": ["a", "b"]}, timeout=_GUARD_S)


@contextmanager
def waiting_sidecar(
    folder: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    *,
    url: str = NOWHERE,
    prefix: Sequence[str] = (),
) -> Iterator[Sidecar]:
    """Run a sidecar until the block ends; yields it when its reranker is loaded.

    ``prefix`` stands before the command.
    """
    command = [*prefix, sys.executable, __file__, str(folder), url]
    settings = {"ES_RERANK_DRAIN_DELAY_MS": "0", **environment}
    root = str(Path(__file__).parents[2])  # a script is started with its own folder on the path only
    variables = {**os.environ, **settings, "COLUMNS": "200", "PYTHONPATH": root}
    with (
        (folder / "log").open("wb") as out,
        subprocess.Popen(command, stderr=out, stdout=out, env=variables) as process,
    ):
        try:
            sidecar = Sidecar("", process, folder)
            until(lambda: address_in(folder / "log") or process.poll() is not None)
            sidecar.url = address_in(folder / "log")
            assert sidecar.url, sidecar.log
            until(lambda: _loaded(sidecar.url))
            yield sidecar
        finally:
            process.kill()
            process.wait(timeout=_GUARD_S)


def _loaded(url: str) -> bool:
    return httpx.get(f"{url}/info", timeout=_GUARD_S, verify=False).status_code == httpx.codes.OK


def _serve(folder: Path, url: str) -> None:
    settings = read_settings()
    model = Waiting(folder)
    service = Service(
        AsyncElasticsearch(url, max_retries=0),
        lambda: ({model.name: model}, None),
        pass_through=settings.pass_through,
    )
    run_server(service, listen("127.0.0.1", 0), "tests", settings, tls_of(settings))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2])

"""Two sidecars for the whole session, with the bundled models: one open, one that asks for a key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked_by_clients import DOCUMENTS, KEY, MOST_DOCUMENTS, scores_of
from server import ready_address, serve
from whole_distribution import whole

from es_rerank.node import Node
from es_rerank.settings import PREFIX


@pytest.fixture(scope="session")
def open_sidecar(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `es-rerank serve` with the bundled models, which needs no key."""
    yield from _served(node.url, tmp_path_factory.mktemp("open"), {})


@pytest.fixture(scope="session")
def keyed_sidecar(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with the key `KEY`, which takes at most `MOST_DOCUMENTS` documents in a request."""
    hashed = hashlib.sha256(KEY.encode()).hexdigest()
    settings = {"API_KEY_HASHES": hashed, "MAX_DOCUMENTS": str(MOST_DOCUMENTS)}
    yield from _served(node.url, tmp_path_factory.mktemp("keyed"), settings)


@pytest.fixture(scope="session")
def passing_sidecar(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sidecar without keys that forwards all other paths to Elasticsearch."""
    with whole(node.url, node.version) as url:
        yield from _served(url, tmp_path_factory.mktemp("passing"), {"PASS_THROUGH": "true"})


def _served(url: str, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    log = folder / "log"
    variables = {PREFIX + name: value for name, value in settings.items()}
    with serve(["--port", "0", "--elasticsearch-url", url], log, variables) as process:
        yield ready_address(process, log)


@pytest.fixture(scope="session")
def ranking(open_sidecar: str) -> list[tuple[int, float]]:
    """What `POST /rerank` says about `QUERY` and `DOCUMENTS`: (index, score), best first."""
    return scores_of(open_sidecar, DOCUMENTS)

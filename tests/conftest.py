"""One real Elasticsearch for the whole session; no test is served by a fake."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import hypothesis
import pytest
from beside import gateway
from elasticsearch import Elasticsearch
from plugin_searches import until_asked
from rerank_services import FakeService, Host, serving_whichever
from scripted_sidecar import ScriptedSidecar, scripted
from server import reserved_port, sidecar
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank.node import VERSION, Node, down, up
from es_rerank.node.probe import probe
from es_rerank.settings import PREFIX

pytest_plugins = ["client_sidecars"]

pytest.register_assert_rewrite(
    "es_rerank.testing.contract",
    "asked_by_clients",
    "asking",
    "commands",
    "differences",
    "rankings",
    "tree_faults",
)

# An example may take as long as it takes: a busy machine is no fault of the code.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")

_STARTS_A_NODE = frozenset({"node", "secured", "plugin_node", "plugin_node_9_1"})
"""Fixtures that start an Elasticsearch."""

_STARTUP_S = 300.0
"""A busy machine takes several times the usual 15 seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--elasticsearch-url", help="Elasticsearch to test against, instead of a node of the session's own."
    )
    parser.addoption(
        "--drawn", type=int, default=200, help="How many drawn requests test_differential.py sends."
    )
    parser.addoption("--long", action="store_true", help="Run the tests that are marked as long too.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses the session's Elasticsearch, so that ``pytest -m "not node"`` needs no server,
    no JDK and no network. Leave out what is marked as ``long``, except with ``--long``.

    A test that starts a node by itself carries the mark ``node`` of its own.
    """
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if isinstance(item, pytest.Function) and _STARTS_A_NODE.intersection(item.fixturenames):
            item.add_marker("node")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's settings and the user's own node, so that no test can read or write there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith((PREFIX, "ELASTICSEARCH_")):
                patch.delenv(name)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("xdg-state")))
        # No test asks Elastic's server: nodes come from Maven, or from a server of the tests' own.
        patch.setenv(PREFIX + "ELASTICSEARCH_DOWNLOAD_URL", "")
        yield


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Fail a test that leaves a signal handler, a variable or a working directory behind.

    A handler of SIGTERM that a command had left made workers of later tests hang at their end.
    """
    before = _process_state()
    yield
    assert _process_state() == before


def _process_state() -> tuple[object, ...]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # pytest itself writes the name of the running test.
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return handlers, variables, Path.cwd()


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's node is recorded: commands find it with ES_RERANK_STATE_DIR set to this."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Node]:
    """The session's Elasticsearch; the distribution comes from the user's cache,
    so that it is downloaded once.
    """
    url = request.config.getoption("--elasticsearch-url")
    if url:
        yield Node(url=url, version=probe(url).version or "unknown", how="given", pid=None, home=None)
        return
    try:
        yield up(state_dir, timeout_s=_STARTUP_S)
    finally:
        down(state_dir, purge=True)


@pytest.fixture(scope="session")
def es(node: Node) -> Iterator[Elasticsearch]:
    """A client of the session's Elasticsearch."""
    with Elasticsearch(node.url, request_timeout=30) as client:
        yield client


@pytest.fixture
def index(es: Elasticsearch) -> Iterator[str]:
    """A name that no index has yet; whatever is there under it afterwards, ``name*`` included, is deleted."""
    yield from _fresh_name(es)


def _fresh_name(es: Elasticsearch) -> Iterator[str]:
    name = f"test-{uuid4().hex[:12]}"
    yield name
    # Deletion by pattern is refused by default, and an alias goes with its last index.
    for found in es.indices.get(index=f"{name}*", expand_wildcards="all"):
        es.indices.delete(index=found)


@pytest.fixture
async def caller(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway in this process. A file that needs another gateway has a fixture of its own."""
    async with gateway(node.url) as client:
        yield client


@pytest.fixture
async def direct(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of Elasticsearch itself, without a gateway."""
    async with httpx.AsyncClient(base_url=node.url) as client:
        yield client


# -- a node with the plugin ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sidecar_port() -> Iterator[int]:
    """The port of 127.0.0.1 where the plugin of ``plugin_node`` asks its sidecar.

    A test may listen there itself, in place of ``plugin_sidecar``. Nobody else can take the port.
    """
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="session")
def plugin_state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the node with the plugin is recorded."""
    return tmp_path_factory.mktemp("plugin-state")


@pytest.fixture(scope="session")
def plugin_node(plugin_state_dir: Path, sidecar_port: int) -> Iterator[Node]:
    """An Elasticsearch with the plugin, whose sidecar is whatever listens at ``sidecar_port``."""
    yield from _with_plugin(plugin_state_dir, sidecar_port, VERSION)


@pytest.fixture(scope="session")
def plugin_node_9_1(tmp_path_factory: pytest.TempPathFactory, sidecar_port: int) -> Iterator[Node]:
    """The same in the oldest Elasticsearch that the plugin is tested on."""
    yield from _with_plugin(tmp_path_factory.mktemp("plugin-state-9-1"), sidecar_port, "9.1.0")


def _with_plugin(state: Path, port: int, version: str) -> Iterator[Node]:
    settings = {"es_rerank.url": f"http://127.0.0.1:{port}"}
    try:
        yield up(state, plugin=True, settings=settings, version=version, timeout_s=_STARTUP_S)
    finally:
        down(state, purge=True)


@pytest.fixture(scope="module")
def plugin_sidecar(
    plugin_node: Node, sidecar_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a sidecar with tiny models that the plugin of ``plugin_node`` asks.

    Its second embedder is called ``second``.
    """
    folder = tmp_path_factory.mktemp("plugin-sidecar")
    models = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    second = reseal(tiny_bi_encoder(folder / "second", dims=6, seed=1), name="second")
    more = ["--embedder", str(second)]
    with sidecar(plugin_node.url, *models, folder / "log", sidecar_port, more) as (url, _):
        until_asked(plugin_node.url)
        yield url


@pytest.fixture(scope="module")
def _scripted(plugin_node: Node, sidecar_port: int) -> Iterator[ScriptedSidecar]:
    with scripted(sidecar_port) as fake:
        yield fake


@pytest.fixture
def fake_sidecar(_scripted: ScriptedSidecar, plugin_node: Node) -> ScriptedSidecar:
    """What the plugin of ``plugin_node`` asks instead of ``plugin_sidecar``; a test says what it answers.

    It answers rightly at first, and the plugin's circuit is closed.
    """
    _scripted.forget()
    until_asked(plugin_node.url)
    return _scripted


@pytest.fixture(scope="session")
def plugin_es(plugin_node: Node) -> Iterator[Elasticsearch]:
    """A client of the Elasticsearch with the plugin."""
    with Elasticsearch(plugin_node.url, request_timeout=30) as client:
        yield client


@pytest.fixture
def plugin_index(plugin_es: Elasticsearch) -> Iterator[str]:
    """A name that no index of ``plugin_node`` has yet; whatever is there afterwards is deleted."""
    yield from _fresh_name(plugin_es)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A server that serves whichever application a test gives it."""
    with serving_whichever() as host:
        yield host


@pytest.fixture
def url(host: Host, service: FakeService) -> str:
    """The address of the application ``service``, a fixture of the file that asks."""
    return host.url

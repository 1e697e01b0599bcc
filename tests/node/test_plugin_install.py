"""The plugin in real Elasticsearches: started by ``up``, installed and removed by Elasticsearch's tool."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import fault, run
from elasticsearch import Elasticsearch
from own_nodes import own_node

from es_rerank.errors import NodeError
from es_rerank.node import VERSION, Node, distribution, java, running, up
from es_rerank.node.account import default_cache
from es_rerank.node.plugin.installation import installed_version, package_version
from es_rerank.node.record import read, write

UNREADABLE_BY_OTHERS = 0o077
"""The umask of a careful root."""


# -- a node that has it --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plugin_sidecar")
@pytest.mark.parametrize(
    ("fixture", "version"),
    [("plugin_node", VERSION), pytest.param("plugin_node_9_1", "9.1.0", marks=pytest.mark.long)],
)
@pytest.mark.node
def test_a_node_with_the_plugin_says_how_it_is(
    request: pytest.FixtureRequest, sidecar_port: int, fixture: str, version: str
) -> None:
    node: Node = request.getfixturevalue(fixture)
    assert node.version == version
    with Elasticsearch(node.url) as es:
        said = es.perform_request("GET", "/_es_rerank", headers={"accept": "application/json"}).body
    assert said["sidecar"]["url"] == node.sidecar == f"http://127.0.0.1:{sidecar_port}"
    assert said["sidecar"]["status"] == "ok", said
    assert (said["sidecar"]["models"], said["sidecar"]["sends_texts_onward"]) == (["tiny-cross-encoder"], [])
    assert said["sidecar"]["release"] == package_version()
    assert said["nodes_without_plugin"] == []


@pytest.mark.usefixtures("plugin_node")
def test_the_distribution_that_other_nodes_use_stays_without_it() -> None:
    folder = distribution.unpacked(default_cache())
    assert folder is not None
    assert installed_version(folder) is None
    with_plugin = default_cache() / distribution.folder_with_plugin(VERSION)
    assert installed_version(with_plugin) == package_version()


def test_up_finds_the_node_and_says_which_sidecar_it_asks(plugin_node: Node, plugin_state_dir: Path) -> None:
    assert plugin_node.sidecar is not None
    for options in ([], ["--plugin"], ["--plugin", "--sidecar", plugin_node.sidecar]):
        done = run("up", *options, "--json", ES_RERANK_STATE_DIR=str(plugin_state_dir))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["url"], said["started"]) == (plugin_node.url, False)
        assert said["sidecar"] == plugin_node.sidecar
    assert running(plugin_state_dir) == plugin_node


def test_up_does_not_give_a_running_node_another_sidecar(plugin_node: Node, plugin_state_dir: Path) -> None:
    sentence = fault(
        run(
            *("up", "--plugin", "--sidecar", "http://127.0.0.1:1"),
            ES_RERANK_STATE_DIR=str(plugin_state_dir),
        )
    )
    assert f"asks the sidecar at {plugin_node.sidecar}, not at http://127.0.0.1:1; stop it with" in sentence


@pytest.mark.usefixtures("plugin_node")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (None, "runs without the plugin; stop it with `es-rerank down`"),
        ("elasticsearch-with-plugin-0", "runs with another build of the plugin; stop it with"),
    ],
)
def test_up_does_not_put_the_plugin_into_a_running_node(
    plugin_state_dir: Path, tmp_path: Path, folder: str | None, expected: str
) -> None:
    record = read(plugin_state_dir)
    assert record is not None
    assert record.plugin is not None
    other = folder and record.plugin.model_copy(update={"folder": folder})
    write(tmp_path, record.model_copy(update={"plugin": other}))
    with pytest.raises(NodeError, match=expected):
        up(tmp_path, plugin=True)


# -- install and remove --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jdk() -> java.Jdk:
    found = java.find(os.environ)
    if found is None:
        pytest.skip("there is no JDK to run Elasticsearch's tool on")
    return found


@pytest.fixture
def home(jdk: java.Jdk, tmp_path: Path) -> Path:
    """A copy of the distribution."""
    return shutil.copytree(distribution.fetch(default_cache(), jdk.home), tmp_path / "es home")


@pytest.fixture
def careful() -> Iterator[None]:
    before = os.umask(UNREADABLE_BY_OTHERS)
    yield
    os.umask(before)


@pytest.mark.node
@pytest.mark.usefixtures("careful")
@pytest.mark.long
def test_the_plugin_replaces_an_older_one_and_is_removed(home: Path, jdk: java.Jdk) -> None:
    """One test, because every run of Elasticsearch's tool starts a JVM."""
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
    version = package_version()
    installed = home / "plugins" / "es-rerank"
    with_plugin = distribution.fetch_with_plugin(default_cache(), jdk.home)
    shutil.copytree(with_plugin / "plugins" / "es-rerank", installed)
    descriptor = installed / "plugin-descriptor.properties"
    descriptor.write_text(descriptor.read_text().replace(f"version={version}", "version=0.0.9"))

    done = run("plugin", "install", str(home), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "ok": True,
        "home": str(home),
        "version": version,
        "replaced": "0.0.9",
        "elasticsearch_version": VERSION,
        "tested": True,
    }
    assert installed_version(home) == version
    for path in (installed, *installed.iterdir()):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == (0o755 if path.is_dir() else 0o644)
        assert (found.st_uid, found.st_gid) == (home.stat().st_uid, home.stat().st_gid)

    with (home / "config" / "elasticsearch.yml").open("a") as settings:
        settings.write("\nes_rerank.url: http://127.0.0.1:8080\n")
    subprocess.run(
        [home / "bin" / "elasticsearch-keystore", "add", "--force", "--stdin", "es_rerank.api_key"],
        input="key",
        text=True,
        env=os.environ | {"ES_JAVA_HOME": str(jdk.home)},
        check=True,
    )
    done = run("plugin", "remove", str(home))
    assert done.returncode == 0, done.stderr
    assert not installed.exists()
    said = done.stdout.splitlines()
    assert said[0] == f"removed the plugin {version} from {home}"
    assert "delete es_rerank.url; without the plugin, a node with this setting does not start" in said[1]
    assert "bin/elasticsearch-keystore remove es_rerank.api_key" in said[2]
    assert "es_rerank_passages" in said[3]


@pytest.mark.node
@pytest.mark.long
def test_a_node_without_the_plugin_does_not_start_with_its_settings(tmp_path: Path) -> None:
    settings = {"es_rerank.url": "http://127.0.0.1:8080"}
    with (
        own_node(tmp_path / "state", settings, plugin=False) as node,
        pytest.raises(NodeError, match=r"unknown setting \[es_rerank.url\]"),
    ):
        node.start(heap_mb=256)

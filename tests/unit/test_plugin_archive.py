"""The plugin's archive and the jars in it, and what ``es-rerank plugin`` says when it cannot go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commands import fault, make_program, run

from es_rerank.errors import NodeError, SettingsError
from es_rerank.node import up
from es_rerank.node.plugin.archive import GENERATIONS, TESTED, Generation, build, generation_of, untested
from es_rerank.node.plugin.installation import install, installed_version, remove

ROOT = Path(__file__).parents[2]
JAVA_21 = 65
"""The format of class files that Java 21 and later read."""

NEWER, OLDER = GENERATIONS


def check_of(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compare the sources in ``folder`` with the jars."""
    command = [sys.executable, str(folder / "build.py"), "--check"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


# -- the jars ------------------------------------------------------------------------------------------------


def test_the_jars_were_made_from_the_present_sources() -> None:
    done = check_of(ROOT / "plugin")
    assert done.returncode == 0, done.stderr


def test_a_changed_source_says_which_command_makes_the_jars_anew(tmp_path: Path) -> None:
    changed = shutil.copytree(ROOT / "plugin", tmp_path / "plugin")
    (changed / "src" / OLDER.name / "java" / "esrerank" / "Another.java").write_text("class Another {}\n")
    done = check_of(changed)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "es_rerank/node/plugin/v9_1.jar was not made from the present sources in plugin/src; "
        "run: scripts/build-plugin"
    )
    assert "v9_5.jar" not in done.stderr


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
def test_a_jar_holds_classes_for_java_21(generation: Generation) -> None:
    with zipfile.ZipFile(generation.jar) as jar:
        names = jar.namelist()
        classes = [jar.read(name) for name in names if name.endswith(".class")]
    assert names[0] == "META-INF/MANIFEST.MF"
    assert "esrerank/EsRerankPlugin.class" in names
    assert {int.from_bytes(each[6:8], "big") for each in classes} == {JAVA_21}


# -- the archive ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "generation"),
    [("9.1.0", OLDER), ("9.1.10", OLDER), ("9.2.0", NEWER), ("9.5.0", NEWER), ("9.10.1-SNAPSHOT", NEWER)],
)
def test_a_version_of_elasticsearch_has_its_generation(version: str, generation: Generation) -> None:
    assert generation_of(version) == generation


@pytest.mark.parametrize("version", ["8.19.8", "9.0.4", "10.0.0"])
def test_an_unsupported_version_names_the_supported_ones(version: str) -> None:
    with pytest.raises(
        NodeError, match=rf"not support Elasticsearch {version}; supported are 9\.1 and later"
    ):
        generation_of(version)


@pytest.mark.parametrize("version", ["", "9", "9.5", "latest", "../9.5.0", "9.5.0\nname=x"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(NodeError, match=r"is not a version of Elasticsearch such as 9\.5\.0"):
        generation_of(version)


def test_another_version_than_the_tested_ones_is_said_to_be_untested() -> None:
    assert [untested(version) for version in TESTED] == [None, None]
    assert untested("9.3.1") == (
        "the plugin is not tested on Elasticsearch 9.3.1; tested are 9.5.0 and 9.1.0"
    )


def test_the_archive_is_for_one_version_and_its_bytes_are_always_the_same(tmp_path: Path) -> None:
    made = build("9.1.2", "1.2.3", tmp_path / "a")
    again = build("9.1.2", "1.2.3", tmp_path / "b")
    assert made.path.read_bytes() == again.path.read_bytes()
    assert made.sha512 == hashlib.sha512(made.path.read_bytes()).hexdigest()
    assert made.checksum.read_text() == f"{made.sha512}  {made.path.name}\n"
    with zipfile.ZipFile(made.path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert set(files) == {"es-rerank.jar", "plugin-descriptor.properties", "entitlement-policy.yaml"}
    assert files["es-rerank.jar"] == OLDER.jar.read_bytes()
    descriptor = dict(
        line.split("=", 1) for line in files["plugin-descriptor.properties"].decode().splitlines()
    )
    assert descriptor.pop("description")
    assert descriptor == {
        "name": "es-rerank",
        "version": "1.2.3",
        "classname": "esrerank.EsRerankPlugin",
        "java.version": "21",
        "elasticsearch.version": "9.1.2",
    }


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeError, match=r"cannot be written into .*file \(.+\); name another folder"):
        build("9.5.0", "1.2.3", tmp_path / "file")


# -- the command ---------------------------------------------------------------------------------------------


def test_build_needs_neither_java_nor_maven(tmp_path: Path) -> None:
    done = run(
        *("plugin", "build", "--elasticsearch-version", "9.3.1", "--out", str(tmp_path), "--json"), PATH=""
    )
    assert done.returncode == 0, done.stderr
    assert "not tested on Elasticsearch 9.3.1" in done.stderr
    said = json.loads(done.stdout)
    assert (said["ok"], said["elasticsearch_version"], said["tested"]) == (True, "9.3.1", False)
    assert hashlib.sha512(Path(said["path"]).read_bytes()).hexdigest() == said["sha512"]


def test_a_sidecar_without_plugin_or_without_an_address_is_refused(tmp_path: Path) -> None:
    sentence = fault(run("up", "--sidecar", "http://127.0.0.1:1", ES_RERANK_STATE_DIR=str(tmp_path)))
    assert "give --plugin too" in sentence
    for url in ("", "127.0.0.1:8080", "ftp://x"):
        with pytest.raises(SettingsError, match=f"sidecar address '{url}' is not a URL such as http://127"):
            up(tmp_path, plugin=True, settings={"es_rerank.url": url})
    assert list(tmp_path.iterdir()) == []


# -- a folder that is no Elasticsearch, and a tool that fails ------------------------------------------------


def make_home(folder: Path, body: str = "") -> Path:
    """Make the folder of an Elasticsearch 9.5.0 whose ``bin/elasticsearch-plugin`` is a Python program."""
    (folder / "lib").mkdir(parents=True)
    (folder / "config").mkdir()
    for name in ("elasticsearch-9.5.0.jar", "elasticsearch-core-9.5.0.jar"):
        (folder / "lib" / name).touch()
    make_program(folder / "bin", "elasticsearch-plugin", body)
    return folder


def make_installed(home: Path) -> None:
    """Pretend that the plugin 0.0.9 is installed."""
    (home / "plugins" / "es-rerank").mkdir(parents=True)
    (home / "plugins" / "es-rerank" / "plugin-descriptor.properties").write_text("name=x\nversion=0.0.9\n")


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    for command in ("install", "remove"):
        sentence = fault(run("plugin", command, str(tmp_path / "nowhere")))
        assert f"there is no folder {tmp_path / 'nowhere'}" in sentence


@pytest.mark.parametrize("lacking", ["bin/elasticsearch-plugin", "lib/elasticsearch-9.5.0.jar"])
def test_a_folder_that_is_not_elasticsearchs_is_named(tmp_path: Path, lacking: str) -> None:
    home = make_home(tmp_path / "home")
    (home / lacking).unlink()
    for step in (install, remove):
        with pytest.raises(NodeError, match="home is not the folder of an Elasticsearch"):
            step(home)


def test_another_version_than_expected_is_refused_before_anything_changes(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", "sys.exit(1)")
    make_installed(home)
    with pytest.raises(NodeError, match=r"is Elasticsearch 9\.5\.0, not 9\.1\.0"):
        install(home, "9.1.0")
    assert installed_version(home) == "0.0.9"


def test_a_tool_that_fails_is_quoted_with_its_last_lines(tmp_path: Path) -> None:
    home = make_home(
        tmp_path / "home",
        "print('-> Installing'); print('ERROR: disk on fire', file=sys.stderr)\n"
        "print('  at a.b.c(D.java:1)', file=sys.stderr); sys.exit(74)",
    )
    with pytest.raises(NodeError) as caught:
        install(home)
    assert "exit status 74: -> Installing | ERROR: disk on fire; " in caught.value.message


def test_what_still_uses_the_plugin_is_found_however_it_is_written(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", "sys.exit('it is not installed, so nothing is to be done')")
    settings = home / "config" / "elasticsearch.yml"
    settings.write_text(
        'cluster.name: es_rerank\n# es_rerank.url: x\nes_rerank.url: x\n"es_rerank.models": [a]\n'
        "es_rerank:\n  timeout: 3s\nes_reranker: x\n"
    )
    done = remove(home)
    assert done.version is None
    assert done.secure_settings == ()
    assert [(each.line, each.name) for each in done.settings] == [
        (3, "es_rerank.url"),
        (4, "es_rerank.models"),
        (5, "es_rerank"),
    ]


def test_remove_prints_one_document(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    (home / "config" / "elasticsearch.yml").write_text("es_rerank.url: x\n")
    (home / "config" / "elasticsearch.keystore").touch()
    make_program(home / "bin", "elasticsearch-keystore", "sys.exit('it has a password')")
    done = run("plugin", "remove", str(home), "--json")
    assert done.returncode == 0, done.stderr
    settings = {"file": str(home / "config" / "elasticsearch.yml"), "line": 1, "name": "es_rerank.url"}
    assert json.loads(done.stdout) == {
        "ok": True,
        "home": str(home),
        "removed": None,
        "settings": [settings],
        "secure_settings": None,
    }


def test_the_configuration_lies_where_elasticsearch_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "elasticsearch.yml").write_text("es_rerank.url: x\n")
    monkeypatch.setenv("ES_PATH_CONF", str(tmp_path / "etc"))
    assert [each.file for each in remove(home).settings] == [tmp_path / "etc" / "elasticsearch.yml"]

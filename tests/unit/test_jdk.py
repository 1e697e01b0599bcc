"""Which JDK a node gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import open_folder

from es_rerank.node import (
    java,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


def make_jdk(home: Path, version: str | None, modules: str | None = java.MODULE, *, says: str = "") -> Path:
    """Make a folder that looks like a JDK; ``says`` is what its java prints."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    (home / "bin" / "java").chmod(0o755)
    lines = [f'JAVA_VERSION="{version}"'] if version else []
    lines += [f'MODULES="java.base {modules}"'] if modules is not None else []
    if lines:
        (home / "release").write_text("\n".join(lines) + "\n")
    return home


def found_in(folder: Path, **environ: str) -> java.Jdk | None:
    return java.find({"PATH": "", **environ}, [f"{folder}/jvm/*"])


def test_the_newest_suitable_jdk_is_taken(folder: Path) -> None:
    for version in ("17.0.15", "21.0.9", "21.0.10", "8"):
        make_jdk(folder / "jvm" / version, version)
    make_jdk(folder / "jvm" / "jre-25", "25", modules="")
    found = found_in(folder)
    assert found is not None
    assert (found.home.name, found.version) == ("21.0.10", (21, 0, 10))
    problems = {jdk.home.name: jdk.problem for jdk in java.survey({"PATH": ""}, [f"{folder}/jvm/*"])}
    assert problems == {
        "17.0.15": "older than 21",
        "21.0.9": None,
        "21.0.10": None,
        "8": "older than 21",
        "jre-25": "lacks the module jdk.incubator.vector",
    }


def test_es_java_home_is_a_decision_and_java_home_a_hint(folder: Path) -> None:
    make_jdk(folder / "jvm" / "25", "25.0.1")
    old, decided = make_jdk(folder / "old", "17"), make_jdk(folder / "decided", "22")
    for environ, expected in (
        ({"ES_JAVA_HOME": str(decided)}, "decided"),
        ({"JAVA_HOME": str(decided)}, "25"),
        ({"ES_JAVA_HOME": str(old)}, "25"),
        ({"JAVA_HOME": str(folder / "absent")}, "25"),
    ):
        found = found_in(folder, **environ)
        assert found is not None
        assert found.home.name == expected


def test_a_java_on_path_is_followed_to_its_home(folder: Path) -> None:
    home = make_jdk(folder / "elsewhere", "24")
    (folder / "bin").mkdir()
    (folder / "bin" / "java").symlink_to(home / "bin" / "java")
    found = java.find({"PATH": str(folder / "bin")}, [])
    assert found is not None
    assert found.home == home.resolve()


def test_without_a_release_file_java_is_asked(folder: Path) -> None:
    make_jdk(folder / "jvm" / "a", None, None, says=f'openjdk version "23-ea" 2024-09-17 {java.MODULE}')
    make_jdk(folder / "jvm" / "b", None, None, says="no runtime present, requesting install")
    found = found_in(folder)
    assert found is not None
    assert (found.home.name, found.version) == ("a", (23,))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the node under another account")
def test_a_jdk_that_the_nodes_account_cannot_enter_is_no_choice(folder: Path) -> None:
    make_jdk(folder / "jvm" / "private" / "25", "25")
    (folder / "jvm" / "private").chmod(0o700)
    assert java.find({"PATH": ""}, [f"{folder}/jvm/private/*"]) is None

"""The environments of other vendors' packages: what is said where they cannot be made, and what they hold."""

from __future__ import annotations

import re
from pathlib import Path

import client_environments
import pytest
from client_environments import CLIENTS, environment, version

LISTS = sorted((CLIENTS / "environments").glob("*.in"))


def test_a_machine_that_reaches_no_packages_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_environments, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):  # what is half made is made anew
        with pytest.raises(AssertionError, match="packages of clients could not be installed") as caught:
            environment("haystack")
        assert "a package index that uv can ask" in str(caught.value)
    assert not (tmp_path / "environments" / "haystack" / "installed.txt").exists()


def test_a_package_that_an_environment_lacks_has_no_version() -> None:
    assert re.fullmatch(r"[0-9.]+", version("apis", "cohere"))
    with pytest.raises(AssertionError, match=r"apis.txt has no package \[coher\]"):
        version("apis", "coher")


@pytest.mark.parametrize("listed", LISTS, ids=[path.stem for path in LISTS])
def test_each_package_has_an_exact_version_and_no_address(listed: Path) -> None:
    lines = listed.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+( ; [^/]+)?", line) for line in lines)
    for package in listed.read_text(encoding="utf-8").split():
        assert version(listed.stem, package)

"""What the history of a git repository says of weights: which commits brought them, and for which release."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

WEIGHTS = ":(glob)**/*.onnx"
"""The files of weights, as git takes patterns of paths."""


class Release(NamedTuple):
    """A distribution, by the folder of its ``pyproject.toml`` ("." for the main one), and its version."""

    folder: str
    version: str


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a repository, whatever repository the environment names (a hook's, for example)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def commits_of_weights(repository: Path, since: str) -> dict[Release, list[str]]:
    """Return the commits after ``since`` that brought new weights, for each release, oldest first.

    Weights that are deleted, or moved without a change, bring nothing new. A commit counts for the version
    that its distribution has in it.
    """
    found: dict[Release, list[str]] = {}
    listed = _out(
        repository, "log", "--reverse", "--no-merges", "--format=%H", f"{since}..HEAD", "--", WEIGHTS
    )
    for commit in listed.split():
        options = ("-r", "--root", "--no-commit-id", "--name-only", "-M100%", "--diff-filter=AM", "-z")
        paths = _out(repository, "diff-tree", *options, commit, "--", WEIGHTS)
        for release in {_release(repository, commit, path) for path in paths.split("\0") if path}:
            found.setdefault(release, []).append(commit)
    return found


def _release(repository: Path, commit: str, path: str) -> Release:
    """Return the distribution that a file belongs to in a commit: the nearest folder with a
    ``pyproject.toml``.
    """
    for folder in PurePosixPath(path).parents:
        project = git(repository, "show", f"{commit}:{folder / 'pyproject.toml'}")
        if project.returncode == 0:
            return Release(str(folder), tomllib.loads(project.stdout)["project"]["version"])
    raise AssertionError(f"{path} in {commit} belongs to no distribution: no pyproject.toml is above it")


def _out(repository: Path, *arguments: str) -> str:
    done = git(repository, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def unknown_history(repository: Path, since: str) -> Iterator[str]:
    """Yield why the commits after ``since`` cannot be told here; nothing where they can."""
    top = git(repository, "rev-parse", "--show-toplevel")
    if top.returncode or Path(top.stdout.strip()).resolve() != repository.resolve():
        yield f"{repository} is no clone, so it has no history"
    elif git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        yield "this clone is shallow; the whole history comes by: git fetch --unshallow"
    elif git(repository, "merge-base", "--is-ancestor", since, "HEAD").returncode:
        yield f"the history of this clone does not have the commit {since}"

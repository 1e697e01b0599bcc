"""Weights make the repository grow: one commit of them for each release, and a limit for each model."""

from __future__ import annotations

from pathlib import Path

import pytest
from weights_history import Release, commits_of_weights, git, unknown_history

ROOT = Path(__file__).parents[2]

DECIDED = "53cefb34f95333aa937838e2a1f65ca3e286bb29"
"""The last commit before the rule that CONTRIBUTING.md states ("Weights")."""

MOST_OF_A_MODEL = 25_000_000
"""Bytes of the weights of a bundled model. The main wheel holds two of them."""

MOST_OF_A_PAIR = 60_000_000
"""Bytes of embedder and cross-encoder in a bundle that is a distribution of its own."""


# --- the repository -----------------------------------------------------------------------------------------


def test_each_release_has_one_commit_of_weights_at_most() -> None:
    for reason in unknown_history(ROOT, DECIDED):
        pytest.skip(reason)
    several = {
        release: commits for release, commits in commits_of_weights(ROOT, DECIDED).items() if len(commits) > 1
    }
    assert not several, 'weights are committed once a release: see "Weights" in CONTRIBUTING.md'


def test_a_bundled_model_has_25_mb_at_most() -> None:
    folders = [path for path in (ROOT / "es_rerank/models/bundled").iterdir() if path.is_dir()]
    assert folders
    assert {folder.name: _weights(folder) for folder in folders if _weights(folder) > MOST_OF_A_MODEL} == {}


def test_a_bundle_has_60_mb_at_most() -> None:
    folders = [path.parent for path in ROOT.glob("bundles/*/pyproject.toml")]
    if not folders:
        pytest.skip("the sdist has no bundles")
    assert {folder.name: _weights(folder) for folder in folders if _weights(folder) > MOST_OF_A_PAIR} == {}


def _weights(folder: Path) -> int:
    """Return the bytes of the weights below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.onnx"))


# --- what is counted ----------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of two distributions, each with weights of version 1, and the tag ``decided``."""
    git(tmp_path, "init", "--quiet")
    for folder in (".", "bundles/other"):
        _version(tmp_path / folder, "1")
        (tmp_path / folder / "model.onnx").write_text(f"weights of {folder}")
    _commit(tmp_path)
    git(tmp_path, "tag", "decided")
    return tmp_path


def _version(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')


def _commit(repository: Path) -> None:
    git(repository, "add", "--all")
    who = ("-c", "user.name=one", "-c", "user.email=one@example.org", "-c", "commit.gpgsign=false")
    done = git(repository, *who, "commit", "--quiet", "--no-verify", "--message", "a change")
    assert done.returncode == 0, done.stderr


def _counted(repository: Path) -> dict[Release, int]:
    return {release: len(commits) for release, commits in commits_of_weights(repository, "decided").items()}


def test_what_came_before_the_decision_does_not_count(repository: Path) -> None:
    (repository / "README.md").write_text("no weights")
    _commit(repository)
    assert _counted(repository) == {}


def test_a_second_commit_for_one_version_is_seen(repository: Path) -> None:
    for text in ("second", "third"):
        (repository / "model.onnx").write_text(text)
        _commit(repository)
    assert _counted(repository) == {Release(".", "1"): 2}


def test_each_distribution_and_version_counts_by_itself(repository: Path) -> None:
    for folder in (".", "bundles/other"):
        (repository / folder / "model.onnx").write_text(f"second {folder}")
        _commit(repository)
    _version(repository, "2")
    (repository / "model.onnx").write_text("third")
    (repository / "more.onnx").write_text("one commit, two files")
    _commit(repository)
    assert _counted(repository) == {
        Release(".", "1"): 1,
        Release("bundles/other", "1"): 1,
        Release(".", "2"): 1,
    }


def test_weights_that_are_moved_or_deleted_bring_nothing_new(repository: Path) -> None:
    (repository / "models").mkdir()
    (repository / "model.onnx").rename(repository / "models" / "model.onnx")
    _commit(repository)
    (repository / "models" / "model.onnx").unlink()
    _commit(repository)
    assert _counted(repository) == {}


def test_a_history_that_is_not_here_is_told(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert list(unknown_history(repository, "decided")) == []
    assert "does not have the commit" in next(unknown_history(repository, DECIDED))
    assert "is no clone" in next(unknown_history(repository / "bundles", "decided"))
    (repository / "README.md").write_text("a second commit")
    _commit(repository)
    shallow = tmp_path_factory.mktemp("shallow") / "clone"
    git(repository, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow))
    assert "git fetch --unshallow" in next(unknown_history(shallow, "decided"))

"""Models of the Hub with ready-made graphs, and the cache through which they and such folders are loaded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hub_stand_in import Hub, serving_hub
from huggingface_hub import constants
from huggingface_hub.utils._http import reset_sessions
from ready_made import quantise, repository, with_external_data
from tiny_models import tiny_cross_encoder

from es_rerank import load_reranker
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.load import check_embedder, check_reranker, load_embedder, model_folder
from es_rerank.models.manifest import MANIFEST, read_manifest, write_manifest
from es_rerank.models.ready_made import ImportOptions, stored
from es_rerank.models.ready_made.importing import import_from, import_model

NAME = "owner/reranker"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the imports, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache/es-rerank/imported"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub(monkeypatch, tmp_path / "hub-cache") as hub:
        hub.repositories[NAME] = repository(tmp_path / "remote/repo")
        yield hub


def score(model: str | Path) -> list[float]:
    with load_reranker(model) as reranker:
        return [float(value) for value in reranker.score("a", ["b", "c d"]).values]


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def in_a_process(program: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


# --- import -------------------------------------------------------------------------------------------------


def test_only_what_is_needed_is_fetched(hub: Hub, tmp_path: Path) -> None:
    folder = hub.repositories[NAME]
    with_external_data(folder)
    for name in ("pytorch_model.bin", "model.safetensors", "onnx/model_fp16.onnx", "openvino/x.bin", "x.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"large")
    manifest = import_model(NAME, tmp_path / "out", ImportOptions())
    assert hub.fetched() == {
        "README.md",
        "config.json",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "tokenizer.json",
    }
    assert (manifest.source, manifest.revision, manifest.licence) == (NAME, hub.commit(NAME), "apache-2.0")
    assert score(tmp_path / "out") == score(tiny_cross_encoder(tmp_path / "exported"))


FAULTS: dict[str, tuple[dict[str, tuple[int, str]], str]] = {
    "no such repository": ({NAME: (401, "RepoNotFound")}, "nor a repository.*HF_TOKEN if it is private"),
    "gated": ({"onnx/model.onnx": (403, "GatedRepo")}, "is gated.*accept its terms"),
    "too many requests": ({NAME: (429, "")}, "too many requests; wait"),
    "too many requests for a file": ({"tokenizer.json": (429, "")}, "too many requests"),
    "a broken Hub": ({NAME: (500, "")}, "could not be fetched.*try again"),
    "a file that is gone": ({"config.json": (404, "EntryNotFound")}, "could not be fetched"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_the_hub_refuses_is_said(hub: Hub, tmp_path: Path, what: str) -> None:
    faults, expected = FAULTS[what]
    hub.faults.update(faults)
    with pytest.raises(ModelFolderError, match=rf"(?s)^{NAME} .*{expected}"):
        import_model(NAME, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.long
def test_half_a_file_is_never_taken(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub asks for the rest several times first."""
    hub.halved.add("onnx/model.onnx")
    with pytest.raises(ModelFolderError, match="could not be fetched"):
        import_model(NAME, tmp_path / "out")
    hub.halved.clear()
    import_model(NAME, tmp_path / "out")


def test_a_name_of_nothing_is_no_model(tmp_path: Path) -> None:
    for name in ("not-here", "./not/here", "owner/name/more"):
        with pytest.raises((ModelFolderError, SettingsError), match="neither a folder here nor"):
            import_model(name, tmp_path / "out")


# --- loading ------------------------------------------------------------------------------------------------


def test_a_repository_is_imported_once_and_then_needs_no_hub(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score(tiny_cross_encoder(tmp_path / "exported"))
    assert score(NAME) == expected
    (made,) = folders(cache)
    assert read_manifest(made).name == check_reranker(NAME) == "reranker"
    fetched = len([method for method, _ in hub.asked if method == "GET"])
    before = (made / MANIFEST).stat().st_mtime_ns
    assert score(NAME) == expected
    assert (made / MANIFEST).stat().st_mtime_ns == before
    assert len([method for method, path in hub.asked if method == "GET" and "/resolve/" in path]) < fetched
    hub.faults[""] = (503, "")
    assert score(NAME) == expected
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    reset_sessions()
    hub.asked.clear()
    assert score(NAME) == expected
    assert not hub.asked


def test_a_new_commit_is_imported_anew(hub: Hub, cache: Path) -> None:
    before = score(NAME)
    repository(hub.repositories[NAME], labels=2)
    assert score(NAME) != before
    assert len(folders(cache)) == 2


def test_a_repository_that_may_no_longer_be_read_is_not_taken_from_the_cache(hub: Hub) -> None:
    score(NAME)
    hub.faults[""] = (401, "RepoNotFound")
    with pytest.raises(ModelFolderError, match="HF_TOKEN"):
        score(NAME)


def test_an_exported_repository_is_taken_by_its_manifest(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.repositories["owner/exported"] = tiny_cross_encoder(tmp_path / "remote/exported")
    assert score("owner/exported") == score(tmp_path / "remote/exported")
    assert not cache.exists()


def test_a_repository_without_graphs_is_to_be_exported(hub: Hub) -> None:
    shutil.rmtree(hub.repositories[NAME] / "onnx")
    with pytest.raises(ModelFolderError, match=rf"(?s)no manifest\.json.*run: es-rerank export {NAME} OUT"):
        load_reranker(NAME)


def test_a_hub_that_is_not_reached_says_what_else_there_is(hub: Hub) -> None:
    hub.faults[""] = (503, "")
    with pytest.raises(
        ModelFolderError, match=rf"(?s)^{NAME} could not be fetched.*Without the Hub there are"
    ):
        load_reranker(NAME)


def test_an_embedder_of_the_hub_is_loaded(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["owner/embedder"] = repository(tmp_path / "remote/embedder", "bi-encoder")
    assert check_embedder("owner/embedder") == "owner/embedder"  # an index records it: others are called so
    with load_embedder("owner/embedder") as embedder:
        assert embedder.embed(["a"]).shape == (1, 8)
    with pytest.raises(ModelFolderError, match="is not a reranker"):
        load_reranker("owner/embedder")


def test_a_folder_is_imported_by_its_content(cache: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "a folder")
    before = score(source)
    assert model_folder(source) == folders(cache)[0]
    (source / "README.md").write_text((source / "README.md").read_text() + "A line more.\n")
    assert score(source) == before
    shutil.move(source, tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", source)
    assert score(source) == before
    assert len(folders(cache)) == 1
    quantise(source, "onnx/model_quantized.onnx")
    score(source)
    assert len(folders(cache)) == 2
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    assert read_manifest(model_folder(source)).licence == "mit"
    assert not list(source.glob(MANIFEST))


def test_a_folder_with_a_manifest_is_used_as_it_is(cache: Path, tmp_path: Path) -> None:
    assert model_folder(tiny_cross_encoder(tmp_path / "exported")) == tmp_path / "exported"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/config.json").write_text("{}")
    with pytest.raises(ModelFolderError, match=r"torch model.*es-rerank export"):
        load_reranker(tmp_path / "torch")
    assert not cache.exists()


# --- the cache ----------------------------------------------------------------------------------------------


def test_a_damaged_import_is_made_anew(cache: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    expected = score(source)
    (made,) = folders(cache)
    (made / "model.onnx").write_bytes(b"half")
    assert score(source) == expected
    (made / MANIFEST).unlink()
    assert score(source) == expected


def test_two_at_once_make_one_import(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is that of an open file, so that it holds between threads as between processes."""
    source, made = repository(tmp_path / "repo"), []

    def import_once(*arguments: Any) -> Any:
        made.append(source)
        return import_from(*arguments)

    monkeypatch.setattr(stored, "import_from", import_once)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(score, [source] * 4))
    assert answers == [answers[0]] * 4
    assert len(made) == len(folders(cache)) == 1


@pytest.mark.long
def test_two_processes_at_once_make_one_import(cache: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    program = f"""
from es_rerank import load_reranker
with load_reranker({str(source)!r}) as model:
    print(model.score("a", ["b", "c d"]).values.tolist())
"""
    both = [in_a_process(program) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0] == f"{score(source)}\n"
    assert len(folders(cache)) == 1


def test_what_an_import_left_that_was_killed_is_removed(cache: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    score(source)
    (made,) = folders(cache)
    made.rename(cache / f".{made.name}.killed")
    (cache / ".another-1.killed").mkdir()
    score(source)
    assert folders(cache) == [cache / ".another-1.killed", made]


@pytest.mark.long
def test_an_import_that_was_killed_leaves_nothing_half(cache: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    program = f"""
import os, signal
from es_rerank.models.ready_made import stored
stored.put_in_place = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
stored.of_folder(__import__("pathlib").Path({str(source)!r}))
"""
    process = in_a_process(program)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (left,) = folders(cache)
    assert left.name.startswith(".")
    assert (left / "made" / MANIFEST).is_file()
    score(source)
    (made,) = folders(cache)
    assert made.name.startswith("repo-")


@pytest.mark.parametrize("place", ["file", "below"])
def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / ("" if place == "file" else "x")))
    with pytest.raises(ModelFolderError, match=r"cannot be written.*XDG_CACHE_HOME"):
        load_reranker(repository(tmp_path / "repo"))


def test_a_note_that_points_out_of_the_cache_is_not_followed(hub: Hub, cache: Path, tmp_path: Path) -> None:
    expected = score(NAME)
    (note,) = [path for path in cache.iterdir() if path.suffix == ".json"]
    tiny_cross_encoder(tmp_path / "cache/es-rerank/other", seed=5)
    manifest = read_manifest(tmp_path / "cache/es-rerank/other")
    write_manifest(tmp_path / "cache/es-rerank/other", manifest)
    hub.faults[""] = (503, "")
    for content in (json.dumps({"folder": "../other"}), "[]", "{", json.dumps({"folder": 5})):
        note.write_text(content)
        with pytest.raises(ModelFolderError, match="could not be fetched"):
            score(NAME)
    hub.faults.clear()
    assert score(NAME) == expected


@pytest.mark.long
def test_the_command_imports_a_repository_by_its_name(hub: Hub, tmp_path: Path) -> None:
    """In a process, by HF_ENDPOINT alone."""
    program = f"""
import sys
from es_rerank.cli.app import main
sys.argv = ["es-rerank", "import", {NAME!r}, "out", "--json"]
main()
"""
    process = in_a_process(program, HF_HOME=str(tmp_path / "home"), **hub.environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    stated: dict[str, Any] = json.loads(out)
    assert (stated["source"], stated["revision"]) == (NAME, hub.commit(NAME))

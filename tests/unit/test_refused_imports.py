"""What an import, or a load by name, cannot use is told in words, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jar_models import tiny_jar
from ready_made import repository
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.load import load_embedder, load_reranker
from es_rerank.models.ready_made import ImportOptions
from es_rerank.models.ready_made.importing import import_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def state(folder: Path, name: str, **changes: Any) -> Path:
    """Change what a JSON file of a repository states."""
    path = folder / name
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(before | changes), encoding="utf-8")
    return folder


# --- values of the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_labels": float("inf"), "id2label": None}, "cannot be read"),
        ({"max_position_embeddings": float("inf")}, "cannot be read"),
        ({"max_position_embeddings": float("nan")}, "cannot be read"),
        ({"max_position_embeddings": -5}, "state a window of -5 tokens, fewer than 8"),
        ({"max_position_embeddings": 3}, "state a window of 3 tokens"),
        ({"max_position_embeddings": True}, "state a window of 1 tokens"),
        ({"architectures": ["\ud800"]}, "is not JSON"),
    ],
    ids=str,
)
def test_a_value_of_the_configuration_that_no_manifest_holds_is_told(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    source = state(repository(tmp_path / "repo"), "config.json", **changes)
    with pytest.raises(ModelFolderError, match=said):
        import_model(str(source), tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_prompt_that_is_no_text_and_a_size_without_end_are_told(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", "bi-encoder")
    state(source, "config.json", hidden_size=float("inf"))
    with pytest.raises(ModelFolderError, match="cannot be read"):
        import_model(str(source), tmp_path / "out")
    state(source, "config.json", hidden_size=8)
    state(source, "config_sentence_transformers.json", prompts={"query": "\ud800"})
    with pytest.raises(ModelFolderError, match="is not JSON"):
        import_model(str(source), tmp_path / "out")


def test_a_mean_without_the_prompt_is_refused_where_there_is_a_prompt(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", "bi-encoder")
    state(source, "1_Pooling/config.json", pooling_mode_mean_tokens=True, include_prompt=False)
    import_model(str(source), tmp_path / "no prompt")
    for options in (ImportOptions(query_prefix="find"), ImportOptions(passage_prefix="text")):
        with pytest.raises(ModelFolderError, match="leaves the prompt out of the mean"):
            import_model(str(source), tmp_path / "out", options)
    import_model(str(source), tmp_path / "cls", ImportOptions(query_prefix="find", pooling="cls"))


@pytest.mark.parametrize("loads", [load_reranker, load_embedder])
def test_a_file_that_cannot_be_read_is_told_by_whoever_loads_it(tmp_path: Path, loads: Any) -> None:
    """The kernel gives an error for the memory of a process at 0, to root too."""
    source = repository(tmp_path / "repo")
    (source / "config.json").unlink()
    (source / "config.json").symlink_to("/proc/self/mem")
    with pytest.raises(ModelFolderError, match=r"repo cannot be read \(.*check who may read it"):
        loads(str(source))


# --- options ------------------------------------------------------------------------------------------------


def test_options_of_other_bytes_than_utf_8_are_told_with_their_names(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", "bi-encoder")
    for option in ("query_prefix", "passage_prefix", "name", "licence", "attribution", "source", "revision"):
        stated: dict[str, Any] = {option: "\udcff"}
        with pytest.raises(SettingsError, match=rf"--{option.replace('_', '-')} '.*' is not valid UTF-8"):
            import_model(str(source), tmp_path / "out", ImportOptions(**stated))
    with pytest.raises(SettingsError, match=r"OUT .* is not valid UTF-8"):
        import_model(str(source), tmp_path / "\udcff")
    with pytest.raises(SettingsError, match=r"MODEL .* is not valid UTF-8"):
        import_model(str(source.rename(tmp_path / "\udcff")), tmp_path / "out")


def test_a_prefix_that_leaves_no_room_for_the_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All texts would have one vector."""
    jar = str(tiny_jar(tmp_path / "jars/tiny.jar", monkeypatch))
    source = str(repository(tmp_path / "repo", "bi-encoder"))
    for model in (jar, source):
        for side in ("query", "passage"):
            options: dict[str, Any] = {f"{side}_prefix": "b " * 7, "max_length": 8}
            if side == "passage":
                options["query_prefix"] = ""
            with pytest.raises(
                SettingsError, match=rf"prefix of a {side} leaves [01] of 8 .*--{side}-prefix"
            ):
                import_model(model, tmp_path / "out", ImportOptions(**options))
    assert not (tmp_path / "out").exists()


def test_the_help_offers_what_can_be_imported() -> None:
    shown = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200"}).stdout
    assert "cross-encoder|bi-encoder" in shown
    assert "fp32|int8" in shown
    assert not [word for word in ("monot5", "decoder|", "fp16") if word in shown]


# --- the end by a signal ------------------------------------------------------------------------------------


@pytest.fixture
def handlers() -> Iterator[None]:
    """Let a signal that nobody handles fail the test and not end the tests."""

    def nobody(number: int, _frame: object) -> None:
        raise AssertionError(f"signal {number} was not handled")

    before = {number: signal.signal(number, nobody) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_ends_an_import_as_ctrl_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """While Maven runs, and the command waits for it."""
    started: list[int] = []

    def interrupted(process: subprocess.Popen[str], *_: object, **__: object) -> None:
        started.append(process.pid)
        signal.raise_signal(number)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    tiny_jar(tmp_path / "jars/tiny.jar", monkeypatch)
    program = tmp_path / "bin/mvn"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "outs").mkdir()
    done = CliRunner().invoke(app, ["import", "maven:tiny", str(tmp_path / "outs/out")])
    assert done.exit_code == 128 + number, (done.output, done.exception)
    assert list((tmp_path / "outs").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
    assert signal.getsignal(number).__name__ == "nobody"  # type: ignore[union-attr]


def test_a_length_that_memory_cannot_hold_is_refused_before_the_trial(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    stated = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (source / "config.json").write_text(json.dumps(stated | {"max_position_embeddings": None}))
    with pytest.raises(SettingsError, match=r"--max-length 9000000 takes \d+\.\d GB for one sequence"):
        import_model(str(source), tmp_path / "out", ImportOptions(max_length=9_000_000))
    assert not (tmp_path / "out").exists()

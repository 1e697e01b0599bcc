"""What an import refuses, and what its message tells to type instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ready_made import quantise, repository
from tiny_models import tiny_cross_encoder

from es_rerank.cli.app import app
from es_rerank.errors import EsRerankError
from es_rerank.models.load import check_embedder
from es_rerank.models.ready_made import ImportOptions
from es_rerank.models.ready_made.importing import import_model


def int8_alone(folder: Path, name: str = "onnx/model_quantized.onnx") -> None:
    repository(folder)
    quantise(folder, "onnx/other.onnx")
    (folder / "onnx/model.onnx").unlink()
    (folder / "onnx/other.onnx").rename(folder / name)


def without_config(folder: Path) -> None:
    (repository(folder) / "config.json").unlink()


REFUSED: dict[str, tuple[Callable[[Path], object], ImportOptions, str]] = {
    "the other precision": (
        int8_alone,
        ImportOptions(only="fp32"),
        "repo has no graph in fp32, only onnx/model_quantized.onnx (int8); leave --only out",
    ),
    "the other precision by its content": (
        lambda folder: int8_alone(folder, "onnx/model.onnx"),
        ImportOptions(only="fp32"),
        "onnx/model.onnx is in int8, whatever its name says; name another graph with --graph, or leave",
    ),
    "a graph of the other precision": (
        repository,
        ImportOptions(only="int8", graph="onnx/model.onnx"),
        "onnx/model.onnx is in fp32, whatever its name says",
    ),
    "a precision that is not imported": (
        repository,
        ImportOptions(only="fp16"),
        "repo has no graph in fp16, only onnx/model.onnx (fp32)",
    ),
    "a model folder": (
        tiny_cross_encoder,
        ImportOptions(),
        "repo is a model folder of es-rerank already; give it to --reranker or --embedder",
    ),
    "no configuration": (
        without_config,
        ImportOptions(),
        "has no config.json, which states architectures, id2label and max_position_embeddings; fetch it",
    ),
    "a decoder": (
        repository,
        ImportOptions(kind="decoder"),
        "run: es-rerank export MODEL OUT --kind decoder",
    ),
    "a monoT5": (repository, ImportOptions(kind="monot5"), "run: es-rerank export MODEL OUT --kind monot5"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_import_says_what_to_type(tmp_path: Path, what: str) -> None:
    made, options, expected = REFUSED[what]
    made(tmp_path / "repo")
    with pytest.raises(EsRerankError, match=re.escape(expected)):
        import_model(str(tmp_path / "repo"), tmp_path / "out", options)
    assert not list(tmp_path.glob("*out*"))


def test_an_import_says_that_it_has_no_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository(tmp_path / "repo")
    with pytest.raises(SystemExit):
        app(["import", str(tmp_path / "repo"), str(tmp_path / "out")])
    assert "no calibration: the first stage has no part in the order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "es-rerank-zh-en-l6",
            "is not installed; in a clone of es-rerank, run: uv pip install ./bundles/zh-en",
        ),
        ("multilingual-e5-small-zh-en", "run: uv pip install ./bundles/zh-en"),
        ("bge-small-zh-v15", "write maven:bge-small-zh-v15 for the embedder that Maven has"),
        ("bge-small-zh", "there is no folder bge-small-zh; give the path of a model folder, or make one by"),
    ],
)
def test_a_name_that_is_known_says_where_its_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("es_rerank.models.finding.entry_points", lambda **_: ())
    with pytest.raises(EsRerankError, match=re.escape(expected)):
        check_embedder(name)

"""Which hardware gets the fp16 graph of a folder, and what the padded runs of a GPU give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import GRAPH, reseal, tiny_cross_encoder

from es_rerank.engine.processor import cores
from es_rerank.engine.session import CUDA
from es_rerank.errors import ModelFolderError
from es_rerank.models.load import load_reranker
from es_rerank.models.local import faster
from es_rerank.models.local.faster import chosen, key_of, measured
from es_rerank.models.local.remembered import remember
from es_rerank.models.local.speeds import Speeds
from es_rerank.models.manifest import Precision, file_record, read_manifest
from es_rerank.models.wrappers.wrapped import precision_of

FP32_IS_FASTER = Speeds(seconds={64: {"fp32": 0.1, "int8": 0.1}}, gain=(0.9, 0.95, 1.0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def with_graph(folder: Path, precision: Precision, other: Path) -> Path:
    """Add the graph of another model to a folder, as its graph in a precision."""
    manifest, name = read_manifest(folder), f"{precision}.onnx"
    shutil.copy(other / GRAPH, folder / name)
    files = {each: file_record(folder / each) for each in (*manifest.files, name)}
    return reseal(folder, variants={**manifest.variants, precision: name}, files=files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in fp32 and int8, of which int8 is the default and fp32 is known to be the faster one."""
    other = tiny_cross_encoder(tmp_path / "other", seed=1)
    model = with_graph(tiny_cross_encoder(tmp_path / "model"), "int8", other)
    reseal(model, default_variant="int8")
    remember(key_of(read_manifest(model), cores()), FP32_IS_FASTER)
    return model


def loaded(model: Path, variant: Precision | None = None) -> str | None:
    """The precision in which a reranker is loaded."""
    with load_reranker(model, variant=variant) as reranker:
        return precision_of(reranker)


def test_a_gpu_gets_fp16_or_else_fp32_and_other_hardware_the_default(folder: Path, tmp_path: Path) -> None:
    def taken(provider: str) -> tuple[str, str]:
        return chosen(folder, read_manifest(folder), None, provider=provider)[:2]

    assert taken(CUDA) == ("fp32", "provider")
    with_graph(folder, "fp16", tiny_cross_encoder(tmp_path / "third", seed=2))
    assert taken(CUDA) == ("fp16", "provider")
    assert taken("OpenVINOExecutionProvider") == ("int8", "provider")
    assert chosen(folder, read_manifest(folder), "int8", provider=CUDA)[:2] == ("int8", "told")


def test_the_cpu_takes_fp16_only_when_told_or_when_there_is_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = tiny_cross_encoder(tmp_path / "third", seed=2)
    with_graph(folder, "fp16", third)
    assert loaded(folder) == "fp32"
    assert loaded(folder, "fp16") == "fp16"
    monkeypatch.setattr(faster, "measured", lambda *_, **__: pytest.fail("nothing is left to choose"))
    with_graph(third, "fp16", tmp_path / "other")
    assert loaded(third) == "fp32"
    reseal(third, variants={"fp16": "fp16.onnx"}, default_variant="fp16")
    assert loaded(third) == "fp16"
    reseal(folder, variants={"fp16": "fp16.onnx", "int8": "int8.onnx"})
    assert loaded(folder) == "int8"
    reseal(folder, default_variant="fp16")
    with pytest.raises(ModelFolderError, match="fp16 is for GPUs"):
        load_reranker(folder)


def test_only_those_precisions_are_measured_that_may_be_taken(folder: Path, tmp_path: Path) -> None:
    with_graph(folder, "fp16", tiny_cross_encoder(tmp_path / "third", seed=2))
    cases: list[tuple[Precision | None, set[str]]] = [
        (None, {"fp32", "int8"}),
        ("fp16", {"fp16", "fp32", "int8"}),
    ]
    for variant, expected in cases:
        speeds = measured(folder, read_manifest(folder), variant=variant, budget_s=0.01)
        assert set(speeds.seconds[64]) == expected

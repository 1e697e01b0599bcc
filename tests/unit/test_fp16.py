"""Which hardware gets the fp16 graph of a folder, and what the padded runs of a GPU give."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from masked_graphs import masked_encoder
from onnx import TensorProto, helper, numpy_helper
from tiny_models import GRAPH, reseal, save_graph, tiny_cross_encoder

from es_rerank.engine.processor import cores
from es_rerank.engine.session import CPU, CUDA, Session, feeds
from es_rerank.errors import ModelFolderError
from es_rerank.export.half import write_half
from es_rerank.models.load import load_reranker
from es_rerank.models.local import faster
from es_rerank.models.local.faster import chosen, key_of, measured
from es_rerank.models.local.remembered import remember
from es_rerank.models.local.speeds import Speeds
from es_rerank.models.manifest import Precision, file_record, read_manifest
from es_rerank.models.wrappers.wrapped import precision_of
from es_rerank.types import FloatArray

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


# The conversion, without torch.


def samples() -> list[dict[str, npt.NDArray[Any]]]:
    ids = np.random.default_rng(0).integers(0, 100, (1, 40))
    return [feeds(["input_ids", "attention_mask"], ids.tolist(), np.zeros_like(ids).tolist())]


def scores(graph: Path, ids: list[list[int]]) -> FloatArray:
    """What a graph gives for all sequences in one padded run."""
    assert Session(graph).pads(0)
    return np.concatenate(Session(graph).run_padded(ids, [[0] * len(each) for each in ids], 0))


def types_of(graph: Path) -> dict[str, int]:
    """The type of each tensor, by name."""
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    return {each.name: each.type.tensor_type.elem_type for each in model.graph.value_info} | {
        each.name: each.data_type for each in model.graph.initializer
    }


def natural() -> list[list[int]]:
    draw = np.random.default_rng(1)
    return [draw.integers(0, 100, length).tolist() for length in draw.integers(2, 90, 40)]


def test_an_fp16_graph_gives_the_scores_of_fp32_and_float32_outputs(tmp_path: Path) -> None:
    fp32, fp16 = masked_encoder(tmp_path / "fp32.onnx"), tmp_path / "fp16.onnx"
    done = write_half(fp32, fp16, samples())
    assert done.half > 20
    assert done.too_large == 0
    assert np.abs(scores(fp32, natural()) - scores(fp16, natural())).max() < 0.03
    (output,) = onnxruntime.InferenceSession(fp16, providers=[CPU]).get_outputs()
    assert output.type == "tensor(float)"
    types = types_of(fp16)
    assert {types[f"{name}/half"] for name in ("words", "a.wq", "b.w2", "head")} == {TensorProto.FLOAT16}
    assert types["bias"] == TensorProto.FLOAT  # of the mask alone, limited where scores read it
    onnx.checker.check_model(onnx.load(fp16), full_check=True)


def test_rows_that_see_nothing_but_padding_are_numbers(tmp_path: Path) -> None:
    # Two masks in a row: the smallest float32 twice is minus infinity already in fp32, as in local attention.
    fp32, fp16 = masked_encoder(tmp_path / "fp32.onnx"), tmp_path / "fp16.onnx"
    model = onnx.load(fp32)
    place = next(n for n, node in enumerate(model.graph.node) if node.output[0] == "bias")
    model.graph.node[place].output[0] = "bias0"
    model.graph.node.insert(place + 1, helper.make_node("Add", ["bias0", "bias0"], ["bias"]))
    onnx.save(model, fp32)
    write_half(fp32, fp16, samples())
    nothing = np.zeros((1, 9), dtype=np.int64)
    session = onnxruntime.InferenceSession(fp16, providers=[CPU])
    (output,) = session.run(None, {"input_ids": nothing, "attention_mask": nothing})
    assert np.isfinite(output).all()


@pytest.mark.parametrize("factor", [1.0, 1e7])
def test_an_operator_whose_numbers_are_too_large_stays_fp32(tmp_path: Path, factor: float) -> None:
    fp32, fp16 = masked_encoder(tmp_path / "fp32.onnx"), tmp_path / "fp16.onnx"
    model = onnx.load(fp32)
    for name, by in (("up", factor), ("down", 1 / factor)):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(by, dtype=np.float32), name))
    place = next(n for n, node in enumerate(model.graph.node) if node.output[0] == "a.out")
    model.graph.node[place].output[0] = "raw"
    for number, (read, times, made) in enumerate((("raw", "up", "raised"), ("raised", "down", "a.out")), 1):
        model.graph.node.insert(place + number, helper.make_node("Mul", [read, times], [made]))
    onnx.save(model, fp32)
    assert write_half(fp32, fp16, samples()).too_large == (0 if factor == 1 else 2)
    assert np.abs(scores(fp32, natural()) - scores(fp16, natural())).max() < 0.03


def test_weights_in_a_file_of_their_own_are_converted_too(tmp_path: Path) -> None:
    fp32, fp16 = masked_encoder(tmp_path / "fp32.onnx"), tmp_path / "fp16.onnx"
    beside = tmp_path / "beside"
    beside.mkdir()
    onnx.save(onnx.load(fp32), beside / "fp32.onnx", save_as_external_data=True, size_threshold=128)
    write_half(beside / "fp32.onnx", beside / "fp16.onnx", samples())
    write_half(fp32, fp16, samples())
    assert np.array_equal(scores(beside / "fp16.onnx", natural()), scores(fp16, natural()))
    assert len(list(beside.iterdir())) == 3  # the graphs, the weights, and nothing temporary


def test_a_graph_without_word_vectors_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=1),
        helper.make_node("ReduceMean", ["numbers"], ["logits"], axes=[1], keepdims=1),
    ]
    save_graph(tmp_path, nodes, {}, ("logits", ["batch", 1]))
    with pytest.raises(ModelFolderError, match="no word vectors"):
        write_half(tmp_path / GRAPH, tmp_path / "fp16.onnx", [])
    assert not (tmp_path / "fp16.onnx").exists()

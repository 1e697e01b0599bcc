"""The graph pass that computes the last layer for the first token alone: the same logits, one row where there were many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from es_rerank.export.first_row import narrow

WIDTH, HEADS = 8, 2


def layer(name: str, hidden: str, values: dict[str, Any], draw: np.random.Generator, *, mixes: bool = False) -> list[onnx.NodeProto]:
    """One encoder layer as PyTorch exports it: attention over heads, a residual, layer norm, two products with an activation."""

    def weight(key: str, *shape: int) -> str:
        values[f"{name}.{key}"] = draw.normal(size=shape, scale=0.4).astype(np.float32)
        return f"{name}.{key}"

    def node(kind: str, inputs: list[str], out: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [f"{name}.{out}"], **attributes)

    def head(letter: str, order: list[int]) -> list[onnx.NodeProto]:
        return [
            node("MatMul", [hidden, weight(f"w{letter}", WIDTH, WIDTH)], f"{letter}0"),
            node("Reshape", [f"{name}.{letter}0", f"{name}.split"], f"{letter}1"),
            node("Transpose", [f"{name}.{letter}1"], letter, perm=order),
        ]

    values[f"{name}.tail"] = np.asarray([HEADS, WIDTH // HEADS], dtype=np.int64)
    values[f"{name}.merge"] = np.asarray([0, 0, WIDTH], dtype=np.int64)
    nodes = [
        node("Shape", [hidden], "shape"),
        node("Slice", [f"{name}.shape", "zero", "two"], "lead"),
        node("Slice", [f"{name}.lead", "zero", "one"], "batch"),
        node("Slice", [f"{name}.lead", "one", "two"], "tokens"),
        node("Slice", [f"{name}.tail", "zero", "one"], "heads"),
        node("Slice", [f"{name}.tail", "one", "two"], "size"),
    ]
    values[f"{name}.heads0"], values[f"{name}.size0"] = np.asarray([HEADS], dtype=np.int64), np.asarray([WIDTH // HEADS], dtype=np.int64)
    nodes += [node("Concat", [f"{name}.batch", f"{name}.tokens", f"{name}.heads0", f"{name}.size0"], "split", axis=0)]
    nodes += [*head("q", [0, 2, 1, 3]), *head("k", [0, 2, 3, 1]), *head("v", [0, 2, 1, 3])]
    nodes += [
        node("MatMul", [f"{name}.q", f"{name}.k"], "scores"),
        node("Add", [f"{name}.scores", "bias"], "masked"),
        node("Softmax", [f"{name}.masked"], "weights", axis=-1),
        node("MatMul", [f"{name}.weights", f"{name}.v"], "read"),
        node("Transpose", [f"{name}.read"], "read1", perm=[0, 2, 1, 3]),
        node("Reshape", [f"{name}.read1", f"{name}.merge"], "read2"),
        node("MatMul", [f"{name}.read2", weight("wo", WIDTH, WIDTH)], "out0"),
        node("Add", [f"{name}.out0", hidden], "out1"),
        node("LayerNormalization", [f"{name}.out1", weight("g", WIDTH), weight("b", WIDTH)], "out2", axis=-1),
    ]
    inner = "out2"
    if mixes:  # rows that depend on rows before them: nothing above may be narrowed
        nodes.append(node("CumSum", [f"{name}.out2", "axis"], "mixed"))
        inner = "mixed"
    nodes += [
        node("MatMul", [f"{name}.{inner}", weight("w1", WIDTH, 2 * WIDTH)], "ffn0"),
        node("Tanh", [f"{name}.ffn0"], "ffn1"),
        node("MatMul", [f"{name}.ffn1", weight("w2", 2 * WIDTH, WIDTH)], "ffn2"),
        node("Add", [f"{name}.ffn2", f"{name}.{inner}"], "out"),
    ]
    return nodes


def encoder(path: Path, *, pooling: str = "first", mixes: bool = False) -> Path:
    draw = np.random.default_rng(5)
    values: dict[str, Any] = {
        "words": draw.normal(size=(100, WIDTH)).astype(np.float32),
        "head": draw.normal(size=(WIDTH, 1)).astype(np.float32),
        "zero": np.asarray([0], dtype=np.int64),
        "one": np.asarray([1], dtype=np.int64),
        "two": np.asarray([2], dtype=np.int64),
        "axis": np.asarray(1, dtype=np.int64),
        "index": np.asarray(0, dtype=np.int64),
        "axes": np.asarray([1, 2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axes"], ["bias"]),
        *layer("a", "embedded", values, draw),
        *layer("b", "a.out", values, draw, mixes=mixes),
    ]
    nodes += {
        "first": [helper.make_node("Gather", ["b.out", "index"], ["pooled"], axis=1)],
        "mean": [helper.make_node("ReduceMean", ["b.out", "one"], ["pooled"], keepdims=0)],
    }[pooling]
    nodes += [helper.make_node("MatMul", ["pooled", "head"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def run(path: Path, ids: Any, *names: str) -> list[Any]:
    """Return the graph's outputs, and those of the tensors that are named."""
    model = onnx.load(path)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return outputs


@pytest.mark.parametrize("tokens", [1, 2, 9, 40])
def test_the_logits_stay_and_the_last_layer_has_one_row(tmp_path: Path, tokens: int) -> None:
    ids = np.random.default_rng(tokens).integers(0, 100, (3, tokens))
    path = encoder(tmp_path / "model.onnx")
    before = run(path, ids, "b.q", "b.weights", "b.ffn1", "a.ffn1", "b.k")
    assert narrow(path)
    after = run(path, ids, "b.q", "b.weights", "b.ffn1", "a.ffn1", "b.k")
    assert np.abs(after[0] - before[0]).max() < 1e-5
    assert [each.shape for each in before[1:4]] == [(3, HEADS, tokens, 4), (3, HEADS, tokens, tokens), (3, tokens, 2 * WIDTH)]
    assert [each.shape for each in after[1:4]] == [(3, HEADS, 1, 4), (3, HEADS, 1, tokens), (3, 1, 2 * WIDTH)]
    assert [each.shape for each in after[4:]] == [each.shape for each in before[4:]]


def test_a_second_pass_changes_nothing_more(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx")
    narrow(path)
    ids = np.arange(14).reshape(2, 7)
    once = run(path, ids)[0]
    narrow(path)
    assert np.abs(run(path, ids)[0] - once).max() < 1e-5


def test_what_mixes_rows_keeps_all_rows_before_it(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx", mixes=True)
    ids = np.arange(20).reshape(2, 10)
    before = run(path, ids)[0]
    assert narrow(path)
    logits, mixed, ffn = run(path, ids, "b.mixed", "b.ffn1")
    assert np.abs(logits - before).max() < 1e-5
    assert (mixed.shape[1], ffn.shape[1]) == (10, 1)


def test_a_graph_that_reads_every_row_is_left_alone(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx", pooling="mean")
    content = path.read_bytes()
    assert not narrow(path)
    assert path.read_bytes() == content


def test_a_narrowed_graph_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("es_rerank.export.first_row.AGREEMENT", -1.0)
    path = encoder(tmp_path / "model.onnx")
    content = path.read_bytes()
    assert not narrow(path)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]

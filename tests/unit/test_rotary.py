"""The graph passes on encoders with rotary positions and local layers: the same logits, less to compute."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from encoder_graphs import run
from rotary_graphs import WINDOW, rotary_encoder

from es_rerank.engine.session import Session
from es_rerank.export.attention import fuse_attention
from es_rerank.export.first_token import first_token_only

LONGEST = 40
LENGTHS = (1, 2, WINDOW, WINDOW + 1, 2 * WINDOW + 1, 3 * WINDOW, 3 * WINDOW + 1, 4 * WINDOW, 37, LONGEST, 90)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def logits(path: Path, rows: int = 2) -> list[np.ndarray[Any, Any]]:
    session = Session(path)
    drawn = [np.random.default_rng(tokens).integers(0, 100, (rows, tokens)) for tokens in LENGTHS]
    return [session.run(ids.tolist(), np.zeros_like(ids).tolist()) for ids in drawn]


def same(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]]) -> bool:
    return all(np.abs(a - b).max() < 1e-5 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "form",
    [{}, {"packed": False}, {"bias": True}, {"local": (True, True)}, {"local": (False, False)}],
    ids=["packed", "separate", "with biases", "local layers alone", "global layers alone"],
)
def test_the_logits_stay_at_every_length_and_the_mask_is_gone(tmp_path: Path, form: dict[str, Any]) -> None:
    path = rotary_encoder(tmp_path / "model.onnx", **form)
    before = logits(path)
    assert fuse_attention(path, LONGEST)
    assert first_token_only(path)
    assert same(logits(path), before)
    count, layers = operators(path), len(form.get("local", (0, 0, 0)))
    assert (count["MultiHeadAttention"], count["RotaryEmbedding"]) == (layers, 2 * layers)
    assert not {"Softmax", "Split", "ArgMax", "GatherElements"} & set(count)
    assert [each.name for each in onnx.load(path).graph.input] == ["input_ids"]
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_the_last_layer_has_one_row_of_queries(tmp_path: Path) -> None:
    path = rotary_encoder(tmp_path / "model.onnx")
    assert fuse_attention(path, LONGEST)
    assert first_token_only(path)
    made = {node.output[0]: node for node in onnx.load(path).graph.node}
    last = [node for node in made.values() if node.op_type == "MultiHeadAttention"][-1]
    queries, keys = (made[made[name].input[0]] for name in last.input[:2])
    shapes = [each.shape[1] for each in run(path, np.arange(20)[None], queries.output[0], keys.output[0])[1:]]
    assert shapes == [1, 20]


def test_weights_in_another_file_stay_there(tmp_path: Path) -> None:
    path = rotary_encoder(tmp_path / "model.onnx")
    before = logits(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx_data", size_threshold=512)
    weights = (tmp_path / "model.onnx_data").read_bytes()
    assert fuse_attention(path, LONGEST)
    assert first_token_only(path)
    assert same(logits(path), before)
    assert (tmp_path / "model.onnx_data").read_bytes() == weights
    assert operators(path)["Slice"] > 4


def test_rows_do_not_read_each_other(tmp_path: Path) -> None:
    path = rotary_encoder(tmp_path / "model.onnx")
    assert fuse_attention(path, LONGEST)
    session = Session(path)
    ids = np.random.default_rng(1).integers(0, 100, (3, LONGEST)).tolist()
    alone = np.concatenate([session.run([row], [[0] * LONGEST]) for row in ids])
    assert np.abs(session.run(ids, [[0] * LONGEST] * 3) - alone).max() < 1e-5


def test_a_mean_over_all_tokens_keeps_every_row(tmp_path: Path) -> None:
    path = rotary_encoder(tmp_path / "model.onnx", pooling="mean")
    before = logits(path)
    assert fuse_attention(path, LONGEST)
    content = path.read_bytes()
    assert not first_token_only(path)
    assert path.read_bytes() == content
    assert same(logits(path), before)


@pytest.mark.parametrize(
    "other", [{"causal": True}, {"rotated": False}], ids=["a causal mask", "no rotation"]
)
def test_another_kind_of_attention_is_left_alone(tmp_path: Path, other: dict[str, bool]) -> None:
    path = rotary_encoder(tmp_path / "model.onnx", **other)  # type: ignore[arg-type] # flags alone
    content = path.read_bytes()
    assert not fuse_attention(path, LONGEST)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_first_row_is_found_without_the_other_pass(tmp_path: Path) -> None:
    path = rotary_encoder(tmp_path / "model.onnx")
    before = logits(path)
    assert first_token_only(path)
    assert same(logits(path), before)
    assert "GatherElements" not in operators(path)

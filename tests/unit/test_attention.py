"""The graph pass that makes attention one operator without a mask: the same logits,
and only where attention is of that kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_graphs import encoder, run

from es_rerank.export.attention import fuse_attention
from es_rerank.export.first_token import first_token_only

LONGEST = 96


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("tokens", [1, 2, 9, LONGEST])
def test_the_logits_stay_and_the_mask_is_gone(tmp_path: Path, tokens: int) -> None:
    ids = np.random.default_rng(tokens).integers(0, 100, (3, tokens))
    path = encoder(tmp_path / "model.onnx", scaled=True)
    (before,) = run(path, ids)
    assert fuse_attention(path, LONGEST)
    (after,) = run(path, ids)
    assert np.abs(after - before).max() < 1e-5
    assert operators(path).count("MultiHeadAttention") == 2
    assert not {"Softmax", "Transpose", "Unsqueeze"}.intersection(operators(path))
    assert [each.name for each in onnx.load(path).graph.input] == ["input_ids"]


def test_the_last_layer_of_a_fused_graph_has_one_row_of_queries(tmp_path: Path) -> None:
    ids = np.arange(14).reshape(2, 7)
    path = encoder(tmp_path / "model.onnx", scaled=True)
    (before,) = run(path, ids)
    assert fuse_attention(path, LONGEST)
    assert first_token_only(path)
    after, queries, keys, first = run(path, ids, "b.q0", "b.k0", "a.q0")
    assert np.abs(after - before).max() < 1e-5
    assert [each.shape[1] for each in (queries, keys, first)] == [1, 7, 7]


@pytest.mark.parametrize(
    "other", [{"scaled": False}, {"scaled": True, "learned": True}], ids=["another scale", "a learned bias"]
)
def test_another_kind_of_attention_is_left_alone(tmp_path: Path, other: dict[str, bool]) -> None:
    path = encoder(tmp_path / "model.onnx", **other)  # type: ignore[arg-type] # flags alone
    content = path.read_bytes()
    assert not fuse_attention(path, LONGEST)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]

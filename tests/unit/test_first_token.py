"""The graph pass that computes the last layer for the first token alone: the same logits,
one row where there were many.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoder_graphs import HEADS, WIDTH, encoder, run

from es_rerank.export.first_token import first_token_only


@pytest.mark.parametrize("tokens", [1, 2, 9, 40])
def test_the_logits_stay_and_the_last_layer_has_one_row(tmp_path: Path, tokens: int) -> None:
    ids = np.random.default_rng(tokens).integers(0, 100, (3, tokens))
    path = encoder(tmp_path / "model.onnx")
    before = run(path, ids, "b.q", "b.weights", "b.ffn1", "a.ffn1", "b.k")
    assert first_token_only(path)
    after = run(path, ids, "b.q", "b.weights", "b.ffn1", "a.ffn1", "b.k")
    assert np.abs(after[0] - before[0]).max() < 1e-5
    assert [each.shape for each in before[1:4]] == [
        (3, HEADS, tokens, 4),
        (3, HEADS, tokens, tokens),
        (3, tokens, 2 * WIDTH),
    ]
    assert [each.shape for each in after[1:4]] == [(3, HEADS, 1, 4), (3, HEADS, 1, tokens), (3, 1, 2 * WIDTH)]
    assert [each.shape for each in after[4:]] == [each.shape for each in before[4:]]


def test_a_second_pass_changes_nothing_more(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx")
    first_token_only(path)
    ids = np.arange(14).reshape(2, 7)
    once = run(path, ids)[0]
    first_token_only(path)
    assert np.abs(run(path, ids)[0] - once).max() < 1e-5


def test_what_mixes_rows_keeps_all_rows_before_it(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx", mixes=True)
    ids = np.arange(20).reshape(2, 10)
    before = run(path, ids)[0]
    assert first_token_only(path)
    logits, mixed, ffn = run(path, ids, "b.mixed", "b.ffn1")
    assert np.abs(logits - before).max() < 1e-5
    assert (mixed.shape[1], ffn.shape[1]) == (10, 1)


def test_a_graph_that_reads_every_row_is_left_alone(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx", pooling="mean")
    content = path.read_bytes()
    assert not first_token_only(path)
    assert path.read_bytes() == content


def test_a_narrowed_graph_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("es_rerank.export.rewriting.AGREEMENT", -1.0)
    path = encoder(tmp_path / "model.onnx")
    content = path.read_bytes()
    assert not first_token_only(path)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]

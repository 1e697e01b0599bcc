"""ModernBERT after the graph passes, at lengths around its window: torch's logits, less to compute.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_torch
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification

from es_rerank.engine.session import Session
from es_rerank.export import ExportOptions, export_model

LENGTHS = (3, 16, 17, 18, 32, 33, 48, 49, 50, 64, 97, 128, 200)
TOLERANCE = 1e-4


def plain(folder: Path) -> Path:
    return tiny_torch.modernbert(folder, layers=2)


def modular(folder: Path) -> Path:
    return tiny_torch.modular(folder, backbone=lambda folder: tiny_torch.modernbert(folder, layers=4))


def loaded(source: Path) -> Callable[[torch.Tensor], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Torch's logits for token ids, (batch, tokens)."""
    modules = (source / "modules.json").exists()
    model: Any = (
        CrossEncoder(str(source), device="cpu")
        if modules
        else AutoModelForSequenceClassification.from_pretrained(source)
    )

    def logits(ids: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with torch.inference_mode():
            answer = (
                model.eval()({"input_ids": ids, "attention_mask": torch.ones_like(ids)}) if modules else None
            )
            scores = model.eval()(ids).logits if answer is None else answer["scores"]
        return np.asarray(scores.numpy())

    return logits


@pytest.mark.parametrize("make", [plain, pytest.param(modular, marks=pytest.mark.long)])
def test_every_length_has_the_logits_of_torch(make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    manifest = export_model(str(source), tmp_path / "out", ExportOptions(int8=False))
    assert manifest.passes == ("attention", "first_row")
    theirs, session = loaded(source), Session(tmp_path / "out" / "model.onnx")
    for tokens in LENGTHS:
        ids = torch.randint(5, 300, (2, tokens), generator=torch.Generator().manual_seed(tokens))
        ours = session.run(ids.tolist(), np.zeros((2, tokens), dtype=np.int64).tolist())
        assert np.abs(ours - theirs(ids)).max() <= TOLERANCE, tokens
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    assert [tensor.name for tensor in graph.input] == ["input_ids"]
    assert not {"Softmax", "Split", "GatherElements"} & {node.op_type for node in graph.node}

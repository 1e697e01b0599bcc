"""A shorter cross-encoder with the exit head that was trained on its layers gives torch's logits of that exit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_torch
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from es_rerank.errors import SettingsError
from es_rerank.export import ExportOptions, export_model
from es_rerank.models.catalog import EXIT_HEADS, EXIT_LAYERS
from es_rerank.models.load import load_reranker

QUERY, PASSAGES = "the harbour", ["the lamp of the harbour", "at noon", "a night train left the city"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny BERT of two layers with an exit head on the first."""
    folder = tiny_torch.bert(tmp_path / "source")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config["hidden_size"]
    torch.manual_seed(5)
    shapes = {"pooler.weight": (width, width), "pooler.bias": (width,), "classifier.weight": (1, width), "classifier.bias": (1,)}
    save_file({f"exit.1.{name}": torch.randn(shape) * 0.3 for name, shape in shapes.items()}, folder / EXIT_HEADS)
    (folder / "config.json").write_text(json.dumps({**config, EXIT_LAYERS: [1]}), encoding="utf-8")
    return folder


def test_an_exit_gives_the_logits_of_its_own_head(source: Path, tmp_path: Path) -> None:

    manifest = export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=1, int8=False))
    assert manifest.name == "out"
    heads = {name.removeprefix("exit.1."): value for name, value in load_file(source / EXIT_HEADS).items()}
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = []
    with torch.inference_mode():
        for passage in PASSAGES:
            hidden = model(**tokenizer(QUERY, passage, return_tensors="pt"), output_hidden_states=True).hidden_states[1][0, 0]
            pooled = torch.tanh(heads["pooler.weight"] @ hidden + heads["pooler.bias"])
            expected.append(float((heads["classifier.weight"] @ pooled + heads["classifier.bias"])[0]))
    with load_reranker(tmp_path / "out") as exit_reranker, load_reranker(f"cascade:0.5+{tmp_path / 'out'}+{_whole(source, tmp_path)}") as both:
        assert np.abs(exit_reranker.score(QUERY, PASSAGES).values - expected).max() < 1e-5
        assert both.score(QUERY, PASSAGES).done.all()


def _whole(source: Path, tmp_path: Path) -> Path:
    export_model(str(source), tmp_path / "whole", ExportOptions(int8=False))
    return tmp_path / "whole"


def test_a_layer_without_a_head_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has exit heads on the layers 1 and none on layer 2"):
        export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=2))
    with pytest.raises(SettingsError, match="has no exit heads and none on layer 1"):
        export_model(str(tiny_torch.bert(tmp_path / "other")), tmp_path / "out", ExportOptions(exit_layer=1))
    assert not (tmp_path / "out").exists()

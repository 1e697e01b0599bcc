"""A model that stops early gives torch's logits of its exit head,
and goes on from there as the whole model does.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tiny_torch
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from es_rerank.engine.pool import Pool
from es_rerank.engine.session import CPU
from es_rerank.errors import SettingsError
from es_rerank.export import ExportOptions, export_model
from es_rerank.models.catalog import EXIT_HEADS, EXIT_LAYERS
from es_rerank.models.load import load_reranker
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import EarlyExit
from es_rerank.models.wrappers.early_exit import exit_parts

QUERY, PASSAGES = "the harbour", ["the lamp of the harbour", "at noon", "a night train left the city"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny BERT of two layers with an exit head on the first."""
    folder = tiny_torch.bert(tmp_path / "source")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config["hidden_size"]
    torch.manual_seed(5)
    shapes = {
        "pooler.weight": (width, width),
        "pooler.bias": (width,),
        "classifier.weight": (1, width),
        "classifier.bias": (1,),
    }
    save_file(
        {f"exit.1.{name}": torch.randn(shape) * 0.3 for name, shape in shapes.items()}, folder / EXIT_HEADS
    )
    (folder / "config.json").write_text(json.dumps({**config, EXIT_LAYERS: [1]}), encoding="utf-8")
    return folder


def test_an_exit_gives_the_logits_of_its_own_head(source: Path, tmp_path: Path) -> None:

    manifest = export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=1))
    assert manifest.early_exit == EarlyExit(
        layer=1,
        first={"fp32": "model_first.onnx", "int8": "model_int8_first.onnx"},
        rest={"fp32": "model_rest.onnx", "int8": "model_int8_rest.onnx"},
    )
    heads = {name.removeprefix("exit.1."): value for name, value in load_file(source / EXIT_HEADS).items()}
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = []
    with torch.inference_mode():
        for passage in PASSAGES:
            hidden = model(
                **tokenizer(QUERY, passage, return_tensors="pt"), output_hidden_states=True
            ).hidden_states[1][0, 0]
            pooled = torch.tanh(heads["pooler.weight"] @ hidden + heads["pooler.bias"])
            expected.append(float((heads["classifier.weight"] @ pooled + heads["classifier.bias"])[0]))
    with closing(Pool()) as pool:
        first, then = exit_parts(tmp_path / "out", "fp32", pool, CPU)
        assert np.abs(first.score(QUERY, PASSAGES).values - expected).max() < 1e-5
        with CrossEncoder(tmp_path / "out", variant="fp32") as whole:
            assert (
                then.score(QUERY, PASSAGES).values.tobytes() == whole.score(QUERY, PASSAGES).values.tobytes()
            )
    with load_reranker(f"exit:0.5+{tmp_path / 'out'}", variant="int8") as both:
        assert both.score(QUERY, PASSAGES).done.all()


def test_only_int8_keeps_what_goes_on_in_int8(source: Path, tmp_path: Path) -> None:
    manifest = export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=1, fp32=False))
    assert manifest.early_exit == EarlyExit(
        layer=1, first={"int8": "model_int8_first.onnx"}, rest={"int8": "model_int8_rest.onnx"}
    )
    assert {each.name for each in (tmp_path / "out").glob("*.onnx")} == {
        "model_int8.onnx",
        "model_int8_first.onnx",
        "model_int8_rest.onnx",
    }
    whole = export_model(str(source), tmp_path / "whole", ExportOptions(fp32=False))
    assert whole.early_exit is None
    with load_reranker(f"exit:0.5+{tmp_path / 'out'}") as both, load_reranker(tmp_path / "whole") as alone:
        assert (
            both.score(QUERY, PASSAGES).values.tobytes() == alone.score(QUERY, PASSAGES).values.tobytes()
        )  # fewer than are kept


def test_a_layer_without_a_head_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has exit heads on the layers 1 and none on layer 2"):
        export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=2))
    with pytest.raises(SettingsError, match="has no exit heads and none on layer 1"):
        export_model(str(tiny_torch.bert(tmp_path / "other")), tmp_path / "out", ExportOptions(exit_layer=1))
    with pytest.raises(SettingsError, match="leave out one of --exit-layer and --plain"):
        export_model(str(source), tmp_path / "out", ExportOptions(exit_layer=1, plain=True))
    assert not (tmp_path / "out").exists()

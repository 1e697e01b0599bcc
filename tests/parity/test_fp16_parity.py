"""The fp16 graph of each architecture, in padded runs as on a GPU, beside torch in fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_torch
from onnx import TensorProto

from es_rerank.errors import ParityError, SettingsError
from es_rerank.export import ExportOptions, export_model
from es_rerank.export.parity import FP16_TOLERANCE
from es_rerank.models.load import load_reranker
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.parity_pairs import PARITY_PASSAGES, PARITY_QUERIES

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\..*` is deprecated")

FP16 = ExportOptions(fp16=True, int8=False)
QUICK = (tiny_torch.bert,)
LONG = (
    tiny_torch.xlm_roberta,
    tiny_torch.modernbert,
    tiny_torch.deberta,
    tiny_torch.modular,
    tiny_torch.albert,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [*QUICK, *(pytest.param(each, marks=pytest.mark.long) for each in LONG)],
    ids=lambda model: model.__name__,
)
def test_padded_runs_in_fp16_give_torchs_scores(tmp_path: Path, model: Callable[[Path], Path]) -> None:
    folder = tmp_path / "out"
    manifest = export_model(str(model(tmp_path / "source")), folder, FP16)
    assert manifest.default_variant == "fp32"
    assert manifest.parity is not None
    figures = manifest.parity.fp16
    assert figures is not None
    assert 0 < figures.max_difference <= figures.tolerance == FP16_TOLERANCE
    assert figures.agreement > 0.97
    graph = onnx.load(folder / manifest.variants["fp16"])
    assert {each.type.tensor_type.elem_type for each in graph.graph.output} == {TensorProto.FLOAT}
    kinds = [each.data_type for each in graph.graph.initializer if len(each.dims) == 2]
    assert TensorProto.FLOAT16 in kinds
    with load_reranker(folder) as exact, CrossEncoder(folder, variant="fp16", padded=True) as padded:
        assert exact.score(QUERY, MIXED).values.dtype == np.float32
        natural = np.abs(exact.score(QUERY, MIXED).values - padded.score(QUERY, MIXED).values)
    assert 0 < natural.max() < FP16_TOLERANCE


QUERY = PARITY_QUERIES[0]
MIXED = [text[: 5 + 17 * number] for number, text in enumerate([*PARITY_PASSAGES, *PARITY_PASSAGES])]
"""Texts of many lengths: hardly two pairs have the same number of tokens."""


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_numbers_that_fp16_cannot_hold_stay_fp32(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415

    source = tiny_torch.bert(tmp_path / "source")
    model = AutoModelForSequenceClassification.from_pretrained(source)
    with torch.no_grad():  # one neuron says 1e6 between two layers, as neurons of large models do
        inner = model.bert.encoder.layer[0].intermediate.dense
        inner.bias[0] = 1e6
        model.bert.encoder.layer[0].output.dense.weight[:, 0] *= 1e-6
    model.save_pretrained(source)
    manifest = export_model(str(source), tmp_path / "out", FP16)
    assert manifest.parity is not None
    assert manifest.parity.fp16 is not None
    assert manifest.parity.fp16.kept_fp32 > 0


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_changes_scores_too_much_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("es_rerank.export.parity.FP16_TOLERANCE", 1e-6)
    with pytest.raises(ParityError, match=r"fp16 graph of out differs from torch by .* without --fp16"):
        export_model(str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out", FP16)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (tiny_torch.t5, ExportOptions(kind="monot5", fp16=True), "too large for fp16"),
        (tiny_torch.qwen3, ExportOptions(kind="decoder", fp16=True), "no mask to pad with"),
        (tiny_torch.bi_encoder, ExportOptions(kind="bi-encoder", fp16=True), "--plain --no-int8"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_models_without_an_fp16_graph_say_why(
    tmp_path: Path, model: Callable[[Path], Path], options: ExportOptions, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        export_model(str(model(tmp_path / "source")), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()

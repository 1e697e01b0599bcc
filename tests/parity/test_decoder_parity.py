"""Decoders beside their reference: instructions, models of sentence-transformers, and how weights lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_torch
import torch
from references import DECODER_WINDOW, mxbai_logits, qwen3_logits
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from table import DECODER, TOLERANCE

from es_rerank.errors import ModelFolderError, ParityError, SettingsError
from es_rerank.export import ExportOptions, decoder, export_model
from es_rerank.models.catalog import family_named
from es_rerank.models.local.decoder import Decoder
from es_rerank.models.parity_pairs import PARITY_PASSAGES, PARITY_QUERIES
from es_rerank.types import FloatArray

FP32 = replace(DECODER, int8=False)
FEW_TEXTS = (PARITY_QUERIES[0], PARITY_PASSAGES[:3])
FEW = [(PARITY_QUERIES[0], passage) for passage in PARITY_PASSAGES[:3]]
ASKED = "{{ (messages | selectattr('role', 'eq', 'ROLE') | first).content }}"
"""The place of a query or a document in a chat template of sentence-transformers."""


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are compared on three pairs, where a test is about something else."""
    monkeypatch.setattr("es_rerank.export.folder.PARITY_PAIRS", FEW)
    monkeypatch.setattr("es_rerank.export.folder.PARITY_QUERIES", PARITY_QUERIES[:1])
    monkeypatch.setattr("es_rerank.export.folder.PARITY_PASSAGES", PARITY_PASSAGES[:3])


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (lambda folder: tiny_torch.qwen3(folder, dtype=torch.bfloat16), qwen3_logits),
        (lambda folder: tiny_torch.qwen2(folder, num_key_value_heads=1), mxbai_logits),
    ],
)
@pytest.mark.usefixtures("few_pairs")
def test_an_instruction_is_read_as_the_reference_reads_it(
    make: Callable[[Path], Path],
    reference: Callable[[Path, str, Sequence[tuple[str, str]]], FloatArray],
    tmp_path: Path,
) -> None:
    source = make(tmp_path / "source")
    export_model(str(source), tmp_path / "out", replace(FP32, instruction="find laws"))
    for asked in ("find laws", "find wares"):
        with Decoder(tmp_path / "out", instruction=asked) as model:
            difference = model.score(*FEW_TEXTS).values - reference(source, asked, FEW)
        assert np.abs(difference).max() <= TOLERANCE


def saved(folder: Path, instruction: str) -> Path:
    """A decoder as sentence-transformers saves it: a chat template, and the tokens that score."""
    inner = tiny_torch.qwen3(folder / "inner")
    contract = family_named("qwen3-reranker").asks
    assert contract is not None
    template = "".join(contract.prompt).replace("{instruction}", instruction)
    for role in ("query", "document"):
        template = template.replace(f"{{{role}}}", ASKED.replace("ROLE", role))
    # A newline at the very end of a template would be lost.
    (inner / "chat_template.jinja").write_text(template + "{{ '' }}", encoding="utf-8")
    CrossEncoder(str(inner), device="cpu", max_length=DECODER_WINDOW).save_pretrained(str(folder / "whole"))
    return folder / "whole"


@pytest.mark.usefixtures("few_pairs")
def test_a_model_that_states_its_scoring_agrees_with_sentence_transformers(tmp_path: Path) -> None:
    """It needs no --kind. A template that reads otherwise than the family's prompt is noticed."""
    contract = family_named("qwen3-reranker").asks
    assert contract is not None
    own, other = saved(tmp_path / "own", contract.instruction), saved(tmp_path / "other", "find wares")
    stated = ExportOptions(max_length=DECODER_WINDOW, int8=False)
    assert export_model(str(own), tmp_path / "out", stated).kind == "decoder"
    with pytest.raises(ParityError, match="differs from torch"):
        export_model(str(other), tmp_path / "no", stated)
    export_model(str(other), tmp_path / "told", replace(stated, instruction="find wares"))
    with pytest.raises(SettingsError, match=r"scores by the token ids .* name the tokens with --false-token"):
        export_model(str(own), tmp_path / "no", replace(stated, true_token="the"))
    assert not (tmp_path / "no").exists()


@pytest.mark.usefixtures("few_pairs")
def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_torch.qwen3(tmp_path / "source")
    export_model(str(source), tmp_path / "inside", FP32)
    monkeypatch.setattr(decoder, "_MOST_INSIDE", 0)
    manifest = export_model(str(source), tmp_path / "beside", FP32)
    assert manifest.files["model.onnx_data"].bytes > manifest.files["model.onnx"].bytes
    with Decoder(tmp_path / "inside") as inside, Decoder(tmp_path / "beside") as beside:
        logits = [model.score(*FEW_TEXTS).values.tolist() for model in (inside, beside)]
    assert logits[0] == logits[1]


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    source = tiny_torch.qwen3(tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=r"lacks 1 weights, such as model\.layers\.1\.mlp\.up_proj"):
        export_model(str(source), tmp_path / "out", FP32)
    assert not (tmp_path / "out").exists()


def test_a_decoder_keeps_no_mask(tmp_path: Path) -> None:
    source = tiny_torch.qwen3(tmp_path / "source")
    with pytest.raises(SettingsError, match="no mask to keep; leave out --plain"):
        export_model(str(source), tmp_path / "out", replace(FP32, plain=True))

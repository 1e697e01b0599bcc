"""Cross-encoders whose head is modules of sentence-transformers, as the Ettin rerankers are;
and what has no head, which is refused.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_torch
import torch
from references import sentence_transformers_logits
from sentence_transformers import CrossEncoder as TheirCrossEncoder

from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.export import ExportOptions, export_model, graph
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.parity_pairs import PARITY_PASSAGES, PARITY_QUERIES

TOLERANCE = 1e-4
WITHOUT_INT8 = ExportOptions(int8=False)

MODELS: dict[str, Callable[[Path], Path]] = {
    "modernbert, cls (ettin)": tiny_torch.modular,
    "modernbert, mean, two labels": lambda folder: tiny_torch.modular(folder, labels=2, pooling="mean"),
    "bert, with segments": lambda folder: tiny_torch.modular(folder, backbone=tiny_torch.bert),
}


def change(folder: Path, file: str, **changes: Any) -> Path:
    """Replace keys of a JSON file; None takes one out."""
    content = json.loads((folder / file).read_text(encoding="utf-8")) | changes
    (folder / file).write_text(
        json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8"
    )
    return folder


def with_modules(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    path = folder / "modules.json"
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_all_modules_are_one_graph_that_scores_as_sentence_transformers_does(
    name: str, tmp_path: Path
) -> None:
    source = MODELS[name](tmp_path / "source")
    manifest = export_model(str(source), tmp_path / "out", WITHOUT_INT8)
    theirs = sentence_transformers_logits(source)
    with CrossEncoder(tmp_path / "out") as model:
        ours = np.concatenate([model.score(query, PARITY_PASSAGES).values for query in PARITY_QUERIES])
    assert theirs.std() > 0.05  # else anything would agree
    assert np.abs(ours - theirs).max() <= TOLERANCE
    assert manifest.kind == "cross-encoder"
    assert [node.name for node in onnx.load(tmp_path / "out" / "model.onnx").graph.output] == ["logits"]


def test_the_contract_is_that_of_the_encoder_and_of_the_last_module(tmp_path: Path) -> None:
    manifest = export_model(
        str(tiny_torch.modular(tmp_path / "source", labels=2)), tmp_path / "out", WITHOUT_INT8
    )
    assert (manifest.architecture, manifest.family, manifest.max_length) == (
        "ModernBertModel",
        "modernbert",
        tiny_torch.WINDOW,
    )
    assert manifest.cross_encoder is not None
    assert manifest.cross_encoder.labels == 2


def test_rows_and_tokens_are_of_any_number_and_padding_is_not_read(tmp_path: Path) -> None:
    plain = ExportOptions(int8=False, plain=True)
    export_model(str(tiny_torch.modular(tmp_path / "source", pooling="mean")), tmp_path / "out", plain)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    rows = [np.arange(5, 5 + length, dtype=np.int64) for length in (1, 7, 90)]
    ids, mask = (np.zeros((3, 90), dtype=np.int64) for _ in range(2))
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    (together,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    alone = [
        session.run(None, {"input_ids": row[None], "attention_mask": np.ones_like(row[None])})[0][0]
        for row in rows
    ]
    assert together.shape == (3, 1)
    assert np.abs(together - np.stack(alone)).max() <= TOLERANCE


def test_int8_keeps_the_order(tmp_path: Path) -> None:
    manifest = export_model(str(tiny_torch.modular(tmp_path / "source")), tmp_path / "out")
    assert manifest.parity is not None
    assert manifest.parity.int8 is not None
    assert manifest.parity.int8.agreement >= 0.9


def test_a_plain_cross_encoder_that_sentence_transformers_saved_is_one(tmp_path: Path) -> None:
    TheirCrossEncoder(str(tiny_torch.bert(tmp_path / "plain")), device="cpu").save_pretrained(
        str(tmp_path / "saved")
    )
    assert (tmp_path / "saved" / "modules.json").is_file()
    manifest = export_model(str(tmp_path / "saved"), tmp_path / "out", WITHOUT_INT8)
    assert (manifest.kind, manifest.architecture) == ("cross-encoder", "BertForSequenceClassification")


def test_a_bi_encoder_is_told_from_a_cross_encoder_by_what_the_files_say(tmp_path: Path) -> None:
    bi = tiny_torch.bi_encoder(tmp_path / "bi")
    assert export_model(str(bi), tmp_path / "stated", WITHOUT_INT8).kind == "bi-encoder"
    change(bi, "config_sentence_transformers.json", model_type=None)  # as before sentence-transformers 5
    assert export_model(str(bi), tmp_path / "old", WITHOUT_INT8).kind == "bi-encoder"
    cross = change(
        tiny_torch.modular(tmp_path / "cross"), "config_sentence_transformers.json", model_type=None
    )
    with pytest.raises(SettingsError, match="name it with --kind"):
        export_model(str(cross), tmp_path / "out", WITHOUT_INT8)
    with pytest.raises(ModelFolderError, match="would put a random head behind the encoder"):
        export_model(str(cross), tmp_path / "out", ExportOptions(kind="cross-encoder", int8=False))


def test_what_has_no_head_is_refused(tmp_path: Path) -> None:
    cross = ExportOptions(kind="cross-encoder", family="bert", int8=False)
    bi = tiny_torch.bi_encoder(tmp_path / "bi")
    for bare in (bi, tmp_path / "bi" / "inner"):
        with pytest.raises(ModelFolderError, match="has no head that scores a pair"):
            export_model(str(bare), tmp_path / "out", cross)
    cut = with_modules(tiny_torch.modular(tmp_path / "modular"), lambda modules: modules[:-1])
    with pytest.raises(ModelFolderError, match="LayerNorm, gives no scores"):
        export_model(str(cut), tmp_path / "out", WITHOUT_INT8)
    assert not (tmp_path / "out").exists()


def test_a_graph_that_ends_in_hidden_states_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap of the ONNX files beside the Ettin rerankers: they hold the encoder, load,
    and give back the order they were given.
    """

    def headless(self: Any, *tensors: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._model[0](dict(zip(self._inputs, tensors, strict=True)))[
            "token_embeddings"
        ]
        return hidden

    monkeypatch.setattr(graph.Modules, "forward", headless)
    with pytest.raises(ModelFolderError, match="exported without its head"):
        export_model(str(tiny_torch.modular(tmp_path / "source")), tmp_path / "out", WITHOUT_INT8)
    assert not (tmp_path / "out").exists()


def test_modules_that_are_not_known_here_are_refused(tmp_path: Path) -> None:
    source = tiny_torch.modular(tmp_path / "source")
    lstm = {"type": "sentence_transformers.sentence_transformer.modules.lstm.LSTM", "path": "2_LSTM"}
    with_modules(source, lambda modules: [*modules[:2], lstm, *modules[2:]])
    with pytest.raises(ModelFolderError, match="the modules LSTM, which are not exported here"):
        export_model(str(source), tmp_path / "out", WITHOUT_INT8)


def test_a_decoder_is_no_other_kind_whatever_is_said(tmp_path: Path) -> None:
    scored = with_modules(
        tiny_torch.modular(tmp_path / "modular"),
        lambda modules: [
            modules[0],
            {"type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"},
        ],
    )
    causal = change(tiny_torch.bert(tmp_path / "bert"), "config.json", architectures=["Qwen2ForCausalLM"])
    for source in (scored, causal):
        with pytest.raises(
            ModelFolderError, match=r"scores by its next token .* export it with --kind decoder"
        ):
            export_model(str(source), tmp_path / "out", ExportOptions(kind="cross-encoder", family="bert"))
    with pytest.raises(
        ModelFolderError, match="ModernBertModel, and a decoder that can be exported is one of"
    ):
        export_model(str(scored), tmp_path / "out", WITHOUT_INT8)
    with pytest.raises(SettingsError, match="do not say whether it was trained to rerank"):
        export_model(str(causal), tmp_path / "out", WITHOUT_INT8)


def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    """jina-reranker-v2 and gte-multilingual-reranker say so in their configuration."""
    remote = {"AutoModelForSequenceClassification": "modeling.NewForSequenceClassification"}
    source = change(
        tiny_torch.bert(tmp_path / "source"),
        "config.json",
        architectures=["NewForSequenceClassification"],
        auto_map=remote,
    )
    for options in (WITHOUT_INT8, ExportOptions(kind="cross-encoder", family="xlm-roberta")):
        with pytest.raises(
            ModelFolderError,
            match=(
                r"program code of its own "
                r"\(auto_map in config.json, architecture NewForSequenceClassification\)"
            ),
        ):
            export_model(str(source), tmp_path / "out", options)
    change(
        source, "config.json", architectures=["BertForSequenceClassification"]
    )  # transformers knows it, the code is not needed
    assert export_model(str(source), tmp_path / "out", WITHOUT_INT8).family == "bert"


def test_another_archetype_of_sentence_transformers_is_refused(tmp_path: Path) -> None:
    sparse = change(
        tiny_torch.bi_encoder(tmp_path / "bi"),
        "config_sentence_transformers.json",
        model_type="SparseEncoder",
    )
    with pytest.raises(ModelFolderError, match="is a SparseEncoder of sentence-transformers"):
        export_model(str(sparse), tmp_path / "out", WITHOUT_INT8)

"""Our monoT5 beside the forward pass of transformers, called as pygaggle calls it: same logits and
log-probabilities within 1e-4.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_torch
import torch
from references import FALSE, TRUE, formatted, pygaggle
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.export import ExportOptions, export_model, graph
from es_rerank.models.local.monot5 import MonoT5
from es_rerank.models.manifest import Manifest, read_manifest
from es_rerank.models.parity_pairs import PARITY_PAIRS
from es_rerank.types import FloatArray

TOLERANCE = 1e-4
LONG = "bread rises for an hour and is baked {document} in a hot oven " * 10
"""Several times the window of the tiny models."""

EXTRA: tuple[tuple[str, str], ...] = (
    ("{query} {document} {0} {", "who signed the treaty"),
    ("a {document} b", ""),
    ("tides", LONG),
    ("", LONG),
)
"""What the fixed pairs lack: braces, and a long document behind a short query."""

MODELS: dict[str, Callable[[Path], Path]] = {
    "t5 1.0, head tied to the embedding": tiny_torch.t5,
    "t5 1.1, gated-gelu, head of its own": lambda folder: tiny_torch.t5(folder, tied=False, gated=True),
    "mt5": tiny_torch.mt5,
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a T5 1.0, ``source``, and its export with nothing but the kind named, ``out``."""
    folder = tmp_path_factory.mktemp("usual")
    export_model(str(tiny_torch.t5(folder / "source")), folder / "out", monot5())
    return folder


def monot5(**changes: Any) -> ExportOptions:
    return replace(ExportOptions(kind="monot5", int8=False), **changes)


def ours(folder: Path, pairs: Sequence[tuple[str, str]]) -> tuple[FloatArray, list[bool]]:
    """Our logits, (n_pairs,), and whether each was cut."""
    with MonoT5(folder) as model:
        scores = [model.score(query, [document]) for query, document in pairs]
    return np.concatenate([score.values for score in scores]), [bool(score.truncated[0]) for score in scores]


def log_probability(logits: FloatArray) -> FloatArray:
    """log P(true) among the two tokens: the logarithm of the logistic."""
    return np.asarray(-np.logaddexp(0, -logits.astype(np.float64)), dtype=np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_it_scores_as_pygaggle_does(name: str, tmp_path: Path) -> None:
    source = MODELS[name](tmp_path / "source")
    manifest = export_model(str(source), tmp_path / "out", monot5(truncation="prompt"))
    pairs = [*PARITY_PAIRS, *EXTRA]
    logits, log_probabilities = pygaggle(source, formatted(pairs))
    values, truncated = ours(tmp_path / "out", pairs)
    assert logits.std() > 0.05  # else anything would agree
    assert np.abs(values - logits).max() <= TOLERANCE
    assert np.abs(log_probability(values) - log_probabilities).max() <= TOLERANCE
    assert {True, False} == set(truncated)
    assert manifest.parity is not None
    assert manifest.parity.fp32_max_difference <= TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_by_default_the_tail_survives_and_the_rest_is_the_same(name: str, tmp_path: Path) -> None:
    source = MODELS[name](tmp_path / "source")
    export_model(str(source), tmp_path / "out", monot5())
    pairs = [pair for pair in (*PARITY_PAIRS, *EXTRA) if len(pair[0]) < tiny_torch.WINDOW // 2]
    cut = [document_cut_from_its_end(source, *pair) for pair in pairs]
    logits, _ = pygaggle(source, cut)
    values, truncated = ours(tmp_path / "out", pairs)
    assert np.abs(values - logits).max() <= TOLERANCE
    as_pygaggle, _ = pygaggle(source, formatted(pairs))
    agrees = np.abs(values - as_pygaggle) <= TOLERANCE
    assert agrees[~np.asarray(truncated)].all()
    assert not agrees[truncated].any()


def document_cut_from_its_end(folder: Path, query: str, document: str) -> list[int]:
    """The ids of a prompt, of which tokens of the document are taken out one by one from its end until it
    fits.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (prompt,) = formatted([(query, document)])
    encoded = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
    kept, (starts, ends) = list(encoded["input_ids"]), zip(*encoded["offset_mapping"], strict=True)
    begin = len(f"Query: {query} Document:")
    inside = [
        place
        for place, (start, end) in enumerate(zip(starts, ends, strict=True))
        if begin <= start < end <= begin + 1 + len(document)
    ]
    while len(kept) > tiny_torch.WINDOW:
        del kept[inside.pop()]
    return kept


def test_the_manifest_says_how_it_answers(usual: Path) -> None:
    manifest = read_manifest(usual / "out")
    assert (manifest.kind, manifest.family, manifest.architecture, manifest.max_length) == (
        "monot5",
        "monot5",
        "T5ForConditionalGeneration",
        tiny_torch.WINDOW,
    )
    assert manifest.monot5 is not None
    assert (manifest.monot5.false_token, manifest.monot5.true_token, manifest.monot5.truncation) == (
        FALSE,
        TRUE,
        "document",
    )


def test_the_graph_is_one_step_and_two_rows(usual: Path) -> None:
    made = onnx.load(usual / "out" / "model.onnx").graph
    assert [node.name for node in made.input] == ["input_ids", "attention_mask"]
    assert [node.name for node in made.output] == ["logits"]
    rows = AutoModelForSeq2SeqLM.from_pretrained(usual / "source").config.vocab_size
    assert [list(weights.dims) for weights in made.initializer if rows in weights.dims] == [
        [rows, 32]
    ]  # the embedding, once, and no head
    assert not [node for node in made.node if node.op_type in {"If", "Loop"}]


def test_rows_and_tokens_are_of_any_number_and_padding_is_not_read(usual: Path) -> None:
    session = onnxruntime.InferenceSession(usual / "out" / "model.onnx")
    rows = [np.arange(3, 3 + length, dtype=np.int64) for length in (1, 5, 90)]
    ids, mask = (np.zeros((3, 90), dtype=np.int64) for _ in range(2))
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    (together,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    alone = [
        session.run(None, {"input_ids": row[None], "attention_mask": np.ones_like(row[None])})[0][0]
        for row in rows
    ]
    assert together.shape == (3, 2)
    assert np.abs(together - np.stack(alone)).max() <= TOLERANCE


def test_a_window_over_512_is_taken_where_it_is_asked_for(usual: Path, tmp_path: Path) -> None:
    source = usual / "source"
    assert export_model(str(source), tmp_path / "out", monot5(max_length=700)).max_length == 700
    values, truncated = ours(tmp_path / "out", [("tides", LONG)])
    assert truncated == [False]
    assert (
        abs(
            values[0]
            - pygaggle(
                source,
                [
                    AutoTokenizer.from_pretrained(source)(*formatted([("tides", LONG)]), verbose=False)[
                        "input_ids"
                    ]
                ],
            )[0][0]
        )
        <= TOLERANCE
    )


def test_int8_keeps_the_order_and_leaves_the_head_in_fp32(tmp_path: Path) -> None:
    manifest = export_model(
        str(MODELS["t5 1.1, gated-gelu, head of its own"](tmp_path / "source")),
        tmp_path / "out",
        monot5(int8=True),
    )
    assert manifest.parity is not None
    assert manifest.parity.int8 is not None
    assert manifest.parity.int8.agreement >= 0.9
    assert manifest.quantisation is not None
    assert manifest.quantisation.kept_fp32 == ("head",)
    made = onnx.load(tmp_path / "out" / "model_int8.onnx").graph
    constants = {weights.name for weights in made.initializer}
    whole = [node.name for node in made.node if node.op_type == "MatMul" and constants & set(node.input)]
    assert [name.split("/")[-2] for name in whole] == ["lm_head"]
    assert {"q", "k", "v", "o", "wi_0", "wi_1", "wo"} == {
        node.name.split("/")[-2] for node in made.node if node.op_type == "MatMulInteger"
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (monot5(family="ptt5"), "no token ▁não, .*one of monot5 .*monoptt5 .*--false-token and --true-token"),
        (monot5(true_token="▁wahr"), "no token ▁wahr"),
        (
            monot5(family="bert"),
            (
                "the family bert does not fit a monot5; "
                "choose one of monot5, monot5-yes-no, ptt5, monoptt5, monot5-blank-true"
            ),
        ),
        (
            ExportOptions(),
            "name it with --kind cross-encoder, --kind monot5, --kind decoder or --kind bi-encoder",
        ),
    ],
)
def test_what_a_t5_answers_with_is_named_and_known(
    usual: Path, tmp_path: Path, options: ExportOptions, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        export_model(str(usual / "source"), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (monot5(family="monot5-yes-no"), ("▁no", "▁yes")),
        (monot5(family="monot5-blank-true"), ("▁", "▁true")),
        (monot5(false_token="▁no", true_token="▁the"), ("▁no", "▁the")),
    ],
)
def test_other_tokens_are_other_rows(
    usual: Path, tmp_path: Path, options: ExportOptions, tokens: tuple[str, str]
) -> None:
    manifest = export_model(str(usual / "source"), tmp_path / "out", options)
    assert manifest.monot5 is not None
    assert (manifest.monot5.false_token, manifest.monot5.true_token) == tokens
    assert (
        np.abs(ours(tmp_path / "out", PARITY_PAIRS[:3])[0] - ours(usual / "out", PARITY_PAIRS[:3])[0]).max()
        > TOLERANCE
    )


def test_other_architectures_and_kinds_are_refused(tmp_path: Path) -> None:
    t5, bert = tiny_torch.t5(tmp_path / "t5"), tiny_torch.bert(tmp_path / "bert")
    with pytest.raises(
        ModelFolderError,
        match=r"is a BertForSequenceClassification, and a monot5 is one of T5ForConditionalGeneration",
    ):
        export_model(str(bert), tmp_path / "out", monot5())
    with pytest.raises(
        ModelFolderError,
        match=r"is a T5ForConditionalGeneration and has no head that scores a pair.*--kind monot5",
    ):
        export_model(str(t5), tmp_path / "out", ExportOptions(kind="cross-encoder"))
    with pytest.raises(SettingsError, match="the family monot5 does not fit a cross-encoder"):
        export_model(str(bert), tmp_path / "out", ExportOptions(family="monot5"))
    with pytest.raises(SettingsError, match="--truncation fit only a monot5"):
        export_model(str(bert), tmp_path / "out", ExportOptions(truncation="prompt"))


def test_a_t5_that_does_not_say_where_decoding_starts_is_refused(tmp_path: Path) -> None:
    path = tiny_torch.t5(tmp_path / "source") / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["decoder_start_token_id"]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelFolderError, match="states no decoder_start_token_id"):
        export_model(str(path.parent), tmp_path / "out", monot5())


def test_a_graph_without_its_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def headless(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        first: torch.Tensor = self._model.get_encoder()(
            input_ids, attention_mask=attention_mask
        ).last_hidden_state[:, 0]
        return first

    monkeypatch.setattr(graph.OneDecoderStep, "forward", headless)
    with pytest.raises(
        ModelFolderError, match=r"gives an output of shape \(1, 32\) for one pair and not one or two logits"
    ):
        export_model(str(tiny_torch.t5(tmp_path / "source")), tmp_path / "out", monot5())
    assert not (tmp_path / "out").exists()


def test_the_command_takes_what_a_monot5_needs(tmp_path: Path) -> None:
    command = [
        "export",
        str(tiny_torch.t5(tmp_path / "source")),
        str(tmp_path / "out"),
        "--kind",
        "monot5",
        "--truncation",
        "prompt",
    ]
    done = CliRunner().invoke(
        app,
        [*command, "--false-token", "▁no", "--true-token", "▁yes", "--no-int8", "--json"],
        catch_exceptions=False,
    )
    manifest = Manifest.model_validate(json.loads(done.stdout))
    assert manifest.monot5 is not None
    assert (manifest.monot5.false_token, manifest.monot5.true_token, manifest.monot5.truncation) == (
        "▁no",
        "▁yes",
        "prompt",
    )

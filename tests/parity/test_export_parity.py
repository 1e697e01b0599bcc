"""Our export beside its reference on the same random model: same logits within 1e-4, same order.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_torch
from references import sentence_transformers_logits
from sentence_transformers import SentenceTransformer
from table import CASES, TOLERANCE, Case, compared, exported
from tiny_models import tiny_cross_encoder

from es_rerank.errors import ModelFolderError, ParityError, SettingsError, SourceError
from es_rerank.export import ExportOptions, export_model, graph
from es_rerank.models.contracts import BlendRecord, CalibrationRecord
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.manifest import MANIFEST, read_manifest
from es_rerank.models.parity_pairs import PARITY_PASSAGES, PARITY_QUERIES
from es_rerank.models.placing import put_in_place

pytestmark = pytest.mark.filterwarnings(
    r"ignore:`torch\.jit\..*` is deprecated"
)  # raised by transformers' DeBERTa

WITHOUT_INT8 = ExportOptions(int8=False)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every case is exported once for all tests."""
    return tmp_path_factory.getbasetemp() / "cases"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_reranker_scores_as_its_reference_does(case: Case, root: Path) -> None:
    both, manifest = compared(case, root), read_manifest(exported(case, root).folder)
    assert both.theirs.std() > 0.05  # else anything would agree
    assert both.difference <= TOLERANCE
    assert both.same_order == len(PARITY_QUERIES)
    assert manifest.parity is not None
    assert manifest.parity.fp32_max_difference <= TOLERANCE
    assert (manifest.family, manifest.max_length) == (
        case.family,
        case.options.max_length or tiny_torch.WINDOW,
    )
    # Attention with relative positions stays as it is. A head that reads the first token: its last layer is
    # computed for it alone. monoT5 has no such head. The graph of a decoder is written as it is to be.
    answers = manifest.kind in {"monot5", "decoder"}
    attention = () if answers or manifest.family == "deberta-v2" else ("attention",)
    first = () if answers else ("first_row",)
    assert manifest.passes == attention + first
    assert manifest.quantisation is None or (
        ("dynamic activations" in manifest.quantisation.scheme) == answers
    )


def test_the_contract_is_read_from_the_source(tmp_path: Path) -> None:
    two = export_model(str(tiny_torch.bert(tmp_path / "source", labels=2)), tmp_path / "out", WITHOUT_INT8)
    assert two.cross_encoder is not None
    assert (two.kind, two.family, two.architecture, two.cross_encoder.labels) == (
        "cross-encoder",
        "bert",
        "BertForSequenceClassification",
        2,
    )
    assert (two.source, two.name, list(two.variants)) == ("source", "out", ["fp32"])


def test_the_bge_family_cuts_otherwise_than_sentence_transformers(root: Path) -> None:
    bge = next(case for case in CASES if case.family == "bge")
    assert (
        np.abs(compared(bge, root).ours - sentence_transformers_logits(exported(bge, root).source)).max()
        > TOLERANCE
    )


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_bi_encoder_embeds_as_sentence_transformers_does(pooling: str, tmp_path: Path) -> None:
    source = tiny_torch.bi_encoder(tmp_path / "source", pooling)
    manifest = export_model(str(source), tmp_path / "out", WITHOUT_INT8)
    theirs = np.asarray(
        SentenceTransformer(str(source), device="cpu").encode(
            [*PARITY_QUERIES, *PARITY_PASSAGES], batch_size=1
        )
    )
    with BiEncoder(tmp_path / "out") as model:
        ours = model.embed([*PARITY_QUERIES, *PARITY_PASSAGES])
    assert np.abs(ours - theirs).max() <= TOLERANCE
    assert manifest.bi_encoder is not None
    assert (manifest.kind, manifest.max_length, manifest.bi_encoder.pooling, manifest.bi_encoder.dims) == (
        "bi-encoder",
        64,
        pooling,
        32,
    )


@pytest.mark.parametrize("plain", [False, True])
def test_a_plain_graph_keeps_its_mask_for_runtimes_that_pad(tmp_path: Path, plain: bool) -> None:
    options = ExportOptions(plain=plain, int8=False)
    export_model(str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out", options)
    made = onnx.load(tmp_path / "out" / "model.onnx").graph
    assert ("attention_mask" in {each.name for each in made.input}) == plain
    assert any(node.op_type == "MultiHeadAttention" for node in made.node) != plain


def test_int8_is_recorded_and_becomes_the_default(tmp_path: Path) -> None:
    manifest = export_model(str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out")
    assert manifest.default_variant == "int8"
    assert set(manifest.variants) == {"fp32", "int8"}
    assert manifest.parity is not None
    assert manifest.parity.int8 is not None
    assert manifest.parity.int8.agreement >= 0.9
    assert 0 < manifest.parity.int8.mean_difference <= manifest.parity.int8.max_difference


def test_int8_is_fitted_to_the_texts_that_are_given(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(
            json.dumps({"query": query, "passages": list(PARITY_PASSAGES[:3])}) + "\n"
            for query in PARITY_QUERIES
        ),
        encoding="utf-8",
    )
    source = tiny_torch.bert(tmp_path / "source")
    manifest = export_model(
        str(source), tmp_path / "out", ExportOptions(int8_texts=texts, int8_range="reduced")
    )
    plain = export_model(str(source), tmp_path / "plain", ExportOptions(int8_range="reduced"))
    assert [each.quantisation and each.quantisation.fitted for each in (manifest, plain)] == [True, False]
    assert manifest.files["model_int8.onnx"].sha256 != plain.files["model_int8.onnx"].sha256
    embedder = export_model(
        str(tiny_torch.bi_encoder(tmp_path / "embedder")),
        tmp_path / "vectors",
        ExportOptions(int8_texts=texts),
    )
    assert embedder.quantisation is not None
    assert embedder.quantisation.fitted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plain": True}, "leave it out with --plain"),
        ({"int8": False}, "--no-int8"),
        ({"kind": "monot5"}, "leave out --int8-texts"),
    ],
)
def test_texts_that_nothing_would_be_fitted_to_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"query": "tides", "passages": ["The moon pulls."]}\n', encoding="utf-8")
    source = (tiny_torch.t5 if "kind" in options else tiny_torch.bert)(tmp_path / "source")
    with pytest.raises(SettingsError, match=message):
        export_model(str(source), tmp_path / "out", ExportOptions(int8_texts=texts, **options))
    assert not (tmp_path / "out").exists()


def test_a_calibration_is_taken_from_a_model_of_the_same_weights(tmp_path: Path) -> None:
    coefficients = CalibrationRecord(
        blends={"dense": BlendRecord(logit=0.5, first_stage=0.25, intercept=-1.0)}
    )
    calibrated = ExportOptions(
        int8=False, calibration=str(tiny_cross_encoder(tmp_path / "calibrated", calibration=coefficients))
    )
    assert (
        export_model(str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out", calibrated).calibration
        == coefficients
    )
    without = ExportOptions(calibration=str(tiny_cross_encoder(tmp_path / "plain")))
    with pytest.raises(SettingsError, match="has no calibration"):
        export_model(str(tmp_path / "source"), tmp_path / "other", without)
    with pytest.raises(SettingsError, match="nothing to calibrate"):
        export_model(str(tiny_torch.bi_encoder(tmp_path / "vectors")), tmp_path / "other", calibrated)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        '{"query": "a", "passages": []}',
        '{"query": "a", "passages": "b"}',
        '{"query": 1, "passages": ["b"]}',
        "a\tb",
    ],
)
def test_texts_of_another_form_are_refused(tmp_path: Path, line: str) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"passages|not JSON"):
        export_model("nowhere", tmp_path / "out", ExportOptions(int8_texts=texts))


def test_only_int8_drops_the_checked_fp32_graph(tmp_path: Path) -> None:
    manifest = export_model(
        str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out", ExportOptions(fp32=False)
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "model_int8.onnx",
        "tokenizer.json",
    ]
    assert manifest.parity is not None
    assert manifest.parity.fp32_max_difference <= TOLERANCE


def test_nothing_is_kept_over_the_tolerance(tmp_path: Path) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    with pytest.raises(ParityError, match="differs from torch by"):
        export_model(str(source), tmp_path / "out", ExportOptions(int8=False, tolerance=0))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_int8_graph_that_disagrees_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    monkeypatch.setattr("es_rerank.export.parity.LEAST_AGREEMENT", 1.01)
    with pytest.raises(ParityError, match="--no-int8"):
        export_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_without_its_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    monkeypatch.setitem(graph.TASKS, "cross-encoder", "feature-extraction")
    with pytest.raises(ModelFolderError, match="exported without its head"):
        export_model(str(source), tmp_path / "out", WITHOUT_INT8)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone_without_force(tmp_path: Path) -> None:
    source, out = tiny_torch.bert(tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="--force"):
        export_model(str(source), out, WITHOUT_INT8)
    assert (out / "precious").exists()
    export_model(str(source), out, ExportOptions(int8=False, force=True))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model.onnx", "tokenizer.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertModel"]}, "name it with --kind"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "name it with --kind"),
        ({"architectures": ["FooForSequenceClassification"]}, "name the family that it follows"),
    ],
)
def test_what_the_files_leave_open_has_to_be_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    config = json.loads((source / "config.json").read_text(encoding="utf-8")) | change
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        export_model(str(source), tmp_path / "out", WITHOUT_INT8)


def test_a_window_over_the_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at most 128"):
        export_model(
            str(tiny_torch.bert(tmp_path / "source")), tmp_path / "out", ExportOptions(max_length=129)
        )


def test_a_source_without_weights_or_tokenizer_is_refused(tmp_path: Path) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    (source / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="source"):
        export_model(str(source), tmp_path / "out", WITHOUT_INT8)
    with pytest.raises(ModelFolderError, match=r"has no config\.json"):
        export_model(str(tmp_path), tmp_path / "out", WITHOUT_INT8)
    assert not (tmp_path / "out").exists()


def test_a_bi_encoder_that_we_could_not_reproduce_is_refused(tmp_path: Path) -> None:
    source = tiny_torch.bi_encoder(tmp_path / "source")
    dense, dot = (shutil.copytree(source, tmp_path / name) for name in ("dense", "dot"))
    modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
    (dense / "modules.json").write_text(
        json.dumps([*modules, {"type": "sentence_transformers.models.Dense"}]), encoding="utf-8"
    )
    with pytest.raises(ModelFolderError, match="the modules Dense"):
        export_model(str(dense), tmp_path / "out", WITHOUT_INT8)
    (dot / "modules.json").write_text(json.dumps(modules[:2]), encoding="utf-8")
    settings = json.loads((source / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    (dot / "config_sentence_transformers.json").write_text(
        json.dumps(settings | {"similarity_fn_name": "dot"}), encoding="utf-8"
    )
    with pytest.raises(ModelFolderError, match="dot product"):
        export_model(str(dot), tmp_path / "out", WITHOUT_INT8)


def test_the_command_prints_the_manifest_and_nothing_else(tmp_path: Path) -> None:
    source = tiny_torch.bert(tmp_path / "source")
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "export",
        str(source),
        str(tmp_path / "out"),
        "--no-int8",
        "--licence",
        "MIT",
        "--json",
    ]
    done = subprocess.run(
        command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(
        (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    )
    assert json.loads(done.stdout)["licence"] == "MIT"
    assert "comparing with torch" in done.stderr


def test_whoever_may_read_the_manifest_may_read_the_weights(tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    for name in (MANIFEST, "model.onnx_data"):
        (made / name).touch()
    (made / "model.onnx_data").chmod(0o600)
    (made / MANIFEST).chmod(0o644)
    put_in_place(made, out)
    assert {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()} == {
        MANIFEST: 0o644,
        "model.onnx_data": 0o644,
    }

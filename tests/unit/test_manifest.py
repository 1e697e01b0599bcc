"""A model folder that is missing, incomplete, altered or of another kind is refused with the file and the
remedy.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import GRAPH, reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.catalog import FAMILIES, family_named, family_of
from es_rerank.models.contracts import CalibrationRecord
from es_rerank.models.load import load_embedder, load_reranker, local_reranker, model_folder
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import MANIFEST, file_record, read_manifest, verify, write_manifest
from es_rerank.settings import BUNDLED_EMBEDDER
from es_rerank.types import Blend, Calibration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_cross_encoder(tmp_path / "model")


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of the manifest as a text editor would; None takes a field out."""
    stated = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | changes
    (folder / MANIFEST).write_text(
        json.dumps({key: value for key, value in stated.items() if value is not None}), encoding="utf-8"
    )


def test_what_is_written_is_read_again(folder: Path) -> None:
    manifest = read_manifest(folder)
    write_manifest(folder, manifest)
    assert read_manifest(folder, kind="cross-encoder") == manifest


def test_the_manifest_is_frozen_and_refuses_what_it_does_not_know(folder: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_manifest(folder).name = "other"  # type: ignore[misc] # what the test is about
    edit(folder, colour="blue")
    with pytest.raises(ModelFolderError, match="colour: Extra inputs"):
        read_manifest(folder)


def with_early_exit(folder: Path, **parts: object) -> None:
    """State what exports once stated of a model that could stop at an inner layer."""
    for name in ("first.onnx", "rest.onnx"):
        (folder / name).write_bytes(b"a part of the graph")
    listed = {name: file_record(folder / name).model_dump() for name in ("first.onnx", "rest.onnx")}
    stated = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"] | listed
    edit(folder, files=stated, early_exit={"layer": 3, "first": {"fp32": "first.onnx"}, **parts})


def test_a_folder_that_once_had_an_early_exit_is_read_as_the_whole_model(folder: Path) -> None:
    before = read_manifest(folder)
    with load_reranker(folder) as model:
        expected = model.score("query", ["one", "two"])
    with_early_exit(folder, rest={"fp32": "rest.onnx"})
    assert read_manifest(folder) == before
    for name in ("first.onnx", "rest.onnx"):
        (folder / name).unlink()
    with load_reranker(folder) as model:
        assert model.score("query", ["one", "two"]).values.tobytes() == expected.values.tobytes()


@pytest.mark.parametrize("parts", [{}, {"rest": "rest.onnx"}, {"rest": None}])
def test_an_early_exit_that_no_export_wrote_is_unknown(folder: Path, parts: dict[str, object]) -> None:
    with_early_exit(folder, **parts)
    with pytest.raises(ModelFolderError, match="early_exit: Extra inputs"):
        read_manifest(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"there is no folder \S*nowhere;"):
        read_manifest(tmp_path / "nowhere")


def test_a_folder_without_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"has no manifest\.json"):
        read_manifest(tmp_path)


def test_a_torch_folder_leads_to_the_export_command(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="run: es-rerank export"):
        load_reranker(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_manifest_that_is_not_an_object_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"manifest\.json"):
        read_manifest(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / GRAPH).unlink()
    with pytest.raises(ModelFolderError, match=r"model\.onnx is missing"):
        read_manifest(folder)


def test_a_file_of_another_size_is_named(folder: Path) -> None:
    with (folder / GRAPH).open("ab") as graph:
        graph.write(b"x")
    with pytest.raises(ModelFolderError, match=r"model\.onnx has \d+ bytes"):
        read_manifest(folder)


def test_a_file_with_one_byte_changed_is_refused_at_load(folder: Path) -> None:
    content = bytearray((folder / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / GRAPH).write_bytes(content)
    with pytest.raises(ModelFolderError, match="does not have the checksum"):
        CrossEncoder(folder)


@pytest.mark.parametrize("version", [2, "1", None])
def test_an_unknown_format_version_is_refused(folder: Path, version: Any) -> None:
    edit(folder, format_version=version)
    with pytest.raises(ModelFolderError, match="format version"):
        read_manifest(folder)


def test_the_kind_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    bi_encoder, cross_encoder = tiny_bi_encoder(tmp_path / "b"), tiny_cross_encoder(tmp_path / "c")
    with pytest.raises(ModelFolderError, match="holds a bi-encoder, which is not a reranker"):
        load_reranker(bi_encoder)
    with pytest.raises(ModelFolderError, match="holds a cross-encoder and not a bi-encoder"):
        load_embedder(cross_encoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_encoder": None}, "states exactly its own contract"),
        ({"bi_encoder": {"dims": 8, "pooling": "mean"}}, "states exactly its own contract"),
        ({"default_variant": "int8"}, "is not among the variants"),
        ({"variants": {"fp32": "other.onnx"}}, "without checksum: other.onnx"),
        ({"files": {"../secret": {"sha256": "0" * 64, "bytes": 1}}}, "without checksum"),
        ({"max_length": 0}, "max_length"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelFolderError, match=message):
        read_manifest(folder)


def test_a_file_name_that_leaves_the_folder_is_refused(folder: Path) -> None:
    stated = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(folder, files=stated["files"] | {"../outside": {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ModelFolderError, match="leave the folder"):
        read_manifest(folder)


def test_what_is_not_read_is_not_checked_for_minutes(folder: Path) -> None:
    """Weights of over 2 GB stand in a file beside their graph: only those of the graph that is read are
    compared with their checksum.
    """
    for name in ("other.onnx", "other.onnx_data", "model.onnx_data"):
        (folder / name).write_bytes(b"weights")
    reseal(
        folder,
        variants={"fp32": "model.onnx", "int8": "other.onnx"},
        files={
            name: file_record(folder / name)
            for name in ("model.onnx", "model.onnx_data", "tokenizer.json", "other.onnx", "other.onnx_data")
        },
    )
    for name in ("other.onnx", "other.onnx_data"):
        (folder / name).write_bytes(b"altered")
    manifest = read_manifest(folder)
    verify(folder, manifest, "model.onnx")
    for name in ("model.onnx_data", "tokenizer.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[::-1])
        with pytest.raises(ModelFolderError, match=f"{name} does not have the checksum"):
            verify(folder, manifest, "model.onnx")
        (folder / name).write_bytes(content)


def test_a_variant_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="no int8 variant, only fp32"):
        CrossEncoder(folder, variant="int8")


def test_calibration_reaches_the_read_path(tmp_path: Path) -> None:
    calibration = Calibration(0.5, -1.0, {"bm25": Blend(1.5, 0.75, -0.25, 0.1, 2.0, -3.0)})
    folder = tiny_cross_encoder(tmp_path / "model", calibration=CalibrationRecord.of(calibration))
    with CrossEncoder(folder) as model:
        assert model.calibration == calibration
    with CrossEncoder(tiny_cross_encoder(tmp_path / "plain")) as model:
        assert model.calibration is None


@pytest.mark.parametrize(
    ("stated", "pair", "errors"),
    [
        (
            {"pair_logit": 0.5, "pair_intercept": -1.0, "error": 0.04, "pair_error": 0.03},
            (0.5, -1.0),
            [0.03, 0.04],
        ),
        ({}, (1.0, 0.0), [None, None]),
        ({"first_stage": 0.0}, (1.5, -0.25), [None, None]),
    ],
)
def test_the_flat_calibration_of_an_older_export_is_one_blend(
    folder: Path, stated: dict[str, float], pair: tuple[float, float], errors: list[float | None]
) -> None:
    edit(folder, calibration={"logit": 1.5, "first_stage": 0.75, "intercept": -0.25, **stated})
    manifest = read_manifest(folder)
    assert manifest.calibration is not None
    calibration, record = manifest.calibration.coefficients(), manifest.calibration
    assert calibration.pair == pair
    assert calibration.blends == {"dense": Blend(1.5, stated.get("first_stage", 0.75), -0.25)}
    assert [None if record.pair is None else record.pair.error, record.blends["dense"].error] == errors
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["calibration"]
    assert set(written) <= {"pair", "blends"}


@pytest.mark.parametrize(
    ("stated", "fault"),
    [
        ({"blends": {"vectors": {"logit": 1.0, "first_stage": 0.0, "intercept": 0.0}}}, "pattern"),
        (
            {"blends": {"dense": {"logit": 1, "first_stage": 0, "intercept": 0, "least_agreement": 0.1}}},
            "needs alone_first_stage above 0",
        ),
        ({"pair": {"logit": 1.0}}, "calibration.pair.intercept"),
        ({"logit": 1.0, "first_stage": "much", "intercept": 0.0}, "calibration"),
        ({"logit": math.nan, "first_stage": 0.5, "intercept": 0.0}, "finite number"),
        ({"pair": {"logit": 1.0, "intercept": math.inf}}, "finite number"),
    ],
)
def test_a_calibration_that_means_nothing_is_refused(folder: Path, stated: Any, fault: str) -> None:
    edit(folder, calibration=stated)
    with pytest.raises(ModelFolderError, match=fault):
        read_manifest(folder)


def test_a_folder_and_its_path_as_text_are_the_same_model(folder: Path) -> None:
    with local_reranker(folder) as one, local_reranker(str(folder)) as other:
        assert one.manifest == other.manifest


def test_a_name_that_is_neither_folder_nor_hub_id_is_not_looked_up() -> None:
    with pytest.raises(ModelFolderError, match="there is no folder no-such-model;"):
        load_reranker("no-such-model")


def test_an_installed_package_brings_models_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny_cross_encoder(tmp_path / "brought_models" / "brought-l1")
    (tmp_path / "brought_models" / "__init__.py").touch()
    about = tmp_path / "brought_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: brought-models\nVersion: 1.0\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(
        "[es_rerank.models]\nbrought-l1 = brought_models\n", encoding="utf-8"
    )
    assert model_folder("brought-l1") == Path("brought-l1")
    monkeypatch.syspath_prepend(tmp_path)
    assert model_folder("brought-l1") == tmp_path / "brought_models" / "brought-l1"
    with load_reranker("brought-l1") as reranker:
        assert len(reranker.score("a", ["b", "c"]).values) == 2


def test_the_hub_out_of_reach_names_the_remedies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelFolderError, match="es-rerank export nobody/nothing OUT"):
        load_reranker("nobody/nothing")


def test_an_exported_repository_in_the_hub_cache_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit, cached = "0" * 40, tmp_path / "models--somebody--tiny"
    tiny_cross_encoder(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit, encoding="ascii")
    with load_reranker("somebody/tiny") as model:
        assert model.name == "tiny-cross-encoder"


def test_the_bundled_embedder_is_what_its_manifest_says() -> None:
    manifest = read_manifest(model_folder(BUNDLED_EMBEDDER), kind="bi-encoder")
    assert manifest.name == BUNDLED_EMBEDDER
    assert manifest.licence == "Apache-2.0"
    assert manifest.parity is not None
    assert manifest.parity.int8 is not None
    assert manifest.parity.int8.mean_cosine is not None
    assert manifest.parity.int8.mean_cosine >= 0.98
    assert sum(record.bytes for record in manifest.files.values()) < 25_000_000


def test_the_bundled_embedder_knows_what_is_alike() -> None:
    with load_embedder() as model:
        assert isinstance(model, BiEncoder)
        cat, feline, stocks = model.embed(
            ["A cat sits on the mat.", "A feline rests on a rug.", "Stock markets fell on Monday."]
        )
    assert cat @ feline > 0.5
    assert cat @ stocks < 0.2


def test_every_architecture_belongs_to_one_family() -> None:
    known = [name for family in FAMILIES for name in (*family.cross_encoders, *family.bi_encoders)]
    assert len(known) == len(set(known))
    assert family_of("XLMRobertaForSequenceClassification", "cross-encoder").truncation == "longest_first"
    assert family_named("bge").truncation == "only_second"


def test_unknown_families_and_architectures_name_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="the families are bert, xlm-roberta, bge"):
        family_named("llama")
    with pytest.raises(SettingsError, match="--family"):
        family_of("LlamaForSequenceClassification", "cross-encoder")

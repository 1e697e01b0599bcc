"""Weights in files beside a graph, under any name: they belong to the model as the graph itself does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from ready_made import encoder_repository, quantise, with_external_data
from tiny_models import reseal, tiny_cross_encoder

from es_rerank.caller import KNOWN_BY
from es_rerank.engine.session import CPU
from es_rerank.errors import ModelFolderError
from es_rerank.models.load import load_reranker
from es_rerank.models.local import faster
from es_rerank.models.manifest import MANIFEST, Imported, Int8Parity, file_record, read_manifest
from es_rerank.models.ready_made.importing import import_model
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.wrapped import precision_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUERY, PASSAGES = "who built it", ["a keeper built the light", "bread and salt"]


@pytest.fixture
def known_caller() -> Iterator[None]:
    token = KNOWN_BY.set(b"somebody")
    yield
    KNOWN_BY.reset(token)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported model: fp32 with weights named as PyTorch names them, int8 with weights of another name."""
    home = tmp_path_factory.mktemp("both")
    source = encoder_repository(home / "source")
    quantise(source, "onnx/model_quantized.onnx")
    with_external_data(source, "model.onnx.data")
    int8 = onnx.load(source / "onnx/model_quantized.onnx")
    beside: Any = {"save_as_external_data": True, "location": "model_quantized.onnx_data"}
    onnx.save(int8, source / "onnx/model_quantized.onnx", size_threshold=256, **beside)
    import_model(str(source), home / "out")
    return home / "out"


@pytest.mark.parametrize("location", ["model.onnx_data", "model.onnx.data", "weights.bin"])
def test_two_models_with_the_same_graph_share_no_scores(
    tmp_path: Path, known_caller: None, location: str
) -> None:
    found, cache = [], ScoreCache(100)
    for seed in (1, 2):
        source = encoder_repository(tmp_path / f"source{seed}")
        graph = source / "onnx/model.onnx"
        model = onnx.load(graph)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size >= 256:
                noise = np.random.default_rng(seed).normal(size=values.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values + noise, tensor.name))
        onnx.save(model, graph)
        with_external_data(source, location)
        import_model(str(source), tmp_path / f"out{seed}")
        with load_reranker(tmp_path / f"out{seed}", cache=cache) as reranker:
            found.append(reranker.score(QUERY, PASSAGES))
    assert (tmp_path / "out1/model.onnx").read_bytes() == (tmp_path / "out2/model.onnx").read_bytes()
    assert not found[1].cached.any()
    assert found[0].values.tolist() != found[1].values.tolist()


def test_each_precision_has_its_own_weights(both: Path) -> None:
    manifest = read_manifest(both)
    assert manifest.weights("fp32") == {"model.onnx.data"}
    assert manifest.weights("int8") == {"model_quantized.onnx_data"}
    assert manifest.others("model_int8.onnx") == {"model.onnx", "model.onnx.data"}
    older = manifest.model_copy(update={"imported": None})
    everything = {"model.onnx.data", "model_quantized.onnx_data"}
    assert older.weights("fp32") == older.weights("int8") == everything
    assert older.others("model_int8.onnx") == {"model.onnx"}


def test_an_altered_file_of_weights_is_told_by_the_precision_that_reads_it(
    both: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(both, tmp_path / "out")
    with (out / "model.onnx.data").open("r+b") as file:
        file.write(b"altered")
    with load_reranker(out, variant="int8") as reranker:
        assert precision_of(reranker) == "int8"
    with pytest.raises(ModelFolderError, match=r"model\.onnx\.data does not have the checksum"):
        load_reranker(out, variant="fp32")


def test_weights_count_for_the_memory_and_the_key_of_a_measurement(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(both)
    graphs = sum(manifest.files[name].bytes for name in manifest.variants.values())
    monkeypatch.setattr(faster, "available_bytes", lambda: 4 * graphs)
    with pytest.raises(MemoryError):
        faster.measured(both, manifest)
    for name in set(manifest.files) - {"tokenizer.json"}:
        changed = manifest.files | {name: manifest.files[name].model_copy(update={"sha256": "0" * 64})}
        other = manifest.model_copy(update={"files": changed})
        assert faster.key_of(other, 1) != faster.key_of(manifest, 1), name


def test_an_import_whose_int8_orders_passages_otherwise_runs_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast int8 is; whoever names it gets it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny_cross_encoder(tmp_path / "model")
    shutil.copy(folder / "model.onnx", folder / "int8.onnx")
    files = {path.name: file_record(path) for path in folder.iterdir() if path.name != MANIFEST}
    precise: dict[str, Any] = {"max_difference": 1.0, "mean_difference": 1.0}
    for agreement, taken in ((0.899, ("fp32", "disagrees")), (0.9, None)):
        beside = Int8Parity(agreement=agreement, **precise)
        imported = Imported(graphs={"fp32": "model.onnx", "int8": "q.onnx"}, int8_beside_fp32=beside)
        variants = {"fp32": "model.onnx", "int8": "int8.onnx"}
        reseal(folder, variants=variants, default_variant="fp32", files=files, imported=imported)
        found = faster.known_choice(read_manifest(folder), None, CPU)
        assert (found and found[:2]) == taken
        with load_reranker(folder, variant="int8") as reranker:
            assert precision_of(reranker) == "int8"

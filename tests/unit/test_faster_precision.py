"""A folder with two precisions is loaded in the one that is faster here, and that is measured once."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import GRAPH, reseal, tiny_bi_encoder, tiny_cross_encoder, tiny_monot5

from es_rerank.engine import memory
from es_rerank.engine.processor import cores
from es_rerank.engine.session import CPU
from es_rerank.errors import ModelFolderError
from es_rerank.models.load import load_embedder, load_reranker, local_reranker, served_names
from es_rerank.models.local import faster, remembered
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.local.faster import key_of, measured
from es_rerank.models.local.speeds import Speeds
from es_rerank.models.manifest import Precision, Quantisation, file_record, read_manifest
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.wrapped import precision_of
from es_rerank.settings import read_settings

QUERY, TEXTS = "who signed the treaty", ["the treaty was signed by the queen", "a river"]
INT8_IS_FASTER = Speeds(seconds={64: {"fp32": 0.4, "int8": 0.1}}, gain=(3.9, 4.0, 4.1))
FP32_IS_FASTER = Speeds(seconds={64: {"fp32": 0.1, "int8": 0.1}}, gain=(0.9, 0.95, 1.0))
RESTLESS = Speeds(seconds={64: {"fp32": 0.1, "int8": 0.1}}, gain=(0.7, 1.0, 1.9))


def both(folder: Path, other: Path, **changes: object) -> Path:
    """Add the graph of another model to a folder, as its int8 graph; int8 is the default, as in an export."""
    shutil.copy(other / GRAPH, folder / "int8.onnx")
    files = {name: file_record(folder / name) for name in (*read_manifest(folder).files, "int8.onnx")}
    variants = {"fp32": GRAPH, "int8": "int8.onnx"}
    return reseal(folder, variants=variants, default_variant="int8", files=files, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return both(tiny_cross_encoder(tmp_path / "model"), tiny_cross_encoder(tmp_path / "other", seed=1))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache during a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    return tmp_path / "a cache" / "es-rerank" / "speed"


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[Speeds | Exception]:
    """What the next measurements find; each is taken away by one."""
    found: list[Speeds | Exception] = []

    def find(folder: Path, manifest: Any, *, threads: int, **_: Any) -> Speeds:
        speeds = found.pop(0)
        if isinstance(speeds, Exception):
            raise speeds
        if speeds.decided:
            remembered.remember(key_of(manifest, threads or cores()), speeds)
        return speeds

    monkeypatch.setattr(faster, "measured", find)
    return found


def loaded(model: str | Path, **options: Any) -> str | None:
    """The precision in which a reranker is loaded."""
    with load_reranker(model, **options) as reranker:
        return precision_of(reranker)


# The choice.


@pytest.mark.parametrize(("speeds", "precision"), [(INT8_IS_FASTER, "int8"), (FP32_IS_FASTER, "fp32")])
def test_the_faster_one_is_loaded_and_measured_once(
    folder: Path, measurements: list[Speeds | Exception], speeds: Speeds, precision: Precision
) -> None:
    measurements.append(speeds)
    assert [loaded(folder) for _ in range(2)] == [precision] * 2
    assert measurements == []
    with load_reranker(folder) as ours, CrossEncoder(folder, variant=precision) as stated:
        assert np.array_equal(ours.score(QUERY, TEXTS).values, stated.score(QUERY, TEXTS).values)


def test_who_names_a_precision_gets_it_without_a_measurement(
    folder: Path, tmp_path: Path, measurements: list[Speeds | Exception]
) -> None:
    assert [loaded(folder, variant=each) for each in ("fp32", "int8")] == ["fp32", "int8"]
    assert loaded(tmp_path / "other") == "fp32"  # it has no other
    with CrossEncoder(folder) as as_the_folder_says:
        assert as_the_folder_says.precision == "int8"
    with pytest.raises(ModelFolderError, match="has no int8 variant, only fp32"):
        load_reranker(tmp_path / "other", variant="int8")
    with pytest.raises(ModelFolderError, match="has no int8 variant, only fp32"):
        served_names([str(tmp_path / "other")], "int8")
    assert measurements == []


def test_the_setting_names_a_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, precision in (("fp32", "fp32"), ("int8", "int8"), ("fp16", "fp16"), ("", None)):
        monkeypatch.setenv("ES_RERANK_PRECISION", value)
        assert read_settings().precision == precision


def test_a_restless_machine_keeps_the_default_and_remembers_nothing(
    folder: Path, cache: Path, measurements: list[Speeds | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    measurements += [RESTLESS, FP32_IS_FASTER]
    with caplog.at_level(logging.INFO):
        assert loaded(folder) == "int8"
    assert "did not tell which precision is faster" in caplog.text
    assert not cache.exists()
    assert loaded(folder) == "fp32"


@pytest.mark.parametrize("fault", [MemoryError("4 GiB"), ModelFolderError("broken"), RuntimeError("ONNX")])
def test_a_fault_of_the_measurement_keeps_the_default(
    folder: Path,
    cache: Path,
    measurements: list[Speeds | Exception],
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    measurements.append(fault)
    assert loaded(folder) == "int8"
    assert f"so int8 is taken ({fault})" in caplog.text
    assert not cache.exists()


def test_a_damaged_graph_that_is_not_needed_is_told_and_the_other_one_loads(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / GRAPH).write_bytes(b"\0" * (folder / GRAPH).stat().st_size)
    assert loaded(folder) == "int8"
    assert "does not have the checksum of its manifest" in caplog.text


@pytest.mark.parametrize("exact", [False, True])
def test_an_int8_graph_that_overflows_here_is_not_taken_however_fast(
    folder: Path, monkeypatch: pytest.MonkeyPatch, measurements: list[Speeds | Exception], exact: bool
) -> None:
    full = Quantisation(operators=("MatMul",), per_channel=True, reduce_range=False, made_for="ARM")
    reseal(folder, quantisation=full)
    monkeypatch.setattr("es_rerank.models.local.open_model.adds_bytes_exactly", lambda: exact)
    measurements.append(INT8_IS_FASTER)
    assert loaded(folder) == ("int8" if exact else "fp32")
    assert len(measurements) == (0 if exact else 1)


def test_an_embedder_has_the_precision_of_its_folder_however_fast_the_other_is(
    tmp_path: Path, measurements: list[Speeds | Exception]
) -> None:
    folder = both(tiny_bi_encoder(tmp_path / "model"), tiny_bi_encoder(tmp_path / "another", seed=1))
    measurements.append(FP32_IS_FASTER)
    with load_embedder(folder) as embedder, load_embedder(folder, variant="fp32") as told:
        assert (precision_of(embedder), precision_of(told)) == ("int8", "fp32")
    assert measurements == [FP32_IS_FASTER]


def test_each_model_of_a_cascade_has_the_faster_one_too(
    tmp_path: Path, folder: Path, measurements: list[Speeds | Exception]
) -> None:
    first = both(tiny_cross_encoder(tmp_path / "first"), tiny_cross_encoder(tmp_path / "third", seed=2))
    measurements += [FP32_IS_FASTER, INT8_IS_FASTER]
    assert loaded(f"cascade:0.5+{first}+{folder}") == "fp32 then int8"
    assert loaded(f"cascade:0.5+{first}+{folder}", cache=ScoreCache(9)) == "fp32 then int8"
    assert loaded(f"cascade:0.5+{first}+{folder}", variant="int8", cache=ScoreCache(9)) == "int8"
    assert measurements == []


def test_two_precisions_share_no_scores_in_a_cache(folder: Path) -> None:
    scores = ScoreCache(100)
    identities = set()
    for variant in ("fp32", "int8"):
        with load_reranker(folder, variant=variant, cache=scores) as reranker:
            assert not reranker.score(QUERY, TEXTS).cached.any()
        with local_reranker(folder, variant=variant) as local:
            identities.add(local.identity)
    assert len(identities) == 2


# What is remembered.


@pytest.mark.parametrize("kind", [tiny_cross_encoder, tiny_monot5])
def test_a_real_measurement_is_remembered_and_used_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Path]
) -> None:
    folder = both(kind(tmp_path / "model"), kind(tmp_path / "another", seed=1))
    # The same work in both precisions: whatever the machine does, quartiles over so few rounds may differ.
    monkeypatch.setattr("es_rerank.models.local.speeds._SURE", 1e9)
    first = loaded(folder)
    (file,) = cache.iterdir()
    before = file.stat()
    monkeypatch.setattr(faster, "measured", lambda *_, **__: pytest.fail("it was measured again"))
    assert loaded(folder) == first
    assert file.stat() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_that_load_at_once_leave_one_whole_file(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("es_rerank.models.local.speeds._SURE", 1e9)
    children = []
    for _ in range(2):
        if (child := os.fork()) == 0:
            try:
                os._exit(0 if loaded(folder) else 1)
            finally:
                os._exit(2)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert [file.suffix for file in cache.iterdir()] == [".json"]
    assert remembered.recall(key_of(read_manifest(folder), cores())) is not None


def test_each_thing_that_a_speed_depends_on_is_measured_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(threads: int = 2) -> tuple[tuple[str, str], ...]:
        return tuple(key_of(read_manifest(folder), threads).items())

    keys = [key(), key(3)]
    for name, value in (
        ("processor_name", "another CPU"),
        ("instruction_sets", frozenset({"avx2"})),
        ("cores", 64),
    ):
        monkeypatch.setattr(faster, name, lambda value=value: value)
        keys.append(key())
    monkeypatch.setattr("onnxruntime.__version__", "0.0")
    keys.append(key())
    reseal(folder, max_length=64)
    keys.append(key())
    (folder / "int8.onnx").write_bytes((folder / GRAPH).read_bytes())
    reseal(folder)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def _is_gone(file: Path) -> None:
    file.unlink()


def _is_no_json(file: Path) -> None:
    file.write_bytes(b"\xff\x00 {")


def _is_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def _is_huge(file: Path) -> None:
    with file.open("ab") as open_file:
        open_file.truncate(1 << 30)


def _is_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _is_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _is_a_broken_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def _is_a_link_in_a_circle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _is_of_another(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace('"cores": "', '"cores": "9'), encoding="utf-8")


def _is_a_number(file: Path) -> None:
    file.write_text("7", encoding="utf-8")


def _is_deep(file: Path) -> None:
    file.write_text("[" * 60_000, encoding="utf-8")


def _is_in_a_file(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_text("a file where the folder was", encoding="utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        _is_gone,
        _is_no_json,
        _is_cut,
        _is_huge,
        _is_a_folder,
        _is_a_fifo,
        _is_a_broken_link,
        _is_a_link_in_a_circle,
        _is_of_another,
        _is_a_number,
        _is_deep,
        _is_in_a_file,
    ],
)
def test_a_file_that_cannot_be_read_means_that_it_is_measured_again(
    folder: Path,
    cache: Path,
    measurements: list[Speeds | Exception],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    measurements += [INT8_IS_FASTER, FP32_IS_FASTER]
    assert loaded(folder) == "int8"
    (file,) = cache.iterdir()
    spoil(file)
    assert loaded(folder) == "fp32"
    assert caplog.text == ""  # neither a warning nor an error
    assert not list(file.parent.glob(".*.draft")) if file.parent.is_dir() else True


@pytest.mark.parametrize("cache_home", ["/proc/nobody/writes/here", "/dev/null", None])
def test_no_home_and_no_place_to_write_are_no_error(
    folder: Path,
    measurements: list[Speeds | Exception],
    monkeypatch: pytest.MonkeyPatch,
    cache_home: str | None,
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    if cache_home is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setattr(Path, "home", no_home)
    measurements += [FP32_IS_FASTER] * 2
    assert [loaded(folder) for _ in range(2)] == ["fp32"] * 2
    assert measurements == []


def test_graphs_for_which_the_memory_is_too_small_are_not_loaded_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    free = memory.available_bytes()
    assert free > 4096
    (tmp_path / "memory.max").write_text("4096\n", encoding="ascii")
    assert memory.available_bytes() == 2048
    with pytest.raises(MemoryError, match="are free"):
        measured(folder, read_manifest(folder))
    assert loaded(folder) == "int8"
    assert "so int8 is taken (the graphs take about" in caplog.text


def test_a_folder_with_one_precision_can_be_measured_too(tmp_path: Path, cache: Path) -> None:
    folder = tiny_bi_encoder(tmp_path / "model")
    speeds = measured(folder, read_manifest(folder), provider=CPU)
    assert (speeds.gain, speeds.decided) == (None, None)
    assert all(speeds.per_second("fp32", tokens) > 0 for tokens in speeds.seconds)
    assert not cache.exists()

"""``es-rerank doctor`` says how fast the models are here, and in which precision they run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jar_models import tiny_jar
from ready_made import repository
from tiny_models import GRAPH, reseal, tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.engine.processor import cores
from es_rerank.models.load import load_embedder, load_reranker
from es_rerank.models.local import faster
from es_rerank.models.local.remembered import remember
from es_rerank.models.local.speeds import Speeds
from es_rerank.models.manifest import file_record, read_manifest
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.wrapped import precision_of
from es_rerank.node import checks, docker, speed
from es_rerank.node.checks import cpu_row, speed_row
from es_rerank.node.speed import WINDOW, ModelSpeed, model_speeds
from es_rerank.sidecar.routes.status import _of_manifest


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A reranker with two precisions, which do the same work, and an embedder with one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reranker, embedder = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")
    shutil.copy(reranker / GRAPH, reranker / "int8.onnx")
    files = {name: file_record(reranker / name) for name in (*read_manifest(reranker).files, "int8.onnx")}
    reseal(reranker, variants={"fp32": GRAPH, "int8": "int8.onnx"}, default_variant="int8", files=files)
    return str(reranker), str(embedder)


def doctor(monkeypatch: pytest.MonkeyPatch, *options: str, **settings: str) -> Any:
    monkeypatch.setattr(docker, "problem", lambda: "none")
    for name, value in settings.items():
        monkeypatch.setenv(f"ES_RERANK_{name}", value)
    nowhere = ("--elasticsearch-url", "http://127.0.0.1:9")
    return json.loads(CliRunner().invoke(app, ["doctor", "--json", *nowhere, *options]).stdout)


def test_it_says_pairs_passages_and_what_a_window_costs(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = doctor(monkeypatch, RERANKER=folders[0], EMBEDDER=folders[1], PRECISION="fp32")
    assert set(said["cpu"]) == {"name", "architecture", "cores", "vnni", "amx"}
    reranker, embedder = said["speed"]
    assert (reranker["role"], reranker["model"]) == ("reranker", "tiny-cross-encoder")
    assert (reranker["precision"], reranker["why"], reranker["fault"]) == ("fp32", "told", None)
    assert {(row["precision"], row["window"]) for row in reranker["measured"]} == {
        ("fp32", WINDOW),
        ("int8", WINDOW),
    }
    for row in reranker["measured"]:
        assert row["window_ms"] == pytest.approx(1000 * WINDOW / row["pairs_per_s"], rel=0.1, abs=0.1)
    assert (embedder["role"], embedder["precision"], embedder["why"]) == ("embedder", "fp32", "only")
    assert all(row["passages_per_s"] > 0 for row in embedder["measured"])
    rows = {check["name"]: check["found"] for check in said["checks"]}
    assert rows["Speed of the reranker"].startswith(
        "tiny-cross-encoder runs in fp32 (as ES_RERANK_PRECISION says); at 64 tokens fp32 "
    )
    assert "ms for a window of 50" in rows["Speed of the reranker"]
    assert "passages/s" in rows["Speed of the embedder"]


def test_a_precision_that_the_reranker_lacks_is_a_fault_and_is_not_measured(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = str(tiny_cross_encoder(tmp_path / "single"))
    said = doctor(monkeypatch, RERANKER=single, EMBEDDER=folders[1], PRECISION="int8")
    assert [each["role"] for each in said["speed"]] == ["embedder"]
    rows = {check["name"]: check for check in said["checks"]}
    assert rows["Reranker"]["status"] == "fail"
    assert "has no int8 variant, only fp32" in rows["Reranker"]["found"]
    assert rows["Reranker"]["remedy"].startswith("unset ES_RERANK_PRECISION, or name a model that has int8")


def test_it_can_leave_the_measurement_out(folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = doctor(monkeypatch, "--no-speed", RERANKER=folders[0], EMBEDDER=folders[1])
    assert said["speed"] == []
    assert not [check for check in said["checks"] if check["name"].startswith("Speed")]


def test_a_model_that_cannot_be_loaded_is_told_and_ends_nothing(folders: tuple[str, str]) -> None:
    embedder = Path(folders[1])
    (embedder / GRAPH).write_bytes(b"\0" * 100)
    reseal(embedder)
    (speed,) = model_speeds("cohere:rerank", folders[1])
    assert speed.speeds is None
    assert "is not a graph that ONNX Runtime can load" in str(speed.fault)
    row = speed_row(speed)
    assert (row.status, row.found[:48]) == ("warn", "tiny-bi-encoder runs in fp32 (the folder has no ")


@pytest.mark.parametrize(
    "model", ["remote:http://127.0.0.1:9", "somebody/on-the-hub", "/nowhere", "cascade:7+x+y"]
)
def test_what_is_not_on_this_machine_is_not_measured(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # whoever runs this may have imported the model
    assert list(model_speeds(model, "openai:text-embedding-3-small")) == []
    assert list(model_speeds(model, "maven:bge-small-zh-v15")) == []


def test_both_rerankers_of_a_cascade_are_measured(folders: tuple[str, str]) -> None:
    name = f"cascade:0.3+{folders[0]}+{folders[0]}"
    assert [speed.role for speed in model_speeds(name, "/nowhere")] == ["reranker", "reranker"]


def test_an_embedder_with_two_precisions_runs_in_the_one_of_its_manifest(folders: tuple[str, str]) -> None:
    embedder = Path(folders[1])
    shutil.copy(embedder / GRAPH, embedder / "int8.onnx")
    files = {name: file_record(embedder / name) for name in (*read_manifest(embedder).files, "int8.onnx")}
    reseal(embedder, variants={"fp32": GRAPH, "int8": "int8.onnx"}, default_variant="int8", files=files)
    (speed,) = model_speeds("/nowhere", folders[1], variant="fp32")
    assert (speed.precision, speed.why) == ("int8", "manifest")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            "fpu avx2",
            "AMD EPYC 7551P, 2 cores, x86_64, avx2; without VNNI, so int8 may be no faster than fp32",
        ),
        ("fpu avx2 avx_vnni", "AMD EPYC 7551P, 2 cores, x86_64, avx2 avx_vnni"),
    ],
)
def test_the_row_of_the_cpu_names_it_and_says_whether_it_has_vnni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, words: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: AMD EPYC 7551P\nflags\t\t: {flags}\n", encoding="ascii")
    monkeypatch.setattr("es_rerank.engine.processor._CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(checks, "cores", lambda: 2)
    assert cpu_row().found == words


def test_the_row_shows_both_precisions() -> None:
    speeds = Speeds(seconds={64: {"fp32": 0.004, "int8": 0.001}}, gain=(4.0, 4.0, 4.0))
    row = speed_row(ModelSpeed("reranker", "ours", "int8", "measured", 2, speeds))
    assert row.found == (
        "ours runs in int8 (as measured here); at 64 tokens fp32 250 pairs/s, "
        "200 ms for a window of 50 and int8 1000 pairs/s, 50 ms for a window of 50; 2 threads"
    )


def test_the_status_page_names_the_precision_in_force(folders: tuple[str, str]) -> None:
    cache = ScoreCache(10)
    for variant in ("fp32", "int8"):
        for name in (folders[0], f"cascade:0.3+{folders[0]}+{folders[0]}"):
            with load_reranker(name, variant=variant, cache=cache) as reranker:
                assert _of_manifest(reranker)["precision"] == variant


@pytest.mark.parametrize("fault", [False, True], ids=["undecided", "fault"])
def test_where_its_measurement_does_not_decide_it_says_what_a_load_takes(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch, fault: bool
) -> None:
    restless = Speeds(seconds={64: {"fp32": 0.1, "int8": 0.1}}, gain=(0.7, 1.0, 1.9))

    def find(*_: object, **__: object) -> Speeds:
        if fault:
            raise MemoryError("little memory")
        return restless

    for module in (speed, faster):
        monkeypatch.setattr(module, "measured", find)

    def said_and_loaded() -> tuple[str | None, str | None]:
        (said,) = model_speeds(folders[0], "/nowhere")
        with load_reranker(folders[0]) as reranker:
            assert precision_of(reranker) == said.precision
        return said.precision, said.why

    assert said_and_loaded() == ("int8", "unmeasured" if fault else "undecided")
    quiet = Speeds(seconds={64: {"fp32": 0.1, "int8": 0.1}}, gain=(1.0, 1.0, 1.01))
    remember(faster.key_of(read_manifest(Path(folders[0])), cores()), quiet)
    assert said_and_loaded() == ("fp32", "remembered")


def test_nothing_is_imported_and_what_was_imported_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jar, graphs = str(tiny_jar(tmp_path / "jars/tiny.jar", monkeypatch)), str(repository(tmp_path / "graphs"))
    assert list(model_speeds(graphs, jar)) == []
    for kind, model in (("cross-encoder", graphs), ("bi-encoder", jar)):
        row = checks.check_model(kind, model)  # type: ignore[arg-type]
        assert (row.status, row.found) == ("warn", f"{model} was not imported yet")
        assert f"es-rerank import {model} OUT" in row.remedy
    assert not (tmp_path / "cache").exists()
    load_reranker(graphs).close()
    load_embedder(jar).close()
    assert [(each.role, each.fault) for each in model_speeds(graphs, jar)] == [
        ("reranker", None),
        ("embedder", None),
    ]
    assert checks.check_model("cross-encoder", graphs).status == "ok"
    assert checks.check_model("bi-encoder", jar).status == "ok"


def test_an_execution_provider_that_does_not_run_here_is_a_fault(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"RERANKER": folders[0], "EMBEDDER": folders[1]}
    said = doctor(monkeypatch, EXECUTION_PROVIDER="NoSuchExecutionProvider", **settings)
    row = {check["name"]: check for check in said["checks"]}["Execution provider"]
    assert (row["status"], said["ok"], said["speed"]) == ("fail", False, [])
    assert "has no NoSuchExecutionProvider" in row["found"]
    assert row["remedy"].startswith("install the build that has it")
    said = doctor(monkeypatch, "--no-speed", EXECUTION_PROVIDER="CPUExecutionProvider", **settings)
    assert "Execution provider" not in {check["name"] for check in said["checks"]}

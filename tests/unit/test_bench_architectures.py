"""The bench of architectures without torch: its folders, its pairs, its JSON and its picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.errors import ModelError, SettingsError
from es_rerank.models.load import model_folder
from es_rerank.models.source import SourceOptions
from es_rerank.models.source.model import read_source
from es_rerank.research.bench import architectures, random_weights
from es_rerank.research.bench.architectures import (
    ArchitectureReport,
    Cell,
    NotMeasured,
    failures,
    pairs_for,
    versions,
)
from es_rerank.research.bench.engine import SystemRow
from es_rerank.research.bench.paired import Added
from es_rerank.research.bench.peers import PEERS, SYSTEMS, System
from es_rerank.research.bench.random_weights import ARCHITECTURES, Architecture, random_folder
from es_rerank.research.bench.text_lengths import LENGTHS, TYPICAL_TOKENS, timed
from es_rerank.research.bench.windows import Candidates
from es_rerank.settings import BUNDLED_RERANKER

TINY: tuple[Architecture, ...] = (
    Architecture("tiny BERT", "", "bert", 2, 32, 2, 64),
    Architecture("tiny Ettin", "", "modernbert", 2, 32, 2, 48),
    Architecture("tiny XLM-R", "", "xlm-roberta", 2, 32, 2, 64),
)
CANDIDATES = [
    Candidates(
        f"query number {number}",
        [str(each) for each in range(60)],
        [f"Sentence {each} of {number} says something about towns. " * (1 + each % 3) for each in range(60)],
        [1.0] * 60,
    )
    for number in range(3)
]


def test_the_pieces_of_the_tables_are_those_of_the_bundled_tokenizer() -> None:
    tokenizer = Tokenizer.from_file(str(model_folder(BUNDLED_RERANKER) / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == random_weights._VOCABULARY  # noqa: SLF001
    assert tokenizer.id_to_token(1) == random_weights._UNUSED  # noqa: SLF001
    assert (tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")) == (101, 102)


@pytest.mark.parametrize("sizes", TINY, ids=lambda sizes: sizes.kind)
def test_the_files_of_every_architecture_are_read_as_its_own_kind(
    sizes: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def save(tensors: dict[str, np.ndarray[Any, Any]], path: Path, **_: Any) -> None:
        saved[path.parent.name] = tensors

    # safetensors comes with the export extra, and this test runs without it.
    safetensors = type("module", (), {"save_file": staticmethod(save)})
    monkeypatch.setitem(__import__("sys").modules, "safetensors", type("module", (), {"numpy": safetensors}))
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", safetensors)
    monkeypatch.setattr(random_weights, "_VOCABULARY", 200)
    source = read_source(random_folder(sizes, tmp_path / "torch"), SourceOptions(kind="cross-encoder"))
    assert (source.family.name, source.max_length) == (sizes.kind, 512)
    assert source.modular is (sizes.kind == "modernbert")
    assert source.cross_encoder is not None
    assert source.cross_encoder.labels == 1
    assert set(saved) == {"torch", *(("2_Dense", "3_LayerNorm", "4_Dense") if source.modular else ())}
    first = {name: value.copy() for name, value in saved["torch"].items()}
    random_folder(sizes, tmp_path / "again" / "torch")
    assert all((saved["torch"][name] == value).all() for name, value in first.items())


def test_larger_models_get_fewer_pairs() -> None:
    for length in LENGTHS:
        ordered = sorted(ARCHITECTURES, key=lambda one: one.multiplications(TYPICAL_TOKENS[length]))
        pairs = [pairs_for(sizes, length) for sizes in ordered]
        assert pairs == sorted(pairs, reverse=True)
        assert 8 <= min(pairs) <= max(pairs) <= 160
    assert pairs_for(ARCHITECTURES[0], "short") > pairs_for(ARCHITECTURES[0], "long")
    minilm = Architecture("", "", "bert", 6, 384, 12, 1536)
    assert minilm.multiplications(1) == 6 * (4 * 384 * 384 + 2 * 384 * 1536 + 2 * 384)


def test_pairs_are_short_or_near_the_window_and_always_the_same() -> None:
    short, long = (timed(CANDIDATES, length, 60) for length in ("short", "long"))
    assert (short.pairs, long.pairs) == (60, 60)
    assert short.tokens[2] < 60
    assert 298 <= long.tokens[1] < long.tokens[0] < long.tokens[2] <= 512
    assert 370 < long.tokens[0] < 440
    assert long == timed(CANDIDATES, "long", 60)
    assert len({text for _, texts in long.lists for text in texts}) == 60
    assert [len(texts) for _, texts in short.lists] == [50, 10]
    with pytest.raises(SettingsError, match="--pairs 400 is more than the 150 pairs"):
        timed(CANDIDATES, "short", 400)


def row(system: System, speed: float | None, ratio: float | None = None, reason: str | None = None) -> Any:
    return SystemRow(
        system,
        "1",
        pairs_per_second=speed,
        low=speed,
        high=speed,
        ratio=None if ratio is None else Added(ratio, ratio * 0.9, ratio * 1.1),
        reason=reason,
        batch=4,
    )


def report(*rows: SystemRow, missing: tuple[NotMeasured, ...] = ()) -> ArchitectureReport:
    cells = [Cell(TINY[0], timed(CANDIDATES, length, 4), rows) for length in LENGTHS]
    return ArchitectureReport(cells, missing, 3, 2, {"es-rerank": "1"})


OURS = next(system for system in SYSTEMS if system.peer is None)
THEIRS = next(system for system in SYSTEMS if system.name == "sentence-transformers torch")


def test_the_json_names_the_machine_and_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "instruction_sets", lambda: frozenset({"avx_vnni", "sse2"}))
    shown = json.loads(json.dumps(report(row(OURS, 20.0, 2.0), row(THEIRS, 10.0, 1.0)).as_json()))
    about = shown["machine"]
    assert (about["vnni"], about["amx"], about["avx512"]) == (True, False, False)
    assert {"cpu", "cores", "python", "threads", "versions"} <= about.keys()
    assert [(cell["architecture"], cell["length"], cell["pairs"]) for cell in shown["cells"]] == [
        ("tiny BERT", "short", 4),
        ("tiny BERT", "long", 4),
    ]
    assert shown["cells"][0]["systems"][0]["ratio"] == 2.0
    assert shown["not_measured"] == []


def test_the_picture_has_a_heading_for_each_cell_and_a_bar_for_each_system() -> None:
    drawn = ET.fromstring(report(row(OURS, 20.0, 2.0), row(THEIRS, 10.0, 1.0)).picture())
    texts = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert sum("tokens a pair" in text for text in texts) == 2
    assert texts.count("es-rerank fp32") == 2
    assert texts.count("2.00 (20/s)") == 2
    with pytest.raises(ModelError, match="nothing to draw"):
        report(row(OURS, 20.0)).picture()


def test_what_this_engine_could_not_do_is_said_and_a_peers_failure_is_its_row() -> None:
    failed = report(
        row(OURS, None, reason="ended: killed"),
        row(THEIRS, None, reason="wrong scores"),
        missing=(NotMeasured(TINY[1], "int8 is too far"),),
    )
    said = failures(failed)
    assert said[0] == "tiny Ettin: int8 is too far"
    assert [one.endswith("es-rerank fp32 ended: killed") for one in said[1:]] == [True, True]


def test_versions_are_those_of_the_peers_own_environment(tmp_path: Path) -> None:
    (peer,) = (peer for peer in PEERS if peer.name == architectures.ARCHITECTURE_PEER)
    found = tmp_path / "lib" / "python3.11" / "site-packages" / "torch-9.9.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n", encoding="utf-8")
    shown = versions(peer, tmp_path / "bin" / "python")
    assert shown["sentence-transformers: torch"] == "9.9"
    assert versions(peer, None).keys() == {"es-rerank", "onnxruntime"}


def test_an_unknown_architecture_is_refused_before_anything_is_measured() -> None:
    done = CliRunner().invoke(app, ["bench", "architectures", "--architecture", "GPT"])
    assert isinstance(done.exception, SettingsError) or done.exit_code
    assert "MiniLM-L6" in str(done.exception) + done.output

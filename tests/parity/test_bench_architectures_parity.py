"""A whole run of the bench of architectures, at tiny sizes, beside the real sentence-transformers.

    pytest --long tests/parity/test_bench_architectures_parity.py

Needs the export extra (torch). Nothing is installed: the peer's environment is this one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from es_rerank.cli import bench_architectures
from es_rerank.cli.app import app
from es_rerank.research.bench.architectures import ARCHITECTURE_PEER
from es_rerank.research.bench.peers import PEERS
from es_rerank.research.bench.random_weights import Architecture

TINY = (
    Architecture("tiny Ettin", "", "modernbert", 3, 64, 2, 96),
    Architecture("tiny XLM-R", "", "xlm-roberta", 2, 64, 2, 128),
    Architecture("tiny BERT", "", "bert", 2, 64, 2, 128),
)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("sizes", TINY, ids=lambda sizes: sizes.kind)
def test_a_run_compares_both_lengths_and_draws_them(
    sizes: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (peer,) = (peer for peer in PEERS if peer.name == ARCHITECTURE_PEER)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = tmp_path / "cache" / f"{peer.name}-{peer.version}-py{version}"
    (environment / "bin").mkdir(parents=True)
    (environment / "installed").touch()
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(bench_architectures, "ARCHITECTURES", (sizes,))
    command = ["bench", "architectures", "--pairs", "8", "--rounds", "2", "--threads", "1", "--json"]
    plot = tmp_path / "speeds.svg"
    done = CliRunner().invoke(app, [*command, "--cache", str(tmp_path / "cache"), "--plot", str(plot)])
    assert done.exit_code == 0, (done.output, done.exception)
    shown = json.loads(done.stdout)
    assert [cell["length"] for cell in shown["cells"]] == ["short", "long"]
    for cell in shown["cells"]:
        assert len(cell["systems"]) == 5
        for row in cell["systems"]:
            assert row["reason"] is None, row
            assert 0 < row["min"] <= row["pairs_per_second"] <= row["max"]
            assert row["largest_difference"] < (1e-3 if row["precision"] == "fp32" else 1)
        assert 1.0 in [row["ratio"] for row in cell["systems"] if row["name"] != "es-rerank"]
    assert shown["not_measured"] == []
    assert plot.read_text(encoding="utf-8").count("tokens a pair") == 2

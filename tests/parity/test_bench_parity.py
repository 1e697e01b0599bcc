"""The bench's weights against the graph that they come from,
and a whole run beside the real sentence-transformers.

    pytest tests/parity

Needs the export extra (torch). Nothing is installed: the peer's environment is this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_torch
import torch
from onnx import helper, numpy_helper
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from es_rerank.models.load import model_folder
from es_rerank.models.parity_pairs import PARITY_PAIRS
from es_rerank.research.bench.peers import PEERS, Peer
from es_rerank.research.bench.weights import bundled_weights
from es_rerank.settings import BUNDLED_RERANKER


def unquantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its int8 weights, but activations left in fp32:
    what is rounded at run time no longer is.
    """
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        match node.op_type:
            case "QuantizeLinear":
                nodes.append(helper.make_node("Identity", node.input[:1], node.output))
            case "MatMulIntegerToFloat":
                weights, product = f"{node.name}_fp32", f"{node.name}_product"
                model.graph.initializer.append(
                    numpy_helper.from_array(held[node.input[1]] * held[node.input[3]], weights)
                )
                biased = len(node.input) > 6
                nodes.append(
                    helper.make_node("MatMul", [node.input[0], weights], [product] if biased else node.output)
                )
                nodes += [helper.make_node("Add", [product, node.input[6]], node.output)] if biased else []
            case _:
                nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_the_torch_folder_gives_the_logits_of_the_bundled_graph_but_for_its_rounded_activations(
    tmp_path: Path,
) -> None:
    folder = bundled_weights(tmp_path / "torch")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    graph = unquantised(onnx.load(model_folder(BUNDLED_RERANKER) / "model_int8.onnx"))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs, ours = [], []
    for query, passage in PARITY_PAIRS[::3]:
        encoded = tokenizer(
            [query], [passage], truncation="longest_first", max_length=512, return_tensors="pt"
        )
        with torch.inference_mode():
            ours.append(model(**encoded).logits.item())
        theirs.append(
            session.run(None, {node.name: encoded[node.name].numpy() for node in session.get_inputs()})[
                0
            ].item()
        )
    assert np.std(theirs) > 1
    assert np.abs(np.subtract(ours, theirs)).max() < 1e-4


def environment(cache: Path, peer: Peer, line: str) -> None:
    """Write what the bench takes for an installed environment, with a Python that is a shell's ``line``."""
    folder = cache / f"{peer.name}-{peer.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "bin").mkdir(parents=True)
    (folder / "installed").touch()
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    python.chmod(0o755)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """A run on tiny weights beside sentence-transformers of this environment,
    and a FlashRank whose Python ends.
    """
    folder = tmp_path_factory.mktemp("bench")
    peers = {peer.name: peer for peer in PEERS}
    environment(folder / "cache", peers["sentence-transformers"], f'exec "{sys.executable}" "$@"')
    environment(folder / "cache", peers["flashrank"], "echo 'no module named flashrank' >&2; exit 3")
    source, plot = tiny_torch.bert(folder / "source"), folder / "speeds.svg"
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "bench",
        "engine",
        str(source),
        "--peers",
        "sentence-transformers",
        "--peers",
        "flashrank",
        "--pairs",
        "40",
    ]
    options = [
        "--rounds",
        "2",
        "--queries",
        "5",
        "--window",
        "12",
        "--threads",
        "1",
        "--cache",
        str(folder / "cache"),
        "--plot",
        str(plot),
        "--json",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), plot, done.stderr


def test_a_run_measures_us_and_sentence_transformers_and_says_why_not_flashrank(
    ran: tuple[dict[str, Any], Path, str],
) -> None:
    shown, plot, _ = ran
    assert shown["machine"]["threads"] == 1
    assert (shown["pairs"], shown["rounds"], shown["weights_on_int8_grid"]) == (40, 2, False)
    rows = {(row["name"], row["precision"]): row for row in shown["systems"]}
    exact = [
        rows[name, "fp32"]
        for name in ("es-rerank", "sentence-transformers torch", "sentence-transformers ONNX")
    ]
    assert len({row["ndcg@10"] for row in exact}) == 1
    for row in [*exact, rows["es-rerank", "int8"], rows["sentence-transformers ONNX", "int8"]]:
        assert row["reason"] is None, row
        assert 0 < row["min"] <= row["pairs_per_second"] <= row["max"]
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["peak_rss_mb"] > 20
        assert 0 <= row["ndcg@10"] <= 1
    assert all(row["largest_difference"] < 1e-4 for row in exact)
    assert rows["es-rerank", "int8"]["largest_difference"] > 1e-4
    assert 1.0 in [row["ratio"] for row in exact[1:]]  # the fastest of them, to itself
    for precision, name in (("fp32", "FlashRank"), ("int8", "FlashRank, our int8")):
        assert rows[name, precision]["reason"] == "ended: no module named flashrank"
        assert rows[name, precision]["pairs_per_second"] is None
    assert "sentence-transformers torch" in plot.read_text(encoding="utf-8")
    assert "FlashRank" not in plot.read_text(encoding="utf-8")

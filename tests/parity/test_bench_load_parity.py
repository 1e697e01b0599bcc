"""A whole run of ``bench load`` on tiny torch weights,
beside a stand-in that answers in infinity's dialect with torch's own logits.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_torch

from es_rerank.research.bench.servers import INFINITY
from es_rerank.research.bench.under_load import CAPACITY_SHARES, SERVER_BATCH_SIZES

STAND_IN = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
given = dict(zip(sys.argv[2:], sys.argv[3:]))
model = AutoModelForSequenceClassification.from_pretrained(given["--model-id"]).eval()
tokenizer = AutoTokenizer.from_pretrained(given["--model-id"])
class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (body["model"], body["raw_scores"]) == ("bench", True)
        queries = [body["query"]] * len(body["documents"])
        encoded = tokenizer(
            queries, body["documents"], padding=True, truncation="longest_first", return_tensors="pt"
        )
        with torch.inference_mode():
            scores = (model(**encoded).logits[:, 0] + SHIFT).tolist()
        rows = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
        sent = json.dumps({"results": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(sent)
HTTPServer(("127.0.0.1", int(given["--port"])), Answers).serve_forever()
"""


def run(folder: Path, shift: float) -> dict[str, dict[str, object]]:
    """Run the command, the stand-in's logits shifted; returns its rows by name and precision."""
    binaries = (
        folder
        / "cache"
        / f"{INFINITY.name}-{INFINITY.version}-py{sys.version_info.major}.{sys.version_info.minor}"
        / "bin"
    )
    binaries.mkdir(parents=True)
    (binaries.parent / "installed").touch()
    (binaries / "python").symlink_to(sys.executable)
    (binaries / "infinity_emb").write_text(
        f"#!{sys.executable}\n{STAND_IN.replace('SHIFT', str(shift))}", encoding="utf-8"
    )
    (binaries / "infinity_emb").chmod(0o755)
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "bench",
        "load",
        str(tiny_torch.bert(folder / "source")),
        "--cache",
        str(folder / "cache"),
    ]
    done = subprocess.run(
        [*command, "--requests", "4", "--window", "3", "--threads", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {f"{row['name']} {row['precision']}": row for row in json.loads(done.stdout)["servers"]}


def test_three_servers_are_measured_at_shares_of_their_own_capacity(tmp_path: Path) -> None:
    rows = run(tmp_path, 0.0)
    assert list(rows) == ["es-rerank sidecar int8", "es-rerank sidecar fp32", "infinity server, torch fp32"]
    for row in rows.values():
        assert row["reason"] is None
        steps, capacity = row["steps"], row["capacity"]
        assert isinstance(steps, list)
        assert isinstance(capacity, float)
        assert [step["offered"] for step in steps] == pytest.approx(
            [share * capacity for share in CAPACITY_SHARES], abs=0.01
        )
    assert rows["infinity server, torch fp32"]["batch"] in SERVER_BATCH_SIZES
    assert rows["es-rerank sidecar fp32"]["batch"] is None


def test_a_server_that_computes_something_else_is_not_measured(tmp_path: Path) -> None:
    row = run(tmp_path, 0.01)["infinity server, torch fp32"]
    assert "wrong scores" in str(row["reason"])
    assert (row["capacity"], row["steps"]) == (None, [])

"""``es-rerank doctor`` fails where the instruction of the settings would be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_decoder import tiny_decoder
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank.cli.app import app
from es_rerank.node.checks import check_model
from es_rerank.node.told import with_instruction


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    reranker, decoder = str(tiny_cross_encoder(folder / "reranker")), str(tiny_decoder(folder / "decoder"))
    return {
        "cross-encoder": reranker,
        "decoder": decoder,
        "cascade": f"cascade:0.3+{reranker}+{decoder}",
        "remote": "remote:http://user:secret@127.0.0.1:9",
        "of the Hub": "owner/no-such-model",
    }


@pytest.mark.parametrize(
    ("model", "instruction", "status", "said"),
    [
        ("cross-encoder", None, "ok", ""),
        ("cross-encoder", "find laws", "fail", "takes no instruction"),
        ("remote", "find laws", "fail", "takes no instruction"),
        ("decoder", "find laws", "ok", ""),
        ("decoder", "find laws " * 500, "fail", "leaves"),
        ("cascade", "find laws", "ok", ""),
        ("cascade", "find laws " * 500, "fail", "leaves"),
        ("of the Hub", "find laws", "warn", ""),
    ],
)
def test_the_reranker_must_read_the_instruction(
    models: dict[str, str], model: str, instruction: str | None, status: str, said: str
) -> None:
    name = models[model]
    row = with_instruction(check_model("cross-encoder", name), name, instruction)
    assert (row.status, said in row.found, "secret" in row.found) == (status, True, False)
    assert ("ES_RERANK_INSTRUCTION" in row.remedy) is (status == "fail")


def test_the_command_fails_with_it(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ES_RERANK_INSTRUCTION", "find laws")
    monkeypatch.setenv("ES_RERANK_RERANKER", models["cross-encoder"])
    monkeypatch.setenv("ES_RERANK_STATE_DIR", str(tmp_path))

    def status() -> str:
        answer = CliRunner().invoke(app, ["doctor", "--json", "--no-speed"])
        rows = {row["name"]: row["status"] for row in json.loads(answer.stdout)["checks"]}
        return str(rows["Reranker"])

    assert status() == "fail"
    monkeypatch.setenv("ES_RERANK_MORE_RERANKERS", models["decoder"])
    assert status() == "ok"

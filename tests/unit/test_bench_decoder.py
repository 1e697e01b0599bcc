"""The bench of decoders: its JSON, its table, and the same scores both ways."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from es_rerank.cli import bench_decoder
from es_rerank.cli.app import app
from es_rerank.research.bench.decoder import SIZES, Sizes, prompts_of, random_weights

TINY = (
    Sizes("tiny Qwen3", 28, 32, 4, 2, 8, 48, 60, normed_heads=True, biased=False),
    Sizes("tiny Qwen2", 24, 32, 4, 2, 8, 48, 36, normed_heads=False, biased=True),
)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    monkeypatch.setattr(bench_decoder, "SIZES", TINY)
    done = CliRunner().invoke(app, ["bench", "decoder", "--layers", "2", "--threads", "1", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_json_has_a_cell_for_each_decoder_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: dict[str, Any] = json.loads(
        run(monkeypatch, "--tokens", "100", "--tokens", "80", "--window", "6", "--rounds", "2", "--json")
    )
    assert answer["layers"] == 2
    assert answer["threads"] == 1
    assert answer["machine"]["cpu"]
    assert [(cell["model"], cell["tokens"]) for cell in answer["cells"]] == [
        (sizes.name, tokens) for sizes in TINY for tokens in (100, 80)
    ]
    for cell in answer["cells"]:
        assert len(cell["ratios"]) == 2
        assert min(cell["ratios"]) <= cell["ratio"] <= max(cell["ratios"])
        assert cell["largest_difference"] <= 1e-4
        assert cell["window"] == 6


def test_the_table_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(monkeypatch, "--tokens", "80", "--window", "3", "--rounds", "1")
    assert "tiny Qwen2" in shown
    assert "shared/s" in shown


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: sizes.name)
@pytest.mark.parametrize("tokens", [100, 400])
def test_prompts_begin_alike_and_have_the_mean_length(sizes: Sizes, tokens: int) -> None:
    prompts = prompts_of(sizes.beginning, tokens, 50)
    assert {prompt.beginning for prompt in prompts} == {prompts[0].beginning}
    lengths = [len(prompt.beginning) + len(prompt.ids) for prompt in prompts]
    assert np.mean(lengths) == pytest.approx(tokens, abs=1)
    assert all(prompt.ids for prompt in prompts)


def test_a_weight_is_the_same_at_each_call_and_unknown_names_have_none() -> None:
    weight = random_weights(TINY[0], 2)
    first = weight("model.layers.1.self_attn.q_norm.weight")
    assert first is not None
    assert weight("model.layers.1.self_attn.q_norm.weight") is first
    assert weight("model.layers.1.self_attn.q_proj.bias") is None
    assert weight("lm_head.weight") is None

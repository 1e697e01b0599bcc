"""How much faster a decoder scores a window when the beginning of its prompts is computed once.

The same sequences of token ids are run twice in each round: each prompt as a whole, and each behind the
beginning that all share. Weights and ids are random, which changes no speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ...engine.batch_runner import BatchRunner
from ...engine.past import PastRunner, PastSession
from ...engine.pool import Pool, Stage
from ...observation import Runs
from ...text.pairs import Encoded
from ...types import FloatArray
from .machine import machine

LAYERS = 3
"""Layers of a measured decoder. Each layer takes the same time, but for the last one, which does little."""

WINDOW, TOKENS, ROUNDS = 50, (100, 200), 3
"""Prompts of a window, their mean lengths in tokens, and how often each window is scored."""

_VOCABULARY = 1_000
"""Rows of the embeddings. A prompt reads one row for each token, however many there are."""

_SPREAD = 0.1
"""Prompts are so much shorter or longer than the mean, so that few of them share a run."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of a decoder, from its ``config.json``, and how many tokens its prompts share.

    ``beginning``: the tokens before the document with the default instruction and a query of eight words,
    counted by hand from the prompt.
    """

    name: str
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_size: int
    inner: int
    beginning: int
    normed_heads: bool
    biased: bool


SIZES = (
    Sizes("Qwen3-Reranker-0.6B", 28, 1024, 16, 8, 128, 3072, 71, normed_heads=True, biased=False),
    Sizes("mxbai-rerank-base-v2", 24, 896, 14, 2, 64, 4864, 36, normed_heads=False, biased=True),
)
"""Qwen3-Reranker-0.6B, and the Qwen2 of 0.5 billion weights below mxbai-rerank-base-v2."""


def random_weights(sizes: Sizes, layers: int) -> Callable[[str], FloatArray | None]:
    """Return a function from a name of transformers to random weights, None for a name that there is not."""
    heads, groups = sizes.heads * sizes.head_size, sizes.key_value_heads * sizes.head_size
    dims: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (_VOCABULARY, sizes.width),
        "model.norm.weight": (sizes.width,),
    }
    for layer in range(layers):
        name = f"model.layers.{layer}"
        dims |= {
            f"{name}.input_layernorm.weight": (sizes.width,),
            f"{name}.post_attention_layernorm.weight": (sizes.width,),
            f"{name}.self_attn.q_proj.weight": (heads, sizes.width),
            f"{name}.self_attn.k_proj.weight": (groups, sizes.width),
            f"{name}.self_attn.v_proj.weight": (groups, sizes.width),
            f"{name}.self_attn.o_proj.weight": (sizes.width, heads),
            f"{name}.mlp.gate_proj.weight": (sizes.inner, sizes.width),
            f"{name}.mlp.up_proj.weight": (sizes.inner, sizes.width),
            f"{name}.mlp.down_proj.weight": (sizes.width, sizes.inner),
        }
        if sizes.normed_heads:
            dims |= {f"{name}.self_attn.{part}_norm.weight": (sizes.head_size,) for part in "qk"}
        if sizes.biased:
            dims |= {
                f"{name}.self_attn.{part}_proj.bias": (size,)
                for part, size in (("q", heads), ("k", groups), ("v", groups))
            }
    draw = np.random.default_rng(0)
    drawn: dict[str, FloatArray] = {}

    def weight(name: str) -> FloatArray | None:
        if name in dims and name not in drawn:
            shape = dims[name]
            values = draw.random(shape, dtype=np.float32) - np.float32(0.5)
            drawn[name] = values / np.float32(shape[-1] ** 0.5) if len(shape) > 1 else values + np.float32(1)
        return drawn.get(name)

    return weight


@dataclass(slots=True)
class Cell:
    """The windows of one mean length: the seconds of each round, whole and behind a shared beginning.

    ``difference`` is the largest one between the two ways to compute a score, in logits.
    """

    sizes: Sizes
    tokens: int
    window: int
    difference: float = 0.0
    whole_s: list[float] = field(default_factory=list)
    shared_s: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """How many times as fast a window is with a shared beginning, for each round."""
        return [whole / shared for whole, shared in zip(self.whole_s, self.shared_s, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """Return the cell for the command's JSON."""
        return {
            "model": self.sizes.name,
            "tokens": self.tokens,
            "beginning": self.sizes.beginning,
            "window": self.window,
            "whole_pairs_per_second": round(self.window / median(self.whole_s), 2),
            "shared_pairs_per_second": round(self.window / median(self.shared_s), 2),
            "ratio": round(median(self.ratios), 3),
            "ratios": [round(ratio, 3) for ratio in self.ratios],
            "largest_difference": self.difference,
        }


class Measured:
    """A decoder whose windows are timed with the threads of a pool."""

    def __init__(self, sizes: Sizes, session: PastSession, pool: Pool) -> None:
        self._sizes, self._pool = sizes, pool
        self._runs = PastRunner(session, pool, _logit, by_row=True)
        self._whole = BatchRunner(session, pool, _logit, by_row=True)

    def cell(self, tokens: int, window: int, rounds: int, step: Callable[[str], None]) -> Cell:
        """Time windows of prompts of ``tokens`` tokens on average, ``rounds`` times both ways in turn."""
        prompts = prompts_of(self._sizes.beginning, tokens, window)
        whole = [
            Encoded(ids := [*prompt.beginning, *prompt.ids], [0] * len(ids), truncated=False)
            for prompt in prompts
        ]
        cell = Cell(self._sizes, tokens, window)
        expected, found = self._scores(self._whole.work(whole)), self._scores(self._stages(prompts))
        cell.difference = float(np.abs(expected - found).max())
        for number in range(rounds):
            step(f"{self._sizes.name}, {tokens} tokens")
            for shares in (False, True) if number % 2 == 0 else (True, False):
                began = time.perf_counter()
                self._scores(self._stages(prompts) if shares else self._whole.work(whole))
                (cell.shared_s if shares else cell.whole_s).append(time.perf_counter() - began)
        return cell

    def _stages(self, prompts: Sequence[Encoded]) -> Stage:
        return self._runs.stages(prompts, Runs(None))

    def _scores(self, work: Stage) -> FloatArray:
        _, groups = self._pool.run_call(work)
        scores = dict(pair for group in groups for pair in group)
        return np.asarray([scores[place] for place in sorted(scores)], dtype=np.float32)


def _logit(head: FloatArray) -> float:
    return float(head[1] - head[0])


def prompts_of(beginning: int, tokens: int, window: int) -> list[Encoded]:
    """Return a window of random prompts of ``tokens`` tokens on average, which begin alike."""
    draw = np.random.default_rng(1)
    shared = tuple(draw.integers(0, _VOCABULARY, beginning).tolist())
    spread = int(_SPREAD * tokens)
    lengths = np.linspace(tokens - spread, tokens + spread, window).round().astype(int)
    return [
        Encoded(draw.integers(0, _VOCABULARY, rest).tolist(), [0] * rest, truncated=False, beginning=shared)
        for rest in (max(1, length - beginning) for length in lengths.tolist())
    ]


def report_of(cells: Sequence[Cell], layers: int, threads: int) -> dict[str, Any]:
    """Return the JSON of a run: the machine and all cells."""
    return {
        "machine": machine(),
        "threads": threads,
        "layers": layers,
        "cells": [cell.as_json() for cell in cells],
    }

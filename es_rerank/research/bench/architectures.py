"""What ``bench architectures`` measures, and its result as JSON and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from ...engine.processor import instruction_sets
from ...errors import ModelError
from ..plots.bars import BLUE, GREY, LIGHT_BLUE, Bar, chart
from .engine import SystemRow, label
from .machine import machine
from .peers import Peer
from .random_weights import Architecture
from .text_lengths import TYPICAL_TOKENS, Length, Timed

ARCHITECTURE_ROUNDS = 3

ARCHITECTURE_PEER = "sentence-transformers"
"""The only peer that runs all architectures."""

_WORK = 60_000_000_000
"""Multiplications that every system does in one round: a second or two on two cores."""

_PAIRS: dict[Length, tuple[int, int]] = {"short": (32, 160), "long": (8, 40)}
"""Smallest and largest number of pairs that are chosen for a length."""

_FLAGS = {"vnni": ("avx512_vnni", "avx_vnni"), "amx": ("amx_int8",), "avx512": ("avx512f",)}
_LIBRARIES = ("onnxruntime", "torch", "transformers", "optimum", "numpy")


def pairs_for(sizes: Architecture, length: Length) -> int:
    """Return how many pairs of a length are timed: fewer for a larger model, which takes longer."""
    fewest, most = _PAIRS[length]
    return max(fewest, min(most, _WORK // sizes.multiplications(TYPICAL_TOKENS[length])))


def versions(peer: Peer, python: Path | None) -> dict[str, str]:
    """Return the versions of the libraries that do the work: this project's ONNX Runtime, and those of the
    peer's environment, whose Python is ``python`` if there is one.
    """
    shown = {"es-rerank": version("es-rerank"), "onnxruntime": version("onnxruntime")}
    if python is None:
        return shown
    folders = [str(folder) for folder in python.parents[1].glob("lib/python*/site-packages")]
    theirs = {found.name: found.version for found in distributions(path=folders)}
    return shown | {
        f"{peer.name}: {name}": theirs[name] for name in (peer.name, *_LIBRARIES) if name in theirs
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """The rows of one architecture and one length, the fastest first."""

    sizes: Architecture
    timed: Timed
    rows: Sequence[SystemRow]


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """An architecture that could not be prepared, and the reason."""

    sizes: Architecture
    reason: str


@dataclass(frozen=True, slots=True)
class ArchitectureReport:
    """All cells of one run of ``rounds`` rounds on ``threads`` cores."""

    cells: Sequence[Cell]
    not_measured: Sequence[NotMeasured]
    rounds: int
    threads: int
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the report with the documented keys of ``--json``."""
        flags = instruction_sets()
        has = {name: any(flag in flags for flag in some) for name, some in _FLAGS.items()}
        return {
            "machine": {**machine(), "threads": self.threads, **has, "versions": self.versions},
            "rounds": self.rounds,
            "weights": "random",
            "gpu": None,
            "cells": [
                {
                    "architecture": cell.sizes.name,
                    "published": cell.sizes.published,
                    "length": cell.timed.length,
                    "pairs": cell.timed.pairs,
                    "tokens": {
                        "mean": round(cell.timed.tokens[0], 1),
                        "min": cell.timed.tokens[1],
                        "max": cell.timed.tokens[2],
                    },
                    "systems": [row.as_json() for row in cell.rows],
                }
                for cell in self.cells
            ],
            "not_measured": [
                {"architecture": missing.sizes.name, "reason": missing.reason}
                for missing in self.not_measured
            ],
        }

    def picture(self) -> str:
        """Return the ratios to the fastest fp32 peer as SVG, one group of bars for each cell.

        Raises ModelError when there is no ratio.
        """
        groups = [(heading(cell), [bar for row in cell.rows if (bar := _bar(row))]) for cell in self.cells]
        groups = [(title, bars) for title, bars in groups if bars]
        if not groups:
            raise ModelError("no system could be compared with a peer, so there is nothing to draw")
        about = machine()
        return chart(
            f"times the fastest fp32 peer's speed (pairs/s); {about['cpu']}, {self.threads} threads",
            [bar for _, bars in groups for bar in bars],
            digits=2,
            groups=[(title, len(bars)) for title, bars in groups],
        )


def heading(cell: Cell) -> str:
    """Return the name of a cell, with the mean number of tokens of its pairs."""
    return f"{cell.sizes.name}, {cell.timed.length}: {cell.timed.tokens[0]:.0f} tokens a pair"


def failures(report: ArchitectureReport) -> list[str]:
    """Return what this engine itself could not do."""
    return [f"{missing.sizes.name}: {missing.reason}" for missing in report.not_measured] + [
        f"{heading(cell)}: {label(row.system)} {row.reason}"
        for cell in report.cells
        for row in cell.rows
        if row.system.peer is None and row.reason is not None
    ]


def _bar(row: SystemRow) -> Bar | None:
    if row.ratio is None or row.pairs_per_second is None:
        return None
    ours = BLUE if row.system.precision == "fp32" else LIGHT_BLUE
    digits = 0 if row.pairs_per_second >= 10 else 1
    return Bar(
        label(row.system),
        row.ratio.median,
        row.ratio.low,
        row.ratio.high,
        ours if row.system.peer is None else GREY,
        f" ({row.pairs_per_second:.{digits}f}/s)",
    )

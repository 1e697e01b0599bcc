"""The result of measuring the cost of a window: cells, fitted lines, JSON and the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ModelError
from ...models.manifest import Manifest, Precision
from ...settings import BUNDLED_EMBEDDER
from ..plots.curves import COLOURS, Curve, Line, Panel, curves
from .cost import LINE_CANDIDATES, LINE_TOKENS, THREADS_CANDIDATES, Cell, Speed, fit_line
from .machine import machine

Point = tuple[float, float]


@dataclass(slots=True)
class CostReport:
    """The measurements, and the model they belong to. ``query`` is paired with every passage."""

    manifest: Manifest
    query: str
    rounds: int
    threads: int
    cells: list[Cell] = field(default_factory=list)
    by_threads: list[Speed] = field(default_factory=list)
    embedder: list[Speed] = field(default_factory=list)

    def against_candidates(self, precision: Precision) -> list[Point]:
        """Return (candidates, ms) of the cells with ``LINE_TOKENS`` tokens."""
        return sorted(
            (cell.candidates, cell.timing.ms)
            for cell in self.measured_cells(precision)
            if cell.tokens == LINE_TOKENS and cell.timing
        )

    def against_tokens(self, precision: Precision) -> list[Point]:
        """Return (tokens, ms) of the cells with ``LINE_CANDIDATES`` candidates."""
        return sorted(
            (cell.tokens, cell.timing.ms)
            for cell in self.measured_cells(precision)
            if cell.candidates == LINE_CANDIDATES and cell.timing
        )

    def against_threads(self, precision: Precision) -> list[Point]:
        """Return (threads, pairs per second)."""
        return [(speed.at, speed.per_second) for speed in self.by_threads if speed.precision == precision]

    def as_json(self) -> dict[str, Any]:
        """Return the report with the documented keys of ``--json``."""
        report: dict[str, Any] = {
            "machine": {**machine(), "threads": self.threads},
            "model": self.manifest.name,
            "max_length": self.manifest.max_length,
            "query": self.query,
            "rounds": self.rounds,
            "cells": [cell.as_json() for cell in self.cells],
            "fits": [line for precision in self.precisions() for line in self.fits(precision)],
            "threads": [speed.as_json("threads", "pairs") for speed in self.by_threads],
        }
        return {
            **report,
            **(
                {"embedder": [speed.as_json("tokens", "passages") for speed in self.embedder]}
                if self.embedder
                else {}
            ),
        }

    def fits(self, precision: Precision) -> Iterator[dict[str, Any]]:
        """Yield the line fitted through each of the three series of points; None when there are too few
        points.
        """
        lines = {
            "candidates": self.against_candidates(precision),
            "tokens": self.against_tokens(precision),
            "threads": self.against_threads(precision),
        }
        for name, points in lines.items():
            line = fit_line(points)
            yield {
                "precision": precision,
                "against": name,
                "points": len(points),
                "line": None if line is None else line.as_json(),
            }

    def picture(self) -> str:
        """Return the points and their lines as SVG, one panel for each series of points.

        Raises ModelError when nothing was measured.
        """
        wanted = (
            (
                f"Cost by candidates, {LINE_TOKENS} tokens each",
                "candidates",
                "milliseconds",
                self.against_candidates,
            ),
            (
                f"Cost by length, {LINE_CANDIDATES} candidates",
                "tokens of each pair",
                "milliseconds",
                self.against_tokens,
            ),
            (
                f"Speed by threads, {THREADS_CANDIDATES} candidates of {LINE_TOKENS} tokens",
                "threads",
                "pairs per second",
                self.against_threads,
            ),
        )
        panels = []
        for title, across, up, points in wanted:
            if drawn := [
                _curve(precision, points(precision), colour)
                for precision, colour in zip(self.precisions(), COLOURS, strict=False)
            ]:
                panels.append(Panel(title, across, up, [curve for curve in drawn if curve.points]))
        if self.embedder:
            panels.append(
                Panel(
                    "Embedder by length",
                    "tokens",
                    "passages per second",
                    [Curve(BUNDLED_EMBEDDER, [(speed.at, speed.per_second) for speed in self.embedder])],
                )
            )
        panels = [panel for panel in panels if panel.curves]
        if not panels:
            raise ModelError(
                "nothing was measured within --budget, so there is nothing to draw; give it more seconds"
            )
        return curves(f"{self.manifest.name}, {machine()['cpu']}, {self.threads} threads", panels)

    def precisions(self) -> list[Precision]:
        """Return the precisions of the cells, int8 first."""
        return sorted({cell.precision for cell in self.cells}, reverse=True)

    def measured_cells(self, precision: Precision) -> list[Cell]:
        """Return the cells of a precision that were timed."""
        return [cell for cell in self.cells if cell.precision == precision and cell.timing is not None]


def _curve(precision: Precision, points: Sequence[Point], colour: str) -> Curve:
    line = fit_line(points)
    if line is None:
        return Curve(precision, points, colour)
    return Curve(
        f"{precision}, line: R² {line.r2:.4f}", points, colour, line=Line(line.slope, line.intercept)
    )

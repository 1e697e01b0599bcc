"""The result of a comparison of engines: rows, their nDCG@10, JSON and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...errors import ModelError
from ...types import Blend
from ..plots.bars import BLUE, GREY, Bar, chart
from .collection_windows import CollectionWindows
from .engine import SystemRow, label
from .machine import machine
from .workers import Lists


class EngineReport:
    """The rows, their nDCG@10 on every collection, and what they were measured on.

    ``lists`` were timed in ``rounds`` rounds, on ``threads`` cores. ``joins`` joins the model's score with
    the first stage's; None when there is no such blend. ``on_our_grid`` says that the weights are those
    of the bundled int8 graph. ``ndcg`` and ``joined`` have nDCG@10 by the system's label and then by the
    collection's name; they have no value where none was measured.
    """

    def __init__(
        self,
        rows: Sequence[SystemRow],
        collections: Sequence[CollectionWindows],
        lists: Lists,
        rounds: int,
        threads: int,
        joins: Blend | None,
        *,
        on_our_grid: bool,
    ) -> None:
        self.rows, self.collections, self.on_our_grid = rows, collections, on_our_grid
        self.rounds, self.threads = rounds, threads
        self.pairs = sum(len(texts) for _, texts in lists)
        self.machine = machine()
        self.ndcg = {label(row.system): self._by_collection(row) for row in rows}
        self.joined = {
            label(row.system): self._by_collection(row, joins)
            if joins and row.system.scale == "logit"
            else {}
            for row in rows
        }

    def _by_collection(self, row: SystemRow, blend: Blend | None = None) -> dict[str, float]:
        by_collection: dict[str, float] = {}
        start = 0
        for collection in self.collections:
            end = start + collection.texts()
            if (
                row.ranked is not None
                and (value := collection.ndcg(row.ranked[start:end], blend)) is not None
            ):
                by_collection[collection.name] = value
            start = end
        return by_collection

    def as_json(self) -> dict[str, Any]:
        """Return the report with the documented keys of ``--json``."""
        systems = []
        for row in self.rows:
            ndcg, joined = self.ndcg[label(row.system)], self.joined[label(row.system)]
            quality = {
                "ndcg@10": mean_of(ndcg),
                "ndcg@10_by_collection": ndcg,
                "ndcg@10_by": row.ranked_by,
                "ndcg@10_joined": mean_of(joined),
                "ndcg@10_joined_by_collection": joined,
            }
            systems.append({**row.as_json(), **quality})
        return {
            "machine": {**self.machine, "threads": self.threads},
            "pairs": self.pairs,
            "rounds": self.rounds,
            "weights_on_int8_grid": self.on_our_grid,
            "collections": [_collection_as_json(collection) for collection in self.collections],
            "systems": systems,
        }

    def picture(self) -> str:
        """Return the speeds as SVG. Raises ModelError when nothing was measured."""
        bars = [
            Bar(
                label(row.system),
                row.pairs_per_second,
                row.low or 0.0,
                row.high or 0.0,
                BLUE if row.system.peer is None else GREY,
            )
            for row in self.rows
            if row.pairs_per_second is not None and not row.system.remembers
        ]
        if not bars:
            raise ModelError("no system could be measured, so there is nothing to draw")
        return chart(f"pairs per second, {self.machine['cpu']}, {self.threads} threads", bars)


def _collection_as_json(collection: CollectionWindows) -> dict[str, Any]:
    return {
        "name": collection.name,
        "split": collection.split,
        "queries": collection.queries,
        "window": collection.window,
        "first_stage": {"ndcg@10": collection.ndcg()},
    }


def mean_of(values: Mapping[str, float]) -> float | None:
    """Return the mean, rounded to four digits; None without values."""
    return round(fmean(values.values()), 4) if values else None

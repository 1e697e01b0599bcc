"""The servers that ``es-rerank bench load`` measures, over model folders of the same weights, and which of
them could not be measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ..errors import ModelError
from ..export import ExportOptions, export_model
from ..models.local.cross_encoder import CrossEncoder
from ..models.manifest import MANIFEST, Precision, read_manifest
from ..research.bench.engine import label
from ..research.bench.overload import OverloadRow
from ..research.bench.peers import System
from ..research.bench.peers.environment import installed
from ..research.bench.servers import INFINITY, Server, in_precision, start_infinity, start_sidecar
from ..research.bench.under_load import SERVER_BATCH_SIZES, Contender, ServerRow, reference
from ..research.bench.workers import Lists, ScoreArray
from .output import stderr, stdout


class Measured:
    """Model folders of the same weights, and the servers over them."""

    def __init__(
        self, scratch: Path, threads: int, model: str | None, timeout_s: float, *, alone: bool
    ) -> None:
        from ..models.load import model_folder
        from ..research.bench.weights import bundled_weights, source_folder
        from ..settings import BUNDLED_RERANKER

        self._threads = threads
        self._scratch, self._timeout_s = scratch, timeout_s
        self._torch: Path | None = None
        if model is not None and (Path(model) / MANIFEST).is_file():
            self._exported = Path(model)
        elif model is None and alone:
            self._exported = model_folder(BUNDLED_RERANKER)
        else:
            torch = bundled_weights(scratch / "torch") if model is None else source_folder(model)
            self._exported, self._torch = scratch / "ours", None if alone else torch
            with redirect_stdout(sys.stderr):  # torch and optimum print to stdout
                export_model(
                    str(torch),
                    self._exported,
                    ExportOptions(kind="cross-encoder"),
                    say=partial(stderr.print, highlight=False),
                )
        self._precisions: list[Precision] = sorted(read_manifest(self._exported).variants, reverse=True)

    def contenders(self, cache: Path) -> list[Contender]:
        """Return the sidecar in every precision of the folder, and infinity's server when there is a torch
        folder.
        """
        mine = version("es-rerank")
        contenders = [
            Contender(
                System("es-rerank sidecar", precision, None, "sidecar", "ours", batches=False),
                mine,
                partial(self._sidecar, precision),
            )
            for precision in self._precisions
        ]
        if self._torch is not None:
            system = System("infinity server, torch", "fp32", INFINITY.name, "infinity", "torch")
            contenders.append(
                Contender(
                    system, INFINITY.version, partial(self._infinity, self._torch, cache), SERVER_BATCH_SIZES
                )
            )
        return contenders

    def expected(self, requests: Lists) -> list[ScoreArray] | None:
        """Return this engine's fp32 logits of the first requests; None when there is no fp32 graph.

        The export has compared these logits with torch's.
        """
        if "fp32" not in self._precisions:
            return None
        with CrossEncoder(self._exported, threads=self._threads, variant="fp32") as model:
            return reference(lambda query, texts: model.score(query, texts).values, requests)

    def _sidecar(self, precision: Precision, _: int | None) -> Server:
        folder = self._scratch / f"served-{precision}"
        return start_sidecar(
            in_precision(self._exported, precision, folder),
            self._scratch,
            threads=self._threads,
            timeout_s=self._timeout_s,
        )

    def _infinity(self, torch: Path, cache: Path, batch: int | None) -> Server:
        assert batch is not None  # noqa: S101 each server of the comparison has one
        with _doing(f"installing {INFINITY.pinned}"):
            python = installed(INFINITY, cache)
        return start_infinity(python, torch.resolve(), self._scratch, threads=self._threads, batch=batch)


Row = ServerRow | OverloadRow
"""The measurements of one server."""


def label_of(row: Row) -> str:
    """Return the name of a server with its precision."""
    return label(row.contender.system)


def show_unmeasured(rows: Sequence[Row]) -> None:
    """Print which servers could not be measured, and why."""
    for row in rows:
        if row.reason is not None:
            stdout.print(
                f"not measured: {label_of(row)} {row.contender.version}: {row.reason}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


def check_measured(rows: Sequence[Row]) -> None:
    """Raise ModelError when the sidecar itself could not be measured."""
    if failed := [
        f"{label_of(row)} {row.reason}"
        for row in rows
        if row.contender.system.peer is None and row.reason is not None
    ]:
        raise ModelError(f"the sidecar itself could not be measured: {'; '.join(failed)}")


@contextmanager
def _doing(what: str) -> Iterator[None]:
    with stderr.status(f"{what} ..."):
        yield

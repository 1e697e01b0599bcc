"""The systems of a comparison, ready to start: folders of the same weights, and Python environments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ...errors import ModelError
from ...models.manifest import Manifest
from . import peers as table
from .engine import Entrant
from .machine import int8_preset
from .peers import SYSTEMS, Peer, System, Weights
from .peers.environment import installed, variables
from .weights import flat_folder
from .workers import Lists, ScoreArray, Worker, WorkerError

_WORKER = Path(table.__file__).with_name("worker.py")
_SETUP_TIMEOUT_S = 900.0

Doing = Callable[[str], AbstractContextManager[object]]
"""A function that takes what is being done; its block shows that it is being done."""


@dataclass(frozen=True, slots=True)
class Exports:
    """Folders of one model's weights.

    ``torch`` is the source. ``ours`` is this project's export with the manifest ``manifest``, ``plain`` the
    export without graph passes, None where no chosen peer reads it.
    """

    torch: Path
    ours: Path
    plain: Path | None
    manifest: Manifest


class Systems:
    """This project's systems and those of the chosen peers, with all that they need before they start.

    The constructor installs the peers into environments under ``cache`` and lets sentence-transformers export
    the weights; what fails is the reason of a row, and the other systems are measured. Logs and folders are
    written to ``scratch``. Each system may use ``threads`` cores.
    """

    def __init__(
        self,
        scratch: Path,
        exports: Exports,
        peers: Sequence[Peer],
        *,
        threads: int,
        cache: Path,
        doing: Doing,
    ) -> None:
        self._scratch, self._peers = scratch, peers
        self._threads, self._doing = threads, doing
        self._max_length = exports.manifest.max_length
        modular = (exports.torch / "modules.json").is_file()
        self._reference = table.MODULAR_REFERENCE if modular else table.REFERENCE
        flat = partial(flat_folder, exports.torch)
        self._folders: dict[Weights, Path] = {
            "torch": exports.torch,
            "ours": exports.ours,
            "optimum": scratch / "optimum",
        }
        if exports.plain is not None:
            self._folders |= {
                "flat": flat(exports.plain / exports.manifest.variant("fp32"), scratch / "flat"),
                "flat int8": flat(exports.plain / exports.manifest.variant("int8"), scratch / "flat-int8"),
            }
        self._pythons = {
            peer.name: self._tried(partial(installed, peer, cache), f"installing {peer.pinned}")
            for peer in peers
        }
        self._exported = (
            self._tried(self._export, "exporting with sentence-transformers")
            if "sentence-transformers" in self._pythons
            else None
        )

    def reference(self, lists: Lists) -> ScoreArray:
        """Return torch's logits. Raises ModelError when torch gives none."""
        try:
            with self._doing("torch's own scores"), self._start(self._reference) as worker:
                return worker.score(lists, 1).scores
        except WorkerError as error:
            raise ModelError(
                f"torch could not compute the scores that all other systems are compared with: {error}"
            ) from error

    def entrants(self) -> list[Entrant]:
        """Return this project's systems and those of the chosen peers."""
        versions = {peer.name: peer.version for peer in self._peers}
        mine = version("es-rerank")
        return [
            Entrant(
                system, mine if system.peer is None else versions[system.peer], partial(self._start, system)
            )
            for system in SYSTEMS
            if system.peer is None or system.peer in versions
        ]

    def _export(self) -> Path:
        self._start(
            table.EXPORT,
            "sentence-transformers",
            timeout_s=_SETUP_TIMEOUT_S,
            out=str(self._folders["optimum"]),
        ).close()
        return self._folders["optimum"]

    def _start(
        self, system: System, environment: str | None = None, *, timeout_s: float = 300.0, out: str = ""
    ) -> Worker:
        peer = environment or system.peer
        python = Path(sys.executable) if peer is None else _or_raise(self._pythons[peer])
        if system.weights == "optimum":
            _or_raise(self._exported)
        task = {
            "system": system.worker,
            "folder": str(self._folders[system.weights].resolve()),
            "threads": self._threads,
            "max_length": self._max_length,
            "out": out,
            "preset": int8_preset(),
        }
        # -P: do not import from the worker's own folder.
        command = [str(python), "-P", str(_WORKER), json.dumps(task)]
        return Worker(
            command,
            self._scratch / f"{system.worker}.log",
            env=variables(self._scratch, own=peer is None),
            load_timeout_s=timeout_s,
        )

    def _tried(self, make: Callable[[], Path], what: str) -> Path | WorkerError:
        """Return the path that ``make`` made, or its error: the error becomes a row, and the other systems
        are measured.
        """
        try:
            with self._doing(what):
                return make()
        except WorkerError as error:
            return error


def _or_raise(made: Path | WorkerError | None) -> Path:
    if isinstance(made, WorkerError):
        raise made
    assert made is not None  # noqa: S101 only systems of a chosen peer ask for it
    return made

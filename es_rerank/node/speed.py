"""Measures how fast the models are on this machine, for ``es-rerank doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..engine.batch_runner import threads_for
from ..engine.session import CPU
from ..errors import ModelFolderError, SettingsError
from ..models.embedder_spec import parse_embedder
from ..models.load import folder_here
from ..models.local.faster import Choice, Why, earlier, known_choice, measured
from ..models.local.speeds import Speeds
from ..models.manifest import Manifest, Precision, read_manifest
from ..models.spec import parse_model

Role = Literal["reranker", "embedder"]

WINDOW = 50
"""The cost of a window of so many hits is told."""

_BUDGET_S: dict[Role, float] = {"reranker": 0.6, "embedder": 0.4}
"""Seconds of a measurement; together a second."""

WORDS: dict[Why, str] = {
    "told": "as ES_RERANK_PRECISION says",
    "only": "the folder has no other",
    "manifest": "as the manifest says",
    "provider": "as the manifest says, because no CPU runs it",
    "overflow": "int8 would overflow on this processor",
    "disagrees": "int8 orders passages unlike fp32",
    "measured": "as measured here",
    "remembered": "as an earlier measurement found",
    "undecided": "as the manifest says; the machine was too restless to tell which is faster, and the next "
    "load measures again",
    "unmeasured": "as the manifest says",
}
"""Why a precision is in force, in words."""


@dataclass(frozen=True)
class ModelSpeed:
    """The speed of a model: the precision in force, why that one, and what was measured.

    ``fault`` says why nothing was measured, and is None otherwise. ``threads`` is the number of runs side by
    side.
    """

    role: Role
    model: str
    precision: Precision | None
    why: Why | None
    threads: int
    speeds: Speeds | None = None
    fault: str | None = None

    def window_ms(self, precision: Precision, tokens: int) -> float:
        """Return the milliseconds of ``WINDOW`` pairs of ``tokens`` tokens."""
        assert self.speeds is not None  # noqa: S101 only asked of what was measured
        return 1000 * WINDOW * self.speeds.seconds[tokens][precision]


def model_speeds(
    reranker: str,
    embedder: str,
    *,
    variant: Precision | None = None,
    threads: int = 0,
    provider: str = CPU,
) -> Iterator[ModelSpeed]:
    """Yield the speed of each model that is on this machine; it takes about a second for all.

    Of a cascade both rerankers are measured. A service, a model that would have to be downloaded or imported,
    and a folder that is no model are left out. ``variant`` is the precision that the settings name for
    rerankers.
    """
    wanted: list[tuple[Role, str]] = [("reranker", model) for model in _local(reranker)]
    for role, model in (*wanted, ("embedder", embedder)):
        share = _BUDGET_S[role] / (len(wanted) if role == "reranker" else 1)
        found = _speed(role, model, variant if role == "reranker" else None, threads, provider, share)
        if found is not None:
            yield found


def _local(reranker: str) -> Iterator[str]:
    """Yield the models on this machine that a reranker consists of."""
    try:
        spec = parse_model(reranker)
    except SettingsError:
        return
    if spec.kind == "cascade":
        for stage in spec.models:
            yield from _local(stage)
    elif not spec.hosted:
        yield spec.model


def _folder(role: Role, model: str) -> tuple[Path, Manifest] | None:
    """Return the folder of a model and its manifest; None if it has to be fetched or imported first."""
    try:
        if role == "embedder" and parse_embedder(model).hosted:
            return None
        folder = folder_here(model)
        return None if folder is None else (folder, read_manifest(folder))
    except (ModelFolderError, SettingsError):
        return None


def _speed(
    role: Role, model: str, variant: Precision | None, threads: int, provider: str, budget_s: float
) -> ModelSpeed | None:
    if (found := _folder(role, model)) is None:
        return None
    folder, manifest = found
    if variant is not None and variant not in manifest.variants:
        return None  # the check of the model says so
    used = threads_for(provider, threads)
    known = known_choice(manifest, variant, provider)
    if role == "embedder" and len(manifest.variants) > 1:
        known = Choice(manifest.default_variant, "manifest")
    try:
        speeds = measured(
            folder, manifest, threads=threads, provider=provider, budget_s=budget_s, variant=variant
        )
    except Exception as error:  # noqa: BLE001 ONNX Runtime's exceptions share no base but Exception
        choice = known or _of_load(manifest, threads, "unmeasured")
        return ModelSpeed(role, manifest.name, choice.precision, choice.why, used, fault=str(error))
    if known is None and speeds.decided is not None:
        known = Choice(speeds.decided, "measured")
    choice = known or _of_load(manifest, threads, "undecided")
    return ModelSpeed(role, manifest.name, choice.precision, choice.why, used, speeds)


def _of_load(manifest: Manifest, threads: int, otherwise: Why) -> Choice:
    """Return what a load takes where the measurement here does not decide."""
    found = earlier(manifest, threads)
    if found is None or found.decided is None:
        return Choice(manifest.default_variant, otherwise)
    return Choice(found.decided, "remembered")

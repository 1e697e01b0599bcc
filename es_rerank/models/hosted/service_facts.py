"""What a sidecar, or a text-embeddings-inference (TEI) server, says about itself in ``GET /info``."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from ...defaults import MOST_POSITIONS
from ...types import Calibration
from ..contracts import CalibrationRecord

_FLAT = frozenset({"logit", "first_stage", "intercept"})
_LARGEST = 1e6
"""Largest coefficient of a calibration that is taken: with larger ones, log odds could become infinite."""


class EmbedderFacts(NamedTuple):
    """What a service says about its embedder in ``GET /info``.

    ``ours``: whether it is a sidecar. ``of_tei``: whether it is a sidecar or a TEI server. ``embeds``:
    whether it tells about an embedder: a sidecar without a name tells about its reranker. ``model``: the
    model's own name. ``room``: how many tokens of a passage it reads. ``batch``: most texts in a request.
    ``scripts``: those that it was trained on. None where nothing is known.
    """

    ours: bool = False
    of_tei: bool = False
    embeds: bool = False
    model: str | None = None
    room: int | None = None
    batch: int | None = None
    scripts: tuple[str, ...] | None = None

    @property
    def names_folder(self) -> bool:
        """Whether the model's name is a folder of the service's machine: a caller may know a better one."""
        return self.model is not None and self.model.startswith(("/", "."))


def embedder_facts_in(answer: object) -> EmbedderFacts:
    """Return the facts about an embedder in the JSON of an answer."""
    said = answer if isinstance(answer, dict) else {}
    ours = said.get("served_by") == "es-rerank"
    kind, model = said.get("model_type"), said.get("model_id")
    longest = _whole(said.get("max_input_length"))
    # TEI counts the two tokens around a text; a sidecar knows what its prefix takes, too.
    room = _whole(said.get("passage_tokens")) or (longest - 2 if longest is not None else None)
    return EmbedderFacts(
        ours,
        ours or "max_client_batch_size" in said,
        isinstance(kind, dict) and bool({"embedding", "Embedding"} & set(kind)),
        model if isinstance(model, str) and model else None,
        room if room and room > 0 else None,
        _whole(said.get("max_client_batch_size")),
        _scripts(said.get("scripts")),
    )


def _whole(stated: object) -> int | None:
    return stated if type(stated) is int and 0 < stated <= _LARGEST else None


class Facts(NamedTuple):
    """What a service says about itself.

    ``of_tei``: whether it is a sidecar or a TEI server. ``batch``: most texts in a request to it, None where
    nothing is known. ``calibration`` and ``scripts`` are those of a sidecar's model.
    """

    of_tei: bool = False
    batch: int | None = None
    calibration: Calibration | None = None
    scripts: tuple[str, ...] | None = None


def facts_in(answer: object, default_batch: int) -> Facts:
    """Return the facts in the JSON of an answer. ``default_batch`` is the limit of a service without one."""
    said = answer if isinstance(answer, dict) else {}
    ours = said.get("served_by") == "es-rerank"
    limit = said.get("max_client_batch_size")
    most = default_batch if ours else MOST_POSITIONS
    return Facts(
        ours or "max_client_batch_size" in said,
        min(limit, most) if type(limit) is int and limit > 0 else default_batch,
        _calibration(said.get("calibration")),
        _scripts(said.get("scripts")),
    )


def _calibration(stated: object) -> Calibration | None:
    """Return the calibration that a service states; None for anything else."""
    # An older sidecar states the flat form, and no calibration of the pair alone before that.
    if not isinstance(stated, dict) or not ({"pair", "blends"} & set(stated) or set(stated) >= _FLAT):
        return None
    try:
        found = CalibrationRecord.model_validate(stated, strict=True).coefficients()
    except ValidationError:
        return None
    values = [*found[:2], *(value for blend in found.blends.values() for value in blend)]
    # The comparison is false for NaN too.
    return found if all(value is None or abs(value) <= _LARGEST for value in values) else None


def _scripts(stated: object) -> tuple[str, ...] | None:
    """Return the scripts that a service states; None for anything else."""
    if not isinstance(stated, list) or not all(isinstance(script, str) for script in stated):
        return None
    return tuple(stated) or None

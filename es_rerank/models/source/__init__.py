"""What the files of a model say about it: torch weights or ready-made graphs. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...text.prompted_pairs import PromptTruncation
from ..manifest import ModelKind


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user states about a model. ``None`` means that the files of the source decide.

    ``false_token`` and ``true_token`` are the answer tokens of a monoT5 or a decoder; the default is those of
    its family. ``truncation`` says how a monoT5 prompt that is too long is cut. ``instruction`` is the one
    that a decoder reads where a call states none. ``pooling`` is that of a bi-encoder.
    """

    kind: ModelKind | None = None
    family: str | None = None
    max_length: int | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    pooling: Literal["mean", "cls"] | None = None
    false_token: str | None = None
    true_token: str | None = None
    truncation: PromptTruncation = "document"
    instruction: str | None = None

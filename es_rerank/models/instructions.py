"""Which rerankers read an instruction: a sentence that says what makes a passage relevant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import SettingsError
from .finding import manifest_of, model_folder
from .spec import parse_model


def instruction_for(model: str | Path, instruction: str | None) -> str | None:
    """Return ``instruction`` if the reranker takes one: a decoder, or a cascade with one. Else None.

    Raises ModelFolderError when the model is not found, SettingsError for a name that means nothing.
    """
    if instruction is None:
        return None
    spec = parse_model(model)
    if spec.kind == "cascade":
        return (
            instruction
            if any(instruction_for(each, instruction) is not None for each in spec.models)
            else None
        )
    return (
        instruction if spec.kind == "local" and manifest_of(model_folder(model)).kind == "decoder" else None
    )


def check_instruction(models: Iterable[str | Path]) -> None:
    """Raise SettingsError when none of the rerankers takes an instruction, and what ``instruction_for``
    raises.
    """
    models = list(models)
    if all(instruction_for(model, "") is None for model in models):
        raise SettingsError(
            f"{', '.join(map(str, models))} takes no instruction; leave --instruction and "
            "ES_RERANK_INSTRUCTION out, or name a decoder, such as an exported Qwen3-Reranker"
        )

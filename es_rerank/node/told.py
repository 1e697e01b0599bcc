"""Checks for ``es-rerank doctor`` that the reranker reads the instruction of the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..addresses import masked_in
from ..errors import ModelFolderError, SettingsError

if TYPE_CHECKING:
    from .checks import Check


def with_instruction(check: Check, reranker: str, instruction: str | None) -> Check:
    """Return the row of a reranker; ``fail`` when it does not read the instruction, or when this one is too
    long for it.

    Nothing is downloaded: the row of a reranker that is not on this machine stays as it is.
    """
    if instruction is None or check.status != "ok":
        return check
    # These imports load ONNX Runtime.
    from ..models.load import check_instruction, instruction_for, model_folder  # noqa: PLC0415 see above
    from ..models.local.decoder import prompts_of  # noqa: PLC0415
    from ..models.manifest import TOKENIZER, read_manifest  # noqa: PLC0415
    from ..models.spec import parse_model  # noqa: PLC0415
    from ..text.pairs import open_tokenizer  # noqa: PLC0415

    try:
        check_instruction([reranker])
        spec = parse_model(reranker)
        for model in spec.models if spec.kind == "cascade" else (reranker,):
            if instruction_for(model, instruction) is not None:
                folder = model_folder(model)
                prompts_of(read_manifest(folder), open_tokenizer(folder / TOKENIZER), instruction)
    except (ModelFolderError, SettingsError) as error:
        remedy = "unset ES_RERANK_INSTRUCTION or shorten it, or name a decoder with ES_RERANK_RERANKER"
        return replace(check, status="fail", found=masked_in(error.message), remedy=remedy)
    return check

"""What the files of a decoder say, and which decoders are exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelFolderError, SettingsError
from ..catalog import FAMILIES
from .files import module_types, read_json

LOGIT_SCORE = "LogitScore"
"""The module of sentence-transformers that scores a pair by the token that follows its prompt."""

_ROTATIONS = frozenset({None, "default", "linear", "yarn", "llama3"})
"""Kinds of rotary positions whose angles depend on the position alone, so that a table can hold them."""
_POOLING = "Pooling"
_SERVED = "run it in a rerank server and name that server as remote:URL"


def is_decoder(folder: Path, architecture: str) -> bool:
    """Return whether a model is one that tells the next token, so that its score must be read off that."""
    return architecture.endswith("ForCausalLM") or LOGIT_SCORE in module_types(folder)


def refuse_embedder(folder: Path, architecture: str) -> None:
    """Raise ModelFolderError for an embedder with the architecture of a decoder, such as Qwen3-Embedding."""
    types = module_types(folder)
    stated = (read_json(folder / "config_sentence_transformers.json") or {}).get("model_type")
    if architecture.endswith("ForCausalLM") and _POOLING in types and stated != "CrossEncoder":
        raise ModelFolderError(
            f"{folder} is an embedder made of a decoder ({architecture} with the modules {', '.join(types)}, "
            "as Qwen3-Embedding has), and such embedders are neither exported nor imported here; run it in "
            "an embedding server and name that server as remote:URL"
        )


def refuse_decoder(folder: Path, architecture: str, remedy: str) -> None:
    """Raise ModelFolderError for a model that scores by its next token, with the remedy, and for an embedder
    with the architecture of a decoder.
    """
    refuse_embedder(folder, architecture)
    if is_decoder(folder, architecture):
        raise ModelFolderError(
            f"{folder} is a decoder that scores by its next token ({architecture or LOGIT_SCORE}), as "
            f"Qwen3-Reranker and mxbai-rerank-v2 do; {remedy}"
        )


def check_architecture(folder: Path, architecture: str) -> None:
    """Raise ModelFolderError for a decoder of an architecture that is not exported."""
    known = [name for family in FAMILIES for name in family.decoders]
    if architecture not in known:
        raise ModelFolderError(
            f"{folder} is a {architecture or 'model of no stated architecture'}, and a decoder that can be "
            f"exported is one of {', '.join(known)}; {_SERVED}"
        )


def check_decoder(folder: Path, config: Mapping[str, Any], max_length: int) -> None:
    """Raise ModelFolderError for a decoder whose layers are not those of ``export.decoder_graph``, or whose
    score is not the difference of two logits.
    """
    if "quantization_config" in config:
        raise ModelFolderError(
            f"the weights of {folder} are stored quantized (quantization_config in config.json); give the "
            "repository with the whole weights"
        )
    rotation = (config.get("rope_scaling") or {}).get("rope_type") or (config.get("rope_scaling") or {}).get(
        "type"
    )
    sliding = config.get("sliding_window") if config.get("use_sliding_window") else None
    fault = None
    if config.get("hidden_act", "silu") != "silu":
        fault = f"the activation {config['hidden_act']}"
    elif rotation not in _ROTATIONS:
        fault = f"rotary positions of the kind {rotation}"
    elif sliding is not None and sliding < max_length:
        fault = f"a sliding window of {sliding} tokens, and reads {max_length}"
    if fault:
        raise ModelFolderError(f"{folder} has {fault}, which is not exported here; {_SERVED}")
    _check_modules(folder)


def check_answers(folder: Path, answers: tuple[int, int]) -> None:
    """Compare the ids of false and true, ``answers``, with those by which the model's own files score.

    Raises SettingsError when they differ.
    """
    score = _logit_score(folder)
    stated = (score.get("false_token_id"), score.get("true_token_id"))
    if score and stated != answers:
        raise SettingsError(
            f"{folder} scores by the token ids {stated[0]} and {stated[1]} (its module {LOGIT_SCORE}), and "
            f"the export would read {answers[0]} and {answers[1]}; name the tokens with --false-token and "
            "--true-token"
        )


def _check_modules(folder: Path) -> None:
    types = module_types(folder)
    if types in ([], ["Transformer"]):
        return
    if types != ["Transformer", LOGIT_SCORE]:
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(types)}, and a decoder that can be exported has a "
            f"Transformer and a {LOGIT_SCORE}; {_SERVED}"
        )
    if _logit_score(folder).get("false_token_id") is None:
        raise ModelFolderError(
            f"{folder} scores by the logit of one token (no false_token_id in its module {LOGIT_SCORE}), "
            f"from which no probability can be computed; {_SERVED}"
        )


def _logit_score(folder: Path) -> Mapping[str, Any]:
    """Return the settings of the module LogitScore; empty when the model has none."""
    for module in read_json(folder / "modules.json") or []:
        if str(module.get("type", "")).rpartition(".")[2] == LOGIT_SCORE:
            return read_json(folder / str(module.get("path", "")) / "config.json") or {}
    return {}

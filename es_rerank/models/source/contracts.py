"""The contract of an export, by its kind: what the files of a torch folder say that a score or vector is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ...errors import ModelFolderError, SettingsError
from ..catalog import Family
from ..contracts import (
    BiEncoderContract,
    CrossEncoderContract,
    DecoderContract,
    MonoT5Contract,
    StatedActivation,
    Truncation,
)
from . import SourceOptions
from .files import (
    BI_ENCODER_MODULES,
    label_names,
    model_settings,
    module_settings,
    module_types,
    read_json,
)

_SCORING_MODULES = {"Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"}
"""The modules that a modular cross-encoder may have. Its graph reads the tokens of a pair and nothing else.
"""
_ACTIVATIONS: dict[int, dict[str, StatedActivation]] = {
    1: {"Sigmoid": "Sigmoid", "Identity": "Identity"},
    2: {"Softmax": "Softmax", "Identity": "Identity"},
}
"""Activations after which the sigmoid of the logit is a probability, by number of labels.

Sigmoid over two labels is not listed: such a model answers two questions, and the difference of their logits
answers neither.
"""


def cross_encoder_contract(
    folder: Path, config: Mapping[str, Any], family: Family, *, modular: bool
) -> CrossEncoderContract:
    """Return the contract of a cross-encoder; ``modular`` says that its head is a list of modules.

    Raises ModelFolderError for a model that sentence-transformers would score in another way, SettingsError
    for a classifier with more labels.
    """
    refuse_changed_inputs(folder)
    labels = _labels(_scores_of_modules(folder) if modular else len(label_names(config)))
    truncation = Truncation(strategy=family.truncation)
    return CrossEncoderContract(
        truncation=truncation, labels=labels, stated_activation=stated_activation(folder, config, labels)
    )


def stated_activation(folder: Path, config: Mapping[str, Any], labels: int) -> StatedActivation | None:
    """Return the activation that the files put on the logits, None when they state none.

    It is read where sentence-transformers reads it (cross_encoder/model.py, ``_parse_model_config``,
    ``get_default_activation_fn``). Raises ModelFolderError for a function after which the sigmoid of the
    logit is not a probability.
    """
    path = (
        model_settings(folder).get("activation_fn")
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
    )
    if path is None:
        return None
    package, _, name = str(path).rpartition(".")
    known = _ACTIVATIONS[labels]
    if package.partition(".")[0] == "torch" and name in known:
        return known[name]
    raise ModelFolderError(
        f"{folder} scores by {path} over {labels} label{'s' * (labels > 1)}, from which no logit can be "
        "computed; "
        f"a cross-encoder that can be exported states {' or '.join(known)} of torch, or nothing"
    )


def _scores_of_modules(folder: Path) -> int:
    """Return how many scores the last module gives.

    Raises ModelFolderError when it gives no scores, when a module cannot be exported, or when the model is
    not saved as a cross-encoder.
    """
    modules = read_json(folder / "modules.json")
    if unknown := sorted(set(module_types(folder)) - _SCORING_MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)}, which are not exported here; choose a model "
            "without them"
        )
    last = read_json(folder / str(modules[-1].get("path", "")) / "config.json") or {}
    if last.get("module_output_name") != "scores":
        raise ModelFolderError(
            f"the last module of {folder}, {module_types(folder)[-1]}, gives no scores: the model has no "
            "head that scores a pair; give a "
            "cross-encoder, or name its kind with --kind bi-encoder"
        )
    if (read_json(folder / "config_sentence_transformers.json") or {}).get("model_type") != "CrossEncoder":
        raise ModelFolderError(
            f"sentence-transformers itself would put a random head behind the encoder of {folder} and not "
            "run its modules, because its "
            'config_sentence_transformers.json does not say "model_type": "CrossEncoder"; fetch the whole '
            "model, or save it again"
        )
    return int(last.get("out_features", 0))


def _labels(count: int) -> Literal[1, 2]:
    match count:
        case 1:
            return 1
        case 2:
            return 2
        case other:
            raise SettingsError(
                f"a head with {other} labels is a classifier and not a reranker; a cross-encoder has one "
                "label or two"
            )


def refuse_changed_inputs(folder: Path) -> None:
    """Raise ModelFolderError when sentence-transformers would change the two texts that the model reads."""
    settings = model_settings(folder)
    name = settings.get("default_prompt_name")
    if name is not None and (prompt := (settings.get("prompts") or {}).get(name)) != "":
        raise ModelFolderError(
            f"{folder} puts its prompt {name} ({prompt!r}) before every query, which is not done here; "
            "choose another model, or remove default_prompt_name from its config_sentence_transformers.json"
        )
    if changed := module_settings(folder).get("processing_kwargs"):
        raise ModelFolderError(
            f"{folder} calls its tokenizer with {json.dumps(changed)}, which is not done here; choose "
            "another model"
        )


def monot5_contract(
    folder: Path, config: Mapping[str, Any], family: Family, options: SourceOptions
) -> MonoT5Contract:
    """Return the contract of a monoT5: the answers of its family, or those of the options.

    Raises ModelFolderError when its files do not say how decoding begins.
    """
    if config.get("decoder_start_token_id") is None:
        raise ModelFolderError(
            f"{folder / 'config.json'} states no decoder_start_token_id, which decoding an answer needs; "
            "fetch the model again"
        )
    assert family.answers is not None  # noqa: S101 the source reads only families with answers for a monot5
    false, true = family.answers
    return MonoT5Contract(
        false_token=options.false_token or false,
        true_token=options.true_token or true,
        truncation=options.truncation,
    )


def decoder_contract(family: Family, options: SourceOptions) -> DecoderContract:
    """Return the contract of a decoder: its family's, with the instruction and the tokens of the options."""
    assert family.asks is not None  # noqa: S101 the source reads only families that ask for a decoder
    stated = {
        "instruction": options.instruction,
        "false_token": options.false_token,
        "true_token": options.true_token,
    }
    return family.asks.model_copy(update={name: value for name, value in stated.items() if value is not None})


def bi_encoder_contract(folder: Path, config: Mapping[str, Any], options: SourceOptions) -> BiEncoderContract:
    """Return the contract that sentence-transformers' files state; without such files, mean pooling.

    Raises ModelFolderError for modules or a pooling that are not exported here.
    """
    types = module_types(folder)
    if unknown := sorted(set(types) - BI_ENCODER_MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)} after its transformer, which are not exported "
            "here; choose a model without them"
        )
    settings = read_json(folder / "config_sentence_transformers.json") or {}
    if types and "Normalize" not in types and settings.get("similarity_fn_name") in {"dot", "dot_product"}:
        raise ModelFolderError(
            f"the vectors of {folder} are compared by dot product, and an export gives unit vectors, which "
            "lose their lengths; choose another model"
        )
    if (cut := settings.get("truncate_dim")) and int(cut) < hidden_size(config):
        raise ModelFolderError(
            f"the vectors of {folder} are cut to {cut} dimensions (truncate_dim), which is not done here; "
            "choose another model"
        )
    query, passage = _prompts(settings)
    contract = BiEncoderContract(
        dims=hidden_size(config),
        pooling=options.pooling or _pooling(folder),
        query_prefix=query if options.query_prefix is None else options.query_prefix,
        passage_prefix=passage if options.passage_prefix is None else options.passage_prefix,
    )
    prefixed = contract.pooling == "mean" and contract.query_prefix + contract.passage_prefix
    if prefixed and pooling_settings(folder).get("include_prompt") is False:
        raise ModelFolderError(
            f"the pooling of {folder} leaves the prompt out of the mean (include_prompt), and here the mean "
            "is over all tokens; choose another model"
        )
    return contract


def _prompts(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is put before a query and before a passage.

    A side that has no prompt of its own gets the one that sentence-transformers' ``encode`` puts before every
    text (base/model.py, ``_resolve_prompt``).
    """
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name")) or ""
    sides = []
    for names in (("query",), ("document", "passage", "corpus")):
        own = [prompts[name] or "" for name in names if name in prompts]
        sides.append(next(filter(None, own), "") if own else default)
    return sides[0], sides[1]


def hidden_size(config: Mapping[str, Any]) -> int:
    """Return how many numbers the hidden state of a token has, as ``config.json`` states it."""
    return int(config.get("hidden_size") or config.get("d_model") or config["dim"])  # BERT, T5, DistilBERT


def pooling_settings(folder: Path) -> Mapping[str, Any]:
    """Return what sentence-transformers states about its pooling; empty where it states nothing."""
    modules = read_json(folder / "modules.json") or []
    named = [each.get("path") for each in modules if str(each.get("type", "")).endswith(".Pooling")]
    place = Path(str(named[0])).name if named and named[0] else "1_Pooling"
    found = read_json(folder / place / "config.json")
    if found is None and place != "1_Pooling":
        raise ModelFolderError(
            f"{folder} keeps its pooling in {place}, which was not fetched; state --pooling, or copy the "
            "whole model into a folder here"
        )
    return found or {}


def _pooling(folder: Path) -> Literal["mean", "cls"]:
    stated = pooling_settings(folder) or {"pooling_mode_mean_tokens": True}
    modes = {
        key.removeprefix("pooling_mode_")
        for key, value in stated.items()
        if key.startswith("pooling_mode_") and value is True
    }
    if isinstance(stated.get("pooling_mode"), str):  # sentence-transformers 5 writes one word
        modes = {stated["pooling_mode"]}
    match sorted(modes):
        case ["mean_tokens"] | ["mean"]:
            return "mean"
        case ["cls_token"] | ["cls"]:
            return "cls"
        case other:
            raise ModelFolderError(
                f"{folder} pools by {', '.join(other) or 'nothing'}; only mean and cls are exported here"
            )

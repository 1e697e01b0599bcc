"""What a torch model folder says of itself, read from its own configuration files; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ModelFolderError, SettingsError
from ..models.catalog import ANSWERS, DEFAULT_WINDOW, EXIT_LAYERS, FAMILIES, Family, family_named, family_of
from ..models.manifest import (
    BiEncoderContract,
    CrossEncoderContract,
    Kind,
    MonoT5Contract,
    StatedActivation,
    Truncation,
)
from . import ExportOptions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HEAD = "ForSequenceClassification"
_MODULES = {"Transformer", "Pooling", "Normalize"}
"""What a bi-encoder may consist of; our runtime pools and normalises itself."""
_SCORING_MODULES = {"Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"}
"""What a modular cross-encoder may consist of: its graph reads the tokens of a pair and nothing else."""
_ACTIVATIONS: dict[int, dict[str, StatedActivation]] = {
    1: {"Sigmoid": "Sigmoid", "Identity": "Identity"},
    2: {"Softmax": "Softmax", "Identity": "Identity"},
}
"""By number of labels, the activations beside which a logit's logistic is a probability. Sigmoid of two labels is not
among them: it answers two questions, and the difference of their logits answers neither."""


@dataclass(frozen=True, slots=True)
class Source:
    """A torch model on disk with its contract settled.

    ``modular``: a cross-encoder of sentence-transformers whose head is modules of its own behind a bare encoder.
    """

    folder: Path
    kind: Kind
    architecture: str
    family: Family
    max_length: int
    modular: bool = False
    cross_encoder: CrossEncoderContract | None = None
    monot5: MonoT5Contract | None = None
    bi_encoder: BiEncoderContract | None = None


def read_source(folder: Path, options: ExportOptions) -> Source:
    """Return what the folder's files and the options together say of the model.

    Raises ModelFolderError for a folder that is no torch model, SettingsError where something has to be named.
    """
    config = _json(folder / "config.json")
    if config is None:
        raise ModelFolderError(
            f"{folder} has no config.json: it is not a torch model in the layout of transformers; give such a folder or a Hub id"
        )
    architecture = next(iter(config.get("architectures") or ()), "")
    _refuse(folder, config, architecture)
    kind = options.kind or _kind(folder, config)
    modular = kind == "cross-encoder" and len(_module_types(folder)) > 1
    if not modular:
        _check_head(folder, kind, architecture)
    if kind != "monot5" and (options.false_token or options.true_token or options.truncation != "document"):
        raise SettingsError(
            f"--false-token, --true-token and --truncation are a monot5's, and this is a {kind}; leave them out"
        )
    family = _family(kind, architecture, options, modular=modular)
    source = Source(
        folder,
        kind,
        architecture,
        family,
        _window(folder, config, family, options.max_length),
        modular=modular,
    )
    match kind:
        case "cross-encoder":
            return replace(source, cross_encoder=_cross_encoder(source, config))
        case "monot5":
            return replace(source, monot5=_monot5(folder, config, family, options))
        case "bi-encoder":
            return replace(source, bi_encoder=_bi_encoder(folder, config, options))


def exit_layers(folder: Path) -> list[int]:
    """Return the layers of a torch folder that have an exit head."""
    return [int(layer) for layer in (_json(folder / "config.json") or {}).get(EXIT_LAYERS, [])]


def answer_ids(contract: MonoT5Contract, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the numbers of the tokens for false and true. Raises SettingsError for one that the vocabulary does not hold."""
    ids = [tokenizer.token_to_id(token) for token in (contract.false_token, contract.true_token)]
    for token, number in zip((contract.false_token, contract.true_token), ids, strict=True):
        if number is None:
            raise SettingsError(
                f"the vocabulary has no token {token}, so that the model was not taught to answer with it; name the family that it was with --family, "
                f"one of {ANSWERS}, or its tokens with --false-token and --true-token"
            )
    return ids[0], ids[1]


def _refuse(folder: Path, config: Mapping[str, Any], architecture: str) -> None:
    """Raise ModelFolderError for what no kind can be made of."""
    known = {
        name for family in FAMILIES for name in (*family.cross_encoders, *family.monot5s, *family.bi_encoders)
    }
    if config.get("auto_map") and architecture not in known:
        raise ModelFolderError(
            f"{folder} is a model with program code of its own (auto_map in config.json, architecture {architecture or 'not stated'}), and code from a model "
            "repository is not run here; choose a model of an architecture that transformers itself knows"
        )
    if architecture.endswith("ForCausalLM") or "LogitScore" in _module_types(folder):
        raise ModelFolderError(
            f"{folder} is a decoder that scores by its next token ({architecture or 'LogitScore'}), as Qwen3-Reranker and mxbai-rerank-v2 are; it is not "
            "exported here, serve it with a rerank server and name that as remote:URL"
        )


def _check_head(folder: Path, kind: Kind, architecture: str) -> None:
    """Raise ModelFolderError for an architecture without the head that the kind needs: transformers would add a random one."""
    shown = f"{folder} is a {architecture or 'model of no stated architecture'}"
    if kind == "cross-encoder" and not architecture.endswith(_HEAD):
        raise ModelFolderError(
            f"{shown} and has no head that scores a pair; give a model whose architecture ends in {_HEAD}, "
            "or name what it is for with --kind monot5 or --kind bi-encoder"
        )
    known = [name for family in FAMILIES for name in family.monot5s]
    if kind == "monot5" and architecture not in known:
        raise ModelFolderError(
            f"{shown}, and a monot5 is one of {', '.join(known)}; give such a model, or another --kind"
        )


def _family(kind: Kind, architecture: str, options: ExportOptions, *, modular: bool) -> Family:
    """Return the family that the user named, or that of the architecture; of the bare encoder, where the head is modules."""
    if options.family is None:
        return family_of(architecture, "bi-encoder" if modular else kind)
    family = family_named(options.family)
    if (family.answers is not None) != (kind == "monot5"):
        fitting = ", ".join(
            other.name for other in FAMILIES if (other.answers is not None) == (kind == "monot5")
        )
        raise SettingsError(f"the family {family.name} is none of a {kind}; choose one of {fitting}")
    return family


def _kind(folder: Path, config: Mapping[str, Any]) -> Kind:
    """Return the kind where the files leave no doubt. Raises SettingsError where they do."""
    if kind := _kind_of_modules(folder):
        return kind
    if any(name.endswith(_HEAD) for name in config.get("architectures") or ()) and len(
        _label_names(config)
    ) in {1, 2}:
        return "cross-encoder"
    raise SettingsError(
        f"the files of {folder} do not say what it is for; name it with --kind cross-encoder, --kind monot5 or --kind bi-encoder"
    )


def _kind_of_modules(folder: Path) -> Kind | None:
    """Return what sentence-transformers states of a model that it saved; None where it states nothing."""
    modules = _module_types(folder)
    stated = (
        (_json(folder / "config_sentence_transformers.json") or {}).get("model_type") if modules else None
    )
    match stated:
        case "CrossEncoder":
            return "cross-encoder"
        case "SentenceTransformer":
            return "bi-encoder"
        case None:  # older bi-encoders state none (base/model.py, _get_model_type)
            return "bi-encoder" if "Pooling" in modules and set(modules) <= _MODULES else None
        case other:
            raise ModelFolderError(
                f"{folder} is a {other} of sentence-transformers, which is neither a cross-encoder nor a bi-encoder; choose another model"
            )


def _module_types(folder: Path) -> list[str]:
    """Return the classes of sentence-transformers' modules in order, without their paths."""
    return [str(module.get("type", "")).rpartition(".")[2] for module in _json(folder / "modules.json") or []]


def _scores_of_modules(folder: Path) -> int:
    """Return how many scores the last module gives. Raises ModelFolderError where it gives none, or something else is in the way."""
    modules = _json(folder / "modules.json")
    if unknown := sorted(set(_module_types(folder)) - _SCORING_MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)}, which are not exported here; choose a model without them"
        )
    last = _json(folder / str(modules[-1].get("path", "")) / "config.json") or {}
    if last.get("module_output_name") != "scores":
        raise ModelFolderError(
            f"the last module of {folder}, {_module_types(folder)[-1]}, gives no scores: it has no head that scores a pair. Give a cross-encoder, "
            "or name what it is for with --kind bi-encoder"
        )
    if (_json(folder / "config_sentence_transformers.json") or {}).get("model_type") != "CrossEncoder":
        raise ModelFolderError(
            f"sentence-transformers itself would put a random head behind the encoder of {folder} and not run its modules, since "
            'its config_sentence_transformers.json does not say "model_type": "CrossEncoder"; fetch the whole model, or save it again'
        )
    return int(last.get("out_features", 0))


def _monot5(
    folder: Path, config: Mapping[str, Any], family: Family, options: ExportOptions
) -> MonoT5Contract:
    if config.get("decoder_start_token_id") is None:
        raise ModelFolderError(
            f"{folder / 'config.json'} states no decoder_start_token_id, without which no answer can be decoded; fetch the model again"
        )
    assert family.answers is not None  # what _family gives for a monot5
    false, true = family.answers
    return MonoT5Contract(
        false_token=options.false_token or false,
        true_token=options.true_token or true,
        truncation=options.truncation,
    )


def _label_names(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return id2label; where the file has none, transformers makes it from num_labels, and without that for two labels."""
    return config.get("id2label") or {
        str(number): f"LABEL_{number}" for number in range(config.get("num_labels") or 2)
    }


def _labels(count: int) -> Literal[1, 2]:
    match count:
        case 1:
            return 1
        case 2:
            return 2
        case other:
            raise SettingsError(
                f"a head with {other} labels is a classifier and not a reranker; a cross-encoder has one label or two"
            )


def _cross_encoder(source: Source, config: Mapping[str, Any]) -> CrossEncoderContract:
    """Return the contract of a cross-encoder. Raises ModelFolderError where sentence-transformers' scores would not be ours."""
    folder = source.folder
    _refuse_changed_inputs(folder)
    labels = _labels(_scores_of_modules(folder) if source.modular else len(_label_names(config)))
    truncation = Truncation(strategy=source.family.truncation)
    return CrossEncoderContract(
        truncation=truncation, labels=labels, stated_activation=_stated_activation(folder, config, labels)
    )


def _stated_activation(folder: Path, config: Mapping[str, Any], labels: int) -> StatedActivation | None:
    """Return what the files say is put on the logits, None where they say nothing.

    Read where sentence-transformers reads it (cross_encoder/model.py, ``_parse_model_config``, ``get_default_activation_fn``).
    Raises ModelFolderError for a function beside which the logit's logistic is no probability.
    """
    path = (
        _settings(folder).get("activation_fn")
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
        f"{folder} scores by {path} over {labels} label{'s' * (labels > 1)}, from which no logit can be read; "
        f"a cross-encoder that can be exported states {' or '.join(known)} of torch, or nothing"
    )


def _refuse_changed_inputs(folder: Path) -> None:
    """Raise ModelFolderError where sentence-transformers would give the model something else than the two texts."""
    settings = _settings(folder)
    name = settings.get("default_prompt_name")
    if name is not None and (prompt := (settings.get("prompts") or {}).get(name)) != "":
        raise ModelFolderError(
            f"{folder} puts its prompt {name} ({prompt!r}) before every query, which is not done here; "
            "choose another model, or take default_prompt_name out of its config_sentence_transformers.json"
        )
    if changed := module_settings(folder).get("processing_kwargs"):
        raise ModelFolderError(
            f"{folder} calls its tokenizer with {json.dumps(changed)}, which is not done here; choose another model"
        )


def _settings(folder: Path) -> Mapping[str, Any]:
    """Return sentence-transformers' settings of the model, which it reads beside modules.json alone (base/model.py, ``_load_modules``)."""
    return (_json(folder / "config_sentence_transformers.json") or {}) if _module_types(folder) else {}


def module_settings(folder: Path) -> Mapping[str, Any]:
    """Return its settings of the Transformer module, read as rarely; the file was once called after the architecture."""
    if not _module_types(folder):
        return {}
    return (
        _json(next(iter(sorted(folder.glob("sentence_*_config.json"))), folder / "sentence_bert_config.json"))
        or {}
    )


def _window(folder: Path, config: Mapping[str, Any], family: Family, asked: int | None) -> int:
    """Return the window in tokens: what was asked for, else what the model states, at most DEFAULT_WINDOW."""
    table = config.get("max_position_embeddings")  # T5 has none: its positions are relative
    positions = int(table or DEFAULT_WINDOW) - family.reserved_positions
    if asked is not None:
        if table and asked > positions:
            raise SettingsError(
                f"--max-length {asked} is more than the {positions} positions of the model; choose at most {positions}"
            )
        return asked
    stated = module_settings(folder).get("max_seq_length") or (
        _json(folder / "tokenizer_config.json") or {}
    ).get("model_max_length")
    return int(min(positions, DEFAULT_WINDOW, stated or DEFAULT_WINDOW))


def _bi_encoder(folder: Path, config: Mapping[str, Any], options: ExportOptions) -> BiEncoderContract:
    """Return the contract that sentence-transformers' files state; without them, mean pooling."""
    types = _module_types(folder)
    if unknown := sorted(set(types) - _MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)} after its transformer, which are not exported here; choose a model without them"
        )
    settings = _json(folder / "config_sentence_transformers.json") or {}
    if types and "Normalize" not in types and settings.get("similarity_fn_name") in {"dot", "dot_product"}:
        raise ModelFolderError(
            f"the vectors of {folder} are compared by dot product and not by angle, unit vectors would lose their lengths; choose another"
        )
    prompts = settings.get("prompts") or {}
    query, passage = prompts.get("query", ""), prompts.get("document", "") or prompts.get("passage", "")
    return BiEncoderContract(
        dims=int(config["hidden_size"]),
        pooling=_pooling(folder),
        query_prefix=query if options.query_prefix is None else options.query_prefix,
        passage_prefix=passage if options.passage_prefix is None else options.passage_prefix,
    )


def _pooling(folder: Path) -> Literal["mean", "cls"]:
    stated = _json(folder / "1_Pooling" / "config.json") or {"pooling_mode_mean_tokens": True}
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


def _json(path: Path) -> Any:  # noqa: ANN401 any JSON value
    """Return the content of a JSON file, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path} is not JSON ({error}); fetch the model again") from error

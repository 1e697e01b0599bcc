"""Reads what a torch model folder states about itself in its configuration files. Does not need torch."""

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
"""The modules that a bi-encoder may have. The runtime does pooling and normalization itself."""
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


@dataclass(frozen=True, slots=True)
class Source:
    """A torch model on disk, with the contract that its export will have.

    ``modular``: a cross-encoder of sentence-transformers whose head is a list of modules behind a bare
    encoder.
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
    """Return what the files of the folder and the options say about the model.

    Raises ModelFolderError for a folder that is not a torch model that can be exported. Raises SettingsError
    when an option is needed, or does not fit the model.
    """
    config = _json(folder / "config.json")
    if config is None:
        raise ModelFolderError(
            f"{folder} has no config.json: it is not a torch model in the layout of transformers; give such "
            "a folder or a Hub id"
        )
    architecture = next(iter(config.get("architectures") or ()), "")
    _refuse(folder, config, architecture)
    kind = options.kind or _kind(folder, config)
    modular = kind == "cross-encoder" and len(_module_types(folder)) > 1
    if not modular:
        _check_head(folder, kind, architecture)
    if kind != "monot5" and (options.false_token or options.true_token or options.truncation != "document"):
        raise SettingsError(
            f"--false-token, --true-token and --truncation fit only a monot5, and this model is a {kind}; "
            "leave them out"
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
    """Return the numbers of the layers that have an exit head in a torch folder."""
    return [int(layer) for layer in (_json(folder / "config.json") or {}).get(EXIT_LAYERS, [])]


def answer_ids(contract: MonoT5Contract, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the token ids of the answers false and true.

    Raises SettingsError when the vocabulary has no such token.
    """
    ids = [tokenizer.token_to_id(token) for token in (contract.false_token, contract.true_token)]
    for token, number in zip((contract.false_token, contract.true_token), ids, strict=True):
        if number is None:
            raise SettingsError(
                f"the vocabulary has no token {token}, so the model was not trained to answer with it; name "
                f"its family with --family, one of {ANSWERS}, "
                "or its tokens with --false-token and --true-token"
            )
    return ids[0], ids[1]


def _refuse(folder: Path, config: Mapping[str, Any], architecture: str) -> None:
    """Raise ModelFolderError for a model that no kind of export can read."""
    known = {
        name for family in FAMILIES for name in (*family.cross_encoders, *family.monot5s, *family.bi_encoders)
    }
    if config.get("auto_map") and architecture not in known:
        raise ModelFolderError(
            f"{folder} is a model with program code of its own (auto_map in config.json, architecture "
            f"{architecture or 'not stated'}), and code from a "
            "model repository is not run here; choose a model of an architecture that transformers itself "
            "knows"
        )
    if architecture.endswith("ForCausalLM") or "LogitScore" in _module_types(folder):
        raise ModelFolderError(
            f"{folder} is a decoder that scores by its next token ({architecture or 'LogitScore'}), as "
            "Qwen3-Reranker and mxbai-rerank-v2 do, "
            "and cannot be exported; run it in a rerank server and name that server as remote:URL"
        )


def _check_head(folder: Path, kind: Kind, architecture: str) -> None:
    """Raise ModelFolderError for an architecture without the head of its kind; transformers would add a
    random head.
    """
    shown = f"{folder} is a {architecture or 'model of no stated architecture'}"
    if kind == "cross-encoder" and not architecture.endswith(_HEAD):
        raise ModelFolderError(
            f"{shown} and has no head that scores a pair; give a model whose architecture ends in {_HEAD}, "
            "or name its kind with --kind monot5 or --kind bi-encoder"
        )
    known = [name for family in FAMILIES for name in family.monot5s]
    if kind == "monot5" and architecture not in known:
        raise ModelFolderError(
            f"{shown}, and a monot5 is one of {', '.join(known)}; give such a model, or another --kind"
        )


def _family(kind: Kind, architecture: str, options: ExportOptions, *, modular: bool) -> Family:
    """Return the family that the user named; else the family of the architecture.

    A modular cross-encoder has the family of its bare encoder.
    """
    if options.family is None:
        return family_of(architecture, "bi-encoder" if modular else kind)
    family = family_named(options.family)
    if (family.answers is not None) != (kind == "monot5"):
        fitting = ", ".join(
            other.name for other in FAMILIES if (other.answers is not None) == (kind == "monot5")
        )
        raise SettingsError(f"the family {family.name} does not fit a {kind}; choose one of {fitting}")
    return family


def _kind(folder: Path, config: Mapping[str, Any]) -> Kind:
    """Return the kind when the files make it clear. Raises SettingsError when they do not."""
    if kind := _kind_of_modules(folder):
        return kind
    has_head = any(name.endswith(_HEAD) for name in config.get("architectures") or ())
    if has_head and len(_label_names(config)) in {1, 2}:
        return "cross-encoder"
    raise SettingsError(
        f"the files of {folder} do not say what kind of model it is; name it with --kind cross-encoder, "
        "--kind monot5 or --kind bi-encoder"
    )


def _kind_of_modules(folder: Path) -> Kind | None:
    """Return the kind that sentence-transformers wrote into a model when it saved it; None when absent."""
    modules = _module_types(folder)
    stated = (
        (_json(folder / "config_sentence_transformers.json") or {}).get("model_type") if modules else None
    )
    match stated:
        case "CrossEncoder":
            return "cross-encoder"
        case "SentenceTransformer":
            return "bi-encoder"
        case None:  # older bi-encoders do not state it (base/model.py, _get_model_type)
            return "bi-encoder" if "Pooling" in modules and set(modules) <= _MODULES else None
        case other:
            raise ModelFolderError(
                f"{folder} is a {other} of sentence-transformers, and only a cross-encoder or a bi-encoder "
                "can be exported; choose another model"
            )


def _module_types(folder: Path) -> list[str]:
    """Return the class names of sentence-transformers' modules in order, without their paths."""
    return [str(module.get("type", "")).rpartition(".")[2] for module in _json(folder / "modules.json") or []]


def _scores_of_modules(folder: Path) -> int:
    """Return how many scores the last module gives.

    Raises ModelFolderError when it gives no scores, when a module cannot be exported, or when the model is
    not saved as a cross-encoder.
    """
    modules = _json(folder / "modules.json")
    if unknown := sorted(set(_module_types(folder)) - _SCORING_MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)}, which are not exported here; choose a model "
            "without them"
        )
    last = _json(folder / str(modules[-1].get("path", "")) / "config.json") or {}
    if last.get("module_output_name") != "scores":
        raise ModelFolderError(
            f"the last module of {folder}, {_module_types(folder)[-1]}, gives no scores: the model has no "
            "head that scores a pair; give a "
            "cross-encoder, or name its kind with --kind bi-encoder"
        )
    if (_json(folder / "config_sentence_transformers.json") or {}).get("model_type") != "CrossEncoder":
        raise ModelFolderError(
            f"sentence-transformers itself would put a random head behind the encoder of {folder} and not "
            "run its modules, because its "
            'config_sentence_transformers.json does not say "model_type": "CrossEncoder"; fetch the whole '
            "model, or save it again"
        )
    return int(last.get("out_features", 0))


def _monot5(
    folder: Path, config: Mapping[str, Any], family: Family, options: ExportOptions
) -> MonoT5Contract:
    if config.get("decoder_start_token_id") is None:
        raise ModelFolderError(
            f"{folder / 'config.json'} states no decoder_start_token_id, which decoding an answer needs; "
            "fetch the model again"
        )
    assert family.answers is not None  # _family returns only families with answers for a monot5
    false, true = family.answers
    return MonoT5Contract(
        false_token=options.false_token or false,
        true_token=options.true_token or true,
        truncation=options.truncation,
    )


def _label_names(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``id2label``. When the file has none, return the default of transformers: ``num_labels`` names,
    or two.
    """
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
                f"a head with {other} labels is a classifier and not a reranker; a cross-encoder has one "
                "label or two"
            )


def _cross_encoder(source: Source, config: Mapping[str, Any]) -> CrossEncoderContract:
    """Return the contract of a cross-encoder.

    Raises ModelFolderError for a model that sentence-transformers would score in another way.
    """
    folder = source.folder
    _refuse_changed_inputs(folder)
    labels = _labels(_scores_of_modules(folder) if source.modular else len(_label_names(config)))
    truncation = Truncation(strategy=source.family.truncation)
    return CrossEncoderContract(
        truncation=truncation, labels=labels, stated_activation=_stated_activation(folder, config, labels)
    )


def _stated_activation(folder: Path, config: Mapping[str, Any], labels: int) -> StatedActivation | None:
    """Return the activation that the files put on the logits, None when they state none.

    It is read where sentence-transformers reads it (cross_encoder/model.py, ``_parse_model_config``,
    ``get_default_activation_fn``). Raises ModelFolderError for a function after which the sigmoid of the
    logit is not a probability.
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
        f"{folder} scores by {path} over {labels} label{'s' * (labels > 1)}, from which no logit can be "
        "computed; "
        f"a cross-encoder that can be exported states {' or '.join(known)} of torch, or nothing"
    )


def _refuse_changed_inputs(folder: Path) -> None:
    """Raise ModelFolderError when sentence-transformers would change the two texts that the model reads."""
    settings = _settings(folder)
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


def _settings(folder: Path) -> Mapping[str, Any]:
    """Return sentence-transformers' settings of the model.

    They count only when modules.json exists, as in sentence-transformers (base/model.py, ``_load_modules``).
    """
    return (_json(folder / "config_sentence_transformers.json") or {}) if _module_types(folder) else {}


def module_settings(folder: Path) -> Mapping[str, Any]:
    """Return sentence-transformers' settings of the Transformer module; empty when modules.json does not
    exist.

    Older versions named the file after the architecture, as in ``sentence_roberta_config.json``.
    """
    if not _module_types(folder):
        return {}
    paths = sorted(folder.glob("sentence_*_config.json"))
    return _json(paths[0] if paths else folder / "sentence_bert_config.json") or {}


def _window(folder: Path, config: Mapping[str, Any], family: Family, asked: int | None) -> int:
    """Return the window in tokens: ``asked``, else what the model states, at most DEFAULT_WINDOW."""
    table = config.get("max_position_embeddings")  # T5 has no such table: its positions are relative
    positions = int(table or DEFAULT_WINDOW) - family.reserved_positions
    if asked is not None:
        if table and asked > positions:
            raise SettingsError(
                f"--max-length {asked} is more than the {positions} positions of the model; choose at most "
                f"{positions}"
            )
        return asked
    stated = module_settings(folder).get("max_seq_length") or (
        _json(folder / "tokenizer_config.json") or {}
    ).get("model_max_length")
    return int(min(positions, DEFAULT_WINDOW, stated or DEFAULT_WINDOW))


def _bi_encoder(folder: Path, config: Mapping[str, Any], options: ExportOptions) -> BiEncoderContract:
    """Return the contract that sentence-transformers' files state; without such files, mean pooling."""
    types = _module_types(folder)
    if unknown := sorted(set(types) - _MODULES):
        raise ModelFolderError(
            f"{folder} has the modules {', '.join(unknown)} after its transformer, which are not exported "
            "here; choose a model without them"
        )
    settings = _json(folder / "config_sentence_transformers.json") or {}
    if types and "Normalize" not in types and settings.get("similarity_fn_name") in {"dot", "dot_product"}:
        raise ModelFolderError(
            f"the vectors of {folder} are compared by dot product, and an export gives unit vectors, which "
            "lose their lengths; choose another model"
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
    """Return the content of a JSON file, None when there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path} is not JSON ({error}); fetch the model again") from error

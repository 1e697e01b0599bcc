"""What a torch model folder says of itself, read from its own configuration files; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelFolderError, SettingsError
from ..models.catalog import DEFAULT_WINDOW, Family, family_named, family_of
from ..models.manifest import BiEncoderContract, CrossEncoderContract, Kind, Truncation
from . import ExportOptions

_MODULES = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True, slots=True)
class Source:
    """A torch model on disk with its contract settled."""

    folder: Path
    kind: Kind
    architecture: str
    family: Family
    max_length: int
    cross_encoder: CrossEncoderContract | None = None
    bi_encoder: BiEncoderContract | None = None


def read_source(folder: Path, options: ExportOptions) -> Source:
    """Return what the folder's files and the options together say of the model.

    Raises ModelFolderError for a folder that is no torch model, SettingsError where something has to be named.
    """
    config = _json(folder / "config.json")
    if config is None:
        raise ModelFolderError(f"{folder} has no config.json: it is not a torch model in the layout of transformers; give such a folder or a Hub id")
    kind = options.kind or _kind(folder, config)
    architecture = next(iter(config.get("architectures") or ()), "")
    family = family_named(options.family) if options.family else family_of(architecture, kind)
    window = _window(folder, config, family, options.max_length)
    if kind == "cross-encoder":
        contract = CrossEncoderContract(truncation=Truncation(strategy=family.truncation), labels=_labels(config))
        return Source(folder, kind, architecture, family, window, cross_encoder=contract)
    return Source(folder, kind, architecture, family, window, bi_encoder=_bi_encoder(folder, config, options))


def _kind(folder: Path, config: Mapping[str, Any]) -> Kind:
    """Return the kind where the files leave no doubt. Raises SettingsError where they do."""
    if (folder / "modules.json").is_file():
        return "bi-encoder"
    if any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ()) and len(_label_names(config)) in {1, 2}:
        return "cross-encoder"
    raise SettingsError(f"the files of {folder} do not say what it is for; name it with --kind cross-encoder or --kind bi-encoder")


def _label_names(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return id2label; transformers leaves it out of the file for its default, two labels."""
    return config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}


def _labels(config: Mapping[str, Any]) -> Literal[1, 2]:
    match len(_label_names(config)):
        case 1:
            return 1
        case 2:
            return 2
        case other:
            raise SettingsError(f"a head with {other} labels is a classifier and not a reranker; a cross-encoder has one label or two")


def _window(folder: Path, config: Mapping[str, Any], family: Family, asked: int | None) -> int:
    """Return the window in tokens: what was asked for, else what the model states, at most DEFAULT_WINDOW."""
    positions = int(config.get("max_position_embeddings") or DEFAULT_WINDOW) - family.reserved_positions
    if asked is not None:
        if asked > positions:
            raise SettingsError(f"--max-length {asked} is more than the {positions} positions of the model; choose at most {positions}")
        return asked
    stated = (_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length") or (_json(folder / "tokenizer_config.json") or {}).get(
        "model_max_length"
    )
    return int(min(positions, DEFAULT_WINDOW, stated or DEFAULT_WINDOW))


def _bi_encoder(folder: Path, config: Mapping[str, Any], options: ExportOptions) -> BiEncoderContract:
    """Return the contract that sentence-transformers' files state; without them, mean pooling."""
    types = [str(module.get("type", "")).rpartition(".")[2] for module in _json(folder / "modules.json") or []]
    if unknown := sorted(set(types) - _MODULES):
        raise ModelFolderError(f"{folder} has the modules {', '.join(unknown)} after its transformer, which are not exported here; choose a model without them")
    settings = _json(folder / "config_sentence_transformers.json") or {}
    if types and "Normalize" not in types and settings.get("similarity_fn_name") in {"dot", "dot_product"}:
        raise ModelFolderError(f"the vectors of {folder} are compared by dot product and not by angle, unit vectors would lose their lengths; choose another")
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
    modes = {key.removeprefix("pooling_mode_") for key, value in stated.items() if key.startswith("pooling_mode_") and value is True}
    if isinstance(stated.get("pooling_mode"), str):  # sentence-transformers 5 writes one word
        modes = {stated["pooling_mode"]}
    match sorted(modes):
        case ["mean_tokens"] | ["mean"]:
            return "mean"
        case ["cls_token"] | ["cls"]:
            return "cls"
        case other:
            raise ModelFolderError(f"{folder} pools by {', '.join(other) or 'nothing'}; only mean and cls are exported here")


def _json(path: Path) -> Any:  # noqa: ANN401 any JSON value
    """Return the content of a JSON file, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path} is not JSON ({error}); fetch the model again") from error

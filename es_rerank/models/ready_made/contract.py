"""What a ready-made graph and the files around it say about the model: its kind, head, labels and window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ...engine.memory import available_bytes
from ...errors import ModelFolderError, SettingsError
from ..catalog import FAMILIES, Family, family_named
from ..contracts import BiEncoderContract, CrossEncoderContract, Truncation
from ..manifest import ModelKind
from ..source import SourceOptions
from ..source.contracts import bi_encoder_contract, refuse_changed_inputs, stated_activation
from ..source.decoders import refuse_decoder
from ..source.files import architecture_of, read_json, readable
from ..source.model import SourceModel, kind_of_modules, window

UNLISTED = "unlisted"
"""The family of an architecture that the catalog does not list: what it computes lies in the graph, and a
pair that is too long is cut as everywhere else."""

_HEADS = 12
"""Attention heads where ``config.json`` states none: those of BERT's base size."""
_FLOAT32 = 4

_NO, _YES = (
    frozenset({"0", "false", "irrelevant", "negative", "no", "not_relevant", "not relevant", "non-relevant"}),
    frozenset({"1", "positive", "relevant", "true", "yes"}),
)
"""Names of labels, in small letters, that say which of two logits is that of a relevant passage."""


def read_contract(folder: Path, graph: Path, options: SourceOptions, shape: tuple[int, ...]) -> SourceModel:
    """Return what the files of ``folder``, the options and the graph say about the model.

    ``shape`` is that of the graph's output for one sequence of three tokens. Raises ModelFolderError for
    files that cannot be read, or that do not fit the graph, and SettingsError when an option is needed, or
    does not fit the model.
    """
    with readable(folder):
        return _read(folder, graph, options, shape)


def _read(folder: Path, graph: Path, options: SourceOptions, shape: tuple[int, ...]) -> SourceModel:
    if (config := read_json(folder / "config.json")) is None:
        raise ModelFolderError(
            f"{folder} has no config.json, which states architectures, id2label and max_position_embeddings; "
            "fetch it from the model's repository"
        )
    if not isinstance(config, dict):
        raise ModelFolderError(f"{folder / 'config.json'} is no JSON object; fetch it again")
    architecture = architecture_of(config)
    refuse_decoder(
        folder,
        architecture,
        "ready-made graphs of it are not read; run: es-rerank export MODEL OUT --kind decoder",
    )
    asked = "monot5" if architecture.endswith("ForConditionalGeneration") else options.kind
    if asked not in {None, "cross-encoder", "bi-encoder"}:
        raise SettingsError(
            f"{architecture or folder} as a {asked} needs a graph with two rows of its head, which no "
            f"ready-made one has; run: es-rerank export MODEL OUT --kind {asked}"
        )
    kind = options.kind or kind_of_modules(folder) or _kind(architecture, shape)
    _check_head(graph, kind, shape)
    family = _family(architecture, kind, options)
    source = SourceModel(
        folder,
        kind,
        architecture or "not stated",
        family,
        window(folder, config, family, options.max_length),
    )
    if options.max_length is not None:
        _check_memory(source.max_length, int(config.get("num_attention_heads") or _HEADS))
    if kind == "cross-encoder":
        return replace(source, cross_encoder=_cross_encoder(folder, config, family, graph, shape[1]))
    return replace(source, bi_encoder=_bi_encoder(folder, config, options, graph, shape[2]))


def _kind(architecture: str, shape: tuple[int, ...]) -> ModelKind:
    """Return the kind that the architecture's name states, else the one that the output's shape shows."""
    if architecture.endswith("ForSequenceClassification"):
        return "cross-encoder"
    return "bi-encoder" if len(shape) == 3 else "cross-encoder"


def _check_memory(tokens: int, heads: int) -> None:
    """Raise SettingsError when one layer's attention to every token of a sequence does not fit into memory.

    A graph without a table of positions runs any length, and the trial of one that is too long would take
    the memory of others.
    """
    needed, free = heads * tokens * tokens * _FLOAT32, available_bytes()
    if needed > free:
        raise SettingsError(
            f"--max-length {tokens} takes {needed / 1e9:.1f} GB for one sequence, and {free / 1e9:.1f} GB "
            "are free; choose a smaller one"
        )


def _check_head(graph: Path, kind: ModelKind, shape: tuple[int, ...]) -> None:
    """Raise ModelFolderError for a graph whose output is not that of its kind."""
    given = f"{graph} gives an output of shape {shape} for one sequence of three tokens"
    if kind == "bi-encoder" and (len(shape) != 3 or shape[:2] != (1, 3)):
        raise ModelFolderError(
            f"{given}, and a bi-encoder gives a hidden state for each token, (1, 3, dims); take a graph that "
            "was exported for feature-extraction, name the kind with --kind cross-encoder, or run: "
            "es-rerank export MODEL OUT"
        )
    if kind == "cross-encoder" and (len(shape) != 2 or shape[0] != 1):
        raise ModelFolderError(
            f"{given}, and a reranker gives one or two logits, (1, 1) or (1, 2): the graph was exported "
            "without its head, or with another; name the kind with --kind bi-encoder, or run: "
            "es-rerank export MODEL OUT"
        )
    if kind == "cross-encoder" and shape[1] not in {1, 2}:
        raise SettingsError(
            f"{graph} gives {shape[1]} logits for a pair: it is a classifier or pools its vectors, and not a "
            "reranker, which has one label or two; choose another model"
        )


def _family(architecture: str, kind: ModelKind, options: SourceOptions) -> Family:
    """Return the family that the user named, else that of the architecture."""
    if options.family is not None:
        family = family_named(options.family)
        if family.answers is not None:
            raise SettingsError(f"the family {family.name} does not fit a {kind}; choose another --family")
        return family
    unlisted = Family(UNLISTED, (), ())
    return next((family for family in FAMILIES if architecture in family.architectures(kind)), unlisted)


def _cross_encoder(
    folder: Path, config: Mapping[str, Any], family: Family, graph: Path, logits: int
) -> CrossEncoderContract:
    labels: Literal[1, 2] = 1 if logits == 1 else 2
    refuse_changed_inputs(folder)
    names = config.get("id2label")
    stated = len(names) if names else config.get("num_labels")
    if stated and int(stated) != labels:
        raise ModelFolderError(
            f"{graph} gives {labels} logit{'s' * (labels > 1)} and {folder / 'config.json'} states {stated} "
            "labels: they are not of one model; fetch both again"
        )
    if names and labels == 2:
        _check_order(folder, names)
    return CrossEncoderContract(
        truncation=Truncation(strategy=family.truncation),
        labels=labels,
        stated_activation=stated_activation(folder, config, labels),
    )


def _check_order(folder: Path, names: Mapping[str, Any]) -> None:
    """Raise ModelFolderError when the first of two labels is that of a relevant passage."""
    first, second = (str(names.get(key)).strip().lower() for key in ("0", "1"))
    if first in _YES - {"1"} or second in _NO - {"0"} or (first, second) == ("1", "0"):
        raise ModelFolderError(
            f"{folder / 'config.json'} calls the first label {first} and the second {second}, and the second "
            "has to be that of a relevant passage; choose another model"
        )


def _bi_encoder(
    folder: Path, config: dict[str, Any], options: SourceOptions, graph: Path, dims: int
) -> BiEncoderContract:
    stated = next((config[key] for key in ("hidden_size", "d_model", "dim") if config.get(key)), dims)
    if int(stated) != dims:
        raise ModelFolderError(
            f"{graph} gives {dims} numbers for each token and {folder / 'config.json'} states hidden states "
            f"of {stated}: the graph has a head for each token, or is of another model; take a graph that "
            "was exported for feature-extraction"
        )
    return bi_encoder_contract(folder, {**config, "hidden_size": dims}, options)

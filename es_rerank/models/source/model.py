"""Reads what a torch model folder states about itself in its configuration files. Does not need torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelFolderError, SettingsError
from ..catalog import ANSWERS, DEFAULT_WINDOW, FAMILIES, Family, family_named, family_of
from ..contracts import BiEncoderContract, CrossEncoderContract, DecoderContract, MonoT5Contract
from ..manifest import ModelKind
from . import SourceOptions
from .contracts import bi_encoder_contract, cross_encoder_contract, decoder_contract, monot5_contract
from .decoders import (
    LOGIT_SCORE,
    check_architecture,
    check_decoder,
    is_decoder,
    refuse_decoder,
    refuse_embedder,
)
from .files import (
    BI_ENCODER_MODULES,
    architecture_of,
    label_names,
    module_settings,
    module_types,
    read_json,
    readable,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LEAST_WINDOW = 8
"""The smallest window of a manifest, in tokens."""

_HEAD = "ForSequenceClassification"


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A torch model on disk, with the contract that its export will have.

    ``modular``: a cross-encoder of sentence-transformers whose head is a list of modules behind a bare
    encoder.
    """

    folder: Path
    kind: ModelKind
    architecture: str
    family: Family
    max_length: int
    modular: bool = False
    cross_encoder: CrossEncoderContract | None = None
    monot5: MonoT5Contract | None = None
    decoder: DecoderContract | None = None
    bi_encoder: BiEncoderContract | None = None


def read_source(folder: Path, options: SourceOptions) -> SourceModel:
    """Return what the files of the folder and the options say about the model.

    Raises ModelFolderError for a folder that is not a torch model that can be exported. Raises SettingsError
    when an option is needed, or does not fit the model.
    """
    with readable(folder):
        return _read(folder, options)


def _read(folder: Path, options: SourceOptions) -> SourceModel:
    config = read_json(folder / "config.json")
    if config is None:
        raise ModelFolderError(
            f"{folder} has no config.json: it is not a torch model in the layout of transformers; give such "
            "a folder or a Hub id"
        )
    if not isinstance(config, dict):
        raise ModelFolderError(f"{folder / 'config.json'} is no JSON object; fetch the model again")
    architecture = architecture_of(config)
    _refuse(folder, config, architecture)
    refuse_embedder(folder, architecture)
    kind = options.kind or _kind(folder, config, architecture)
    if kind == "decoder":
        check_architecture(folder, architecture)
    else:
        refuse_decoder(folder, architecture, "export it with --kind decoder")
    modular = kind == "cross-encoder" and len(module_types(folder)) > 1
    if not modular:
        _check_head(folder, kind, architecture)
    _refuse_options(kind, options)
    family = _family(kind, architecture, options, modular=modular)
    source = SourceModel(
        folder,
        kind,
        architecture,
        family,
        window(folder, config, family, options.max_length),
        modular=modular,
    )
    match kind:
        case "cross-encoder":
            return replace(
                source, cross_encoder=cross_encoder_contract(folder, config, family, modular=modular)
            )
        case "monot5":
            return replace(source, monot5=monot5_contract(folder, config, family, options))
        case "decoder":
            check_decoder(folder, config, source.max_length)
            return replace(source, decoder=decoder_contract(family, options))
        case "bi-encoder":
            return replace(source, bi_encoder=bi_encoder_contract(folder, config, options))


def answer_ids(contract: MonoT5Contract | DecoderContract, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the token ids of the answers false and true.

    Raises SettingsError when the vocabulary has no such token, or both are one token. Raises it also for an
    instruction that spells a special token: torch would read the token, and this engine reads a text.
    """
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    instruction = contract.instruction if isinstance(contract, DecoderContract) else ""
    if spelt := [token for token in special if token in instruction]:
        raise SettingsError(
            f"the instruction spells the special token {spelt[0]}, which torch reads as a token, and which "
            "is read as text here, so that the two cannot be compared; state an --instruction without it"
        )
    ids = [tokenizer.token_to_id(token) for token in (contract.false_token, contract.true_token)]
    for token, number in zip((contract.false_token, contract.true_token), ids, strict=True):
        if number is None:
            known = f", one of {ANSWERS}, " if isinstance(contract, MonoT5Contract) else " "
            raise SettingsError(
                f"the vocabulary has no token {token}, so the model was not trained to answer with it; name "
                f"its family with --family{known}or its tokens with --false-token and --true-token"
            )
    if ids[0] == ids[1]:
        raise SettingsError(
            f"{contract.true_token} is the token of both answers, so that every score would be 0; name two "
            "tokens with --false-token and --true-token"
        )
    return ids[0], ids[1]


def _refuse_options(kind: ModelKind, options: SourceOptions) -> None:
    """Raise SettingsError for options of another kind of model."""
    tokens = kind != "decoder" and bool(options.false_token or options.true_token)
    if kind != "monot5" and (tokens or options.truncation != "document"):
        raise SettingsError(
            "--false-token, --true-token and --truncation fit only a monot5 (the tokens a decoder too), and "
            f"this model is a {kind}; leave them out"
        )
    of_vectors = (options.pooling, options.query_prefix, options.passage_prefix)
    if kind != "bi-encoder" and any(each is not None for each in of_vectors):
        raise SettingsError(
            "--pooling, --query-prefix and --passage-prefix fit only a bi-encoder, and this model is a "
            f"{kind}; leave them out"
        )
    if kind != "decoder" and options.instruction is not None:
        raise SettingsError(f"--instruction fits only a decoder, and this model is a {kind}; leave it out")


def _refuse(folder: Path, config: Mapping[str, Any], architecture: str) -> None:
    """Raise ModelFolderError for a model that no kind of export can read."""
    kinds: tuple[ModelKind, ...] = ("cross-encoder", "monot5", "decoder", "bi-encoder")
    known = {name for family in FAMILIES for kind in kinds for name in family.architectures(kind)}
    if config.get("auto_map") and architecture not in known:
        raise ModelFolderError(
            f"{folder} is a model with program code of its own (auto_map in config.json, architecture "
            f"{architecture or 'not stated'}), and code from a "
            "model repository is not run here; choose a model of an architecture that transformers itself "
            "knows"
        )


def _check_head(folder: Path, kind: ModelKind, architecture: str) -> None:
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


def _family(kind: ModelKind, architecture: str, options: SourceOptions, *, modular: bool) -> Family:
    """Return the family that the user named; else the family of the architecture.

    A modular cross-encoder has the family of its bare encoder.
    """
    if options.family is None:
        return family_of(architecture, "bi-encoder" if modular else kind)
    family = family_named(options.family)
    if not family.fits(kind):
        fitting = ", ".join(other.name for other in FAMILIES if other.fits(kind))
        raise SettingsError(f"the family {family.name} does not fit a {kind}; choose one of {fitting}")
    return family


def _kind(folder: Path, config: Mapping[str, Any], architecture: str) -> ModelKind:
    """Return the kind when the files make it clear. Raises SettingsError when they do not."""
    if kind := kind_of_modules(folder):
        return kind
    if is_decoder(folder, architecture):
        raise SettingsError(
            f"{folder} is a decoder that scores by its next token ({architecture}), and its files do not say "
            "whether it was trained to rerank; if it was, as Qwen3-Reranker and mxbai-rerank-v2 were, name "
            "its kind with --kind decoder"
        )
    has_head = any(name.endswith(_HEAD) for name in config.get("architectures") or ())
    if has_head and len(label_names(config)) in {1, 2}:
        return "cross-encoder"
    raise SettingsError(
        f"the files of {folder} do not say what kind of model it is; name it with --kind cross-encoder, "
        "--kind monot5, --kind decoder or --kind bi-encoder"
    )


def kind_of_modules(folder: Path) -> ModelKind | None:
    """Return the kind that sentence-transformers wrote into a model when it saved it; None when absent."""
    modules = module_types(folder)
    stated = (
        (read_json(folder / "config_sentence_transformers.json") or {}).get("model_type") if modules else None
    )
    match stated:
        case "CrossEncoder":
            return "decoder" if LOGIT_SCORE in modules else "cross-encoder"
        case "SentenceTransformer":
            return "bi-encoder"
        case None:  # older bi-encoders do not state it (base/model.py, _get_model_type)
            return "bi-encoder" if "Pooling" in modules and set(modules) <= BI_ENCODER_MODULES else None
        case other:
            raise ModelFolderError(
                f"{folder} is a {other} of sentence-transformers, and only a cross-encoder or a bi-encoder "
                "can be exported; choose another model"
            )


def window(folder: Path, config: Mapping[str, Any], family: Family, asked: int | None) -> int:
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
        read_json(folder / "tokenizer_config.json") or {}
    ).get("model_max_length")
    found = int(min(positions, DEFAULT_WINDOW, stated or DEFAULT_WINDOW))
    if found < LEAST_WINDOW:
        raise ModelFolderError(
            f"the files in {folder} state a window of {found} tokens, fewer than {LEAST_WINDOW}; fetch the "
            "model again, or state --max-length"
        )
    return found

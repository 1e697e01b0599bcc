"""Takes the tokenizer of a model over: as the model's own library uses it, and one that reads every text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelFolderError
from ...text.pairs import open_tokenizer
from ..manifest import TOKENIZER
from ..source.files import module_settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SAMPLE = ["a B", "\u8702 \u2603 \U0001f600 \u03a9"]
"""Texts with characters that vocabularies lack."""


def save_tokenizer(model: str, files: Path, places: Iterable[Path], out: Path) -> Tokenizer:
    """Write ``tokenizer.json`` of a model to ``out``, without truncation and padding, as an export does.

    ``files`` is the folder of the model's statements, ``places`` are those where the file may lie. Raises
    ModelFolderError for a file that is missing or cannot be used.
    """
    found = next((place / TOKENIZER for place in places if (place / TOKENIZER).is_file()), None)
    if found is None:
        raise ModelFolderError(
            f"{model} has no {TOKENIZER}, which only transformers can make of its vocabulary; run: es-rerank "
            "export MODEL OUT"
        )
    tokenizer = open_tokenizer(found)
    try:
        tokenizer.encode_batch(_SAMPLE)
    except Exception as error:  # tokenizers raises a plain Exception
        raise ModelFolderError(
            f"{found} cannot read every text ({error}); fetch it again, or run: es-rerank export MODEL OUT"
        ) from error
    if module_settings(files).get("do_lower_case"):
        _lower_case(tokenizer)
    tokenizer.encode_special_tokens = False  # as in the file; whoever opens it says how it is used
    tokenizer.save(str(out), pretty=False)
    return open_tokenizer(out)


def _lower_case(tokenizer: Tokenizer) -> None:
    """Do what sentence-transformers does before it calls the tokenizer (base/modules/transformer.py)."""
    from tokenizers import normalizers  # noqa: PLC0415 importing es_rerank loads no native library

    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])

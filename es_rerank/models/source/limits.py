"""Refuses what a model folder cannot hold: bytes that are no text, and prefixes that fill the whole input."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ...errors import SettingsError
from ...text.pairs import TextEncoder
from ..manifest import Manifest
from . import SourceOptions
from .model import SourceModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LEAST_ROOM = 2
"""So many tokens of a text remain beside a prefix at least, as beside special tokens (``text_room``)."""


def check_words(options: SourceOptions, **words: object) -> None:
    """Raise SettingsError for an option, or another word, that was typed in other bytes than UTF-8.

    Neither a manifest nor the library that reads tokenizers takes them.
    """
    for name, value in (
        {field.name: getattr(options, field.name) for field in fields(options)} | words
    ).items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            shown = name if name in words else f"--{name.replace('_', '-')}"
            raise SettingsError(f"{shown} {value!a} is not valid UTF-8; write it in UTF-8") from None


def check_prefixes(model: SourceModel | Manifest, tokenizer: Tokenizer) -> None:
    """Raise SettingsError when a prefix of a bi-encoder leaves too little room for the texts behind it.

    All of them would have one vector.
    """
    contract = model.bi_encoder
    if contract is None:
        return
    texts = TextEncoder(tokenizer, max_length=model.max_length)
    for what, prefix in (("query", contract.query_prefix), ("passage", contract.passage_prefix)):
        if (room := texts.room - texts.count(prefix)) < _LEAST_ROOM:
            raise SettingsError(
                f"the prefix of a {what} leaves {max(room, 0)} of {model.max_length} tokens for the text; "
                f"choose a larger --max-length, or a shorter --{what}-prefix"
            )

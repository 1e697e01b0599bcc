"""Where a model folder is written: tried before the work, and moved there when it is finished."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import SettingsError
from .manifest import MANIFEST

_FILLED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
"""What a rename says when another file or a filled folder is at its place."""


def free_place(out: Path, *, force: bool) -> Path:
    """Return where the model folder ``out`` will lie: behind a link, the folder that the link names.

    ``force``: whether a folder with files may be replaced. Raises SettingsError for a place that is taken or
    cannot be replaced.
    """
    try:
        place = out.resolve()
        filled = (place.exists() and not place.is_dir()) or (place.is_dir() and any(place.iterdir()))
    except (OSError, RuntimeError) as error:  # a link to itself is a RuntimeError
        raise SettingsError(f"{out} cannot be read ({error}); choose another folder") from error
    if filled and not place.is_dir():
        raise SettingsError(f"{out} is a file; choose another place for the folder")
    if filled and not force:
        raise SettingsError(f"{out} exists already; choose another folder, or replace it with --force")
    if place.is_mount():
        raise SettingsError(f"{out} is a mount point, which cannot be replaced; name a folder inside it")
    return place


def put_in_place(made: Path, out: Path, *, replace: bool = False) -> None:
    """Move the finished folder to ``out``. ``replace``: a filled folder there is deleted with the temporary
    folder around ``made``.

    Without ``replace``, whatever somebody wrote there in the meantime stays, and SettingsError is raised.
    torch makes weights over 2 GB readable by their owner only. They get the mode of the manifest.
    """
    mode = (made / MANIFEST).stat().st_mode
    for path in made.iterdir():
        path.chmod(mode)
    if replace and out.exists():
        out.rename(made.parent / "replaced")
    try:
        made.rename(out)
    except OSError as error:
        if error.errno not in _FILLED:
            raise
        raise SettingsError(
            f"{out} was filled by somebody else in the meantime, and was left as it is; choose another "
            "folder, or replace it with --force"
        ) from error

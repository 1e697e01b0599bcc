"""Downloads and unpacks Elasticsearch's stripped distribution from Maven Central."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import maven
from ..errors import NodeError
from .account import make_reachable
from .plugin.archive import build, contents_of
from .plugin.installation import copy_with_plugin, package_version
from .record import locked

VERSION = "9.5.0"

STRIPPED = (
    "this is Elastic's stripped distribution, as Maven has it: without the root page that `info()` reads "
    "(405), without scripts, without the analyzers of languages such as `english`, and with an unknown `rrf` "
    "where a Basic licence refuses it (403)"
)
"""What a node from Maven lacks, in a sentence."""

_ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:{version}:zip"
_DRAFT_PREFIX = ".unpacking-"
_CHECKSUM_DIGITS = 12


def unpacked(cache: Path, version: str = VERSION) -> Path | None:
    """Return the folder of the unpacked distribution in ``cache``, None if it is not there yet."""
    folder = _folder(cache, version)
    return folder if folder.is_dir() else None


def fetch(cache: Path, java_home: Path, version: str = VERSION) -> Path:
    """Return the folder of the unpacked distribution of Elasticsearch ``version`` in ``cache``.

    If it is not there yet, Maven downloads it. ``java_home`` is the folder of the JDK that Maven runs on.
    Raises NodeError when Maven is not installed, fails, or takes longer than 15 minutes.
    """
    make_reachable(cache)
    with locked(cache):
        if (folder := unpacked(cache, version)) is not None:
            return folder
        with draft_folder(cache) as draft:
            return unpack(_download(draft, java_home, version), _folder(cache, version))


def fetch_with_plugin(cache: Path, java_home: Path, version: str = VERSION) -> Path:
    """Return the folder of a copy of the unpacked distribution in which the plugin is installed.

    The distribution itself is fetched as by ``fetch`` and stays without the plugin. Raises what ``fetch`` and
    ``with_plugin`` raise.
    """
    return with_plugin(fetch(cache, java_home, version), version)


def with_plugin(source: Path, version: str) -> Path:
    """Return the folder of a copy of the unpacked distribution ``source`` in which the plugin is installed.

    The copy lies beside ``source``. Raises NodeError when the plugin does not support ``version`` or cannot
    be installed.
    """
    cache = source.parent
    target = cache / (source.name + _suffix(version))
    with locked(cache):
        if not target.is_dir():
            with draft_folder(cache) as draft:
                archive = build(version, package_version(), draft)
                copy_with_plugin(source, draft / "elasticsearch", archive)
                (draft / "elasticsearch").rename(target)
        return target


def folder_with_plugin(version: str) -> str:
    """Return the name of the folder that ``fetch_with_plugin`` makes in the cache.

    It holds the plugin's checksum, so another build of the plugin has another folder.
    """
    return f"elasticsearch-{version}{_suffix(version)}"


def has_this_plugin(folder: str, version: str) -> bool:
    """Return whether ``folder`` is the name of a copy that ``with_plugin`` makes with this build of it."""
    return folder.endswith(_suffix(version))


def _suffix(version: str) -> str:
    checksum = hashlib.sha512(contents_of(version, package_version())).hexdigest()
    return f"-with-plugin-{checksum[:_CHECKSUM_DIGITS]}"


def unpack(archive: Path, target: Path) -> Path:
    """Unpack the only folder in ``archive`` as ``target`` and return ``target``.

    The folder is unpacked beside the archive first and then moved, so ``target`` is never incomplete. Raises
    NodeError when the archive is broken or cannot be unpacked.
    """
    draft = archive.parent / "draft"
    try:
        with zipfile.ZipFile(archive) as source:
            for entry in source.infolist():
                _extract(source, entry, draft)
    except (zipfile.BadZipFile, OSError) as error:
        raise NodeError(
            f"{archive.name} cannot be unpacked into {draft} ({error}); "
            "check the disk, or delete Maven's copy in ~/.m2 and try again"
        ) from error
    (folder,) = draft.iterdir()
    return folder.rename(target)


@contextmanager
def draft_folder(cache: Path) -> Iterator[Path]:
    """Make a folder in ``cache`` that is removed afterwards. The caller holds the lock of ``cache``."""
    # A draft is left over from a process that was killed while it unpacked. The lock shows that it has ended.
    for draft in cache.glob(_DRAFT_PREFIX + "*"):
        shutil.rmtree(draft)
    with tempfile.TemporaryDirectory(dir=cache, prefix=_DRAFT_PREFIX) as name:
        yield Path(name)


def _folder(cache: Path, version: str) -> Path:
    return cache / f"elasticsearch-{version}"


def _extract(source: zipfile.ZipFile, entry: zipfile.ZipInfo, draft: Path) -> None:
    path = Path(source.extract(entry, draft))
    # zipfile does not set file modes. The node's account, which may not be ours, must be able to read all
    # files and to execute those in bin/.
    path.chmod(0o755 if entry.is_dir() or (entry.external_attr >> 16) & 0o100 else 0o644)


def _download(folder: Path, java_home: Path, version: str) -> Path:
    return maven.copied(
        _ARTIFACT.format(version=version),
        folder,
        missing=f"Elasticsearch {version} is not in the cache",
        error=NodeError,
        java_home=java_home,
    )

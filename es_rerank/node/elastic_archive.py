"""Elastic's own archive of Elasticsearch for this system: the full distribution, with a JDK of its own."""

from __future__ import annotations

import os
import platform
import tarfile
from pathlib import Path

from ..errors import NodeError
from .account import make_reachable
from .distribution import VERSION, draft_folder
from .download import Progress, download
from .record import locked

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def unpacked(cache: Path, version: str = VERSION) -> Path | None:
    """Return the folder of the unpacked archive in ``cache``, None if it is not there yet."""
    folder = _folder(cache, version)
    return folder if folder.is_dir() else None


def problem() -> str | None:
    """Return why Elastic has no archive that runs on this system, None if it has one."""
    if platform.system() not in _SYSTEMS or platform.machine().lower() not in _MACHINES:
        return f"Elastic has no archive for {platform.system()} on {platform.machine()}"
    if platform.system() == "Linux" and platform.libc_ver()[0] != "glibc":
        return "Elastic's archive needs a Linux with glibc"
    return None


def name_of_archive(version: str = VERSION) -> str:
    """Return the file name of the archive for this system, such as
    ``elasticsearch-9.5.0-linux-x86_64.tar.gz``.
    """
    system, machine = _SYSTEMS[platform.system()], _MACHINES[platform.machine().lower()]
    return f"elasticsearch-{version}-{system}-{machine}.tar.gz"


def fetch(cache: Path, address: str | None, version: str = VERSION, progress: Progress | None = None) -> Path:
    """Return the folder of the unpacked archive of Elasticsearch ``version`` in ``cache``.

    If it is not there yet, it is downloaded from the folder ``address`` of a web server; without an address,
    nothing is downloaded. ``progress`` is told how far the download is. Raises NodeError when there is no
    archive for this system, when it cannot be downloaded or unpacked, and when it is not what Elastic made.
    """
    if (folder := unpacked(cache, version)) is not None:
        return folder
    if (fault := problem()) is not None:
        raise NodeError(fault)
    if not address:
        raise NodeError(
            "Elastic's archive is not downloaded: ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL names no address"
        )
    make_reachable(cache)
    with locked(cache):
        if (folder := unpacked(cache, version)) is not None:
            return folder
        name = name_of_archive(version)
        archive = download(f"{address.rstrip('/')}/{name}", cache / name, progress)
        try:
            with draft_folder(cache) as made:
                return _unpack(archive, made / "elasticsearch").rename(_folder(cache, version))
        finally:
            archive.unlink(missing_ok=True)


def _folder(cache: Path, version: str) -> Path:
    return cache / f"elasticsearch-{version}-full"


def _unpack(archive: Path, target: Path) -> Path:
    """Unpack the only folder in ``archive`` and return it. The node's account can read all of it."""
    try:
        with tarfile.open(archive) as source:
            if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on: no file lands outside the folder
                source.extractall(target, filter="data")
            else:
                source.extractall(target)  # noqa: S202 its SHA-512 is that of Elastic's archive  # nosec B202
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NodeError(
            f"{archive.name} cannot be unpacked into {target} ({error}); free some space, or name another "
            "folder with XDG_CACHE_HOME"
        ) from error
    found = list(target.iterdir())
    if len(found) != 1 or not (found[0] / "bin" / "elasticsearch").is_file():
        raise NodeError(f"{archive.name} is not an archive of Elasticsearch: it lacks bin/elasticsearch")
    for folder, _, files in os.walk(found[0]):
        Path(folder).chmod(0o755)
        for file in (Path(folder, name) for name in files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    return found[0]

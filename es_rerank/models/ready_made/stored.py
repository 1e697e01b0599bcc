"""Models that are named and not yet imported: imported once into a cache, and taken from there afterwards.

The cache is the folder ``es-rerank/imported`` in ``XDG_CACHE_HOME`` or ``~/.cache``. An import is keyed by
the commit of its repository, or by the content of its folder, and by the kind of processor, which decides
the int8 graph.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ModelFolderError
from ..manifest import IMPORTED, MANIFEST, file_record, parse_manifest, read_manifest
from ..placing import put_in_place
from . import ImportOptions
from .card import CARD, LICENCES, licence_of
from .graph_file import read_graph
from .graphs import choose, graphs_among, machine
from .hub import faults, hub_fault, refused, short_retries
from .importing import import_from, write_import
from .maven import identity, in_a_jar
from .origin import FolderOrigin, HubOrigin, Origin, statements

_LOG = logging.getLogger(__name__)

_FORMAT = 2
"""Raised when imports are made in another way, so that older ones are made anew."""


_NAME_BYTES = 120
"""So much of a folder's name is part of the name of its import; file systems take 255 bytes."""


def holds_ready_made(folder: Path) -> bool:
    """Return whether a folder is no model folder, but has ready-made graphs."""
    try:
        return (
            folder.is_dir()
            and not (folder / MANIFEST).exists()
            and bool(graphs_among(FolderOrigin(folder).files))
        )
    except OSError:
        return False


def of_folder(folder: Path) -> Path:
    """Return the imported model of a folder with ready-made graphs; import it if it is new or was changed.

    Raises what an import raises, and ModelFolderError when the cache cannot be written.
    """
    origin = FolderOrigin(folder)
    return _of_origin(origin, _key_of(origin, folder), _plain(origin.name))


def here(name: str | Path) -> Path | None:
    """Return the import of a jar, or of a folder with ready-made graphs, that was made before; None where it
    has to be made first. Raises what the identity of a jar and the files of a folder raise.
    """
    if in_a_jar(str(name)):
        key = _key_of_jar(*identity(str(name)))
    else:
        key = _key_of(FolderOrigin(Path(name)), Path(name))
    return target if _is_whole(target := _cache() / key) else None


def _key_of(origin: FolderOrigin, folder: Path) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {machine()}".encode())
    try:
        for name in _read_files(origin, folder):
            digest.update(f"{name} {file_record(folder / name).sha256}\n".encode())
        digest.update(f"{licence_of(folder)}".encode(errors="replace"))
    except OSError as error:
        raise _unreadable(folder, error) from error
    return f"{_short(_plain(origin.name))}-{digest.hexdigest()[:16]}"


def _key_of_jar(name: str, digest: str) -> str:
    return f"{_plain(name)}-{_FORMAT}-{digest[:16]}"


def of_repository(repository: str) -> Path:
    """Return the model folder of a repository of the Hub: an exported one, or its imported ready-made graphs.

    An exported repository is fetched by its manifest. The Hub is asked once. Where it is not reached, what
    was fetched before is taken: the exported folder, or the import of the last commit that was seen. Raises
    ModelFolderError when the repository holds neither, or cannot be fetched and was not fetched before.
    """
    try:
        origin = HubOrigin(repository)
    except ModelFolderError as error:
        fault = error.__cause__ or error
        if (known := _fetched_before(repository) or _last_seen(repository, fault)) is not None:
            return known
        raise
    if MANIFEST in origin.files:
        try:
            with short_retries():
                return _exported(repository, fetch=True)
        except faults() as error:
            raise hub_fault(repository, error) from error
    return _ready_made(origin)


def _exported(repository: str, *, fetch: bool) -> Path:
    """Return the folder of an exported repository in the Hub's own cache. Raises one of ``hub.faults``."""
    from huggingface_hub import hf_hub_download, snapshot_download  # noqa: PLC0415 only those who name a Hub id need it

    folder = Path(hf_hub_download(repository, MANIFEST, local_files_only=not fetch)).parent  # nosec B615 # the caller names the repository; its manifest has checksums
    return Path(
        snapshot_download(
            repository,
            revision=folder.name,
            allow_patterns=[MANIFEST, *parse_manifest(folder).files],
            local_files_only=not fetch,
        )
    )


def _fetched_before(repository: str) -> Path | None:
    """Return the folder of an exported repository, without asking the Hub; None where it is not there."""
    try:
        return _exported(repository, fetch=False)
    except faults():
        return None


def _ready_made(origin: HubOrigin) -> Path:
    """Return the import of a repository that has no manifest."""
    repository = origin.name
    if not graphs_among(origin.files):
        raise ModelFolderError(
            f"{repository} is on the Hub, but neither as an exported model (it has no {MANIFEST}) nor with "
            f"ready-made ONNX graphs (it has no onnx/model.onnx); run: es-rerank export {repository} OUT, "
            "and give OUT instead"
        )
    if origin.revision is None:
        raise ModelFolderError(
            f"the Hub states no commit of {repository}, so that nobody could tell when an import of it is "
            f"out of date; run: es-rerank import {repository} OUT, and give OUT instead"
        )
    owner_and_name = repository.replace("/", "--")
    key = f"{owner_and_name}-{_FORMAT}-{origin.revision}-{machine()}"
    folder = _of_origin(origin, key, repository)
    _remember(repository, folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath(*IMPORTED)


def of_jar(model: str) -> Path:
    """Return the imported embedder of ``maven:NAME`` or of a jar; see ``maven.unpacked`` for what it raises.

    Maven is asked once: the jar's content is known, so that it never changes.
    """
    name, digest = identity(model)
    options = ImportOptions(name=name)

    def write(made: Path) -> None:
        write_import(model, made, options, name, None, _say)

    return _imported(model, _key_of_jar(name, digest), write)


def _of_origin(origin: Origin, key: str, name: str) -> Path:
    return _imported(
        origin.name, key, lambda made: import_from(origin, made, ImportOptions(), name, None, _say)
    )


def _imported(shown: str, key: str, write: Callable[[Path], object]) -> Path:
    """Return the folder ``key`` of the cache, which ``write`` fills now if it is not there whole."""
    target = _cache() / key
    if _is_whole(target):
        return target
    with _locked(target):
        if _is_whole(target):  # another process was first
            return target
        for left in target.parent.glob(f".{key}.*"):  # by a process that was killed: this one has the lock
            shutil.rmtree(left, ignore_errors=True)
        _LOG.info("model %s is imported once, into %s", shown, target)
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{key}.") as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                write(made)
                put_in_place(made, target, replace=True)
        except OSError as error:
            if error.filename and not _below(Path(os.fsdecode(error.filename)), target.parent):
                raise _unreadable(Path(shown), error) from error
            raise _unwritable(target, error) from error
    return target


def _is_whole(folder: Path) -> bool:
    """Return whether a folder of the cache has all its files, each of its size."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        read_manifest(folder)
    except ModelFolderError:
        return False
    return True


def _read_files(origin: FolderOrigin, folder: Path) -> list[str]:
    """Return the files that an import of the folder reads, without those that state the licence alone."""
    graphs = list(choose(origin.name, origin.files, graph=None, only=None).graphs.values())
    data = [
        (Path(graph).parent / each).as_posix()
        for graph in graphs
        for each in read_graph(folder / graph).external
    ]
    return sorted(
        name
        for name in {*statements(origin.files, graphs), *graphs, *data} - {CARD, *LICENCES}
        if (folder / name).is_file()
    )


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process at a time write a folder of the cache. The lock ends with the process."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("a")
    except OSError as error:
        raise _unwritable(target, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unwritable(target: Path, error: OSError) -> ModelFolderError:
    return ModelFolderError(
        f"{target} cannot be written ({error.strerror or error}); name another cache with XDG_CACHE_HOME, or "
        "run: es-rerank import MODEL OUT, and give OUT"
    )


def _below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _unreadable(model: Path, error: OSError) -> ModelFolderError:
    return ModelFolderError(f"{model} cannot be read ({error}); check who may read it")


def _note(repository: str) -> Path:
    return _cache() / f"{repository.replace('/', '--')}-{machine()}.json"


def _remember(repository: str, folder: Path) -> None:
    """Note which import a repository had last, for when the Hub is not reached."""
    note, text = _note(repository), json.dumps({"folder": folder.name})
    try:
        if note.is_file() and note.read_text(encoding="utf-8") == text:
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=note.parent, prefix=".note-", delete=False
        ) as file:
            file.write(text)
        Path(file.name).replace(note)
    except OSError as error:
        _LOG.warning("%s cannot be written (%s), so that %s needs the Hub again", note, error, repository)


def _last_seen(repository: str, error: BaseException) -> Path | None:
    """Return the import of the last commit that was seen; None when there is none, or when the Hub said that
    the repository may not be read.
    """
    if refused(error):
        return None
    try:
        name = json.loads(_note(repository).read_text(encoding="utf-8"))["folder"]
        folder = _cache() / Path(str(name)).name
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _is_whole(folder):
        return None
    _LOG.info("the Hub is not reached, so the import of %s in %s is taken", repository, folder)
    return folder


def _plain(name: str) -> str:
    """Return a name of a folder as one that every file system takes."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"


def _short(name: str) -> str:
    """Return the beginning of a name: with a checksum and the endings of other files, it is a file's name."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")


def _say(text: str) -> None:
    level = logging.WARNING if text.startswith("warning: ") else logging.INFO
    _LOG.log(level, "%s", text.removeprefix("warning: "))

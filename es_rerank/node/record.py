"""Stores the record of a node in a JSON file, so that later commands find the node.

The file is replaced in one step. A lock allows one command at a time to change it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import NodeError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks; no node is started there
    fcntl = None  # type: ignore[assignment]

How = Literal["docker", "archive", "maven", "given"]
"""How an Elasticsearch runs: in a container; as our process, from Elastic's own archive or from Maven's
stripped distribution; or at an address that the user gave."""

Distribution = Literal["full", "stripped"]
"""What an Elasticsearch is: as Elastic publishes it, or the stripped distribution that Maven has."""


class ProcessRecord(BaseModel):
    """The process of a node that es-rerank started."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float
    """Start time of the process in seconds since the epoch. Pid and start time identify a process."""
    home: Path
    """Folder of configuration, data and logs."""


class ContainerRecord(BaseModel):
    """The container of a node that es-rerank started."""

    model_config = ConfigDict(frozen=True)

    id: str
    project: str
    """Name of the Compose project, or of the container and its volume."""
    compose: Path | None
    """The Compose file, None if the container was started without one."""


class PluginRecord(BaseModel):
    """The plugin of a node that es-rerank started with it."""

    model_config = ConfigDict(frozen=True)

    folder: str
    """Name of the distribution's folder, which holds the checksum of the plugin."""
    sidecar: str
    """The address of the sidecar that the plugin asks."""


class Record(BaseModel):
    """A node that es-rerank started, as a process or as a container."""

    model_config = ConfigDict(frozen=True)

    url: str
    version: str
    node_id: str
    """The node id that Elasticsearch gave. Another server on the same port has another id."""
    place: ProcessRecord | ContainerRecord
    plugin: PluginRecord | None = None
    """None if the node runs without the plugin."""
    full: bool = False
    """Whether a process runs Elastic's own archive, and not Maven's stripped distribution."""
    passed_over: tuple[str, ...] = ()
    """Why the node was not started in a better way."""
    running: bool = True
    """Whether the node ran when the last command ended. It may have ended since."""

    @property
    def how(self) -> How:
        """How the node was started."""
        if not isinstance(self.place, ProcessRecord):
            return "docker"
        return "archive" if self.full else "maven"


def read(state_dir: Path) -> Record | None:
    """Return the record in ``state_dir``, None if there is no record or it is not valid."""
    try:
        return Record.model_validate_json(_file(state_dir).read_bytes())
    except (OSError, ValidationError):
        return None


def write(state_dir: Path, record: Record) -> None:
    """Replace the record in one step, so that a reader never sees an incomplete one."""
    draft = _file(state_dir).with_suffix(f".{os.getpid()}")
    draft.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(_file(state_dir))


def forget(state_dir: Path) -> None:
    """Remove the record if there is one."""
    _file(state_dir).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder`` during the ``with`` block.

    The folder is made if it does not exist. If another process holds the lock, this waits for it. A lock is
    released when its process ends. Raises NodeError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise NodeError(
            f"folder {folder} cannot be written ({error.strerror}); "
            "name another one with ES_RERANK_STATE_DIR or XDG_CACHE_HOME"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(state_dir: Path) -> Path:
    return state_dir / "node.json"

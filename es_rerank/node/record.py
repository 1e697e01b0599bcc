"""What is remembered of a node between two commands: one JSON file, written whole or not at all, under one lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import NodeError

How = Literal["docker", "maven", "given"]
"""Where an Elasticsearch comes from: a container, a process of ours, or an address that the user gave."""


class ProcessRecord(BaseModel):
    """Where a node that is a process of ours runs."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float
    """Start time of the process in seconds since the epoch: a recycled pid has another one."""
    home: Path
    """Folder of configuration, data and logs."""


class ContainerRecord(BaseModel):
    """Where a node that is a container runs."""

    model_config = ConfigDict(frozen=True)

    id: str
    project: str
    """Name of the Compose project, or of the container and its volume."""
    compose: Path | None
    """The Compose file; None when the container was started without one."""


class Record(BaseModel):
    """A node that this program started, as a process or as a container."""

    model_config = ConfigDict(frozen=True)

    url: str
    version: str
    node_id: str
    """Elasticsearch's own name for the node: another server on a recycled port has another one."""
    place: ProcessRecord | ContainerRecord
    running: bool = True
    """What the last command left behind, not what is true now."""

    @property
    def how(self) -> How:
        """Return how the node was started."""
        return "maven" if isinstance(self.place, ProcessRecord) else "docker"


def read(state_dir: Path) -> Record | None:
    """Return the record in ``state_dir``; None when there is none, or none that can be understood."""
    try:
        return Record.model_validate_json(_file(state_dir).read_bytes())
    except (OSError, ValidationError):
        return None


def write(state_dir: Path, record: Record) -> None:
    """Replace the record in one step, so that no reader ever sees half of it."""
    draft = _file(state_dir).with_suffix(f".{os.getpid()}")
    draft.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(_file(state_dir))


def forget(state_dir: Path) -> None:
    """Remove the record, if there is one."""
    _file(state_dir).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder`` (made if absent), waiting for whoever holds it; it falls with the process.

    Raises NodeError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise NodeError(
            f"folder {folder} cannot be written ({error.strerror}); name another one with ES_RERANK_STATE_DIR or XDG_CACHE_HOME"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(state_dir: Path) -> Path:
    return state_dir / "node.json"

"""From "there is none" to a node that answers, and back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..addresses import masked
from ..errors import NodeError, SettingsError, UnreachableError
from ..settings import read_settings
from . import distribution, docker, java, process
from .account import default_cache, home_of
from .probe import await_health, probe
from .record import How, ProcessRecord, Record, forget, locked, read, write

NONE_RUNS = "no Elasticsearch: start one with `es-rerank up`, or give an address with --elasticsearch-url or ELASTICSEARCH_URL"


@dataclass(frozen=True)
class Node:
    """A running Elasticsearch, as a rule one that this program started."""

    url: str
    version: str
    how: How
    pid: int | None
    """Process id; None in Docker and for an address that was given."""
    home: Path | None
    """Folder of its configuration, data and logs; None where ``pid`` is."""
    found: bool = field(default=True, compare=False)
    """False when the call that returns it started it."""


class Obstacle(NamedTuple):
    """What is missing for a node, and what to install against it."""

    found: str
    install: str


class Down(NamedTuple):
    """What ``down`` did: the node it stopped, None when none of ours ran; and whether data was removed."""

    stopped: Node | None
    purged: bool


def up(
    state_dir: Path, *, heap_mb: int = 512, timeout_s: float = 180.0, cache_dir: Path | None = None
) -> Node:
    """Return the node of ``state_dir``, started unless it runs: in Docker when its daemon answers, else from Maven Central on a JDK.

    ``heap_mb`` is the heap in MiB; ``timeout_s`` is how many seconds a node may take until it serves, downloads not counted;
    ``cache_dir`` is where the distribution is kept. Commands that call this at the same time get the same node. It outlives them.
    Raises NodeError when nothing can be started here, or the node does not come up: the message says why and what to install.
    """
    state_dir = state_dir.resolve()
    with locked(state_dir):
        record = read(state_dir)
        if record is not None and _is_alive(record):
            _await(record, timeout_s)
            return _node(record)
        record = _start(state_dir, cache_dir or default_cache(), heap_mb=heap_mb, timeout_s=timeout_s)
        write(state_dir, record)
        return replace(_node(record), found=False)


def down(state_dir: Path, *, purge: bool = False) -> Down:
    """Stop the node of ``state_dir``, if we started it and it still is that process; with ``purge`` remove its data, too.

    A server that is merely named in the settings is never touched. Raises NodeError when the node does not end within a minute.
    """
    if not state_dir.is_dir():
        return Down(None, purged=False)
    state_dir = state_dir.resolve()
    with locked(state_dir):
        record = read(state_dir)
        stopped = _stop(state_dir, record) if record is not None else None
        return Down(stopped, purged=purge and _purge(state_dir, record))


def running(state_dir: Path) -> Node | None:
    """Return the node of ``state_dir`` when it is the one that we started and answers within 5 seconds; None otherwise."""
    record = read(state_dir.resolve())
    return _node(record) if record is not None and _is_alive(record) and _answers(record) else None


def address(url: str | None, state_dir: Path) -> str:
    """Return the address to use: ``url`` when it is given, else the setting's, else that of the running node of ``state_dir``.

    Raises SettingsError for an address that is none, NodeError when there is no Elasticsearch at all.
    """
    given = url or read_settings().elasticsearch_url
    if given:
        return _checked(given)
    if (node := running(state_dir)) is not None:
        return node.url
    raise NodeError(NONE_RUNS)


def obstacles(
    cache: Path, environ: Mapping[str, str], folders: Iterable[str] = java.FOLDERS
) -> list[Obstacle]:
    """Return what keeps Maven's distribution from starting here; empty when nothing does. ``folders`` are where JDKs are looked for."""
    missing = []
    if java.find(environ, folders) is None:
        others = "; ".join(f"{jdk}: {jdk.problem}" for jdk in java.survey(environ, folders))
        missing.append(
            Obstacle(
                f"no JDK {java.OLDEST} or newer with module {java.MODULE} ({others or 'no Java at all'})",
                f"a JDK {java.OLDEST} or newer",
            )
        )
    if distribution.unpacked(cache) is None and not distribution.has_maven(environ):
        missing.append(Obstacle("Maven (mvn) is not on PATH", "Maven"))
    return missing


def _start(state_dir: Path, cache: Path, *, heap_mb: int, timeout_s: float) -> Record:
    in_docker = docker.problem() or docker.pull()
    if in_docker is None:
        return docker.start(state_dir, heap_mb=heap_mb, timeout_s=timeout_s)
    missing = obstacles(cache, os.environ)
    if missing:
        raise NodeError(
            f"no Elasticsearch can be started here: {'; '.join([in_docker, *(each.found for each in missing)])}. Install Docker and start its daemon, "
            f"or install {' and '.join(each.install for each in missing)}; or give the address of one with --elasticsearch-url or ELASTICSEARCH_URL"
        )
    return _start_from_maven(home_of(state_dir), cache, heap_mb=heap_mb, timeout_s=timeout_s)


def _start_from_maven(home: Path, cache: Path, *, heap_mb: int, timeout_s: float) -> Record:
    jdk = java.find(os.environ)
    assert jdk is not None, "obstacles() has looked"
    folder = distribution.fetch(cache, jdk.home)
    process.prepare(home, folder)
    deadline = time.monotonic() + timeout_s
    place, url = process.start(home, folder, jdk.home, heap_mb=heap_mb, timeout_s=timeout_s)
    health = await_health(url, deadline=deadline, dead=lambda: not process.is_running(place))
    if health is None or health.node_id is None or health.version is None:
        process.stop(place.pid)
        raise NodeError(
            f"Elasticsearch (process {place.pid}) started and did not become healthy within {timeout_s:.0f} seconds; its log is in {home / 'logs'}"
        )
    return Record(url=url, version=health.version, node_id=health.node_id, place=place)


def _is_alive(record: Record) -> bool:
    """Return whether what the record tells of still runs; whether it answers is another question."""
    if not record.running:
        return False
    return (
        process.is_running(record.place)
        if isinstance(record.place, ProcessRecord)
        else docker.is_running(record.place.id)
    )


def _answers(record: Record) -> bool:
    try:
        health = probe(record.url)
    except UnreachableError:
        return False
    return (health.version, health.node_id) == (record.version, record.node_id)


def _await(record: Record, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    await_health(record.url, deadline=deadline, dead=lambda: not _is_alive(record))
    if not _answers(record):
        raise NodeError(
            f"the node that es-rerank started ({record.place}) runs and does not answer at {record.url} "
            f"within {timeout_s:.0f} seconds; restart it with: es-rerank down, then es-rerank up"
        )


def _stop(state_dir: Path, record: Record) -> Node | None:
    if not _is_alive(record):
        return None
    if isinstance(record.place, ProcessRecord):
        process.stop(record.place.pid)
    else:
        docker.stop(record.place)
    write(state_dir, record.model_copy(update={"running": False}))
    return _node(record)


def _purge(state_dir: Path, record: Record | None) -> bool:
    home = home_of(state_dir)
    in_docker = record is not None and not isinstance(record.place, ProcessRecord)
    had_data = in_docker or process.is_ours(home)
    if record is not None and not isinstance(record.place, ProcessRecord):
        docker.remove_data(record.place)
    process.remove(home)
    forget(state_dir)
    return had_data


def _node(record: Record) -> Node:
    place = record.place
    pid, home = (place.pid, place.home) if isinstance(place, ProcessRecord) else (None, None)
    return Node(url=record.url, version=record.version, how=record.how, pid=pid, home=home)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        usable = False
    if not usable:
        raise SettingsError(
            f"Elasticsearch address {masked(url)!r} is not a URL such as http://localhost:9200"
        )
    return url

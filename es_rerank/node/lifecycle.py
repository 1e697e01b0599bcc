"""Starts, finds and stops the local Elasticsearch node of a state folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..addresses import masked, resolved
from ..defaults import HOST, PORT
from ..errors import NodeError, SettingsError, UnreachableError
from ..maven import has_maven
from ..settings import read_settings
from . import distribution, docker, elastic_archive, java, process
from .account import default_cache, home_of
from .download import Progress
from .probe import await_health, probe
from .process import SettingValue
from .record import Distribution, How, PluginRecord, ProcessRecord, Record, forget, locked, read, write

NONE_RUNS = (
    "no Elasticsearch: start one with `es-rerank up`, "
    "or give an address with --elasticsearch-url or ELASTICSEARCH_URL"
)

NOT_ON_WINDOWS = (
    "es-rerank starts no Elasticsearch on Windows: run es-rerank in WSL 2, or start Elasticsearch yourself "
    "and give its address with --elasticsearch-url or ELASTICSEARCH_URL"
)

DEFAULT_SIDECAR = f"http://{HOST}:{PORT}"
"""The address of the sidecar that the plugin asks by default: where ``es-rerank serve`` listens."""

_SIDECAR = "es_rerank.url"
_NOT_IN_DOCKER = "a node with the plugin, or with settings of its own, is not started in Docker"


@dataclass(frozen=True)
class Node:
    """A running Elasticsearch, usually one that es-rerank started."""

    url: str
    version: str
    how: How
    pid: int | None
    """Process id. None for a node in Docker and for an address that the user gave."""
    home: Path | None
    """Folder of its configuration, data and logs. None if ``pid`` is None."""
    sidecar: str | None = None
    """The address of the sidecar that the node's plugin asks. None if es-rerank started no plugin there."""
    distribution: Distribution | None = None
    """Whether it is the full Elasticsearch or the stripped one from Maven. None if that is not known."""
    passed_over: tuple[str, ...] = ()
    """Why the node was not started in a better way: in Docker, or from Elastic's own archive."""
    found: bool = field(default=True, compare=False)
    """True if the node was already running, False if this call started it."""


class Obstacle(NamedTuple):
    """A reason why no node can be started. ``found`` says what is missing, ``install`` what to install."""

    found: str
    install: str


class _Wish(NamedTuple):
    """How a node is started, as ``up`` describes it."""

    heap_mb: int
    timeout_s: float
    cache: Path
    plugin: bool
    settings: Mapping[str, SettingValue]
    version: str
    download_url: str | None
    progress: Progress | None

    @property
    def takes_docker(self) -> bool:
        """Whether a container can be that node: it has the default version, settings and no plugin."""
        return not self.plugin and not self.settings and self.version == distribution.VERSION


class Down(NamedTuple):
    """The result of ``down``.

    ``stopped`` is the node that was stopped, None if no node that es-rerank started was running. ``purged``
    says whether data was removed.
    """

    stopped: Node | None
    purged: bool


def up(
    state_dir: Path,
    *,
    heap_mb: int = 512,
    timeout_s: float = 180.0,
    cache_dir: Path | None = None,
    plugin: bool = False,
    settings: Mapping[str, SettingValue] | None = None,
    version: str = distribution.VERSION,
    download_url: str | None = None,
    progress: Progress | None = None,
) -> Node:
    """Return the running node of ``state_dir``. If it does not run, it is started.

    It is started in Docker if the Docker daemon answers; otherwise from Elastic's own archive, if that is in
    the cache or ``download_url`` is the folder of a web server that has it; otherwise from Maven Central's
    stripped distribution on a local JDK. ``progress`` is told how far a download of Elastic's archive is.
    ``heap_mb`` is the heap in MiB. ``timeout_s`` is the maximum time in seconds until the node
    serves requests; downloads do not count. ``cache_dir`` is the folder for the distribution. Commands that
    call this function at the same time get the same node. The node keeps running after the command ends.

    ``plugin`` installs the plugin in the node. ``settings`` are added to elasticsearch.yml, or replace those
    that we write there; ``es_rerank.url`` is the address of the sidecar that the plugin asks. ``version`` is
    Elasticsearch's. A node with one of the three is never started in Docker. ``settings`` and ``version`` do
    not change a node that already runs.

    Raises NodeError when no node can be started here or the node does not serve in time. The message says
    why, and what to install. Raises NodeError also when ``plugin`` is asked for and the running node has no
    plugin, another build of it, or one that asks another sidecar. Raises SettingsError when the address of
    the sidecar is not a URL.
    """
    if os.name != "posix":
        raise NodeError(NOT_ON_WINDOWS)
    if plugin and settings and _SIDECAR in settings:
        _checked(str(settings[_SIDECAR]), "sidecar", DEFAULT_SIDECAR)
    state_dir = state_dir.resolve()
    cache = cache_dir or default_cache()
    wish = _Wish(heap_mb, timeout_s, cache, plugin, settings or {}, version, download_url, progress)
    with locked(state_dir):
        record = read(state_dir)
        if record is not None and _is_alive(record):
            if plugin:
                _check_plugin(record, wish)
            _await(record, timeout_s)
            return _node(record)
        record = _start(state_dir, wish, record)
        try:
            write(state_dir, record)
        except OSError as error:
            _end(record)  # nobody would find it again
            raise NodeError(
                f"the node's record cannot be written into {state_dir} ({error.strerror}), so the node was "
                "stopped; make room, or name another folder with ES_RERANK_STATE_DIR"
            ) from error
        return replace(_node(record), found=False)


def down(state_dir: Path, *, purge: bool = False) -> Down:
    """Stop the node of ``state_dir``. With ``purge`` also remove its data.

    Only a process or container that es-rerank started is stopped. A server that the settings name is never
    stopped. Raises NodeError when the node does not end within a minute.
    """
    if not state_dir.is_dir():
        return Down(None, purged=False)
    state_dir = state_dir.resolve()
    with locked(state_dir):
        record = read(state_dir)
        stopped = _stop(state_dir, record) if record is not None else None
        return Down(stopped, purged=purge and _purge(state_dir, record))


def running(state_dir: Path) -> Node | None:
    """Return the running node of ``state_dir``.

    Returns None if es-rerank started no node there, or if that node does not answer within 5 seconds.
    """
    record = read(state_dir.resolve())
    return _node(record) if record is not None and _is_alive(record) and _answers(record) else None


def moved_from(url: str, state_dir: Path) -> str | None:
    """Return the address of the running node of ``state_dir`` if it is another than ``url``, else None."""
    record = read(state_dir.resolve())
    if record is None or record.url.rstrip("/") == url.rstrip("/"):
        return None
    node = running(state_dir)
    return None if node is None else node.url


def address(url: str | None, state_dir: Path) -> str:
    """Return the address of Elasticsearch.

    That is ``url``, else the address in the settings, else the address of the running node of ``state_dir``.
    A Cloud ID counts as the URL that it stands for. Raises SettingsError when the address is not a URL,
    NodeError when there is no Elasticsearch.
    """
    given = url or read_settings().elasticsearch_url
    if given:
        return _checked(resolved(given), "Elasticsearch", "http://localhost:9200")
    if (node := running(state_dir)) is not None:
        return node.url
    raise NodeError(NONE_RUNS)


def obstacles(
    cache: Path,
    environ: Mapping[str, str],
    folders: Iterable[str] = java.FOLDERS,
    *,
    version: str = distribution.VERSION,
) -> list[Obstacle]:
    """Return why the distribution ``version`` from Maven Central cannot be started here, empty if it can.

    ``folders`` are patterns of the folders in which JDKs are searched.
    """
    missing = []
    if java.find(environ, folders) is None:
        others = "; ".join(f"{jdk}: {jdk.problem}" for jdk in java.survey(environ, folders))
        missing.append(
            Obstacle(
                f"no JDK {java.OLDEST} or newer with module {java.MODULE} ({others or 'no Java at all'})",
                f"a JDK {java.OLDEST} or newer",
            )
        )
    if distribution.unpacked(cache, version) is None and not has_maven(environ):
        missing.append(Obstacle("Maven (mvn) is not on PATH", "Maven"))
    return missing


def _check_plugin(record: Record, wish: _Wish) -> None:
    """Raise NodeError when the running node has not the plugin that is asked for."""
    url = wish.settings.get(_SIDECAR)
    if record.plugin is None:
        fault = "runs without the plugin"
    elif not distribution.has_this_plugin(record.plugin.folder, record.version):
        fault = "runs with another build of the plugin"
    elif url is not None and url != record.plugin.sidecar:
        fault = f"has a plugin that asks the sidecar at {record.plugin.sidecar}, not at {url}"
    else:
        return
    raise NodeError(
        f"the node at {record.url} {fault}; "
        "stop it with `es-rerank down`, which keeps its data, and repeat this command"
    )


def _start(state_dir: Path, wish: _Wish, before: Record | None) -> Record:
    """Start a node in the best way that works here. ``before`` is the record of the node that ran before."""
    passed_over = []
    if wish.takes_docker:
        problem = docker.problem() or docker.pull()
        if problem is None:
            return docker.start(state_dir, heap_mb=wish.heap_mb, timeout_s=wish.timeout_s)
        passed_over.append(problem)
    else:
        passed_over.append(_NOT_IN_DOCKER)
    try:
        folder = elastic_archive.fetch(wish.cache, wish.download_url, wish.version, wish.progress)
    except NodeError as error:
        passed_over.append(error.message)
    else:
        return _started(home_of(state_dir), folder, None, wish, passed_over)
    missing = obstacles(wish.cache, os.environ, version=wish.version)
    if missing:
        reasons = "; ".join([*passed_over, *(obstacle.found for obstacle in missing)])
        raise NodeError(
            f"no Elasticsearch can be started here: {reasons}. {_ways(wish, missing)}; "
            "or give an address with --elasticsearch-url or ELASTICSEARCH_URL"
        )
    if before is not None and before.full and process.is_ours(home_of(state_dir)):
        raise NodeError(
            f"the data in {home_of(state_dir)} is that of Elastic's full distribution, which is not here any "
            f"more ({passed_over[-1]}), and Maven's stripped one may not read it; make Elastic's archive "
            "reachable, or remove the data with: es-rerank down --purge"
        )
    jdk = java.find(os.environ)
    assert jdk is not None, "obstacles() reports a missing JDK"  # noqa: S101 the message says why
    folder = distribution.fetch(wish.cache, jdk.home, wish.version)
    return _started(home_of(state_dir), folder, jdk.home, wish, passed_over)


def _ways(wish: _Wish, missing: Iterable[Obstacle]) -> str:
    """Return what to do so that a node can be started, as a sentence without its end."""
    docker_or = "Install Docker and start its daemon, or install" if wish.takes_docker else "Install"
    to_install = " and ".join(obstacle.install for obstacle in missing)
    if elastic_archive.problem() is not None:
        return f"{docker_or} {to_install}"
    archive = elastic_archive.name_of_archive(wish.version)
    setting = "ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL"
    return f"{docker_or} {to_install}, or name a web server that has {archive} in {setting}"


def _started(
    home: Path, folder: Path, java_home: Path | None, wish: _Wish, passed_over: Iterable[str]
) -> Record:
    """Start the distribution ``folder`` as a process. Without ``java_home`` it runs on its own JDK."""
    if wish.plugin:
        folder = distribution.with_plugin(folder, wish.version)
    process.prepare(home, folder, wish.settings)
    deadline = time.monotonic() + wish.timeout_s
    place, url = process.start(home, folder, java_home, heap_mb=wish.heap_mb, timeout_s=wish.timeout_s)
    health = await_health(url, deadline=deadline, dead=lambda: not process.is_running(place))
    if health is None or health.node_id is None or health.version is None:
        process.stop(place.pid)
        raise NodeError(
            f"Elasticsearch (process {place.pid}) started but did not become healthy "
            f"within {wish.timeout_s:.0f} seconds; its log is in {home / 'logs'}"
        )
    sidecar = str(wish.settings.get(_SIDECAR, DEFAULT_SIDECAR))
    return Record(
        url=url,
        version=health.version,
        node_id=health.node_id,
        place=place,
        plugin=PluginRecord(folder=folder.name, sidecar=sidecar) if wish.plugin else None,
        full=java_home is None,
        passed_over=tuple(passed_over),
    )


def _is_alive(record: Record) -> bool:
    """Return whether the recorded process or container still runs. It may run and not answer."""
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
            f"the node that es-rerank started ({record.place}) runs but does not answer at {record.url} "
            f"within {timeout_s:.0f} seconds; restart it with: es-rerank down, then es-rerank up"
        )


def _stop(state_dir: Path, record: Record) -> Node | None:
    if not _is_alive(record):
        return None
    _end(record)
    write(state_dir, record.model_copy(update={"running": False}))
    return _node(record)


def _end(record: Record) -> None:
    if isinstance(record.place, ProcessRecord):
        process.stop(record.place.pid)
    else:
        docker.stop(record.place)


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
    return Node(
        url=record.url,
        version=record.version,
        how=record.how,
        pid=pid,
        home=home,
        sidecar=record.plugin.sidecar if record.plugin else None,
        distribution="stripped" if record.how == "maven" else "full",
        passed_over=record.passed_over,
    )


def _checked(url: str, server: str, example: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # for example a bracket that is not closed, or a port that is not a number
        usable = False
    if not usable:
        raise SettingsError(f"{server} address {masked(url)!r} is not a URL such as {example}")
    if "?" in url or "#" in url:  # paths are put behind it
        raise SettingsError(
            f"{server} address {masked(url.partition('#')[0])!r} may hold no [?] and no [#]: write it as "
            f"{example}, with a path behind it where a proxy needs one"
        )
    return url

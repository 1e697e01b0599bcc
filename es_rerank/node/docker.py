"""Runs Elasticsearch in Docker: with the Compose file of a source checkout, else as a single container."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import NodeError
from .account import name_of
from .distribution import VERSION
from .probe import await_health
from .record import ContainerRecord, Record

IMAGE = f"docker.elastic.co/elasticsearch/elasticsearch:{VERSION}"
COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yml"
_SERVICE = "elasticsearch"
_DATA_FOLDER = "/usr/share/elasticsearch/data"
_QUERY_TIMEOUT_S = 5.0
_PULL_TIMEOUT_S = 900.0
_COMMAND_TIMEOUT_S = 120.0


def problem() -> str | None:
    """Return why Docker cannot be used, None if its daemon answers within 5 seconds."""
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    done = _docker("info", "--format", "{{.ServerVersion}}", timeout_s=_QUERY_TIMEOUT_S)
    # Some versions report an unreachable daemon with exit status 0 and no server version.
    return None if done.returncode == 0 and done.stdout.strip() else "the Docker daemon does not answer"


def pull() -> str | None:
    """Download the image if it is not there yet. Return why that failed, None if the image is there.

    This takes 15 minutes at most.
    """
    if _docker("image", "inspect", IMAGE, timeout_s=_QUERY_TIMEOUT_S).returncode == 0:
        return None
    done = _docker("pull", "--quiet", IMAGE, timeout_s=_PULL_TIMEOUT_S)
    return None if done.returncode == 0 else f"Docker cannot fetch {IMAGE}: {_last_line(done)}"


def start(state_dir: Path, *, heap_mb: int, timeout_s: float, compose: Path = COMPOSE) -> Record:
    """Start the container that belongs to ``state_dir`` and return its record when it is healthy.

    ``heap_mb`` is Elasticsearch's heap in MiB. ``compose`` is the Compose file, which is used if it exists.
    The names of the container, the project and the volume are derived from ``state_dir``, so two state
    folders never share a node or its data. Raises NodeError, which quotes the container's log, when the
    container is not healthy within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    project = name_of(state_dir)
    file = compose if compose.is_file() and _has_compose() else None
    container = _run(project, heap_mb) if file is None else _compose_up(project, file, heap_mb)
    try:
        return _await(ContainerRecord(id=container, project=project, compose=file), deadline)
    except BaseException:  # a failed or interrupted start leaves no container behind
        _docker("rm", "--force", container)
        raise


def stop(place: ContainerRecord) -> None:
    """Stop and remove the container. Its data stays.

    Raises NodeError when Docker cannot do this.
    """
    if _is_composed(place):
        _compose(place, "down", "--timeout", "60")
    else:
        _checked("stop", "-t", "60", place.id)
        _checked("rm", place.id)


def remove_data(place: ContainerRecord) -> None:
    """Remove the container, if it is still there, and its data.

    Raises NodeError when Docker cannot do this.
    """
    if _is_composed(place):
        _compose(place, "down", "--volumes")
    else:
        _docker("rm", "--force", place.project)
        _checked("volume", "rm", "--force", place.project)


def is_running(container: str) -> bool:
    """Return whether the container with the id ``container`` is running."""
    return (
        _docker(
            "inspect", "--format", "{{.State.Running}}", container, timeout_s=_QUERY_TIMEOUT_S
        ).stdout.strip()
        == "true"
    )


def _has_compose() -> bool:
    return _docker("compose", "version", timeout_s=_QUERY_TIMEOUT_S).returncode == 0


def _run(project: str, heap_mb: int) -> str:
    # A container may be left over after the machine went down. The data is in the volume, so it stays.
    _docker("rm", "--force", project)
    settings = {
        "discovery.type": "single-node",
        "xpack.security.enabled": "false",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "ES_JAVA_OPTS": f"-Xms{heap_mb}m -Xmx{heap_mb}m",
    }
    options = [part for key, value in settings.items() for part in ("--env", f"{key}={value}")]
    return _checked(
        *("run", "--detach", "--name", project, "--publish", "127.0.0.1::9200"),
        *("--volume", f"{project}:{_DATA_FOLDER}"),
        *options,
        IMAGE,
    )


def _compose_up(project: str, file: Path, heap_mb: int) -> str:
    place = ContainerRecord(id="", project=project, compose=file)
    # With port 0, Docker chooses a free port. When a user starts the same Compose file, that has another
    # project name and the fixed ports of the file.
    environ = {"ELASTICSEARCH_PORT": "0", "ELASTICSEARCH_HEAP_MB": str(heap_mb)}
    _compose(place, "up", "--detach", "--no-deps", _SERVICE, environ=environ)
    return _compose(place, "ps", "--quiet", _SERVICE)


def _is_composed(place: ContainerRecord) -> bool:
    return place.compose is not None and place.compose.is_file()


def _compose(place: ContainerRecord, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    return _checked(
        "compose", "--project-name", place.project, "--file", str(place.compose), *arguments, environ=environ
    )


def _await(place: ContainerRecord, deadline: float) -> Record:
    url = _url(place.id)
    health = await_health(url, deadline=deadline, dead=lambda: not is_running(place.id))
    if health is None or health.node_id is None or health.version is None:
        raise NodeError(
            f"Elasticsearch in Docker did not become healthy at {url} in time; "
            f"give it more time with --timeout-s. Its log ends:\n  {_log(place.id)}"
        )
    return Record(url=url, version=health.version, node_id=health.node_id, place=place)


def _url(container: str) -> str:
    """Return the address at which port 9200 of the container is published.

    Docker answers with a host and a port, such as ``127.0.0.1:49153``.
    """
    return f"http://{_checked('port', container, '9200/tcp').splitlines()[0]}"


def _checked(*arguments: str, environ: Mapping[str, str] | None = None) -> str:
    done = _docker(*arguments, environ=environ)
    if done.returncode != 0:
        raise NodeError(f"docker {' '.join(arguments)} failed: {_last_line(done)}")
    return done.stdout.strip()


def _docker(
    *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("docker") or "docker", *arguments]
    try:
        return subprocess.run(  # noqa: S603 docker, by a list of arguments  # nosec B603
            command,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _log(container: str) -> str:
    done = _docker("logs", "--tail", "10", container)
    return "\n  ".join((done.stdout + done.stderr).splitlines()) or "(empty)"

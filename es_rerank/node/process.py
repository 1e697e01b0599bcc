"""Starts and stops Elasticsearch as a process in its own session, which runs on after the command ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import NodeError
from .account import account, make_reachable
from .record import ProcessRecord

SettingValue = str | int | bool | list[str]
"""A value in elasticsearch.yml."""

_HOME_PROPERTY = "-Drerank.home="
"""A system property on the command line of every node that we start. It identifies a process as ours."""

_MARKER = ".es-rerank"
"""A file in every folder that we made for a node. Other folders with content are never changed or removed."""

_STOP_TIMEOUT_S = 60.0
_INTERVAL_S = 0.1
_LOG_LINES = 5


def prepare(home: Path, distribution: Path, settings: Mapping[str, SettingValue] | None = None) -> None:
    """Prepare the node's folder ``home``: write its configuration and keep its data.

    The node's account becomes the owner of all files. ``distribution`` is the folder of the unpacked
    distribution. ``settings`` are added to elasticsearch.yml, or replace those that we write there. Raises
    NodeError when ``home`` is a folder that es-rerank did not make, or cannot be written.
    """
    if home.is_dir() and any(home.iterdir()) and not is_ours(home):
        raise NodeError(
            f"folder {home} was not made by es-rerank and is not changed; "
            "name another state folder with ES_RERANK_STATE_DIR"
        )
    try:
        make_reachable(home)
        for name in ("config", "data", "logs", "tmp"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / _MARKER).touch()
        _configure(home, distribution, _own_settings(home) | dict(settings or {}))
        _change_owner(home)
    except OSError as error:
        raise NodeError(
            f"the node's folder {home} cannot be written ({error.strerror}); "
            "name another state folder with ES_RERANK_STATE_DIR"
        ) from error


def start(
    home: Path, distribution: Path, java_home: Path | None, *, heap_mb: int, timeout_s: float
) -> tuple[ProcessRecord, str]:
    """Start the node of the folder ``home``. Return its process and its address when it serves HTTP.

    ``java_home`` is the folder of the JDK to run on, None for the distribution's own. ``heap_mb`` is the heap
    in MiB. Raises NodeError, which quotes the node's log, when the node ends, or does
    not serve HTTP within ``timeout_s`` seconds.
    """
    stop_orphan(home)
    for stale in (_pid_file(home), _ports_file(home)):
        stale.unlink(missing_ok=True)
    launcher = _launch(home, distribution, java_home, heap_mb)
    try:
        status = launcher.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        _kill_session(launcher)
        raise NodeError(
            f"Elasticsearch did not start within {timeout_s:.0f} seconds; "
            f"give it more time with --timeout-s. {_log(home)}"
        ) from error
    except BaseException:  # an interrupted start leaves no process behind
        _kill_session(launcher)
        raise
    if status != 0:
        raise NodeError(f"Elasticsearch ended while it started (exit status {status}). {_log(home)}")
    return _started(home)


def stop(pid: int) -> None:
    """Ask the process ``pid`` to end (SIGTERM) and wait until it has ended.

    Raises NodeError when it has not ended after a minute, and when it belongs to another account.
    """
    try:
        process = psutil.Process(pid)
        process.terminate()
        _await_end(process)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise NodeError(
            f"process {pid} of the node belongs to another account; stop it as that account, or as root"
        ) from error


def is_running(place: ProcessRecord) -> bool:
    """Return whether the process that we started still runs. Another process may have got its process id."""
    try:
        difference_s = abs(psutil.Process(place.pid).create_time() - place.started_at)
    except psutil.NoSuchProcess:
        return False
    # The system's clock is corrected by less than 2 seconds, and a process id is not used again so soon.
    return difference_s < 2.0 and _is_node_of(place.pid, place.home)


def is_ours(home: Path) -> bool:
    """Return whether ``home`` is a folder that we made for a node."""
    return (home / _MARKER).is_file()


def remove(home: Path) -> None:
    """Remove the node's folder with its data, if we made it."""
    if is_ours(home):
        shutil.rmtree(home)


def _own_settings(home: Path) -> dict[str, SettingValue]:
    return {
        "cluster.name": "es-rerank",
        "node.name": "es-rerank",
        "discovery.type": "single-node",
        "xpack.security.enabled": False,
        "http.host": "127.0.0.1",
        # With port 0, the system chooses a free port when the node binds it, so no other process can take
        # that port first. The ports file holds the number.
        "http.port": 0,
        "transport.host": "127.0.0.1",
        "transport.port": 0,
        "node.portsfile": True,
        "path.data": f"{home}/data",
        "path.logs": f"{home}/logs",
        # It would make indices read-only on a laptop whose disk is almost full.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }


def _configure(home: Path, distribution: Path, settings: Mapping[str, SettingValue]) -> None:
    config = home / "config"
    shutil.copyfile(distribution / "config" / "log4j2.properties", config / "log4j2.properties")
    options = (distribution / "config" / "jvm.options").read_text(encoding="utf-8").splitlines()
    # A local node does not need its garbage-collection logs, which may take up to 2 GiB.
    kept = [line for line in options if not line.startswith("-Xlog:gc")]
    (config / "jvm.options").write_text("\n".join(kept) + "\n", encoding="utf-8")
    # Every JSON value is a YAML value, and its quotes keep signs that YAML would read as its own.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items()]
    (config / "elasticsearch.yml").write_text("".join(lines), encoding="utf-8")


def _change_owner(home: Path) -> None:
    if (name := account()) is None:
        return
    for folder, _, files in os.walk(home):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            shutil.chown(path, user=name)


def _launch(home: Path, distribution: Path, java_home: Path | None, heap_mb: int) -> subprocess.Popen[bytes]:
    name = account()
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "ES_PATH_CONF": str(home / "config"),
        "ES_TMPDIR": str(home / "tmp"),
        "ES_JAVA_OPTS": f"-Xms{heap_mb}m -Xmx{heap_mb}m {_HOME_PROPERTY}{home}",
    }
    if java_home is not None:
        environ["ES_JAVA_HOME"] = str(java_home)
    with _console(home).open("wb") as console:
        # With -d the launcher ends when the node has started, with status 0, or when the start has failed,
        # with another status. The node is then not in our process tree any more.
        return subprocess.Popen(  # noqa: S603 Elasticsearch itself  # nosec B603
            [distribution / "bin" / "elasticsearch", "-d", "-p", _pid_file(home)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environ,
            start_new_session=True,
            user=name,
            extra_groups=None if name is None else [],
        )


def _kill_session(launcher: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()


def _started(home: Path) -> tuple[ProcessRecord, str]:
    try:
        pid = int(_pid_file(home).read_text(encoding="ascii"))
        address = next(
            line for line in _ports_file(home).read_text(encoding="ascii").split() if not line.startswith("[")
        )
        place = ProcessRecord(pid=pid, started_at=psutil.Process(pid).create_time(), home=home)
    except (OSError, ValueError, StopIteration, psutil.NoSuchProcess) as error:
        raise NodeError(f"Elasticsearch started and ended at once. {_log(home)}") from error
    return place, f"http://{address}"


def stop_orphan(home: Path) -> None:
    """Stop a node of ``home`` that has no record, because the command that started it was killed.

    Such a node holds the lock of the data, so no other node could start. A process that is not a node of
    ``home`` is left alone. Raises what ``stop`` raises.
    """
    try:
        pid = int(_pid_file(home).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if _is_node_of(pid, home):
        stop(pid)


def _is_node_of(pid: int, home: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and _HOME_PROPERTY + str(home) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _await_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    # A zombie has ended, but its parent process has not read its status yet. In a container, maybe nobody
    # ever does.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            raise NodeError(
                f"the node (process {process.pid}) did not end within {_STOP_TIMEOUT_S:.0f} seconds "
                f"after SIGTERM; end it with: kill -9 {process.pid}"
            )
        time.sleep(_INTERVAL_S)


def _pid_file(home: Path) -> Path:
    return home / "elasticsearch.pid"


def _ports_file(home: Path) -> Path:
    return home / "logs" / "http.ports"


def _console(home: Path) -> Path:
    return home / "logs" / "console.log"


def _log(home: Path) -> str:
    """Return the last warnings and errors of the node's console, without stack frames, as a sentence."""
    try:
        lines = _console(home).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    relevant = [
        line.strip()
        for line in lines
        if line.strip() and not line.lstrip().startswith(("at ", "...")) and "[INFO " not in line
    ]
    quoted = "\n  ".join(relevant[-_LOG_LINES:]) or "(no warnings or errors)"
    return f"Its log, {_console(home)}, ends:\n  {quoted}"

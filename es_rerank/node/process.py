"""Starts and stops Elasticsearch as a process of its own session, so that it outlives the command and the terminal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import NodeError
from .account import account, make_reachable
from .record import ProcessRecord

_OWNER = "-Drerank.home="
"""A system property on the command line of every node that we start: with it a process is known as ours."""

_MARK = ".es-rerank"
"""A file in every folder that we made for a node: without it nothing is written there or removed."""

_STOP_S = 60.0
_INTERVAL_S = 0.1
_QUOTED_LINES = 5

_SETTINGS = """\
cluster.name: es-rerank
node.name: es-rerank
discovery.type: single-node
xpack.security.enabled: false
http.host: 127.0.0.1
http.port: 0
transport.host: 127.0.0.1
transport.port: 0
node.portsfile: true
path.data: "{home}/data"
path.logs: "{home}/logs"
cluster.routing.allocation.disk.threshold_enabled: false
"""
# Port 0: the system picks a free one when the node binds it, so that no other process can take it in between;
# the ports file tells which. The disk threshold would turn indices read-only on a well-filled laptop.


def prepare(home: Path, distribution: Path) -> None:
    """Make ``home`` ready: configuration written anew, data kept, all of it owned by the node's account.

    Raises NodeError when there is a folder of somebody else's in its place, or it cannot be written.
    """
    if home.is_dir() and any(home.iterdir()) and not is_ours(home):
        raise NodeError(
            f"folder {home} was not made by es-rerank and is left alone; name another state folder with ES_RERANK_STATE_DIR"
        )
    try:
        make_reachable(home)
        for name in ("config", "data", "logs", "tmp"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / _MARK).touch()
        _configure(home, distribution)
        _hand_over(home)
    except OSError as error:
        raise NodeError(
            f"the node's folder {home} cannot be written ({error.strerror}); name another state folder with ES_RERANK_STATE_DIR"
        ) from error


def start(
    home: Path, distribution: Path, java_home: Path, *, heap_mb: int, timeout_s: float
) -> tuple[ProcessRecord, str]:
    """Start the node of ``home`` with a heap of ``heap_mb`` MiB; return its process and address once it serves HTTP, within ``timeout_s`` seconds.

    Raises NodeError, quoting its log, when it ends or does not come up in time.
    """
    _stop_orphan(home)
    for stale in (_pid_file(home), _ports_file(home)):
        stale.unlink(missing_ok=True)
    launcher = _launch(home, distribution, java_home, heap_mb)
    try:
        status = launcher.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        _kill_session(launcher)
        raise NodeError(
            f"Elasticsearch did not come up within {timeout_s:.0f} seconds; give it longer with --timeout-s. {_log(home)}"
        ) from error
    except BaseException:  # an interrupted start leaves no process behind
        _kill_session(launcher)
        raise
    if status != 0:
        raise NodeError(f"Elasticsearch ended while it started (exit status {status}). {_log(home)}")
    return _started(home)


def stop(pid: int) -> None:
    """Ask the process ``pid`` to end and wait until it has, for up to a minute.

    Raises NodeError when it is still there then.
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
    """Return whether the process is still the one that we started, and no other that got its number."""
    try:
        difference_s = abs(psutil.Process(place.pid).create_time() - place.started_at)
    except psutil.NoSuchProcess:
        return False
    return difference_s < 2.0 and _is_node_of(
        place.pid, place.home
    )  # clocks are corrected by less, pids return later


def is_ours(home: Path) -> bool:
    """Return whether ``home`` is a folder that we made for a node."""
    return (home / _MARK).is_file()


def remove(home: Path) -> None:
    """Remove the node's folder with its data, if we made it."""
    if is_ours(home):
        shutil.rmtree(home)


def _configure(home: Path, distribution: Path) -> None:
    config = home / "config"
    shutil.copyfile(distribution / "config" / "log4j2.properties", config / "log4j2.properties")
    options = (distribution / "config" / "jvm.options").read_text(encoding="utf-8").splitlines()
    # Up to 2 GiB of garbage-collection logs are of no use to a node of this kind.
    kept = [line for line in options if not line.startswith("-Xlog:gc")]
    (config / "jvm.options").write_text("\n".join(kept) + "\n", encoding="utf-8")
    (config / "elasticsearch.yml").write_text(_SETTINGS.format(home=home), encoding="utf-8")


def _hand_over(home: Path) -> None:
    if (name := account()) is None:
        return
    for folder, _, files in os.walk(home):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            shutil.chown(path, user=name)


def _launch(home: Path, distribution: Path, java_home: Path, heap_mb: int) -> subprocess.Popen[bytes]:
    name = account()
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "ES_JAVA_HOME": str(java_home),
        "ES_PATH_CONF": str(home / "config"),
        "ES_TMPDIR": str(home / "tmp"),
        "ES_JAVA_OPTS": f"-Xms{heap_mb}m -Xmx{heap_mb}m {_OWNER}{home}",
    }
    with _console(home).open("wb") as console:
        # -d: the launcher returns when the node is up, or with an error status when it is not; the node has left our process tree by then.
        return subprocess.Popen(
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
        return ProcessRecord(
            pid=pid, started_at=psutil.Process(pid).create_time(), home=home
        ), f"http://{address}"
    except (OSError, ValueError, StopIteration, psutil.NoSuchProcess) as error:
        raise NodeError(f"Elasticsearch came up and ended at once. {_log(home)}") from error


def _stop_orphan(home: Path) -> None:
    """Stop a node of ``home`` that no record tells of, because the command that started it was killed; it holds the data's lock."""
    try:
        pid = int(_pid_file(home).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if _is_node_of(pid, home):
        stop(pid)


def _is_node_of(pid: int, home: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and _OWNER + str(home) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _await_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + _STOP_S
    # A zombie has ended; only whoever adopted it has not looked yet, and in a container nobody may ever look.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            raise NodeError(
                f"the node (process {process.pid}) did not end within {_STOP_S:.0f} seconds after SIGTERM; end it with: kill -9 {process.pid}"
            )
        time.sleep(_INTERVAL_S)


def _pid_file(home: Path) -> Path:
    return home / "elasticsearch.pid"


def _ports_file(home: Path) -> Path:
    return home / "logs" / "http.ports"


def _console(home: Path) -> Path:
    return home / "logs" / "console.log"


def _log(home: Path) -> str:
    """Return the last lines of the node's console that tell something: no stack frames, nothing below a warning."""
    try:
        lines = _console(home).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    telling = [
        line.strip()
        for line in lines
        if line.strip() and not line.lstrip().startswith(("at ", "...")) and "[INFO " not in line
    ]
    quoted = "\n  ".join(telling[-_QUOTED_LINES:]) or "(no line of warning or error)"
    return f"Its log, {_console(home)}, ends:\n  {quoted}"

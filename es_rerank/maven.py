"""Fetches a file from Maven's repositories by the user's own ``mvn``, so that its mirrors and cache count."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .errors import EsRerankError

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_TIMEOUT_S = 900.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NETWORK = "check the network and the mirrors in ~/.m2/settings.xml"
_REMEDIES = {
    "JAVA_HOME": "install a JDK, or name the folder of one with JAVA_HOME",
    "No space left": "free space on the disk, also where ~/.m2 is",
    "Permission denied": "check who may write to ~/.m2",
}
"""What to do about a failure, by words that stand in what Maven prints. Without them, it is the network."""


def has_maven(environ: Mapping[str, str]) -> bool:
    """Return whether Maven is on the PATH of ``environ``."""
    return shutil.which("mvn", path=environ.get("PATH", os.defpath)) is not None


def in_local_repository(group: str, artifact: str, version: str, extension: str) -> Path:
    """Return where Maven's own cache, ``~/.m2/repository``, keeps an artifact, whether it is there or not."""
    folder = Path.home().joinpath(".m2", "repository", *group.split("."), artifact, version)
    return folder / f"{artifact}-{version}.{extension}"


def copied(
    artifact: str, folder: Path, *, missing: str, error: type[EsRerankError], java_home: Path | None = None
) -> Path:
    """Return the file of ``artifact`` (``group:name:version:extension``), which Maven copies into ``folder``.

    Maven downloads it, unless its own cache has it. It runs on the JDK in ``java_home``, or else on the one
    that it finds itself. ``missing`` says, as the beginning of a sentence, what there is no Maven for. Raises
    ``error`` when Maven is not installed, cannot start, fails, or takes longer than 15 minutes.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise error(f"{missing} and Maven (mvn), which fetches it, is not on PATH; install Maven")
    command = [maven, "-q", "-B", _PLUGIN, f"-Dartifact={artifact}", f"-DoutputDirectory={folder.resolve()}"]
    environ = os.environ if java_home is None else {**os.environ, "JAVA_HOME": str(java_home)}
    try:
        done = subprocess.run(  # noqa: S603 Maven, by a list of arguments  # nosec B603
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise error(f"Maven did not fetch {artifact} within {_TIMEOUT_S:.0f} seconds; {_NETWORK}") from fault
    except OSError as fault:
        raise error(f"{maven} cannot be started ({fault.strerror}); install Maven again") from fault
    found = list(folder.glob(f"*.{artifact.rpartition(':')[2]}"))
    if done.returncode != 0 or not found:
        raise error(f"Maven cannot fetch {artifact}: {_complaint(done)}")
    return found[0]


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first error that Maven printed, else its first line, and what to do about it."""
    printed = _COLOURS.sub("", done.stdout + done.stderr)
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("[ERROR]")), lines[0] if lines else "")
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in printed), _NETWORK)
    return f"{first.rstrip(' ,.') or f'exit status {done.returncode}'}; {remedy}"

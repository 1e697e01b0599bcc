"""Installs the plugin in an Elasticsearch on this machine, and removes it, by Elasticsearch's own tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of_package
from pathlib import Path
from typing import NamedTuple

from ...errors import NodeError
from .. import java
from .archive import NAME, Archive, build, untested

_TOOL_TIMEOUT_S = 300.0
_QUOTED_LINES = 3
_SERVER_JAR = re.compile(r"elasticsearch-(\d+\.\d+\.\d+(?:-[\w.-]+)?)\.jar")
_SETTING = re.compile(r"""\s*["']?(es_rerank(?:\.[\w.]+)?)["']?\s*:""")
_PACKAGED_CONFIG = Path("/etc/elasticsearch")
"""Where Elasticsearch's packages for Debian and Red Hat put the configuration."""


@dataclass(frozen=True)
class Installed:
    """The result of ``install``.

    ``elasticsearch`` is the version of Elasticsearch, ``version`` the plugin's. ``replaced`` is the version
    of the plugin that was installed before, None if there was none. ``untested`` is a sentence when the
    plugin is not tested on this version of Elasticsearch, None if it is.
    """

    elasticsearch: str
    version: str
    replaced: str | None
    untested: str | None


class SettingLine(NamedTuple):
    """A setting of the plugin in ``file``: its name, and the number of its line from 1."""

    file: Path
    line: int
    name: str


@dataclass(frozen=True)
class Removed:
    """The result of ``remove``.

    ``version`` is the version that was removed, None if the plugin was not installed. ``settings`` are the
    plugin's settings that elasticsearch.yml still holds, ``secure_settings`` the names of those in the
    keystore. Without the plugin, a node with one of them does not start. ``secure_settings`` is None if the
    keystore cannot be read, for example because it has a password.
    """

    version: str | None
    settings: tuple[SettingLine, ...]
    secure_settings: tuple[str, ...] | None


def package_version() -> str:
    """Return the version of this package, which is the plugin's."""
    return version_of_package(NAME)


def elasticsearch_version(home: Path, expected: str | None = None) -> str:
    """Return the version of the Elasticsearch whose folder is ``home``.

    Raises NodeError when there is no such folder, it is not that of an Elasticsearch, or its version is not
    ``expected``, if that is given.
    """
    if not home.is_dir():
        raise NodeError(
            f"there is no folder {home}; name the folder of Elasticsearch, which has bin/elasticsearch-plugin"
        )
    found = [match[1] for path in home.glob("lib/*.jar") if (match := _SERVER_JAR.fullmatch(path.name))]
    if len(found) != 1 or not _tool(home, "plugin").is_file():
        raise NodeError(
            f"{home} is not the folder of an Elasticsearch: it has no bin/elasticsearch-plugin or no "
            "lib/elasticsearch-VERSION.jar; packages install it as /usr/share/elasticsearch"
        )
    if expected not in {None, found[0]}:
        raise NodeError(f"{home} is Elasticsearch {found[0]}, not {expected}; name another folder or version")
    return found[0]


def install(home: Path, expected: str | None = None) -> Installed:
    """Install the plugin in the Elasticsearch whose folder is ``home``. An installed one is replaced.

    A running node uses the plugin after its next start. Raises NodeError when ``home`` is not the folder of
    an Elasticsearch, its version is not ``expected`` if that is given, the plugin does not support its
    version, or Elasticsearch's tool fails; the message quotes the last lines of the tool. The plugin that was
    installed before is then back.
    """
    home = home.resolve()
    chosen = elasticsearch_version(home, expected)
    with tempfile.TemporaryDirectory() as folder:
        version = package_version()
        archive = build(chosen, version, Path(folder))
        replaced = installed_version(home)
        if replaced is not None:
            before = Path(folder, "before")
            _copy(_folder(home), before)
            _run(home, "plugin", "remove", NAME)
        try:
            install_archive(home, archive)
        except NodeError:
            if replaced is not None:
                shutil.rmtree(_folder(home), ignore_errors=True)
                _copy(before, _folder(home))
            raise
    return Installed(chosen, version, replaced, untested(chosen))


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with the owners and modes of its files. Raises NodeError when it cannot be written."""
    try:
        shutil.copytree(source, target)
        for path in (source, *source.rglob("*")):
            owner = path.stat()
            if os.geteuid() == 0:
                os.chown(target / path.relative_to(source), owner.st_uid, owner.st_gid)
    except OSError as error:
        raise NodeError(
            f"the plugin in {source} cannot be copied to {target} ({error.strerror or error}); make room"
        ) from error


def install_archive(home: Path, archive: Archive) -> None:
    """Install ``archive`` in the Elasticsearch of ``home``, where the plugin is not installed.

    Every account can read the files. When we are root, they belong to the owner of ``home``. Raises NodeError
    when Elasticsearch's tool fails.
    """
    _run(home, "plugin", "install", "--batch", archive.path.resolve().as_uri())
    owner = home.stat()
    for folder, _, files in os.walk(_folder(home)):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, owner.st_uid, owner.st_gid)


def remove(home: Path) -> Removed:
    """Remove the plugin from the Elasticsearch of ``home``, and look for the plugin's settings.

    The settings are not changed. Raises NodeError when ``home`` is not the folder of an Elasticsearch, or
    Elasticsearch's tool fails.
    """
    home = home.resolve()
    elasticsearch_version(home)
    config = _config(home, os.environ)
    secure_settings = _secure_settings(home, config)
    version = installed_version(home)
    if version is not None:
        _run(home, "plugin", "remove", NAME)
    return Removed(version, tuple(_settings(config / "elasticsearch.yml")), secure_settings)


def installed_version(home: Path) -> str | None:
    """Return the version of the plugin that is installed in ``home``, None if it is not installed."""
    if not _folder(home).is_dir():
        return None
    try:
        text = (_folder(home) / "plugin-descriptor.properties").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^version=(.+)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else "unknown"


def _folder(home: Path) -> Path:
    return home / "plugins" / NAME


def _tool(home: Path, name: str) -> Path:
    return home / "bin" / f"elasticsearch-{name}"


def _config(home: Path, environ: Mapping[str, str]) -> Path:
    if named := environ.get("ES_PATH_CONF"):
        return Path(named)
    inside = home / "config"
    return inside if inside.is_dir() or not _PACKAGED_CONFIG.is_dir() else _PACKAGED_CONFIG


def _settings(file: Path) -> list[SettingLine]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = ((number, _SETTING.match(line)) for number, line in enumerate(lines, 1))
    return [SettingLine(file, number, match[1]) for number, match in found if match]


def _secure_settings(home: Path, config: Path) -> tuple[str, ...] | None:
    if not (config / "elasticsearch.keystore").is_file():
        return ()
    try:
        names = _run(home, "keystore", "list").split()
    except NodeError:
        return None
    return tuple(name for name in names if name.startswith("es_rerank."))


def _run(home: Path, name: str, *arguments: str) -> str:
    """Run ``bin/elasticsearch-NAME`` and return what it printed on stdout."""
    command = [str(_tool(home, name)), *arguments]
    shown = " ".join([f"bin/elasticsearch-{name}", *arguments[:1]])
    try:
        done = subprocess.run(  # noqa: S603 Elasticsearch's own program  # nosec B603
            command,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"{shown} of {home} did not end within {_TOOL_TIMEOUT_S:.0f} seconds") from error
    except OSError as error:
        raise NodeError(f"{shown} of {home} cannot be run ({error.strerror})") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        said = [line for line in lines if line and not line.startswith(("at ", "..."))]
        quoted = " | ".join(said[-_QUOTED_LINES:]) or "(no output)"
        raise NodeError(
            f"{shown} of {home} failed with exit status {done.returncode}: {quoted}; "
            "check the rights of this account in that folder, and its Java"
        )
    return done.stdout


def _environment(home: Path) -> dict[str, str]:
    """Return our environment, with a JDK where ``home`` has none of its own.

    Where it has one, an ES_JAVA_HOME without Java is left out: the tool would fail on it.
    """
    environ = dict(os.environ)
    has_own = any((home / folder).is_dir() for folder in ("jdk", "jdk.app"))
    if not has_own and (jdk := java.find(environ)) is not None:
        environ["ES_JAVA_HOME"] = str(jdk.home)
    if has_own and not Path(environ.get("ES_JAVA_HOME", ""), "bin", "java").is_file():
        environ.pop("ES_JAVA_HOME", None)
    return environ


def copy_with_plugin(source: Path, target: Path, archive: Archive) -> None:
    """Make ``target`` a copy of the distribution ``source`` and install the plugin there.

    Files are hard links where the file system has them, so the copy needs little space. ``source`` does not
    change: Elasticsearch's tool only adds files. Raises NodeError when the copy cannot be made or
    Elasticsearch's tool fails.
    """
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
    except (OSError, shutil.Error) as error:
        raise NodeError(
            f"{source} cannot be copied into {target.parent} ({error}); check the disk"
        ) from error
    install_archive(target, archive)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

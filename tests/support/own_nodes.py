"""Elasticsearch nodes that a test configures and starts itself: secured, in one cluster, or killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from es_rerank.maven import has_maven
from es_rerank.node import distribution, java, process
from es_rerank.node.account import account, default_cache, home_of
from es_rerank.node.process import SettingValue
from es_rerank.node.record import ProcessRecord

SECURITY_ON: Mapping[str, SettingValue] = {
    "xpack.security.enabled": True,
    "xpack.security.http.ssl.enabled": False,
    "xpack.security.transport.ssl.enabled": False,
}
"""Settings of a node that asks who calls; its passwords travel in clear on this machine."""

_STARTUP_S = 300.0
"""A busy machine takes several times the usual 15 seconds."""


def _jdk() -> Path:
    jdk = java.find(os.environ)
    has_distribution = distribution.unpacked(default_cache()) is not None
    if jdk is None or not (has_distribution or has_maven(os.environ)):
        pytest.skip("a node that the test configures needs a JDK 21+ and Maven; install them to run this")
    return jdk.home


@dataclass
class OwnNode:
    """A node's folder, and its process while it runs."""

    home: Path
    folder: Path
    jdk: Path
    url: str = ""
    place: ProcessRecord | None = None

    def configure(self, name: str, content: str) -> None:
        """Write a file into the node's configuration, as the node's account."""
        path = self.home / "config" / name
        path.write_text(content, encoding="utf-8")
        if (owner := account()) is not None:
            shutil.chown(path, user=owner)

    def tool(self, name: str, *arguments: str, given: str = "") -> str:
        """Run ``bin/elasticsearch-NAME`` of the node as its account; ``given`` is what it reads."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "ES_JAVA_HOME": str(self.jdk),
            "ES_PATH_CONF": str(self.home / "config"),
        }
        done = subprocess.run(
            [str(self.folder / "bin" / f"elasticsearch-{name}"), *arguments],
            input=given,
            env=environ,
            user=account(),
            extra_groups=None if account() is None else [],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def secret(self, name: str, value: str) -> None:
        """Put a secure setting into the node's keystore, which is made where there is none, in place of an
        earlier one.
        """
        self.tool("keystore", "add", "-x", "-f", name, given=value)

    def start(self, heap_mb: int) -> str:
        """Start the node and return its address; raises what ``process.start`` raises."""
        self.place, self.url = process.start(
            self.home, self.folder, self.jdk, heap_mb=heap_mb, timeout_s=_STARTUP_S
        )
        return self.url

    def kill(self) -> None:
        """End the node at once, as a crash of the machine does."""
        assert self.place is not None
        os.kill(self.place.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop the node if it runs."""
        if self.place is not None and process.is_running(self.place):
            process.stop(self.place.pid)


@contextmanager
def own_node(state: Path, settings: Mapping[str, SettingValue], *, plugin: bool = True) -> Iterator[OwnNode]:
    """Prepare a node, which the block configures further and starts; it is stopped and removed at the end.

    ``state`` is a folder that no other node has.
    """
    jdk = _jdk()
    fetch = distribution.fetch_with_plugin if plugin else distribution.fetch
    folder, home = fetch(default_cache(), jdk), home_of(state)
    process.prepare(home, folder, settings)
    node = OwnNode(home, folder, jdk)
    try:
        yield node
    finally:
        node.stop()
        process.remove(home)


@contextmanager
def secured_node(
    state: Path,
    roles: str,
    users: Mapping[str, str],
    password: str,
    settings: Mapping[str, SettingValue] | None = None,
    *,
    plugin: bool = False,
) -> Iterator[OwnNode]:
    """Prepare a node with Elasticsearch's security on, which the block starts.

    ``roles`` is the content of roles.yml, ``users`` holds the role of each user, of one at least. They and
    the superuser elastic have one password. Elasticsearch's tool, a JVM, hashes it once.
    """
    with own_node(state, {**SECURITY_ON, **(settings or {})}, plugin=plugin) as node:
        for name, content in (("roles.yml", roles), ("users", ""), ("users_roles", "")):
            node.configure(name, content)
        node.secret("bootstrap.password", password)
        first, role_of_first = next(iter(users.items()))
        node.tool("users", "useradd", first, "-p", password, "-r", role_of_first)
        written = (node.home / "config" / "users").read_text(encoding="utf-8")
        hashed = written.strip().removeprefix(f"{first}:")
        users_of: dict[str, list[str]] = {}
        for user, role in users.items():
            users_of.setdefault(role, []).append(user)
        node.configure("users", "".join(f"{user}:{hashed}\n" for user in users))
        node.configure("users_roles", "".join(f"{role}:{','.join(of)}\n" for role, of in users_of.items()))
        yield node

"""Where the sidecar listens, with which certificate, and what happens when no descriptor is free."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from scripted_connections import LIMITS, Script, reads_all

from es_rerank.cli.listening import check_not_itself, is_loopback, listen, shown_address, tls_of
from es_rerank.errors import SettingsError
from es_rerank.settings import Settings
from es_rerank.sidecar.server import listener
from es_rerank.sidecar.server.connections import Connections
from es_rerank.sidecar.server.listener import Listener, most_connections
from es_rerank.sidecar.server.progress import ConnectionLimits

# --- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "shown", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:", ["127.0.0.1"]),
        ("localhost", "http://127.0.0.1:", ["127.0.0.1"]),
        ("0.0.0.0", "http://0.0.0.0:", ["127.0.0.1"]),
        ("", "http://0.0.0.0:", ["127.0.0.1"]),
        ("::", "http://[::]:", ["127.0.0.1", "::1"]),
        ("[::]", "http://[::]:", ["127.0.0.1", "::1"]),
        ("::1", "http://[::1]:", ["::1"]),
        ("[::1]", "http://[::1]:", ["::1"]),
        ("::ffff:127.0.0.1", "http://[::ffff:127.0.0.1]:", ["127.0.0.1"]),
    ],
)
def test_an_address_is_taken_reached_and_shown(host: str, shown: str, reached: list[str]) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        assert shown_address(listening, encrypted=False) == f"{shown}{port}"
        assert shown_address(listening, encrypted=True) == f"https{shown[4:]}{port}"
        for address in reached:
            socket.create_connection((address, port), timeout=10).close()


@pytest.mark.parametrize(
    "host",
    ["no-such-host.invalid", "[", "256.1.1.1", "a" * 70 + ".example", "192.0.2.1", "2001:db8::1", "\x00"],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_sentence(host: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on .*:0: .*; choose another --port or --host"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])
def test_a_sidecar_that_would_ask_itself_does_not_start(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        for asked in (
            f"http://127.0.0.1:{port}",
            f"remote:http://localhost:{port}",
            f"cascade:0.5+remote:results:probability:http://user:secret@127.0.0.1:{port}/v1+x",
        ):
            with pytest.raises(SettingsError, match="itself listens") as raised:
                check_not_itself(listener, ("a", asked))
            assert "secret" not in str(raised.value)
        other = port - 1 if port > 1024 else port + 1
        check_not_itself(
            listener,
            ("a", "", "remote:http://192.0.2.1", f"http://192.0.2.1:{port}", f"http://127.0.0.1:{other}"),
        )
        check_not_itself(listener, (f"http://name.invalid:{port}", "remote:http://[", "http://x:99999999"))


def test_a_machine_without_ipv6_listens_on_all_its_addresses_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen("::", 0) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::", False), ("fe80::1%eth0", False)],
)
def test_only_loopback_is_this_machines_own(host: str, own: bool) -> None:
    assert is_loopback(host) is own


# --- certificates -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate, its key in several forms, and files that are none."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    found = {name: folder / f"{name}.pem" for name in ("certificate", "key", "both", "other", "locked")}
    issued.cert_chain_pems[0].write_to_path(found["certificate"])
    issued.private_key_pem.write_to_path(found["key"])
    issued.private_key_and_cert_chain_pem.write_to_path(found["both"])
    other.private_key_pem.write_to_path(found["other"])
    found["text"] = folder / "text.pem"
    found["text"].write_text("no certificate")
    found["empty"] = folder / "empty.pem"
    found["empty"].touch()
    found["folder"] = folder
    found["none"] = folder / "none.pem"
    _lock(found["key"], found["locked"])
    return found


def _lock(key: Path, locked: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 trustme brings it

    loaded = forms.load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        loaded.private_bytes(
            forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(b"open sesame")
        )
    )


def _settings(files: dict[str, Path], certificate: str | None, key: str | None, **more: Any) -> Settings:
    # As with the options of the command line, nothing has looked at the files.
    return Settings().model_copy(
        update={
            "tls_certificate": certificate and files[certificate],
            "tls_key": key and files[key],
            **more,
        }
    )


def test_a_certificate_and_its_key_are_taken(files: dict[str, Path]) -> None:
    assert tls_of(Settings()) is None
    for certificate, key in (("certificate", "key"), ("both", None), ("both", "both")):
        assert isinstance(tls_of(_settings(files, certificate, key)), ssl.SSLContext)
    password = Settings(tls_key_password="open sesame").tls_key_password
    assert tls_of(_settings(files, "certificate", "locked", tls_key_password=password)) is not None


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (None, "key"),
        ("certificate", None),
        ("certificate", "other"),
        ("certificate", "locked"),
        ("certificate", "text"),
        ("certificate", "none"),
        ("certificate", "folder"),
        ("text", "key"),
        ("empty", "key"),
        ("none", "key"),
        ("folder", "key"),
        ("key", "certificate"),
    ],
)
def test_files_that_do_not_go_together_are_refused_in_one_sentence(
    files: dict[str, Path], certificate: str | None, key: str | None
) -> None:
    with pytest.raises(SettingsError, match="--tls-certificate"):
        tls_of(_settings(files, certificate, key))


def test_a_wrong_password_is_refused_and_not_shown(files: dict[str, Path]) -> None:
    for word in ("wrong-password", "x" * 2000):
        password = Settings(tls_key_password=word).tls_key_password
        with pytest.raises(SettingsError, match="ES_RERANK_TLS_KEY_PASSWORD") as refused:
            tls_of(_settings(files, "certificate", "locked", tls_key_password=password))
        assert word not in refused.value.message
        assert word not in repr(Settings(tls_key_password=word))


# --- descriptors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "wanted", "most", "soft"),
    [
        ((1024, 1024), 1000, 480, 1024),
        ((1024, 1_048_576), 1000, 1000, 65_536),
        ((256, 4096), 1000, 1000, 4096),
        ((-1, -1), 1000, 1000, -1),
        ((1024, -1), 50_000, 32_736, 65_536),
        ((80, 80), 4, 4, 80),
    ],
)
def test_connections_leave_descriptors_for_all_else(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, most: int, soft: int
) -> None:
    now = limits
    monkeypatch.setattr(resource, "getrlimit", lambda _: now)

    def set_limits(_: int, given: tuple[int, int]) -> None:
        nonlocal now
        assert given[1] == limits[1]
        now = given

    monkeypatch.setattr(resource, "setrlimit", set_limits)
    assert most_connections(wanted) == most
    assert now[0] == soft


def test_too_few_descriptors_end_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(SettingsError, match="may open 64 files"):
        most_connections(1000)


class Full:
    """A listening socket. While ``full``, no descriptor is free."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.full = True
        self.asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def test_without_a_free_descriptor_accepting_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried once in a while, not again and again, and logged once."""
    monkeypatch.setattr(listener, "_AGAIN_S", 0.01)
    with structlog.testing.capture_logs() as logged:
        full = Full(listen("127.0.0.1", 0))
        made = Listener(full, Connections(ConnectionLimits()), Echo, None)  # type: ignore[arg-type] # as a socket
        reader, writer = await asyncio.open_connection(*full.getsockname())
        turns = 0
        while full.asked < 5:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 20, "each turn of the event loop tries"
        full.full = False
        assert await reader.read() == b"hello"
        writer.close()
        await made.close(10)
    assert [line["event"] for line in logged] == ["no connection can be accepted: Too many open files"]


async def test_connections_that_wait_when_listening_ends_are_accepted() -> None:
    listening = listen("127.0.0.1", 0)
    made = Listener(listening, Connections(ConnectionLimits()), Echo, None)
    with socket.create_connection(listening.getsockname(), timeout=10) as waiting:
        await made.close(10)
        await asyncio.sleep(0)
        waiting.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(waiting, 100) == b"hello"


# --- floods -------------------------------------------------------------------------------------------------


def _descriptors() -> int:
    """Return how many descriptors this process has open, 0 where the system does not say."""
    own = Path("/proc/self/fd")
    return len(list(own.iterdir())) if own.is_dir() else 0


def _silent(listening: socket.socket, count: int, within: ExitStack) -> None:
    """Connect without a byte."""
    for _ in range(count):
        within.enter_context(socket.create_connection(listening.getsockname(), timeout=10))


async def _turns_until_answered(listening: socket.socket, watch: Callable[[], None]) -> int:
    """Ask for health; return after how many turns of the event loop the answer came."""
    with socket.create_connection(listening.getsockname(), timeout=10) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        caller.setblocking(False)
        for turn in range(10_000):
            await asyncio.sleep(0)
            watch()
            with suppress(BlockingIOError):
                assert caller.recv(100).startswith(b"HTTP/1.1 200")
                return turn
    raise AssertionError("no answer")


async def test_a_flood_never_holds_more_than_all_connections() -> None:
    """Each one that makes room makes it for one, and health checks wait only for those before them."""
    script, many = Script(reads_all), 100
    listening, most = listen("127.0.0.1", 0), set()
    with ExitStack() as callers:
        made = Listener(listening, script.all, script.protocol, None)
        _silent(listening, many, callers)
        without = _descriptors() + 1  # the caller that asks for health

        def watch() -> None:
            most.add(len(script.all.open))
            assert _descriptors() <= without + LIMITS.connections

        assert await _turns_until_answered(listening, watch) <= 2 * many
        assert script.all.ended["evicted"] == many + 1 - LIMITS.connections
        _silent(listening, 3, callers)
        without += 3
        assert await _turns_until_answered(listening, watch) <= 20
        assert max(most) == LIMITS.connections
        await made.close(10)
        script.all.end()
        await asyncio.sleep(0)


async def test_handshakes_that_do_not_end_make_room(files: dict[str, Path]) -> None:
    script, many = Script(reads_all), 100
    tls = tls_of(_settings(files, "certificate", "key"))
    trusting = ssl.create_default_context(cafile=str(files["certificate"]))
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with ExitStack() as callers:
        listening = listen("127.0.0.1", 0)
        made = Listener(listening, script.all, script.protocol, tls)
        _silent(listening, many, callers)
        reader, writer = await asyncio.open_connection(*listening.getsockname(), ssl=trusting)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        closed = script.all.ended["evicted"]
        assert many + 1 - LIMITS.connections <= closed <= many
        await made.close(0)  # and the handshakes that do not end hold nobody up

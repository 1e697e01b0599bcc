"""``es-rerank serve`` as a process: models that cannot be loaded, certificates, addresses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from rerank_services import Host
from server import address_in, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until
from waiting_sidecar import NOWHERE, Sidecar, waiting_sidecar

from es_rerank.cli.own_sidecar import own_sidecar
from es_rerank.models.hosted.remote import RemoteReranker

GUARD_S = 120.0


ANYWHERE = ("--port", "0", "--elasticsearch-url", NOWHERE)


def ended(log: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of ``serve`` and what it printed."""
    with serve([*ANYWHERE, *arguments], log) as process:
        return process.wait(GUARD_S), log.read_text()


def listening(log: Path) -> str:
    """Return the address of a sidecar when it listens there."""
    until(lambda: address_in(log))
    return address_in(log)


@pytest.mark.long
def test_a_reranker_that_cannot_be_loaded_ends_the_sidecar_with_its_exit_code(tmp_path: Path) -> None:
    """The reason is its last line. A service that is not there yet is waited for, on the other hand."""
    broken, embedder = tiny_cross_encoder(tmp_path / "broken"), tiny_bi_encoder(tmp_path / "embedder")
    graph = next(broken.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-100])
    code, said = ended(tmp_path / "log", ["--reranker", str(broken), "--embedder", str(embedder)])
    assert code == 4
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert str(broken) in last
    assert "Traceback" not in said
    log = tmp_path / "waits"
    models = ["--reranker", "remote:http://127.0.0.1:9", "--embedder", str(embedder)]
    with serve([*ANYWHERE, *models], log) as process:
        url = listening(log)
        until(lambda: httpx.get(f"{url}/info", timeout=GUARD_S).status_code == 200)
        assert process.poll() is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--reranker", "no-such-owner/no-such-model"], 4),
        (["--embedder", "/no/such/folder"], 4),
        (["--host", "192.0.2.1"], 2),
        (["--tls-key", "pyproject.toml"], 2),
        (["--tls-certificate", "pyproject.toml"], 2),
        (["--tls-certificate", "/no/such/file"], 2),
    ],
)
def test_what_can_never_serve_ends_with_the_exit_code_of_its_error(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    found, said = ended(tmp_path / "log", arguments)
    assert (found, "Traceback" in said) == (code, False), said
    assert said.strip().splitlines()[-1].startswith("error: ")


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA, tmp_path: Path) -> Iterator[Sidecar]:
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = {
        "ES_RERANK_TLS_CERTIFICATE": str(tmp_path / "both.pem"),
        "ES_RERANK_HEADER_TIMEOUT_MS": "2000",
    }
    with waiting_sidecar(tmp_path, settings) as sidecar:
        yield sidecar


@pytest.mark.long
def test_clients_reach_a_sidecar_with_a_certificate(
    encrypted: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who trusts its CA does, ``remote:`` by SSL_CERT_FILE; nobody else, and nobody without TLS."""
    assert encrypted.url.startswith("https://127.0.0.1:")
    where = urlsplit(encrypted.url)
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with httpx.Client(verify=trusting) as client:
        assert client.get(f"{encrypted.url}/healthz").status_code == 200
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{encrypted.url}/healthz")
    with socket.create_connection(("127.0.0.1", where.port or 0), timeout=GUARD_S) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"alive" not in plain.recv(1000)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    encrypted.answers("q")
    with RemoteReranker(encrypted.url) as remote:
        assert remote.score("q", ["q", "x"]).done.all()


@pytest.mark.long
def test_handshakes_that_do_not_end_are_closed(encrypted: Sidecar) -> None:
    port = urlsplit(encrypted.url).port
    mute = [socket.create_connection(("127.0.0.1", port or 0), timeout=GUARD_S) for _ in range(50)]
    for one in mute:
        with suppress(ConnectionResetError):
            assert one.recv(10) == b""
        one.close()
    assert httpx.get(f"{encrypted.url}/healthz", verify=False).status_code == 200
    assert len(encrypted.log.splitlines()) < 10


@pytest.mark.long
def test_a_commands_own_sidecar_has_no_certificate(
    host: Host, tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are for a sidecar that others reach; the command asks its own over http."""

    async def answer(request: Request) -> Response:
        return JSONResponse({"status": "green"}, headers={"X-Elastic-Product": "Elasticsearch"})

    host.app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    monkeypatch.setenv("ES_RERANK_TLS_CERTIFICATE", str(tmp_path / "both.pem"))
    with own_sidecar(host.url) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200


# --- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "[::]"])
def test_all_addresses_of_both_kinds_are_served(tmp_path: Path, host: str) -> None:
    models = [
        *("--reranker", str(tiny_cross_encoder(tmp_path / "reranker"))),
        *("--embedder", str(tiny_bi_encoder(tmp_path / "embedder"))),
    ]
    log = tmp_path / "log"
    with serve([*ANYWHERE, "--host", host, *models], log):
        url = listening(log)
        port = urlsplit(url).port
        assert url == f"http://[::]:{port}"
        for address in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{address}:{port}/healthz", timeout=GUARD_S).status_code == 200

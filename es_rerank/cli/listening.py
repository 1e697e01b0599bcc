"""The address on which the sidecar listens, and its certificate."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..addresses import masked
from ..errors import SettingsError

if TYPE_CHECKING:
    from ..settings import Settings


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free port.

    ``host`` is an address, also in brackets, or a name. ``::`` takes IPv4 connections too, and only these on
    a machine without IPv6. Of a name with several addresses, the first IPv4 one is taken, else the first.
    Raises SettingsError when the address cannot be used.
    """
    wanted = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if wanted == "::" and not socket.has_dualstack_ipv6():
        wanted = "0.0.0.0"  # noqa: S104 it is asked for  # nosec B104
    try:
        family, address = _resolved(wanted, port)
        both = family is socket.AF_INET6 and (address[0] == "::" or address[0].startswith("::ffff:"))
        listener = socket.create_server(address, family=family, dualstack_ipv6=both)
    except (OSError, ValueError) as error:  # ValueError: a name that no name can be
        where = f"[{wanted}]" if ":" in wanted else wanted
        raise SettingsError(
            f"cannot listen on {where}:{port}: {getattr(error, 'strerror', None) or error}; choose another "
            "--port or --host"
        ) from error
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol. Without TCP_NODELAY, a response of
    # two packets takes 40 ms longer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    by_family = {family: address for family, _, _, _, address in reversed(found)}
    family = socket.AF_INET if socket.AF_INET in by_family else found[0][0]
    # An IPv6 address has two more parts: without its scope, a link-local address cannot be used.
    return family, by_family[family]  # type: ignore[return-value]


_ADDRESS = re.compile(r"https?://[^+\s]+")
"""An address in the name of a model: ``cascade:0.5+./small+remote:http://gpu:8080``."""


def check_not_itself(listener: socket.socket, asked: Iterable[str]) -> None:
    """Check that the sidecar does not ask itself: each request would become many, until their deadline.

    ``asked``: addresses, and names of models that may hold one. Raises SettingsError.
    """
    for address in _ADDRESS.findall("\n".join(asked)):
        if _leads_to(listener, address):
            raise SettingsError(
                f"{masked(address)} is the address on which the sidecar itself listens; name the server that "
                "it shall ask, or choose another --port"
            )


def _leads_to(listener: socket.socket, address: str) -> bool:
    """Whether a URL leads to a socket of this machine. False where that is not known."""
    own, port = listener.getsockname()[:2]
    with suppress(OSError, ValueError):
        parts = urlsplit(address)
        if (parts.port or {"http": 80, "https": 443}[parts.scheme]) != port:
            return False
        for family, _, _, _, place in socket.getaddrinfo(parts.hostname, 0, type=socket.SOCK_STREAM):
            if place[0] == own:
                return True
            if own in {"0.0.0.0", "::"}:  # noqa: S104 it is compared  # nosec B104
                with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as tried:
                    tried.bind(place)  # possible for addresses of this machine alone
                    return True
    return False


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return how the sidecar encrypts its connections; None without a certificate.

    Raises SettingsError when certificate and key cannot be used together.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        if key is not None:
            raise SettingsError(
                "ES_RERANK_TLS_KEY (--tls-key) is a key without a certificate; name its certificate in "
                "ES_RERANK_TLS_CERTIFICATE (--tls-certificate)"
            )
        return None
    secret = settings.tls_key_password
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A password is always given: OpenSSL would else ask the terminal for the one of an encrypted key.
        context.load_cert_chain(certificate, key, password=secret.get_secret_value() if secret else "")
    except (OSError, ValueError) as error:  # OSError: of ssl too; ValueError: a password that is too long
        files = f"{certificate} and {key}" if key else str(certificate)
        fault = _fault_of(error, certificate, key or certificate, has_password=secret is not None)
        raise SettingsError(
            f"cannot listen with the certificate and key in {files}: {fault}; give PEM files "
            "that belong together (--tls-certificate, --tls-key) and the key's password in "
            "ES_RERANK_TLS_KEY_PASSWORD, if it has one"
        ) from error
    return context


def _fault_of(error: Exception, certificate: Path, key: Path, *, has_password: bool) -> str:
    """Return why a certificate and its key cannot be used. OpenSSL says "PEM lib" for most causes."""
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is that of another certificate"
        parts = {file: file.read_bytes() for file in (certificate, key)}
        if b"-----BEGIN CERTIFICATE" not in parts[certificate]:
            return f"{certificate} holds no certificate"
        if b"PRIVATE KEY-----" not in parts[key]:
            return f"{key} holds no key"
        if b"ENCRYPTED" in parts[key]:
            return "the password of the key is wrong" if has_password else "the key needs its password"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def shown_address(listener: socket.socket, *, encrypted: bool) -> str:
    """Return the URL of what listens."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

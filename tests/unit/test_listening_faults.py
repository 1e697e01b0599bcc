"""What is said when certificate and key cannot be used, and where a table is printed to a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr
from rich.table import Table

from es_rerank.addresses import said_of
from es_rerank.cli.listening import tls_of
from es_rerank.cli.output import print_table
from es_rerank.errors import SettingsError
from es_rerank.settings import Settings


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return files with a certificate, its key, its encrypted key, the key of another one, and nothing."""
    certificate, other = (trustme.CA().issue_cert("localhost") for _ in range(2))
    plain = certificate.private_key_pem.bytes()
    encrypted = serialization.load_pem_private_key(plain, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"right"),
    )
    parts = {
        "certificate": certificate.cert_chain_pems[0].bytes(),
        "key": plain,
        "encrypted": encrypted,
        "other": other.private_key_pem.bytes(),
        "nothing": b"none",
    }
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in parts}


@pytest.mark.parametrize(
    ("certificate", "key", "password", "said"),
    [
        ("certificate", "encrypted", "wrong", "the password of the key is wrong"),
        ("certificate", "encrypted", None, "the key needs its password"),
        ("certificate", "other", None, "the key is that of another certificate"),
        ("certificate", "nothing", None, "nothing holds no key"),
        ("certificate", None, None, "certificate holds no key"),
        ("nothing", "key", None, "nothing holds no certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_explained(
    files: dict[str, Path], certificate: str, key: str | None, password: str | None, said: str
) -> None:
    settings = Settings(
        tls_certificate=files[certificate],
        tls_key=files[key] if key else None,
        tls_key_password=SecretStr(password) if password else None,
    )
    with pytest.raises(SettingsError) as raised:
        tls_of(settings)
    assert said in raised.value.message
    assert "ES_RERANK_TLS_KEY_PASSWORD" in raised.value.message
    assert "PEM lib" not in raised.value.message


def test_the_right_password_opens_the_key(files: dict[str, Path]) -> None:
    settings = Settings(
        tls_certificate=files["certificate"],
        tls_key=files["encrypted"],
        tls_key_password=SecretStr("right"),
    )
    assert tls_of(settings) is not None


def test_a_connection_by_http_is_not_said_to_be_encrypted() -> None:
    said = "Cannot connect to host localhost:9200 ssl:default [Connect call failed ('127.0.0.1', 9200)]"
    assert said_of(said) == "Cannot connect to host localhost:9200 [Connect call failed ('127.0.0.1', 9200)]"


def test_a_table_in_a_file_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    name = "ES_RERANK_API_KEYS_FILE" * 10
    table = Table("name", "value")
    table.add_row(name, "a value")
    print_table(table)
    assert name in capsys.readouterr().out

"""Settings: what ends the program with one sentence, what others set beside ours,
and passwords that are never printed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from es_rerank.addresses import masked, masked_in
from es_rerank.cli.app import main
from es_rerank.cli.settings_in_force import shown
from es_rerank.errors import SettingsError
from es_rerank.settings import read_settings

HASH = hashlib.sha256(b"key").hexdigest()
HASHES = "ES_RERANK_API_KEY_HASHES"


SERVE = ("serve", "--port", "0", "--elasticsearch-url", "http://127.0.0.1:9")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the program in this process; returns its exit code and all that it printed."""

    def program(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["es-rerank", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out + printed.err

    return program


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (HASH.upper(), "item 1 of 1 is in upper case"),
        (f"{HASH},sha256:{HASH}", "item 2 of 2 has something before the hash"),
        ("my-plain-key", "item 1 of 1 has 12 characters and is not a SHA-256"),
        ("schlüssel", "item 1 of 1 has 9 characters and is not a SHA-256"),
        ("", "item 1 of 1 is empty"),
        (f"{HASH},", "item 2 of 2 is empty"),
        (f"{HASH},,{HASH}", "item 2 of 3 is empty"),
        (HASH[:-1], "item 1 of 1 has 63 characters and is not a SHA-256"),
        (HASH[:-1] + "٣", "item 1 of 1 has 64 characters and is not a SHA-256"),
        (hashlib.sha1(b"key").hexdigest(), "item 1 of 1 has 40 characters"),
        (f"{HASH}  -", "item 1 of 1 has 67 characters"),
    ],
)
def test_hashes_of_keys_are_checked_and_not_repeated(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HASHES, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert said in caught.value.message
    assert "sha256sum" in caught.value.message
    assert not value or value not in caught.value.message


def test_hashes_that_are_right_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HASHES, f"{HASH} , {HASH[::-1]}")
    assert read_settings().api_key_hashes == (HASH, HASH[::-1])
    monkeypatch.delenv(HASHES)
    assert read_settings().api_key_hashes == ()


@pytest.mark.parametrize("value", ["my-plain-key", "", "SHA256:" + HASH])
def test_a_wrong_hash_ends_serve_with_one_sentence(
    value: str, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HASHES, value)
    code, said = run(*SERVE)
    assert code == 2
    assert len([line for line in said.splitlines() if line.strip()]) == 1
    assert HASHES in said
    assert not value or value not in said


# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables: a Service in the
# same namespace, by its name.
KUBERNETES = {
    "SERVICE_HOST": "10.0.0.11",
    "SERVICE_PORT": "8080",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.11:8080",
    "PORT_8080_TCP": "tcp://10.0.0.11:8080",
    "PORT_8080_TCP_PROTO": "tcp",
    "PORT_8080_TCP_PORT": "8080",
    "PORT_8080_TCP_ADDR": "10.0.0.11",
    "PORT_53_UDP_ADDR": "10.0.0.11",
}


@pytest.mark.parametrize("service", ["ES_RERANK_", "ES_RERANK_SIDECAR_", "ES_RERANK_WINDOW_"])
def test_what_kubernetes_sets_for_a_service_of_our_name_stops_nothing(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(service + name, value)
    monkeypatch.setenv("ES_RERANK_WINDOW", "7")
    assert read_settings().window == 7


@pytest.mark.parametrize(("value", "instruction"), [("", None), ("find laws", "find laws")])
def test_an_empty_variable_states_no_instruction(
    value: str, instruction: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ES_RERANK_INSTRUCTION", value)
    assert read_settings().instruction == instruction


def test_what_docker_sets_for_a_link_of_our_name_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NAME": "/web/es-rerank",
        "ENV_PATH": "/bin",
        "PORT_8080_TCP_ADDR": "172.17.0.5",
    }.items():
        monkeypatch.setenv(f"ES_RERANK_{name}", value)
    read_settings()


@pytest.mark.parametrize(
    "name",
    [
        "ES_RERANK_PORT",
        "ES_RERANK_WIDNOW",
        "ES_RERANK_SERVICE",
        "ES_RERANK_NAME",
        "ES_RERANK_THREADS_PORT",
        "ES_RERANK_",
    ],
)
def test_a_name_that_nobody_else_sets_is_still_no_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "8080")
    with pytest.raises(SettingsError, match="no such setting"):
        read_settings()


SECRETS = [
    "http://elastic:secret@127.0.0.1:9",
    "http://:secret@127.0.0.1:9",
    "http://elastic:se/secret@127.0.0.1:9",
    "http://elastic:x@secret@127.0.0.1:9",
    "https://elastic:secret@127.0.0.1:9",
    "elastic:secret@127.0.0.1:9",
]


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--port", "0"],
        ["search", "any", "q"],
        ["doctor"],
        ["doctor", "--json"],
        ["ingest", "any", "/dev/null"],
    ],
)
def test_a_password_in_the_address_is_never_printed(
    address: str, command: list[str], run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = run(*command, "--elasticsearch-url", address)
    assert code != 0
    assert "secret" not in said
    monkeypatch.setenv("ELASTICSEARCH_URL", address)
    by_variable, said = run(*command)
    assert by_variable == code
    assert "secret" not in said


@pytest.mark.parametrize(
    "model",
    [
        "remote:http://user:secret@127.0.0.1:9",
        "http://user:secret@127.0.0.1:9",
        "cascade:7+remote:http://u:secret@h+x",
        "user:secret@h",
    ],
)
def test_a_password_in_the_address_of_a_model_is_never_printed(
    model: str, run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run(*SERVE, "--reranker", model, "--reranker", model)
    assert code in (2, 4)
    assert "secret" not in said


def test_the_model_of_a_remote_reranker_is_shown_and_no_other_value() -> None:
    address = "remote:vllm:https://host/rerank?model=BAAI/bge&key=k1&kind=k2"
    said = "remote:vllm:https://host/rerank?model=BAAI/bge&key=***&kind=***"
    assert shown("reranker", address) == said


@example("//")
@given(st.text(st.characters(codec="ascii", exclude_characters="@", min_codepoint=33), max_size=20))
def test_no_password_survives_masking(password: str) -> None:
    marked = f"{password}<secret>"
    for address in (f"http://user:{marked}@host:9200", f"http://:{marked}@host", f"user:{marked}@host"):
        assert "secret" not in masked(address)
        assert "secret" not in masked_in(f"cannot connect to {address}: refused; check it")
    assert masked("http://host:9200/path") == masked_in("http://host:9200/path") == "http://host:9200/path"

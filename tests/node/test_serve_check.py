"""``es-rerank serve --check``: all that is in force, each part tried once, no secret printed."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
import typer
from pydantic import SecretStr
from rerank_dialects import serve as serve_dialect
from rerank_services import KEY, Host
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.serve import serve
from es_rerank.cli.serve_check import check
from es_rerank.cli.settings_in_force import shown
from es_rerank.node import Node
from es_rerank.settings import PREFIX, Settings, read_settings
from es_rerank.sidecar.access.keys import key_hash

SECRET = "a-secret-that-nobody-may-see"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


def checked(
    capsys: pytest.CaptureFixture[str], options: dict[str, Any], host: str = "127.0.0.1", port: int = 0
) -> tuple[bool, dict[str, Any], dict[str, Any], str]:
    """Return whether all is well, the settings and the checks by their names, and all that was printed."""
    settings = read_settings().model_copy(update=options)
    good = check(settings, options, host, port, as_json=True)
    printed = capsys.readouterr()
    said = json.loads(printed.out[printed.out.index("{\n") :])  # outside of a command, the log is on stdout
    assert said["ok"] == good
    return (
        good,
        {each["name"]: each for each in said["settings"]},
        {each["name"].partition(" ")[0]: each for each in said["checks"]},
        printed.out + printed.err,
    )


def served(node: Node, models: tuple[Path, Path]) -> dict[str, Any]:
    reranker, embedder = map(str, models)
    return {"elasticsearch_url": node.url, "reranker": reranker, "embedder": embedder}


def test_each_part_is_tried_once_and_told(
    node: Node, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, certificate = tmp_path / "keys.toml", tmp_path / "server.pem"
    keys.write_text(f'[team]\nsha256 = "{key_hash(SECRET)}"\n', encoding="utf-8")
    keys.chmod(0o600)
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    options = served(node, models) | {"api_keys_file": keys, "tls_certificate": certificate}
    before = set(threading.enumerate())
    good, settings, checks, printed = checked(capsys, options)
    assert good, checks
    assert {each["status"] for each in checks.values()} <= {"ok", "warn"}
    assert list(checks) == [
        "Address",
        "TLS",
        "Keys",
        "Traces",
        "Elasticsearch",
        "Reranker",
        "Embedder",
        "Sidecar",
    ]
    assert checks["Keys"]["found"] == "1: team"
    assert "is valid until" in checks["TLS"]["found"]
    facts = checks["Elasticsearch"]["facts"]
    assert (facts["url"], facts["licence"], facts["plugin"]) == (node.url, "basic", "not installed")
    assert facts["version"] == node.version
    assert facts["health"] in {"green", "yellow"}
    assert {"seconds", "max_length", "precision"} <= set(checks["Reranker"]["facts"])
    assert {"seconds", "max_length", "precision", "dims"} <= set(checks["Embedder"]["facts"])
    assert set(settings) == {"host", "port", *Settings.model_fields}
    assert settings["reranker"]["from"] == "option --reranker"
    assert settings["api_keys_file"]["from"] == "option --api-keys-file"
    assert settings["window"] == {"name": "window", "value": 50, "from": "default"}
    assert key_hash(SECRET) not in printed
    began = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in began if name.startswith("es-rerank")], "the models' threads end"


def test_no_secret_of_any_setting_is_printed(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each setting that can hold a secret does, and each check that could repeat it fails."""
    secrets = {
        "ELASTICSEARCH_URL": f"http://elastic:{SECRET}@127.0.0.1:9",
        "ELASTICSEARCH_API_KEY": SECRET,
        "RERANKER": f"remote:http://user:{SECRET}@127.0.0.1:9/rerank?api_key={SECRET}",
        "MORE_RERANKERS": f"cohere:{SECRET.upper()},remote:http://127.0.0.1:9/?token={SECRET}",
        "COHERE_API_KEY": SECRET,
        "COHERE_URL": f"https://user:{SECRET}@127.0.0.1:9/?key={SECRET}",
        "REMOTE_API_KEY": SECRET,
        "LLM_API_KEY": SECRET,
        "API_KEY_HASHES": key_hash(SECRET),
        "METRICS_KEY_HASHES": key_hash(SECRET),
        "TLS_KEY_PASSWORD": SECRET,
        "ELASTICSEARCH_DOWNLOAD_URL": f"https://user:{SECRET}@127.0.0.1:9/",
        "EMBEDDER": str(models[1]),
        "TIMEOUT_MS": "50",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(PREFIX + name, value)
    good, settings, checks, printed = checked(capsys, {})
    assert not good
    assert SECRET not in printed
    assert key_hash(SECRET) not in printed
    assert checks["Elasticsearch"]["status"] == "fail"
    for name in secrets:
        assert settings[name.lower()]["from"] == f"environment {PREFIX}{name}"
    check(read_settings(), {}, "127.0.0.1", 0, as_json=False)
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize("stated", ["", "vllm:"])
def test_the_dialect_of_a_service_is_shown(
    node: Node,
    models: tuple[Path, Path],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stated: str,
) -> None:
    address = serve_dialect(host, "vllm").url
    monkeypatch.setenv(f"{PREFIX}REMOTE_API_KEY", KEY)
    _, _, checks, _ = checked(capsys, served(node, models) | {"reranker": f"remote:{stated}{address}"})
    found = checks["Reranker"]
    assert found["status"] == "ok"
    assert (found["facts"]["dialect"], found["facts"]["scale"]) == ("vllm", "logit")
    assert "asked in the dialect vllm, its scores are of the scale logit" in found["found"]


def test_every_setting_that_may_hold_a_secret_is_hidden() -> None:
    """A new setting of such a name is found here, whatever its type is."""
    for name in Settings.model_fields:
        if name.endswith("_hashes"):
            assert shown(name, (key_hash(SECRET),)) == "1 hashes"
        elif name.endswith(("_key", "_password")) and name != "tls_key":  # that is the path of a file
            assert "SecretStr" in str(Settings.model_fields[name].annotation), name
            assert shown(name, SecretStr(SECRET)) == "***"


def broken(
    name: str, tmp_path: Path, node: Node, models: tuple[Path, Path]
) -> tuple[dict[str, Any], str, str]:
    """Return options with one fault, the check that finds it, and a part of its remedy."""
    file = tmp_path / "file"
    file.write_text("[", encoding="utf-8")
    faults: dict[str, tuple[dict[str, Any], str, str]] = {
        "nobody answers": ({"elasticsearch_url": NOBODY}, "Elasticsearch", "es-rerank up"),
        "credentials": ({"elasticsearch_url": "http://a:b@127.0.0.1:9"}, "Elasticsearch", "callers send"),
        "no such model": ({"reranker": str(tmp_path)}, "Reranker", "es-rerank import"),
        "one that does not answer": ({"reranker": f"remote:{NOBODY}"}, "Reranker", ""),
        "a dialect that there is not": (
            {"reranker": f"remote:vlm:{NOBODY}"},
            "Reranker",
            "write remote:DIALECT:URL with one of tei",
        ),
        "two of one name": ({"more_rerankers": (f"x={models[0]}", f"x={models[0]}")}, "Rerankers", ""),
        "two embedders of one name": ({"more_embedders": (f"x={models[1]}",)}, "Embedders", ""),
        "no such embedder": ({"embedder": str(models[0])}, "Embedder", ""),
        "a broken file of keys": ({"api_keys_file": file}, "Keys", "es-rerank key NAME"),
        "a certificate that is none": ({"tls_certificate": file}, "TLS", "PEM"),
    }
    return faults[name]


@pytest.mark.parametrize(
    "name",
    [
        "nobody answers",
        "credentials",
        "no such model",
        "one that does not answer",
        "a dialect that there is not",
        "two of one name",
        "two embedders of one name",
        "no such embedder",
        "a broken file of keys",
        "a certificate that is none",
    ],
)
def test_each_fault_is_told_with_its_remedy_and_the_others_are_tried(
    name: str,
    node: Node,
    models: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault, where, remedy = broken(name, tmp_path, node, models)
    good, _, checks, _ = checked(capsys, served(node, models) | {"timeout_ms": 500} | fault)
    assert not good
    assert [each for each, found in checks.items() if found["status"] == "fail"] == [where]
    assert remedy in checks[where]["found"] + checks[where]["remedy"]
    assert "unexpected" not in checks[where]["found"]


@pytest.mark.parametrize(
    ("variable", "value", "where", "said"),
    [
        ("ES_RERANK_ELASTICSEARCH_RUNS", "foo", "Sidecar", "elasticsearch_runs names [foo]"),
        ("OTEL_TRACES_EXPORTER", "bogus", "Traces", "no exporter [bogus] is installed"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon", "Traces", "no exporter [pigeon] is installed"),
    ],
)
def test_what_ends_serve_at_its_start_is_found(
    node: Node,
    models: tuple[Path, Path],
    variable: str,
    value: str,
    where: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(variable, value)
    good, _, checks, _ = checked(capsys, served(node, models))
    assert not good
    assert [each for each, found in checks.items() if found["status"] == "fail"] == [where]
    assert said in checks[where]["found"]


def test_a_default_deadline_over_the_longest_one_is_told(
    node: Node, models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, settings, checks, _ = checked(capsys, served(node, models) | {"timeout_ms": 400_000})
    assert good
    assert settings["max_timeout_ms"]["value"] == 400_000
    assert settings["max_timeout_ms"]["from"] == "option --timeout-ms"
    assert checks["Sidecar"]["status"] == "warn"
    assert "400000 ms" in checks["Sidecar"]["found"]


def test_a_port_that_is_taken_and_a_host_that_all_reach_are_told(
    node: Node, models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        good, _, checks, _ = checked(capsys, served(node, models), port=port)
    assert not good
    assert checks["Address"]["status"] == "fail"
    assert "choose another --port" in checks["Address"]["remedy"]
    good, _, checks, _ = checked(capsys, served(node, models), host="0.0.0.0")
    assert good
    assert checks["Keys"]["status"] == "warn"
    assert "es-rerank key NAME" in checks["Keys"]["remedy"]


@pytest.mark.parametrize(("url", "code"), [(None, 0), (NOBODY, 1)])
def test_the_command_ends_with_one_if_not_all_would_serve(
    node: Node, models: tuple[Path, Path], url: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    reranker, embedder = map(str, models)
    with pytest.raises(typer.Exit) as left:
        serve(port=0, reranker=[reranker], embedder=[embedder], elasticsearch_url=url or node.url, check=True)
    assert left.value.exit_code == code
    assert "scored one pair" in " ".join(capsys.readouterr().out.split())

"""A Hub that gives nothing: it is asked once, and the reason is in plain words without secrets."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hub_stand_in import Hub, serving_hub
from huggingface_hub import constants
from huggingface_hub.utils._http import reset_sessions
from ready_made import repository
from tiny_models import tiny_cross_encoder

from es_rerank.errors import ModelFolderError
from es_rerank.export import ExportOptions
from es_rerank.export.fetching import fetch_model
from es_rerank.models.load import model_folder
from es_rerank.models.ready_made import hub as hub_module
from es_rerank.models.ready_made.hub import hub_fault
from es_rerank.models.ready_made.hub_files import list_files
from es_rerank.models.ready_made.importing import import_model
from es_rerank.research.bench.weights import source_folder

NAME = "owner/reranker"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_module, "_unreached", {})
    reset_sessions()  # that of another test may be offline


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub(monkeypatch, tmp_path / "hub-cache") as hub:
        hub.repositories[NAME] = repository(tmp_path / "remote/repo")
        yield hub


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def said_of(model: str = NAME) -> str:
    with pytest.raises(ModelFolderError) as loaded:
        model_folder(model)
    with pytest.raises(ModelFolderError) as imported:
        import_model(model, Path("out"))
    assert str(loaded.value) == str(imported.value)
    return str(loaded.value)


def unknown_name(*_: object, **__: object) -> None:
    raise socket.gaierror(-2, "Name or service not known")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://user:hidden@127.0.0.1:{port}", "127.0.0.1 refuses the connection"),
        ("user:hidden@127.0.0.1", "HF_ENDPOINT is no address"),
        ("https://user:hidden@hub.example", "the name hub.example is not known here"),
    ],
)
def test_a_hub_that_is_not_reached_is_told_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str, reason: str
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address.format(port=closed_port()))
    if "example" in address:
        monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    said = said_of()
    assert said.startswith(f"{NAME} could not be fetched from the Hugging Face Hub: {reason}; ")
    assert "hidden" not in said
    assert "Error" not in said
    assert said.count("; ") == 1  # serve --check puts what stands behind it into a column
    assert not caplog.records


def test_a_hub_that_fails_is_asked_once(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.faults[""] = (503, "")
    with pytest.raises(ModelFolderError, match=r"127\.0\.0\.1 answers 503; try again"):
        model_folder(NAME)
    assert len(hub.asked) == 1
    assert not caplog.records


def test_a_name_that_is_not_known_is_looked_up_once_for_several_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    ask = list_files
    monkeypatch.setattr(hub_module, "list_files", lambda *a: asked.append(a[0]) or ask(*a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    for name in (NAME, "owner/other", NAME):
        with pytest.raises(ModelFolderError, match=rf"^{name} .*the name hub\.example"):
            model_folder(name)
    assert asked == [NAME]
    hub_module._unreached["https://hub.example"] = (0.0, OSError())  # noqa: SLF001 as long ago
    with pytest.raises(ModelFolderError):
        model_folder(NAME)
    assert asked == [NAME, NAME]


def test_a_file_that_is_asked_for_again_shows_no_address(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults["onnx/model.onnx"] = (503, "")
    with pytest.raises(ModelFolderError, match=r"127\.0\.0\.1 answers 503"):
        import_model(NAME, tmp_path / "out")
    assert {record.name for record in caplog.records} <= {"huggingface_hub.utils._http"}
    assert not [record for record in caplog.records if "http://" in record.getMessage()]


def test_an_exported_repository_that_was_fetched_needs_no_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["owner/exported"] = tiny_cross_encoder(tmp_path / "remote/exported")
    found = model_folder("owner/exported")
    hub.asked.clear()
    hub.faults[""] = (503, "")
    assert model_folder("owner/exported") == found
    assert len(hub.asked) == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert model_folder("owner/exported") == found


def test_without_the_network_by_choice(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = said_of()
    assert "HF_HUB_OFFLINE is set" in said
    assert "check the network" not in said
    assert not hub.asked


@pytest.mark.parametrize("name", ["intfloat/e5-small-v2", "Xenova/e5-small-v2", "BAAI/bge-small-zh-v1.5"])
def test_a_model_that_maven_has_is_named(hub: Hub, name: str) -> None:
    hub.faults[""] = (503, "")
    expected = "maven:bge-small-zh-v15" if "zh" in name else "maven:e5-small-v2"
    assert said_of(name).endswith(f"Without the Hub, {expected} is this model")
    assert "maven:e5-small-v2" in said_of()


@pytest.mark.parametrize(
    "fetch",
    [source_folder, lambda model: fetch_model(model, ExportOptions(), lambda _: None, Path("scratch"))],
    ids=["bench", "export"],
)
def test_torch_weights_that_are_not_reached_are_told_the_same(
    monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], object]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://user:hidden@127.0.0.1:{closed_port()}")
    with pytest.raises(ModelFolderError) as error:
        fetch(NAME)
    said = str(error.value)
    assert said.startswith(f"{NAME} could not be fetched from the Hugging Face Hub: 127.0.0.1 refuses ")
    assert said.endswith(
        "copy config.json, the tokenizer's files and *.safetensors into a folder here and give that folder"
    )


def test_words_of_an_error_hold_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    error = ValueError("bad header 'Bearer hf_hidden'; see https://u:pw@mirror.example/x " + "long " * 90)
    said = str(hub_fault(NAME, error))
    assert "***" in said
    assert "hf_hidden" not in said
    assert "pw" not in said
    assert len(said) < 700


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_network() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/cache/models")
    assert "/cache/models cannot be read or written (Permission denied); check the disk" in str(
        hub_fault(NAME, error)
    )


def test_errors_of_httpx_are_told_the_same() -> None:
    """huggingface_hub from 1.0 on raises them."""
    refused = httpx.ConnectError("x", request=httpx.Request("GET", "https://u:pw@hub.example/api"))
    refused.__cause__ = ConnectionRefusedError()
    assert "hub.example refuses the connection" in str(hub_fault(NAME, refused))
    late = httpx.ReadTimeout("late")
    late.__cause__ = TimeoutError()
    assert "huggingface.co does not answer" in str(hub_fault(NAME, late))
    error = SimpleNamespace(status_code=429)
    full = httpx.HTTPError("x")
    full.response = error  # type: ignore[attr-defined]
    assert "too many requests; wait" in str(hub_fault(NAME, full))

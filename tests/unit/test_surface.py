"""What the outside sees: names, imports, errors, settings, help."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import es_rerank
from es_rerank import errors
from es_rerank.cli.app import app
from es_rerank.defaults import MOST_WINDOW
from es_rerank.engine.batch_runner import ACCELERATOR_TOKENS
from es_rerank.models.parity_pairs import LEAST_AGREEMENT
from es_rerank.models.wrappers.cascade import LEAST_KEPT
from es_rerank.research.bench.cost import CANDIDATE_COUNTS, TOKENS
from es_rerank.research.bench.under_load import CAPACITY_SHARES
from es_rerank.retrievers.planning.text_source import PASSAGE_CAP
from es_rerank.settings import PREFIX, Settings, read_settings
from es_rerank.text.documents import TITLE_SHARE
from ingest_pipelines.metadata import KEYWORD_LIMIT, MOST_FIELDS

ROOT = Path(__file__).parents[2]


def _subclasses(cls: type[errors.EsRerankError]) -> set[type[errors.EsRerankError]]:
    return {cls} | {found for sub in cls.__subclasses__() for found in _subclasses(sub)}


TREE = sorted(_subclasses(errors.EsRerankError), key=lambda cls: cls.__name__)


def test_the_public_names_are_those_of_all() -> None:
    for name in es_rerank.__all__:
        assert getattr(es_rerank, name) is not None, "a public name is imported on its first use"
    public = {
        name
        for name, value in vars(es_rerank).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(es_rerank.__all__)
    assert list(es_rerank.__all__) == sorted(es_rerank.__all__)


@pytest.mark.parametrize("module", ["es_rerank", "ingest_pipelines"])
def test_import_stays_light(module: str) -> None:
    heavy = ("torch", "transformers", "optimum", "sentence_transformers", "onnxruntime", "onnx")
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_imports_point_one_way() -> None:
    assert (
        subprocess.run(
            [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml"],
            cwd=ROOT,
            check=False,
        ).returncode
        == 0
    )


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_has_its_own_outcome_and_pickles(cls: type[errors.EsRerankError]) -> None:
    assert cls in errors.OUTCOMES
    status, exit_code, _ = errors.outcome_of(cls("message"))
    assert 400 <= status <= 599
    assert 0 < exit_code < 128
    error = cls("the thing, its value, the remedy")
    error.__dict__["extra"] = "kept"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__["extra"]) == (cls, str(error), "kept")


def test_the_tree_is_drawn_where_it_is_defined() -> None:
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in TREE)


def test_settings_come_from_the_environment_and_unknown_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PREFIX + "WINDOW", "20")
    monkeypatch.setenv("ELASTICSEARCH_URL", "http://somewhere:9200")
    settings = read_settings()
    assert (settings.window, settings.elasticsearch_url) == (20, "http://somewhere:9200")
    monkeypatch.setenv(PREFIX + "WINDOW", "none")
    with pytest.raises(errors.SettingsError, match=r"ES_RERANK_WINDOW.*found 'none'"):
        read_settings()
    monkeypatch.delenv(PREFIX + "WINDOW")
    monkeypatch.setenv(PREFIX + "WIDNOW", "20")
    with pytest.raises(errors.SettingsError, match="ES_RERANK_WIDNOW: no such setting"):
        read_settings()


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(Settings(elasticsearch_api_key="hunter2"))


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{PREFIX}{name.upper()}` |"))
        assert (field.description or "") in row, name
        others = getattr(field.validation_alias, "choices", [])
        assert all(f"`{other}`" in row for other in others), name  # each name that the setting takes
        default = field.get_default()
        if isinstance(default, str | int):
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert row.split(" | ")[1] == f"`{shown}`", name


def _commands(group: Any, above: str = "es-rerank") -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, those within groups included."""
    for name, command in group.commands.items():
        yield f"{above} {name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{above} {name}")


def test_every_command_and_option_has_help_and_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, command in _commands(typer.main.get_command(app)):
        assert name in readme, name
        assert command.help, name
        assert all(
            getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help"
        ), name


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [
        ("es-rerank ask", "tokens", 2000),
        ("es-rerank bench gateway", "rounds", 300),
        ("es-rerank bench gateway", "documents", 20_000),
        ("es-rerank bench engine", "rounds", 5),
        ("es-rerank bench load", "window", 20),
        ("es-rerank serve", "host", "127.0.0.1"),
        ("es-rerank serve", "port", 8080),
        ("es-rerank export", "tolerance", 1e-4),
    ],
)
def test_defaults_that_the_readme_names(command: str, option: str, default: Any) -> None:
    commands = dict(_commands(typer.main.get_command(app)))
    assert {each.name: each.default for each in commands[command].params}[option] == default


def test_numbers_that_the_readme_names() -> None:
    assert (PASSAGE_CAP, LEAST_KEPT, MOST_WINDOW, ACCELERATOR_TOKENS) == (32, 10, 10_000, 16_384)
    assert (MOST_FIELDS, KEYWORD_LIMIT, TITLE_SHARE) == (950, 1_024, 1 / 4)
    assert (LEAST_AGREEMENT, CAPACITY_SHARES[0], CAPACITY_SHARES[-1]) == (0.9, 0.2, 1.2)
    assert (CANDIDATE_COUNTS[0], CANDIDATE_COUNTS[-1], TOKENS[0], TOKENS[-1]) == (10, 200, 32, 512)
    circuit = (ROOT / "plugin/src/main/java/esrerank/Sidecar.java").read_text(encoding="utf-8")
    assert "OPEN_AFTER = 5;" in circuit
    assert "OPEN_MS = 5_000;" in circuit

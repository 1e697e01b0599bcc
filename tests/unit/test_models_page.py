"""What docs/models.md names exists: commands with their options, settings, and the places of its links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from es_rerank.cli.app import app
from es_rerank.settings import Settings

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/models.md").read_text(encoding="utf-8")
COMMANDS = sorted({found.rstrip(" \\") for found in re.findall(r"es-rerank (?:[a-z]+)[^`|\n]*", PAGE)})


def options_of(words: list[str]) -> set[str]:
    """Return the options of the command that the words begin with."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_with_its_options(line: str) -> None:
    words = line.partition("#")[0].split()[1:]
    assert {word for word in words if word.startswith("--")} <= options_of(words) | {"--help"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"ES_RERANK_([A-Z_]+)", PAGE))))
def test_a_setting_exists(name: str) -> None:
    assert name.lower() in Settings.model_fields


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", PAGE))))
def test_a_link_leads_somewhere(link: str) -> None:
    path, _, heading = link.partition("#")
    target = (REPOSITORY / "docs" / path).resolve() if path else REPOSITORY / "docs/models.md"
    titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert not heading or heading in anchors

"""The settings that are in force, with where each comes from and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.markup import escape
from rich.table import Column, Table

from ..addresses import masked_in
from ..defaults import HOST, PORT
from ..settings import PREFIX, Settings

_HIDDEN = "***"
_HASHED = ("api_key_hashes", "metrics_key_hashes")
_ADDRESS_VALUE = re.compile(r"([?&](?!model=)[^=&\s]+=)[^&\s]+")
"""The values in the query of an address. One may be a key. ``model`` names the model of a rerank service."""


def shown(name: str, value: object) -> object:
    """Return the value of a setting without secrets: a JSON value."""
    if name in _HASHED:
        return f"{len(value)} hashes" if isinstance(value, tuple) and value else None
    if isinstance(value, SecretStr):
        return _HIDDEN
    if isinstance(value, tuple):
        return [shown(name, each) for each in value]
    if isinstance(value, (str, Path)):
        return _ADDRESS_VALUE.sub(rf"\1{_HIDDEN}", masked_in(str(value)))
    return value


def in_force(settings: Settings, options: Mapping[str, Any], host: str, port: int) -> list[dict[str, Any]]:
    """Return name, value and origin of each setting, secrets hidden.

    ``options`` are the values of options by the names of settings. The longest deadline is at least the
    default one, whatever its own setting says.
    """
    found = [
        {"name": name, "value": shown(name, getattr(settings, name)), "from": _origin(name, options)}
        for name in Settings.model_fields
    ]
    by_name = {each["name"]: each for each in found}
    longest, default = by_name["max_timeout_ms"], by_name["timeout_ms"]
    if longest["value"] != settings.longest_ms:
        longest |= {"value": settings.longest_ms, "from": default["from"]}
    return [*_listening(host, port), *found]


def _listening(host: str, port: int) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": value, "from": "default" if value == default else f"option --{name}"}
        for name, value, default in (("host", host, HOST), ("port", port, PORT))
    ]


def _origin(name: str, options: Mapping[str, Any]) -> str:
    """Return where the value of a setting comes from."""
    if name in options:
        given = {"more_rerankers": "reranker", "more_embedders": "embedder"}
        option = given.get(name, name).replace("_", "-")
        return f"option --{option}"
    alias = Settings.model_fields[name].validation_alias
    names = [str(each) for each in getattr(alias, "choices", [])] or [f"{PREFIX}{name.upper()}"]
    here = {variable.upper() for variable in os.environ}  # the case of a variable's name does not count
    used = next((variable for variable in names if variable in here), None)
    return "default" if used is None else f"environment {used}"


def settings_table(settings: Sequence[Mapping[str, Any]]) -> Table:
    """Return what ``in_force`` returns as a table."""
    table = Table(
        Column("setting", no_wrap=True),
        Column("value", overflow="fold"),
        Column("from", overflow="fold"),
        box=None,
    )
    for each in settings:
        value = each["value"]
        said = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        table.add_row(each["name"], escape(said), each["from"].removeprefix("environment "))
    return table

"""How a process on another machine reaches Elasticsearch. Its credentials never show in a log of Ray's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import certifi
from elasticsearch import Elasticsearch

from es_rerank.addresses import masked
from es_rerank.errors import SettingsError

API_KEYS = ("ES_RERANK_ELASTICSEARCH_API_KEY", "ELASTICSEARCH_API_KEY")
"""Environment variables that hold the API key, the first that is set."""


class Hidden:
    """An address that may contain a password. Its ``repr`` masks it; Ray shows arguments by theirs."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return masked(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def shown(self) -> str:
        """Return the address with its password."""
        return self._value


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of Elasticsearch, with its port, and where each machine finds the credentials.

    ``api_keys``: names of environment variables, of which the first that is set holds the API key.
    ``user`` and ``password``: the user's name, and the variable that holds the password. ``ca_certs``: the
    file of the CA of an ``https`` address, on each machine; without it, the public CAs are trusted.
    """

    url: Hidden
    api_keys: tuple[str, ...] = API_KEYS
    user: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    timeout_s: float = 120.0

    def client(self) -> Elasticsearch:
        """Return the client of this process. Raises SettingsError when its credentials cannot be used."""
        return _client(self)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"request_timeout": self.timeout_s}
        if urlsplit(self.url.shown()).scheme == "https":
            options["ca_certs"] = self.ca_certs or certifi.where()
        if self.user is not None:
            options["basic_auth"] = (self.user, os.environ.get(self.password or "", ""))
        elif key := first_set(self.api_keys):
            options["api_key"] = key
        return options


def first_set(names: Sequence[str]) -> str | None:
    """Return the value of the first of these environment variables that is set and not empty."""
    return next((value for name in names if (value := os.environ.get(name))), None)


@lru_cache(maxsize=4)
def _client(connection: Connection) -> Elasticsearch:
    try:
        return Elasticsearch(connection.url.shown(), **connection._options())  # noqa: SLF001 of this module
    except ValueError as error:
        raise SettingsError(f"cannot connect to {connection.url}: {error}") from None

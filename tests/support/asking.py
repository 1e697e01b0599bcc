"""Questions that ``es-rerank ask`` answers from the small index of ``corpus``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from typer.testing import CliRunner, Result

from es_rerank.cli.app import app
from es_rerank.errors import EsRerankError

QUESTION = "who signed the treaty"


@contextmanager
def indexed_articles(es: Elasticsearch) -> Iterator[str]:
    """Yield the name of the small index of ``corpus``, for all tests that only read."""
    name = f"test-{uuid4().hex[:12]}"
    fill(es, name)
    yield name
    es.indices.delete(index=name)


def forget_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the user has set for OpenAI's SDK."""
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)


def asked_of(url: str) -> list[str]:
    """Return the options of a question that goes to the Elasticsearch at ``url`` and needs no embedder."""
    return ["--elasticsearch-url", url, "--first-stage", "bm25"]


def ask(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["ask", *arguments])


def document(asked: Result) -> dict[str, Any]:
    """Return what a question with ``--json`` printed."""
    if asked.exception:
        raise asked.exception
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def fault(asked: Result) -> EsRerankError:
    """Return why a question failed, with nothing on stdout."""
    assert isinstance(asked.exception, EsRerankError), asked.output
    assert asked.stdout == ""
    return asked.exception

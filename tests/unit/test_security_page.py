"""SECURITY.md: each statement points at the tests that hold it, and some of them are here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from security_promises import NO_PROMISE, PROMISES
from server import address_in
from test_promises import collapsed, functions, paragraphs
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank import defaults
from es_rerank.cli.app import app
from es_rerank.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "SECURITY.md"
TEXT = PAGE.read_text(encoding="utf-8")

# -- statements and tests ------------------------------------------------------------------------------------


def test_the_page_has_each_statement_once_and_in_this_order() -> None:
    whole = collapsed(TEXT)
    assert [fragment for fragment, *_ in PROMISES if whole.count(fragment) != 1] == []
    places = [whole.find(fragment) for fragment, *_ in PROMISES]
    assert places == sorted(set(places))


def test_each_statement_names_tests_that_exist() -> None:
    assert [fragment for fragment, *tests in PROMISES if not tests] == []
    named = {test for _, *tests in PROMISES for test in tests}
    missing = [test for test in named if test.partition("::")[2] not in functions(test.partition("::")[0])]
    assert missing == []


def test_each_paragraph_has_a_statement_or_a_reason_why_not() -> None:
    every = paragraphs(TEXT)
    without = [
        each
        for each in every
        if not any(fragment in each for fragment, *_ in PROMISES) and not each.startswith(tuple(NO_PROMISE))
    ]
    assert without == [], "add what they say to tests/support/security_promises.py"
    for begin in NO_PROMISE:
        (paragraph,) = (each for each in every if each.startswith(begin))
        assert [fragment for fragment, *_ in PROMISES if fragment in paragraph] == [], begin


# -- the table of limits -------------------------------------------------------------------------------------

CONSTANTS = {
    "MAX_DEPTH": "levels of brackets in a body",
    "MAX_VALUES": "values in a body",
    "MAX_KEYS": "keys of one object in a body",
    "MAX_OPTIONS": "keys of a request to a model (rerank, rescore, embedding, inference)",
    "MAX_QUERY_CHARACTERS": "characters of a query that a model reads",
    "MAX_TEXT_CHARACTERS": "characters of one document's text",
    "MAX_HEADER_BYTES": "bytes of request line and headers",
    "MAX_HEADERS": "headers of a request",
    "MAX_RETRIEVERS": "retrievers in a tree",
    "MAX_LEVELS": "retrievers above one another",
    "MAX_WINDOWS": "documents in all lists of a tree",
    "MAX_RETRIEVERS_OF_MSEARCH": "retrievers in one `_msearch`",
}
"""Limits of ``defaults`` that no setting changes."""

SETTINGS = {
    "max_body_bytes": "bytes of a body that is read",
    "max_documents": "documents in one rerank request",
    "max_timeout_ms": "milliseconds of a deadline that a caller asks for",
    "timeout_ms": "milliseconds of a deadline that nobody asked for",
    "max_connections": "connections at a time",
    "header_timeout_ms": "milliseconds for the headers of a request",
    "body_timeout_ms": "milliseconds without a byte of a body",
    "body_bytes_per_s": "bytes of a body in a second, at least",
    "write_timeout_ms": "milliseconds in which a caller reads nothing",
    "idle_timeout_ms": "milliseconds between two requests of a connection",
    "drain_ms": "milliseconds that running requests may take at the end",
    "score_cache": "scores in memory, of 300 bytes each",
}
"""Limits that a setting changes."""

NO_LIMITS = {"window", "threads", "drain_delay_ms"}
"""Numbers of settings that bound nothing that a caller sends."""


def table() -> str:
    """Return the table of limits as Markdown."""
    rows = ["| what, at most | default | setting |", "| --- | --- | --- |"]
    for name, what in SETTINGS.items():
        rows.append(f"| {what} | {Settings.model_fields[name].default:,} | `{PREFIX}{name.upper()}` |")
    for name, what in CONSTANTS.items():
        rows.append(f"| {what} | {getattr(defaults, name):,} | none |")
    return "\n".join(rows)


def test_the_table_of_limits_is_that_of_the_code() -> None:
    """To write it anew: python tests/unit/test_security_page.py."""
    found = re.search(r"<!-- limits: begin -->\n(.*?)\n<!-- limits: end -->", TEXT, re.DOTALL)
    assert found is not None
    assert found[1] == table()
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation is int}
    assert numbers == SETTINGS.keys() | NO_LIMITS
    most = {name for name in vars(defaults) if name.startswith("MAX_") and name.lower() not in SETTINGS}
    assert most == CONSTANTS.keys()


# -- secrets and files ---------------------------------------------------------------------------------------


def options(command: Any) -> list[str]:
    """Return the options of a command and of the commands below it."""
    below = [name for each in getattr(command, "commands", {}).values() for name in options(each)]
    return [*below, *(name for each in command.params for name in each.opts if name.startswith("--"))]


def test_no_option_takes_a_secret() -> None:
    """All on a machine see the options of its processes. ``--tls-key`` and ``--api-keys-file`` name files."""
    every = set(options(typer.main.get_command(app)))
    assert "--api-keys-file" in every
    secret = re.compile(r"key|secret|passw|credential|auth|api-token|access-token")
    assert {name for name in every if secret.search(name)} == {"--tls-key", "--api-keys-file"}


_WATCHED = """
import os, sys
def told(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith("/dev/"):
            os.write(2, f"OPENED {path}\\n".encode())
    if event in {"os.mkdir", "os.rename", "os.remove", "tempfile.mkstemp", "tempfile.mkdtemp"}:
        os.write(2, f"OPENED {event} {arguments}\\n".encode())
sys.addaudithook(told)
from es_rerank.cli.app import main
main()
"""


@pytest.mark.long
def test_a_serving_sidecar_opens_no_file_for_writing(tmp_path: Path) -> None:
    """So its file system may be read-only. No Elasticsearch is there; the models are served all the same."""
    models = str(tiny_cross_encoder(tmp_path / "reranker")), str(tiny_bi_encoder(tmp_path / "embedder"))
    serve = ["serve", "--port", "0", "--elasticsearch-url", "http://127.0.0.1:9"]
    command = [sys.executable, "-c", _WATCHED, *serve, "--reranker", models[0], "--embedder", models[1]]
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=environ, stderr=out, stdout=out) as process:
        try:
            until(lambda: address_in(log), "the sidecar listens")
            address = address_in(log)
            body = {"query": "who", "texts": ["the king", "it rained"]}
            until(lambda: httpx.post(f"{address}/rerank", json=body).is_success, "the models are loaded")
            for path in ("/_rerank/docs", "/metrics", "/_rerank/status", "/readyz", "/healthz"):
                httpx.get(address + path, timeout=30)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    said = log.read_text()
    assert "sidecar on" in said
    assert [line for line in said.splitlines() if line.startswith("OPENED")] == []


if __name__ == "__main__":
    begin, end = "<!-- limits: begin -->\n", "<!-- limits: end -->"
    head, _, rest = TEXT.partition(begin)
    PAGE.write_text(f"{head}{begin}{table()}\n{end}{rest.partition(end)[2]}", encoding="utf-8")

"""``es-rerank ask`` shows the answer of a server that speaks OpenAI's wire format, with its sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from asking import QUESTION, ask, asked_of, document, fault, forget_openai, indexed_articles
from elasticsearch import Elasticsearch
from language_model import language_model
from tiny_models import model_options

from es_rerank.errors import GenerationError, MissingExtraError, outcome_of
from es_rerank.extras import install_command
from es_rerank.node import Node


@pytest.fixture(scope="module")
def articles(es: Elasticsearch) -> Iterator[str]:
    with indexed_articles(es) as name:
        yield name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return model_options(tmp_path_factory.mktemp("models"))


@pytest.fixture
def options(node: Node, models: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every question here is asked with."""
    forget_openai(monkeypatch)
    return [*asked_of(node.url), *models]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "es_rerank", "ask", *arguments]


def test_the_answer_is_shown_as_it_comes_with_its_sources(articles: str, options: list[str]) -> None:
    go = threading.Event()
    variables = os.environ | {
        "ES_RERANK_LLM_API_KEY": "secret",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "200",
    }
    with language_model(
        parts=["条约由国王签署 ", "[", "1", "]", " الملك [2, ", "7]."], go=go, key="secret"
    ) as said:
        asked = command(
            articles, QUESTION, "--passages", "3", *options, "--llm", said.url, "--llm-model", "parrot"
        )
        with subprocess.Popen(
            asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables
        ) as process:
            assert process.stdout is not None
            first = process.stdout.read(len("条约由国王签署 ".encode()))
            assert first.decode() == "条约由国王签署 ", "the first words are here before the others were sent"
            go.set()
            rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    answer, *sources = (first + rest).decode().splitlines()
    assert answer == "条约由国王签署 [1] الملك [2, 7]."
    prompt = document(ask(articles, QUESTION, "--passages", "3", *options, "--json"))
    rows = [line.split() for line in sources if line.startswith("[")]
    assert [row[:3] for row in rows] == [
        [f"[{p['number']}]", p["id"], f"{p['start']}-{p['end']}"] for p in prompt["passages"][:2]
    ]
    assert "cites [7], which are not in the prompt" in errors.decode()
    (request,) = said.requests
    assert "\n\n".join(message["content"] for message in request["messages"]) == prompt["prompt"]


def test_an_answer_that_breaks_off_stays_visible(articles: str, options: list[str]) -> None:
    with language_model(parts=["The king [1]", " and"], ending="torn") as said:
        asked = command(articles, QUESTION, *options, "--llm", said.url)
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4
    assert done.stdout.startswith("The king [1] and\n")
    assert "error: the answer from" in done.stderr
    assert "broke off after 16 characters" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_that_breaks_off_is_part_of_the_document(articles: str, options: list[str]) -> None:
    with language_model(parts=["The king [1]", " and"], ending="torn") as said:
        asked = ask(articles, QUESTION, *options, "--llm", said.url, "--json")
    assert isinstance(asked.exception, GenerationError)
    found = json.loads(asked.stdout)
    assert (found["answer"], found["finish_reason"], [each["number"] for each in found["citations"]]) == (
        "The king [1] and",
        None,
        [1],
    )


def test_the_answer_is_part_of_the_document(articles: str, options: list[str]) -> None:
    with language_model(
        parts=["The king [", "1][3", "], nobody else [12]"], ending="length", models=["only-one"]
    ) as said:
        asked = ask(articles, QUESTION, *options, "--llm", said.url, "--json")
    found = document(asked)
    cited = [
        {name: passage[name] for name in ("number", "index", "id", "start", "end")}
        for passage in (found["passages"][0], found["passages"][2])
    ]
    assert {
        "model": "only-one",
        "answer": "The king [1][3], nobody else [12]",
        "finish_reason": "length",
        "citations": cited,
        "unknown_citations": [12],
    }.items() <= found.items()
    assert "the server says length" in asked.stderr


def test_an_answer_without_citations_has_no_sources(articles: str, options: list[str]) -> None:
    with language_model(parts=["I do not know."]) as said:
        asked = ask(articles, QUESTION, *options, "--llm", said.url)
    assert (asked.exit_code, asked.stdout) == (0, "I do not know.\n")
    assert "the answer cites no passage" in asked.stderr


def test_a_server_that_refuses_leaves_nothing_on_stdout(
    articles: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with language_model(key="secret") as said:
        error = fault(ask(articles, QUESTION, *options, "--llm", said.url, "--llm-model", "parrot"))
    assert "answered 401: " in error.message
    assert "check the key in ES_RERANK_LLM_API_KEY" in error.message
    assert outcome_of(error).exit_code == 4


def test_only_an_answer_needs_the_sdk(
    articles: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "openai"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "es_rerank.integrations.openai_chat")
    error = fault(ask(articles, QUESTION, *options, "--llm", "http://127.0.0.1:9/v1"))
    assert isinstance(error, MissingExtraError)
    assert install_command("llm") in error.message
    assert error.extra == "llm"
    assert ask(articles, QUESTION, *options).exit_code == 0

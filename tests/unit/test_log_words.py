"""What the log says in plain words: that the sidecar is ready, and that a request is sent again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from corpus import EMBEDDER
from elasticsearch import AsyncElasticsearch
from structlog.testing import capture_logs

from es_rerank.errors import ModelError, RemoteModelError
from es_rerank.models.hosted.retrying import TransientError
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker


async def test_the_log_says_when_the_models_are_loaded() -> None:
    model = WordOverlapReranker()
    service = Service(AsyncElasticsearch("http://127.0.0.1:9"), lambda: ({model.name: model}, EMBEDDER))
    with capture_logs() as lines:
        await service.start()
    await service.close()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("ready: the models are loaded", "info")
    ]
    assert lines[0]["models"] == [model.name, EMBEDDER.name]
    assert lines[0]["seconds"] >= 0


async def test_the_log_does_not_say_so_of_models_that_cannot_be_loaded() -> None:
    def load() -> tuple[dict[str, WordOverlapReranker], None]:
        raise ModelError("broken")

    service = Service(AsyncElasticsearch("http://127.0.0.1:9"), load)
    with capture_logs() as lines, pytest.raises(ModelError):
        await service.start()
    await service.close()
    assert lines == []


_RETRY = """
import stamina
failures = iter([RuntimeError("busy")])
for attempt in stamina.retry_context(on=RuntimeError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0):
    with attempt:
        for failure in failures:
            raise failure
"""

_REFUSED = """
import logging
logging.getLogger("elastic_transport.node_pool").warning("Node %r has failed for %i times in a row", 1, 1)
"""


def _logged(configured: str, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", configured + code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr


_OF_A_COMMAND = "from es_rerank.cli.output import log_to_stderr\nlog_to_stderr()\n"
_OF_A_SIDECAR = "from es_rerank.sidecar.observation.log import configure_log\nconfigure_log({!r})\n"


@pytest.mark.parametrize("configured", [_OF_A_COMMAND, _OF_A_SIDECAR.format("console")])
def test_a_request_that_is_sent_again_is_told_in_plain_words(configured: str) -> None:
    said = _logged(configured, _RETRY)
    assert "a request failed and is sent again" in said
    assert "attempt=2" in said
    assert "RuntimeError" in said
    assert "stamina" not in said
    assert "callable" not in said


def test_a_line_of_json_tells_a_retry_too() -> None:
    (line,) = map(json.loads, _logged(_OF_A_SIDECAR.format("json"), _RETRY).splitlines())
    assert line["message"] == "a request failed and is sent again"
    assert (line["log.level"], line["es_rerank.attempt"]) == ("warning", 2)


def test_an_answer_with_an_unusual_status_is_no_warning() -> None:
    assert _logged(_OF_A_SIDECAR.format("console"), _REFUSED) == ""


@pytest.mark.parametrize(
    ("status", "said"),
    [(503, "the service answered 503"), (None, "the service could not be reached, or broke off its answer")],
)
def test_a_service_that_is_asked_again_is_told_without_names_of_classes(
    status: int | None, said: str
) -> None:
    assert repr(TransientError(RemoteModelError("a text of the service", status=status))) == said

"""What each metric says: whether the sidecar is ready, and what its names, labels and counts mean."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnection
from observed_apps import answering, observed, samples
from scripted_elasticsearch import Reply

from es_rerank.sidecar.upstream.readiness import Readiness


def value_of(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_a_reader_of_metrics_alone_sees_that_elasticsearch_is_down() -> None:
    down = asyncio.Event()

    def answer(asked: str, body: Any) -> Reply:
        return Reply(error=NoConnection("refused")) if down.is_set() else answering(asked, body)

    async with observed(answer=answer) as (caller, _):
        service = caller._transport.app.state.service  # type: ignore[attr-defined]  # noqa: SLF001
        found = await samples(caller)
        assert value_of(found, "es_rerank_ready") == value_of(found, "es_rerank_models_loaded") == 1
        down.set()
        service.readiness = Readiness(lambda: service.elasticsearch)  # the last answer is too old now
        found = await samples(caller)
        assert (value_of(found, "es_rerank_ready"), value_of(found, "es_rerank_models_loaded")) == (0, 1)


async def test_an_elasticsearch_that_does_not_answer_holds_no_metrics_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("es_rerank.sidecar.routes.status._LOOK_S", 0)
    async with observed() as (caller, _):
        service = caller._transport.app.state.service  # type: ignore[attr-defined]  # noqa: SLF001
        answers = asyncio.Event()

        class Hanging(Readiness):
            async def _faults(self) -> list[str]:
                await answers.wait()
                return []

        service.readiness = Hanging(lambda: service.elasticsearch)
        assert value_of(await samples(caller), "es_rerank_ready") == 0
        answers.set()
        await service.readiness.found()
        assert value_of(await samples(caller), "es_rerank_ready") == 1

"""What each metric says: whether the sidecar is ready, and what its names, labels and counts mean."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from app_client import state_of
from elastic_transport import ConnectionError as NoConnection
from metric_table import page
from observed_apps import KeptRecords, answering, observed, samples
from scripted_elasticsearch import Reply

from es_rerank.engine.pool import Pool
from es_rerank.errors import OverloadError, SettingsError
from es_rerank.models.wrappers.cached import ScoreCache, cached
from es_rerank.observation import Fallback, Part, Stage, Trouble
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.observation import meanings, metrics
from es_rerank.sidecar.observation.observed import Observed
from es_rerank.sidecar.record import Outcome, tell_forwarded
from es_rerank.sidecar.server.connections import ConnectionFigures, Connections
from es_rerank.sidecar.server.progress import ConnectionLimits
from es_rerank.sidecar.upstream.readiness import Readiness
from es_rerank.testing import WordOverlapReranker

_ROOT = Path(__file__).parents[2]


def value_of(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_a_reader_of_metrics_alone_sees_that_elasticsearch_is_down() -> None:
    down = asyncio.Event()

    def answer(asked: str, body: Any) -> Reply:
        return Reply(error=NoConnection("refused")) if down.is_set() else answering(asked, body)

    async with observed(answer=answer) as (caller, _):
        service = state_of(caller).service
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
        service = state_of(caller).service
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


async def test_the_page_of_metrics_is_that_of_the_code() -> None:
    pool = Pool(1)
    connections = Connections(ConnectionLimits())
    async with observed(pool=pool, cache=ScoreCache(1), connections=connections) as (caller, _):
        expected = page(iter(state_of(caller).metrics.registry.collect()))
    pool.close()
    file = _ROOT / "docs" / "metrics.md"
    if file.read_text(encoding="utf-8") != expected:
        file.write_text(expected, encoding="utf-8")
        pytest.fail("docs/metrics.md was not that of the code; now it is")


def test_each_value_of_a_label_has_its_meaning() -> None:
    for kind, told in (
        (Outcome, meanings.OUTCOMES),
        (Trouble, meanings.TROUBLES),
        (Fallback, meanings.FALLBACKS),
        (Stage, meanings.STAGES),
        (Part, meanings.PARTS),
    ):
        assert set(told) == set(get_args(kind))
    failures = {label for _, label in metrics._FAILURES}  # noqa: SLF001 the table of causes
    assert set(meanings.FAILURES) == failures | {"left", "validation", "inference"}
    ended = set(re.findall("``(\\w+)``", ConnectionFigures.__doc__ or "")) - {"ended"}
    assert set(meanings.CONNECTIONS) == ended


async def test_no_two_metrics_are_explained_alike() -> None:
    async with observed() as (caller, _):
        families = list(state_of(caller).metrics.registry.collect())
    told = [family.documentation for family in families]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    ("path", "status", "searches"),
    [
        ("/{index}/_search", 200, {"forwarded": 1}),
        ("/_msearch", 404, {"refused": 1}),
        ("/_search", 500, {"failed": 1}),
        ("/{path:path}", 200, {}),
    ],
)
async def test_a_search_that_elasticsearch_answers_is_counted_too(
    path: str, status: int, searches: dict[str, int]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = SimpleNamespace(path=path)
        tell_forwarded()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        return

    kept = KeptRecords()
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
    await Observed(app, (kept,))(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert kept.records[0].searches == searches


async def test_what_a_model_refuses_is_no_miss_of_the_cache() -> None:
    class Full(WordOverlapReranker):
        """Refuses."""

        async def ascore(self, *_: Any, **__: Any) -> Any:
            raise OverloadError("full")

    cache = ScoreCache(8)
    with pytest.raises(OverloadError):
        await cached(Full(), cache, "full").ascore("q", ["a", "b"])
    assert cache.figures().misses == 0
    for _ in range(2):
        await cached(WordOverlapReranker(), cache, "words").ascore("q", ["a", "b"])
    assert cache.figures() == (2, 2, 2)


async def test_a_file_of_keys_that_cannot_be_read_again_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[one]\nsha256 = "{key_hash("k")}"\n')
    async with observed(api_keys_file=file) as (caller, _):
        service = state_of(caller).service
        assert value_of(await samples(caller), "es_rerank_key_file_failures_total") == 0
        file.write_text("[one")
        with pytest.raises(SettingsError):
            service.keys.read_again()
        assert value_of(await samples(caller), "es_rerank_key_file_failures_total") == 1

"""Work that several calls do, or that is done in parts, is admitted as one: all of it, or none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.caller import CALLER, Caller, as_a_whole
from es_rerank.engine.call import Call, Work
from es_rerank.engine.pool import Pool, PoolFigures
from es_rerank.engine.rate import Rate
from es_rerank.engine.schedule import Schedule
from es_rerank.errors import DeadlineError, OverloadError
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.cached import ScoreCache, cached
from es_rerank.models.wrappers.cascade import cascade
from es_rerank.models.wrappers.whole_texts import WholeTexts
from es_rerank.models.wrappers.wrapped import admitted, expected_s
from es_rerank.retrievers.planning import long_texts
from es_rerank.sidecar.service import Limits, Service
from es_rerank.text.chunking import Chunker
from es_rerank.text.pairs import PairEncoder, TextEncoder

A, B = Caller("a"), Caller("b")
LONG = " ".join(f"envoys signed treaty number {number}." for number in range(300))
QUERIES = [f"who signed treaty {number}" for number in range(20)]


def known(seconds: float) -> Rate:
    """Return a rate of so many seconds that enough work has shown."""
    rate = Rate()
    for _ in range(5):
        rate.learn(1.0, seconds)
    return rate


def call(items: int, caller: Caller = A, *, rate: Rate | None = None, deadline: float = 8.0) -> Call:
    """Return a call of items of a second each."""
    return Call(Work(bool, [1.0] * items, float, rate or known(1.0)), caller, deadline, whole=True)


def held(seconds: float, deadline: float = 8.0) -> Call:
    """Return a call that holds work of other calls."""
    work: Work[float, bool] = Work(bool, [], float, known(1.0))
    return Call(work, A, deadline, whole=True, holds=seconds)


def part(items: int, whole: Call) -> Call:
    work: Work[float, bool] = Work(bool, [1.0] * items, float, known(1.0))
    return Call(work, A, whole.deadline, whole=True, part_of=whole)


def test_an_idle_pool_refuses_what_cannot_end_in_time_once_it_knows_that() -> None:
    schedule = Schedule(2, 480.0)
    with pytest.raises(OverloadError, match=r"this call alone would take 50\.0 s, and 8\.0 s are left") as no:
        schedule.submit(call(100), 0.0)
    assert no.value.retry_after_s is None, "no wait makes the call smaller"
    schedule.submit(call(15), 0.0)
    schedule.submit(call(100, B, rate=Rate(1.0), deadline=9.0), 8.5)
    assert schedule.figures().refused == 1, "an estimate that nothing has shown refuses nothing"


def test_each_tenth_is_begun_so_that_a_wrong_estimate_does_not_stay() -> None:
    schedule, began = Schedule(1, 480.0), []
    for number in range(1, 21):
        try:
            schedule.submit(one := call(100), 0.0)
        except OverloadError:
            continue
        schedule.drop(one)
        began.append(number)
    assert began == [10, 20]


def tried(schedule: Schedule, *, parts: int, seconds: float) -> int:
    """Let an idle pool do 100 items, which take so many seconds. Return how many ran until it gave up."""
    now, ran, rate = 0.0, 0, known(0.2)
    work: Work[float, bool] = Work(bool, [1.0] * (100 // parts), float, rate)
    whole = Call(Work(bool, [], float, rate), A, 8.0, whole=True, holds=100.0) if parts > 1 else None
    if whole is not None:
        schedule.submit(whole, now)
    for _ in range(parts):
        try:
            schedule.submit(one := Call(work, A, 8.0, whole=True, part_of=whole), now)
        except OverloadError:
            break
        while (taken := schedule.take(now)) is not None:
            now, ran = now + seconds, ran + 1
            schedule.done(taken, True, seconds, now)
        assert one.future.done()
    return ran


@pytest.mark.parametrize("parts", [1, 25])
def test_what_an_idle_pool_tries_it_gives_up_when_its_runs_show_no_hope(parts: int) -> None:
    """The work is estimated to take two and a half times the time left, which may be wrong."""
    schedule = Schedule(1, 480.0)
    assert tried(schedule, parts=parts, seconds=0.05) == 100
    assert schedule.figures().refused == 0
    schedule = Schedule(1, 480.0)
    assert tried(schedule, parts=parts, seconds=0.2) == 8
    assert (schedule.figures().refused, schedule.figures().late) == (1, 0)


def test_parts_are_never_refused_and_what_is_left_of_the_whole_counts_for_others() -> None:
    schedule = Schedule(1, 480.0)
    whole = held(6.0)
    schedule.submit(whole, 0.0)
    for _ in range(3):
        schedule.submit(part(2, whole), 0.0)
    assert schedule.figures().waiting_s == pytest.approx(6.0), "the work of a part counts once"
    with pytest.raises(OverloadError, match="one that was admitted before"):
        schedule.submit(call(3, deadline=7.9), 0.0)
    schedule.submit(part(2, whole), 0.0)  # the estimate of the whole was too low
    while (taken := schedule.take(0.0)) is not None:
        schedule.done(taken, True, 1.0, 0.0)
    schedule.release(whole, 1.0, complete=True, left=False)
    assert schedule.figures()[:6] == (0, 0, 0.0, 1, 0, 0)


def test_the_whole_is_late_once_and_left_once() -> None:
    schedule = Schedule(1, 480.0)
    for late in (True, False):
        whole = held(2.0)
        schedule.submit(whole, 0.0)
        parts = [part(1, whole), part(1, whole)]
        for one in parts:
            schedule.submit(one, 0.0)
            (schedule.end_late if late else schedule.drop)(one)
        schedule.release(whole, 9.0, complete=False, left=not late)
        schedule.release(whole, 9.0, complete=False, left=not late)
    assert (schedule.figures().late, schedule.figures().dropped) == (1, 1)
    assert schedule.figures().waiting_s == 0


def test_a_block_is_refused_before_it_begins_and_a_block_in_it_is_a_part() -> None:
    pool = Pool(1)
    with as_a_whole():
        with pytest.raises(OverloadError), pool.admitted(100.0, known(1.0), time.monotonic() + 8):
            pytest.fail("it would be late")
        with pool.admitted(5.0, known(1.0), time.monotonic() + 8):
            assert pool.is_admitted()
            with pool.admitted(100.0, known(1.0), time.monotonic() + 8):
                assert pool.run(str, [1, 2], length=float, rate=known(50.0)) == ["1", "2"]
    assert not pool.is_admitted()
    assert pool.figures().waiting_s == 0
    pool.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"model": tiny_cross_encoder(folder / "model"), "embedder": tiny_bi_encoder(folder / "embedder")}


def rate_of(model: CrossEncoder | BiEncoder) -> Rate:
    """Return the seconds that a token seems to take."""
    return model._runs.rate  # noqa: SLF001 no clock decides these tests


class Served:
    """A sidecar on which nothing else runs."""

    def __init__(
        self, client: httpx.AsyncClient, pool: Pool, model: CrossEncoder, embedder: BiEncoder
    ) -> None:
        self.client, self.pool, self.model, self.embedder = client, pool, model, embedder

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Let every token of both models seem to take so many seconds."""
        rates = rate_of(self.model), rate_of(self.embedder)
        before = [rate.mean for rate in rates]
        for rate in rates:
            rate.mean = seconds
        yield
        for rate, mean in zip(rates, before, strict=True):
            rate.mean = mean


@pytest.fixture
async def served(folders: dict[str, Path]) -> AsyncIterator[Served]:
    pool = Pool(1)
    model = CrossEncoder(folders["model"], name="any", pool=pool)
    embedder = BiEncoder(folders["embedder"], pool=pool)
    service = Service(
        AsyncElasticsearch("http://127.0.0.1:9", max_retries=0),
        lambda: ({"any": cached(model, ScoreCache(), model.identity)}, embedder),
        Limits(documents=5_000),
        pool=pool,
    )
    async with app_client(service) as client:
        yield Served(client, pool, model, embedder)


PAIRS = {"text_1": QUERIES, "text_2": ["envoys signed it"] * 20}
DOCUMENT = {"passages": [{"text": LONG}], "first_stage_score": 1.0}
HIT = {"_index": "i", "_id": "1", "_score": 1.0, "_source": {"text": LONG}}
HITS = {
    "took": 1,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {"total": {"value": 1, "relation": "eq"}, "max_score": 1.0, "hits": [HIT]},
}
PARTS: list[tuple[str, dict[str, Any]]] = [
    ("/score", PAIRS),
    ("/v1/score", PAIRS | {"text_2": [LONG] * 20}),
    ("/v1/rerank", {"query": "treaty", "documents": [LONG]}),
    ("/rerank", {"query": "treaty", "texts": [LONG]}),
    ("/v1/embeddings", {"input": ["envoys signed it"] * 1_100}),
    ("/_rerank/v1/score", {"query": "treaty", "documents": [DOCUMENT]}),
    ("/_rerank/v1/score", {"query": "treaty", "documents": [DOCUMENT], "chunk_rescorer": {"size": 9}}),
]
"""Requests of which some calls, or parts, would be in time, and all of them would not."""


@pytest.mark.parametrize(("path", "body"), PARTS)
async def test_an_idle_sidecar_reads_nothing_of_what_would_be_late(
    served: Served, path: str, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    readers = (PairEncoder, "encode"), (TextEncoder, "encode"), (Chunker, "chunk"), (long_texts, "cut")
    for reader, name in readers:
        monkeypatch.setattr(reader, name, lambda *_: read.append(1))
    tokens = served.pool.figures().tokens
    with served.slow(0.003 if "embed" in path else 1.0):
        answer = await served.client.post(path, json=body, headers={"x-rerank-timeout-ms": "20000"})
    assert answer.status_code == 429, answer.text
    assert "retry-after" not in answer.headers, "no wait makes the request smaller"
    assert (read, served.pool.figures().tokens) == ([], tokens)
    assert served.pool.figures().refused == 1, "one request is one piece of work"


RESCORE = ("/rescore", {"query": "treaty", "response": HITS, "field": "text"})
"""It is answered in part when there is no time for all."""


@pytest.mark.parametrize(("path", "body"), [*PARTS, RESCORE])
async def test_what_is_in_time_is_answered_though_its_parts_fill_the_deadline(
    served: Served, path: str, body: object
) -> None:
    tokens = served.pool.figures().tokens
    # The estimate is far too high, so that the second of two calls would be refused beside the first one.
    with served.slow(0.03 if path == "/score" else 0.002):
        answer = await served.client.post(path, json=body, headers={"x-rerank-timeout-ms": "60000"})
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]["total_tokens"] if path.startswith("/v1") else None
    assert usage in (None, served.pool.figures().tokens - tokens), "each token counts once"
    assert served.pool.figures().waiting_s == 0


async def test_what_a_cache_knows_is_no_work(served: Served) -> None:
    assert (await served.client.post("/score", json=PAIRS)).status_code == 200
    with served.slow(100.0):
        assert (await served.client.post("/score", json=PAIRS)).status_code == 200
        other = PAIRS | {"text_2": ["bread"] * 20}
        assert (await served.client.post("/score", json=other)).status_code == 429


async def test_a_caller_who_leaves_ends_all_parts(served: Served) -> None:
    free = threading.Event()

    def blocked(_: int) -> None:
        assert free.wait(30)

    CALLER.set(B)
    running = asyncio.create_task(served.pool.arun(blocked, [1], length=float))
    asking = asyncio.create_task(served.client.post("/score", json=PAIRS))
    while served.pool.figures().waiting < 8:  # noqa: ASYNC110 other tasks make it hold
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    while not served.pool.figures().dropped:  # noqa: ASYNC110
        await asyncio.sleep(0)
    free.set()
    await running
    assert served.pool.figures()._replace(tokens=0) == PoolFigures(dropped=1)


@pytest.mark.parametrize("most", [1, 2, 5, None])
def test_the_tokens_of_a_long_text_are_those_of_its_parts(folders: dict[str, Path], most: int | None) -> None:
    texts = [LONG, LONG[:4000], "envoys signed it"]
    with CrossEncoder(folders["model"]) as model:
        whole = WholeTexts(model, most)
        for _ in range(5):
            model.score("who signed the treaty", texts)
        before = model.pool.figures().tokens
        whole.score("who signed the treaty", texts)
        read = model.pool.figures().tokens - before
        estimated = expected_s(whole, "who signed the treaty", texts) / rate_of(model).mean
    assert 0.75 * read <= estimated <= 1.3 * read


def test_wrappers_tell_what_all_parts_cost(folders: dict[str, Path]) -> None:
    with CrossEncoder(folders["model"]) as model, CrossEncoder(folders["model"], pool=model.pool) as then:
        for reranker in (model, then):
            for _ in range(5):
                reranker.score("treaty", ["envoys signed it", LONG])
        both = cascade(model, then, share=1.0)
        alone = expected_s(WholeTexts(model), "treaty", [LONG])
        for wrapped in (cached(model, ScoreCache(), "model"), both):
            assert expected_s(WholeTexts(wrapped), "treaty", [LONG]) >= alone / 2
            assert expected_s(wrapped, "treaty", [LONG]) < alone
            mean, rate_of(model).mean = rate_of(model).mean, 1000.0
            with as_a_whole(), pytest.raises(OverloadError):
                WholeTexts(wrapped).score("treaty", [LONG], deadline=time.monotonic() + 8)
            rate_of(model).mean = mean
        with admitted(both, [("treaty", [LONG])], time.monotonic() + 60):
            assert model.pool.is_admitted()


async def test_an_embedder_is_asked_for_many_texts_once(folders: dict[str, Path]) -> None:
    with BiEncoder(folders["embedder"]) as embedder:
        for _ in range(5):
            embedder.embed(["envoys signed it"])
        rate_of(embedder).mean = 100.0
        with pytest.raises(OverloadError, match="this call alone"):
            await embedder.aembed(["envoys signed it"] * 600, deadline=time.monotonic() + 3_000)
        with pytest.raises(DeadlineError):
            await embedder.aembed(["envoys signed it"] * 600, deadline=time.monotonic())

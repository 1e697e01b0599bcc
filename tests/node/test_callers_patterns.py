"""A search with a caller's separators ends in time, and its work ends with the caller."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.client import AsyncRerankClient, RerankClient
from es_rerank.errors import DeadlineError
from es_rerank.node import Node
from es_rerank.retrievers.execution import run
from es_rerank.retrievers.planning import long_texts
from es_rerank.retrievers.planning.long_texts import chunks
from es_rerank.testing import WordOverlapReranker
from es_rerank.text.watch import Watch

CATASTROPHIC = r"(\w+ ?)+!"
"""Tried one way after another, as ``re`` does, its time doubles with every letter."""

SLOW = r"(?:a|b|ab)*c|[ab]{1,900}c"
"""The same, and one of the slowest that RE2 takes: seconds for each million letters of a and b."""

HANG_S = 240
"""A guard only: what ends in seconds here did not end in hours."""


def filled(es: Elasticsearch, index: str, *texts: str) -> None:
    es.indices.create(
        index=index,
        mappings={"properties": {"text": {"type": "text"}}},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    for number, text in enumerate(texts):
        es.index(index=index, id=str(number), document={"text": text}, refresh=True)


def tree(*separators: str, **more: Any) -> dict[str, Any]:
    chunking = {"strategy": "recursive", "max_chunk_size": 20, "separators": list(separators)}
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    wanted = {
        "retriever": child,
        "field": "text",
        "inference_text": "who signed the treaty",
        "chunk_rescorer": {"size": 1, "chunking_settings": chunking},
    }
    return {"text_similarity_reranker": wanted | more}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


def test_a_search_with_a_catastrophic_separator_is_answered(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    filled(es, index, "word " * 20_000 + "The king signed the treaty! " + "word " * 1_000)
    with sidecar(node.url, *models, tmp_path / "log") as (url, process), ThreadPoolExecutor() as threads:
        try:
            for separators in ([CATASTROPHIC], ["(a+)+$"], ["(?:.*a){30}"], [r"(\w+)*\d", r"(\S+\s*)+;"]):
                search = threads.submit(
                    httpx.post,
                    f"{url}/{index}/_search",
                    json={"retriever": tree(*separators)},
                    timeout=HANG_S,
                )
                assert httpx.get(f"{url}/healthz", timeout=HANG_S).status_code == 200
                answer = search.result().json()
                assert answer["rerank"]["status"] == "reranked", answer
                (passage,) = answer["hits"]["hits"][0]["fields"]["rerank.passage"]
                assert "signed the treaty" in passage["text"]
            for separators in (["(?=x)"], ["x"] * 1_000, ["x" * 100_000], [r"(\pL{1,500}){1,500}"]):
                refused = httpx.post(
                    f"{url}/{index}/_search", json={"retriever": tree(*separators)}, timeout=HANG_S
                )
                assert refused.status_code == 400
                assert "[separators]" in refused.json()["error"]["reason"]
        finally:
            if not _answers(url):
                process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.long
def test_sigterm_ends_a_sidecar_that_cuts_a_text(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    filled(es, index, "w " * 30 + "ab" * 1_000_000)
    with sidecar(node.url, *models, tmp_path / "log") as (url, process), ThreadPoolExecutor() as threads:
        headers = {"x-rerank-timeout-ms": "300000"}
        search = threads.submit(
            httpx.post,
            f"{url}/{index}/_search",
            json={"retriever": tree(SLOW)},
            headers=headers,
            timeout=HANG_S,
        )
        while not es.indices.stats(index=index)["indices"][index]["primaries"]["search"]["fetch_total"]:
            assert not search.done(), search.result().text  # the first stage was asked: the text is being cut
        assert httpx.get(f"{url}/healthz", timeout=HANG_S).status_code == 200
        assert not search.done()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert isinstance(search.exception(), httpx.TransportError) or search.result().status_code >= 500


class Ended(Watch):
    """A deadline that comes after so many looks, whatever the clock says."""

    looks = 0

    def __call__(self) -> None:
        self.looks += 1
        if self.looks > 3:
            self.end()
        super().__call__()


def test_what_the_tree_allows_happens_where_the_deadline_comes_in_the_middle(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "short", "word " * 20_000, "treaty")
    client = RerankClient(es, reranker=WordOverlapReranker())
    monkeypatch.setattr(run, "Watch", Ended)
    with pytest.raises(
        DeadlineError,
        match=r"^the deadline came when \d of 3 texts were cut; allow more time .*or allow_rerank_failures$",
    ) as caught:
        client.search(index=index, retriever=tree(r"\n"))
    assert caught.value.status_code == 504  # type: ignore[attr-defined]
    answer = client.search(index=index, retriever=tree(r"\n", allow_rerank_failures=True))
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["0", "1", "2"]
    assert (answer["rerank"]["status"], answer["rerank"]["capped"]) == ("first_stage", 0)
    assert "texts were cut" in answer["rerank"]["reason"]
    assert all("rerank.passage" not in hit["fields"] for hit in answer["hits"]["hits"])


async def test_cutting_ends_when_the_caller_leaves(
    node: Node, es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "w " * 30 + "ab" * 1_000_000)
    began, over = threading.Event(), threading.Event()

    class Seen(Watch):
        def __call__(self) -> None:
            began.set()
            try:
                super().__call__()
            except Exception:
                over.set()
                raise

    monkeypatch.setattr(long_texts, "Watch", Seen)
    async with AsyncElasticsearch(node.url) as inner:
        client = AsyncRerankClient(inner, reranker=WordOverlapReranker(), timeout_s=600)
        search = asyncio.create_task(client.search(index=index, retriever=tree(SLOW)))
        assert await asyncio.to_thread(began.wait, HANG_S)
        search.cancel()
        assert await asyncio.to_thread(over.wait, HANG_S)
        with pytest.raises(asyncio.CancelledError):
            await search


def test_a_text_is_cut_once_for_two_rerankers_that_read_it_alike(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "one", "two " * 30)
    asked: list[int] = []

    def counted(query: str, texts: list[str], *others: Any) -> Any:
        asked.append(len(texts))
        return chunks(query, texts, *others)

    monkeypatch.setattr(run, "chunks", counted)
    first = tree(r"\n")
    answer = RerankClient(es, reranker=WordOverlapReranker()).search(
        index=index, retriever=tree(r"\n", retriever=first)
    )
    assert (answer["rerank"]["status"], asked) == ("reranked", [2])

"""The score cache: what was computed once is given again bit for bit, bounded,
and never for another model, query or passage.
"""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import broken_cross_encoder, tiny_cross_encoder

from es_rerank import Reranker, load_reranker
from es_rerank.models import LongTextReranker
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.cached import Cached, ScoreCache, cached
from es_rerank.testing import WordOverlapReranker
from es_rerank.testing.contract import PASSAGES, QUERY, RerankerContract
from es_rerank.types import Scores

texts = st.text("ab\ud800 ", max_size=6)


class Counting(WordOverlapReranker):
    """Counts what it is asked, and scores the first ``reach`` passages of a call only."""

    def __init__(self, reach: int | None = None) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.reach = reach

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        self.asked += [(query, passage) for passage in passages]
        whole = super().score(query, passages)
        reach = len(passages) if self.reach is None else self.reach
        return replace(whole, done=np.arange(len(passages)) < reach)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"))) as model:
        yield model


class TestCachedContract(RerankerContract):
    @pytest.fixture
    def reranker(self, model: CrossEncoder) -> Reranker:
        return cached(model, ScoreCache(), "one")

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Iterator[Reranker]:
        with cached(CrossEncoder(broken_cross_encoder(tmp_path)), ScoreCache(), "broken") as model:
            yield model


def test_what_was_scored_is_given_again_bit_for_bit(model: CrossEncoder) -> None:
    reranker = cached(model, ScoreCache(), "one")
    long = [*PASSAGES, "treaty " * 300]
    first, again = reranker.score(QUERY, long), reranker.score(QUERY, list(reversed(long)))
    assert first.values.tobytes() == model.score(QUERY, long).values.tobytes()
    assert again.values.tobytes() == first.values[::-1].tobytes()
    assert not first.cached.any()
    assert again.cached.all()
    assert (first.truncated.tolist(), again.truncated.tolist()) == (
        [False] * 6 + [True],
        [True] + [False] * 6,
    )


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=5)), max_size=8))
def test_no_pair_is_scored_twice_and_none_is_taken_for_another(calls: list[tuple[str, list[str]]]) -> None:
    inner = Counting()
    reranker = cached(inner, ScoreCache(), "one")
    for query, passages in calls:
        scores = reranker.score(query, passages)
        assert scores.values.tolist() == WordOverlapReranker().score(query, passages).values.tolist()
        assert scores.done.all()
    assert len(inner.asked) == len(set(inner.asked))


def test_models_that_share_a_cache_do_not_share_scores() -> None:
    cache, one, other = ScoreCache(), Counting(), Counting()
    cached(one, cache, "one").score(QUERY, PASSAGES)
    cached(other, cache, "other").score(QUERY, PASSAGES)
    assert len(other.asked) == len(PASSAGES)
    cached(Counting(), cache, "one").score(QUERY, PASSAGES)
    assert cache.figures() == (2 * len(PASSAGES), len(PASSAGES), 2 * len(PASSAGES))


def test_it_forgets_what_was_used_longest_ago() -> None:
    inner, cache = Counting(), ScoreCache(entries=2)
    reranker = cached(inner, cache, "one")
    for passages in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        reranker.score("q", passages)
    assert [passage for _, passage in inner.asked] == ["a", "b", "c", "b"]
    assert cache.figures().entries == 2


def test_what_the_deadline_left_undone_is_not_remembered() -> None:
    inner = Counting(reach=2)
    reranker = cached(inner, ScoreCache(), "one")
    first = reranker.score(QUERY, PASSAGES, deadline=time.monotonic() + 60)
    assert first.done.tolist() == [True, True, False, False, False, False]
    second = reranker.score(QUERY, PASSAGES)
    assert (second.done.tolist(), second.cached.tolist()) == (
        [True] * 4 + [False] * 2,
        [True, True] + [False] * 4,
    )


def test_many_threads_may_ask_at_once(model: CrossEncoder) -> None:
    reranker = cached(model, ScoreCache(entries=4), "one")
    expected = model.score(QUERY, PASSAGES).values.tobytes()
    together = threading.Barrier(4)

    def ask(_: int) -> bytes:
        together.wait()
        return reranker.score(QUERY, PASSAGES).values.tobytes()

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(16))) == {expected}


def test_it_reads_long_texts_where_the_model_below_does(model: CrossEncoder) -> None:
    reranker = cached(model, ScoreCache(), "one")
    assert isinstance(reranker, LongTextReranker)
    assert reranker.cut(QUERY, [("", "treaty " * 300)]) == model.cut(QUERY, [("", "treaty " * 300)])
    assert not isinstance(Cached(WordOverlapReranker(), ScoreCache(), "one"), LongTextReranker)


def test_a_loaded_model_remembers_where_it_is_given_a_cache(tmp_path: Path) -> None:
    cache = ScoreCache()
    folders = [tiny_cross_encoder(tmp_path / str(seed), seed) for seed in range(2)]
    with (
        load_reranker(folders[0], cache=cache) as one,
        load_reranker(folders[1], cache=cache) as other,
        load_reranker(folders[0], cache=cache) as again,
    ):
        first = one.score(QUERY, PASSAGES)
        assert not other.score(QUERY, PASSAGES).cached.any()
        assert again.score(QUERY, PASSAGES).cached.all()
        assert again.score(QUERY, PASSAGES).values.tobytes() == first.values.tobytes()
    narrow = tiny_cross_encoder(tmp_path / "narrow", 0, max_length=64)
    with load_reranker(narrow, cache=cache) as model:
        assert not model.score(QUERY, PASSAGES).cached.any()


def test_an_entry_takes_what_the_setting_says() -> None:
    """About 300 bytes, of which the settings and the README speak."""
    cache = ScoreCache(entries=20_000)
    keys = [number.to_bytes(16, "big") for number in range(20_000)]
    reranker = cached(WordOverlapReranker(), cache, "one")
    tracemalloc.start()
    try:
        for start in range(0, len(keys), 1_000):
            reranker.score(QUERY, [key.hex() for key in keys[start : start + 1_000]])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 150 < held / cache.figures().entries < 350

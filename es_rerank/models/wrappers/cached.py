"""A bounded cache of scores in this process, and a reranker that looks into it first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache

from ...caches import SharedCache
from ...caller import KNOWN_BY
from ...defaults import CACHED_SCORES
from ...off_loop import is_large, off_loop_if
from ...types import Passage, Scale, Scores
from .. import LoadedReranker, LongTextReranker, Reranker
from ..closeable import Closeable
from ..unblocked import acut
from .wrapped import WrappedReranker, expected_s

_DIGEST_BYTES = 16
"""128 bits: the chance that any two of 100,000 pairs have the same digest is 1e-29."""


_FEW_PASSAGES = 500
"""Passages that are looked up in about a millisecond."""


class CacheFigures(NamedTuple):
    """The pairs in the cache. So far: ``hits``, the look-ups that found a pair, and ``misses``, the pairs
    that were scored because they were not found. What a model refused or did not reach is neither.
    """

    entries: int
    hits: int
    misses: int


class _Entry(NamedTuple):
    value: float
    truncated: bool
    scale: Scale


class ScoreCache:
    """The scores of the ``entries`` pairs that were used last. Safe to share between threads and models.

    A key is the digest of model, caller, query and passage, so no text is kept, and no caller learns what
    others had scored (``es_rerank.caller.KNOWN_BY``). An entry never expires, because a score depends on
    model, query and passage only. The cache lives in one process and ends with it. A forked child begins
    with the entries of its parent at that moment.
    """

    def __init__(self, entries: int = CACHED_SCORES) -> None:
        self._entries: SharedCache[bytes, _Entry] = SharedCache(LRUCache(entries))
        self._hits = self._misses = 0

    def get(self, keys: Sequence[bytes]) -> list[_Entry | None]:
        """Return the entry of each key; None when the key is not in the cache."""
        with self._entries.held() as cache:
            entries = [cache.get(key) for key in keys]
            self._hits += sum(entry is not None for entry in entries)
        return entries

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys that are in the cache. It counts as no use of them."""
        with self._entries.held() as cache:
            return {key for key in keys if key in cache}

    def put(self, entries: Mapping[bytes, _Entry]) -> None:
        """Add the entries of pairs that were scored.

        When the cache is full, the entries that were used longest ago are removed.
        """
        with self._entries.held() as cache:
            cache.update(entries)
            self._misses += len(entries)

    def figures(self) -> CacheFigures:
        """Return the number of entries, and of hits and misses until now."""
        with self._entries.held() as cache:
            return CacheFigures(len(cache), self._hits, self._misses)


class Cached(WrappedReranker, Closeable):
    """A ``Reranker`` that asks the wrapped reranker only for pairs that are not in the cache.

    The scores of the wrapped reranker must depend on the pair only. ``identity`` is everything else that a
    score depends on; it separates this model from other models in the same cache.
    """

    def __init__(self, reranker: Reranker, cache: ScoreCache, identity: str) -> None:
        super().__init__(reranker)
        self._cache = cache
        self._identity = identity.encode()

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per passage; a score from the cache is marked as ``cached``."""
        known = self._look_up(query, passages)
        if not known.missing:
            return known.scores()
        return known.completed(
            self._inner.score(query, [passages[i] for i in known.missing], deadline=deadline)
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""
        large = len(passages) > _FEW_PASSAGES or is_large(passages)
        known = await off_loop_if(large, self._look_up, query, passages)
        if not known.missing:
            return await off_loop_if(large, known.scores)
        scored = await self._inner.ascore(query, [passages[i] for i in known.missing], deadline=deadline)
        return await off_loop_if(large, known.completed, scored)

    def expected_s(self, query: str, passages: Sequence[str], *, most_parts: int | None = 1) -> float:
        """Return the estimated seconds that the wrapped reranker takes for what is not in the cache."""
        keys = self._keys(query, passages)
        known = set() if KNOWN_BY.get() is None else self._cache.known(keys)
        unknown = {key: passage for key, passage in zip(keys, passages, strict=True) if key not in known}
        return expected_s(self._inner, query, list(unknown.values()), most_parts=most_parts)

    def close(self) -> None:
        """Close the wrapped reranker if it can be closed."""
        if isinstance(self._inner, LoadedReranker):
            self._inner.close()

    def _look_up(self, query: str, passages: Sequence[str]) -> _Known:
        keys = self._keys(query, passages)
        if KNOWN_BY.get() is None:
            return _Known(None, keys, [None] * len(keys))
        return _Known(self._cache, keys, self._cache.get(keys))

    def _keys(self, query: str, passages: Sequence[str]) -> list[bytes]:
        start = hashlib.blake2b(self._identity, digest_size=_DIGEST_BYTES)
        _feed(start, KNOWN_BY.get() or b"")
        _feed(start, query.encode("utf-8", "surrogatepass"))
        keys = []
        for passage in passages:
            digest = start.copy()
            _feed(digest, passage.encode("utf-8", "surrogatepass"))
            keys.append(digest.digest())
        return keys


class CachedLongText(Cached):
    """``Cached`` over a ``LongTextReranker``."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the wrapped reranker returns."""
        assert isinstance(self._inner, LongTextReranker)  # noqa: S101 ``cached`` checks it
        return self._inner.cut(query, texts, deadline=deadline)

    async def acut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the wrapped reranker returns."""
        assert isinstance(self._inner, LongTextReranker)  # noqa: S101 ``cached`` checks it
        return await acut(self._inner, query, texts, deadline=deadline)


def cached(reranker: Reranker, cache: ScoreCache, identity: str) -> Cached:
    """Return a reranker that looks into the cache first; it is a ``LongTextReranker`` when ``reranker`` is
    one.
    """
    return (CachedLongText if isinstance(reranker, LongTextReranker) else Cached)(reranker, cache, identity)


class _Known:
    """The entries that the cache holds for the passages of one call. ``cache`` is None if it is not used."""

    def __init__(self, cache: ScoreCache | None, keys: list[bytes], entries: Sequence[_Entry | None]) -> None:
        self._cache, self._keys, self._entries = cache, keys, entries
        # A passage that is in the list twice is scored once.
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        self.missing = [
            i
            for i, (key, entry) in enumerate(zip(keys, entries, strict=True))
            if entry is None and first[key] == i
        ]

    def completed(self, scored_now: Scores) -> Scores:
        """Return all scores, taking the missing ones from ``scored_now``, and add those to the cache."""
        rows = zip(
            self.missing,
            scored_now.values.tolist(),
            scored_now.truncated.tolist(),
            scored_now.done.tolist(),
            strict=True,
        )
        new = {
            self._keys[i]: _Entry(value, truncated, scored_now.scale)
            for i, value, truncated, done in rows
            if done
        }
        if self._cache is not None:
            self._cache.put(new)
        return self.scores(new, scored_now)

    def scores(self, new: Mapping[bytes, _Entry] | None = None, scored_now: Scores | None = None) -> Scores:
        """Return the scores of the passages in order: from the cache, then from ``new``; the others are not
        ``done``.
        """
        entries = [
            entry or (new or {}).get(key) for key, entry in zip(self._keys, self._entries, strict=True)
        ]
        late = (
            dict(zip((self._keys[i] for i in self.missing), scored_now.truncated.tolist(), strict=True))
            if scored_now is not None
            else {}
        )
        scale: Scale = (
            scored_now.scale
            if scored_now is not None
            else next((entry.scale for entry in entries if entry), "logit")
        )
        return Scores(
            np.asarray([entry.value if entry else 0.0 for entry in entries], dtype=np.float32),
            scale,
            done=np.asarray([entry is not None for entry in entries], dtype=np.bool_),
            truncated=np.asarray(
                [
                    entry.truncated if entry else late.get(key, False)
                    for key, entry in zip(self._keys, entries, strict=True)
                ],
                dtype=np.bool_,
            ),
            cached=np.asarray([entry is not None for entry in self._entries], dtype=np.bool_),
        )


def _feed(digest: hashlib.blake2b, data: bytes) -> None:
    """Add a text with its length before it, so that the boundary between two texts is part of the key."""
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)

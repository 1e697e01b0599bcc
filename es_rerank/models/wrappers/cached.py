"""Scores that were computed before: a bounded cache in this process, and a reranker that asks it first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...forks import in_every_child
from ...types import Passage, Scale, Scores
from .. import LoadedReranker, LongTextReranker, Reranker
from ..closeable import Closeable
from .wrapped import WrappedReranker

DEFAULT_ENTRIES = 100_000
"""Pairs that are remembered; an entry takes about 250 bytes, so that a full cache takes about 25 MB."""

_DIGEST_BYTES = 16
"""128 bits: among 100,000 pairs two share a digest with a chance of 1e-29."""


class CacheFigures(NamedTuple):
    """How a cache has done so far, in pairs."""

    entries: int
    hits: int
    misses: int


class _Entry(NamedTuple):
    value: float
    truncated: bool
    scale: Scale


class ScoreCache:
    """Remembers the scores of at most ``entries`` pairs, those that were used last. Safe to share between
    threads and models.

    A key is the digest of model, query and passage: no text is kept. Nothing in it grows old, since a score
    is a function of just these; it lives in one process and ends with it. A forked child begins with what is
    known at that moment.
    """

    def __init__(self, entries: int = DEFAULT_ENTRIES) -> None:
        self._most = entries
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._hits = self._misses = 0
        self._unlock()
        in_every_child(self._unlock)

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> list[_Entry | None]:
        """Return what is known under each key."""
        with self._lock:
            found = [self._entries.get(key) for key in keys]
            for key, entry in zip(keys, found, strict=True):
                if entry is not None:
                    self._entries.move_to_end(key)
            known = sum(entry is not None for entry in found)
            self._hits += known
            self._misses += len(keys) - known
        return found

    def put(self, entries: Mapping[bytes, _Entry]) -> None:
        """Remember entries; those used longest ago are forgotten beyond the bound."""
        with self._lock:
            self._entries.update(entries)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def figures(self) -> CacheFigures:
        """Return entries, hits and misses until now."""
        with self._lock:
            return CacheFigures(len(self._entries), self._hits, self._misses)


class Cached(WrappedReranker, Closeable):
    """Scores what the cache does not know; a ``Reranker`` over another whose scores depend on the pair alone.

    ``identity`` tells the model from every other one in the same cache: all that a score depends on besides
    the pair.
    """

    def __init__(self, reranker: Reranker, cache: ScoreCache, identity: str) -> None:
        super().__init__(reranker)
        self._cache = cache
        self._identity = identity.encode()

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per passage; those that were remembered are ``cached``."""
        known = self._look_up(query, passages)
        if not known.missing:
            return known.scores()
        return known.completed(
            self._inner.score(query, [passages[i] for i in known.missing], deadline=deadline)
        )

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it frees the work."""
        known = self._look_up(query, passages)
        if not known.missing:
            return known.scores()
        return known.completed(
            await self._inner.ascore(query, [passages[i] for i in known.missing], deadline=deadline)
        )

    def close(self) -> None:
        """Close the reranker below, where it can be."""
        if isinstance(self._inner, LoadedReranker):
            self._inner.close()

    def _look_up(self, query: str, passages: Sequence[str]) -> _Known:
        start = hashlib.blake2b(self._identity, digest_size=_DIGEST_BYTES)
        _feed(start, query)
        keys = []
        for passage in passages:
            digest = start.copy()
            _feed(digest, passage)
            keys.append(digest.digest())
        return _Known(self._cache, keys, self._cache.get(keys))


class CachedLongText(Cached):
    """``Cached`` over a reranker that says how much it reads at once."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what the reranker below says."""
        assert isinstance(self._inner, LongTextReranker)  # ``cached`` sees to it
        return self._inner.cut(query, texts, deadline=deadline)


def cached(reranker: Reranker, cache: ScoreCache, identity: str) -> Cached:
    """Return a reranker that asks the cache first; one that reads long texts still does."""
    return (CachedLongText if isinstance(reranker, LongTextReranker) else Cached)(reranker, cache, identity)


class _Known:
    """What the cache knows of one call."""

    def __init__(self, cache: ScoreCache, keys: list[bytes], entries: list[_Entry | None]) -> None:
        self._cache, self._keys, self._entries = cache, keys, entries
        # A passage that stands in the list twice is scored once.
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        self.missing = [
            i
            for i, (key, entry) in enumerate(zip(keys, entries, strict=True))
            if entry is None and first[key] == i
        ]

    def completed(self, found: Scores) -> Scores:
        """Return all scores, those that were missing taken from ``found``, and remember them."""
        scored = zip(
            self.missing, found.values.tolist(), found.truncated.tolist(), found.done.tolist(), strict=True
        )
        new = {
            self._keys[i]: _Entry(value, truncated, found.scale)
            for i, value, truncated, done in scored
            if done
        }
        self._cache.put(new)
        return self.scores(new, found)

    def scores(self, new: Mapping[bytes, _Entry] | None = None, found: Scores | None = None) -> Scores:
        """Return the scores of the passages in order: what was known, what is new, and the rest not done."""
        entries = [
            entry or (new or {}).get(key) for key, entry in zip(self._keys, self._entries, strict=True)
        ]
        late = (
            dict(zip((self._keys[i] for i in self.missing), found.truncated.tolist(), strict=True))
            if found is not None
            else {}
        )
        scale: Scale = (
            found.scale if found is not None else next((entry.scale for entry in entries if entry), "logit")
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


def _feed(digest: hashlib.blake2b, text: str) -> None:
    """Add a text with its length before it, so that the boundary between two texts is part of the key."""
    data = text.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)

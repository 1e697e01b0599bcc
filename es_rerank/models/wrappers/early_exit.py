"""Early exit: a cross-encoder reads every passage as far as an exit head, and only the best of them to its
last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cachetools import FIFOCache

from ...caches import SharedCache
from ...engine.batch_runner import threads_for
from ...engine.pool import Pool
from ...engine.session import CPU, EXIT_LOGITS, HIDDEN, LastLayers, Session
from ...errors import ModelFolderError
from ...forks import in_every_child
from ...types import FloatArray
from ..local.cross_encoder import CrossEncoder
from ..local.faster import chosen
from ..local.open_model import OpenModel, checked
from ..manifest import Precision, read_manifest
from .cached import ScoreCache, cached
from .cascade import Cascade, cascade

MOST_BYTES = 64_000_000
"""Most bytes of hidden states that a model keeps between the exit and the last layer: 160 passages of 256
tokens and 384 dimensions. The states of passages that stopped at the exit are kept too, until newer ones need
the space. When the states of a passage were removed, the layers before the exit compute them a second time.
"""

NO_EXIT_HEAD = "export it with --exit-layer, from a model that was trained with exits (es-rerank train)"
"""The remedy, for messages, when a folder has no exit head."""

_ONE = [0]
"""A sequence of one token, used to measure the size of a hidden state."""

_Key = tuple[bytes, bytes]


class HiddenStates:
    """Hidden states at the exit layer, by sequence, at most ``most`` bytes: the oldest are removed first.

    Safe to share between threads.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._begin()
        in_every_child(self._begin)

    def _begin(self) -> None:
        """Begin empty. A forked child does the same, because the states belong to the parent's calls."""
        self._kept: SharedCache[_Key, FloatArray] = SharedCache(FIFOCache(self._most, getsizeof=_size))

    def put(self, key: _Key, hidden: FloatArray) -> None:
        """Keep the hidden states of a sequence, float32, (n_tokens, dims), unless they are over ``most``."""
        if hidden.nbytes <= self._most:
            self._kept.put(key, hidden)

    def take(self, key: _Key) -> FloatArray | None:
        """Remove the hidden states of a sequence and return them; None when there are none."""
        with self._kept.held() as cache:
            return cache.pop(key, None)


def _size(hidden: FloatArray) -> int:
    return hidden.nbytes


class _Beginning:
    """The layers up to the exit; it runs like a ``Session``, and returns the logits of the exit head."""

    def __init__(self, first: Session, states: HiddenStates) -> None:
        self.provider, self._first, self._states = first.provider, first, states

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        logits, hidden = self._first.outputs([EXIT_LOGITS, HIDDEN], ids, type_ids)
        for sequence, types, states in zip(ids, type_ids, hidden, strict=True):
            self._states.put(
                _key(sequence, types), states.copy()
            )  # a view would keep the states of the whole run in memory
        return logits

    def shares_runs(self, most: int) -> bool:
        return self._first.shares_runs(most)


class _Whole:
    """The whole model, which continues from the states of ``_Beginning``; it returns the same bits as one
    ``Session``.
    """

    def __init__(self, first: Session, last: LastLayers, states: HiddenStates) -> None:
        self.provider, self._first, self._last, self._states = first.provider, first, last, states

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        kept = [
            self._states.take(_key(sequence, types)) for sequence, types in zip(ids, type_ids, strict=True)
        ]
        known = [states for states in kept if states is not None]
        return self._last.run(
            np.stack(known) if len(known) == len(kept) else self._first.outputs([HIDDEN], ids, type_ids)[0]
        )

    def shares_runs(self, most: int) -> bool:
        dims = self._first.outputs([HIDDEN], [_ONE], [_ONE])[0].shape[2]
        return self._first.shares_runs(most) and self._last.shares_runs(most, dims)


def _key(ids: Sequence[int], type_ids: Sequence[int]) -> _Key:
    return np.asarray(ids, dtype=np.int32).tobytes(), np.asarray(type_ids, dtype=np.int8).tobytes()


class _FirstLayers(CrossEncoder):
    """Scores pairs with the exit head."""

    @property
    def identity(self) -> str:
        """The identity of the whole model, marked as that of the exit head."""
        return f"{super().identity} exit"


def early_exit(
    folder: Path,
    *,
    share: float,
    name: str | None = None,
    threads: int = 0,
    pool: Pool | None = None,
    cache: ScoreCache | None = None,
    provider: str = CPU,
    variant: Precision | None = None,
) -> Cascade:
    """Return the model of a folder that was exported with an exit head, as a cascade of its beginning and
    itself.

    ``variant`` is the precision, None for the one that is faster here.

    Raises ModelFolderError for a folder that has no exit head, is missing, incomplete or altered.
    """
    shared = pool or Pool(threads_for(provider, threads))
    try:
        manifest = read_manifest(folder, kind="cross-encoder")
        if manifest.early_exit is not None:
            variant = chosen(folder, manifest, variant, threads=shared.threads, provider=provider).precision
        parts = exit_parts(folder, variant, shared, provider)
    except BaseException:
        if pool is None:
            shared.close()
        raise
    first, then = (part if cache is None else cached(part, cache, part.identity) for part in parts)
    return cascade(
        first,
        then,
        share=share,
        name=name or early_exit_name(parts[1].name),
        pool=None if pool is shared else shared,
    )


def exit_parts(
    folder: Path, variant: Precision | None, pool: Pool, provider: str
) -> tuple[CrossEncoder, CrossEncoder]:
    """Return the reranker that scores with the exit head, and the whole model, which continues from its
    hidden states.

    Raises ModelFolderError when the folder has no exit head.
    """
    manifest, path = checked(folder, "cross-encoder", variant)
    if manifest.early_exit is None:
        raise ModelFolderError(f"{folder} has no exit head; {NO_EXIT_HEAD}")
    precision = manifest.precision(variant)
    first_layers, last_layers = (
        Session(folder / manifest.early_exit.first[precision], provider),
        LastLayers(folder / manifest.early_exit.rest[precision], provider),
    )
    graph, states = OpenModel(manifest, path, first_layers), HiddenStates()
    first = _FirstLayers(
        folder, variant=variant, pool=pool, graph=graph, reads=_Beginning(first_layers, states)
    )
    return first, CrossEncoder(
        folder, variant=variant, pool=pool, graph=graph, reads=_Whole(first_layers, last_layers, states)
    )


def early_exit_name(model: str) -> str:
    """Return the name of a model with early exit."""
    return f"{model} with early exit"

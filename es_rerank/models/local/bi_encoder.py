"""A bi-encoder from an exported folder: one text in, one unit vector out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from ...caller import as_a_whole
from ...engine.batch_runner import BatchRunner, threads_for
from ...engine.pool import Before, Pool, Rate, Work
from ...engine.session import CPU
from ...errors import DeadlineError, ModelFolderError, ScoreError
from ...observation import OBSERVER, Runs
from ...text.pairs import Encoded, TextEncoder, open_tokenizer
from ...types import BoolArray, FloatArray
from .. import Vectors
from ..closeable import Closeable
from ..manifest import TOKENIZER, Manifest, Precision
from .open_model import identity, open_model
from .tokenising import TokenEstimate, characters, padding_token, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")
R = TypeVar("R")

_SLICE = 512
"""Most texts that are tokenised and queued at once, so that memory does not grow with the number of texts."""


class BiEncoder(Closeable):
    """Embeds texts with an exported bi-encoder; an ``Embedder``.

    A vector depends on the model and the text only: on the CPU nothing is padded. Safe to share between
    threads. Arguments and errors are those of ``LocalReranker``.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        threads: int = 0,
        pool: Pool | None = None,
        variant: Precision | None = None,
        provider: str = CPU,
        padded: bool | None = None,
    ) -> None:
        folder = Path(folder)
        self._manifest, graph, self._session = open_model(folder, "bi-encoder", variant, provider)
        self._precision = self._manifest.precision(variant)
        contract = self._manifest.bi_encoder
        assert contract is not None  # noqa: S101 the manifest checks it
        self._contract = contract
        self._identity = identity(
            self._manifest, graph, self._precision, {"kind", "max_length", "bi_encoder"}
        )
        if (dims := self._session.dims()) != contract.dims:
            raise ModelFolderError(
                f"{graph} gives {dims} dimensions, its manifest says {contract.dims}; export the model again"
            )
        self._tokenizer = open_tokenizer(folder / TOKENIZER)
        self._texts = TextEncoder(self._tokenizer, max_length=self._manifest.max_length)
        self._shared = pool is not None
        self._pool = pool or Pool(threads_for(provider, threads))
        self._runs = BatchRunner(
            self._session,
            self._pool,
            self._vector,
            by_row=self._manifest.by_row(variant),
            pad_id=padding_token(self._tokenizer),
            padded=padded,
        )
        self._lengths, self._tokenizing = TokenEstimate(self._manifest.max_length), Rate()

    @property
    def name(self) -> str:
        """The name that an index records in its mapping's ``_meta``."""
        return self._manifest.name

    @property
    def identity(self) -> str:
        """Everything besides the text that a vector depends on, as one text: the model's files and its
        contract.
        """
        return self._identity

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model's folder."""
        return self._manifest

    @property
    def precision(self) -> Precision:
        """The precision of the graph that runs."""
        return self._precision

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the model was trained on, None if that is not known."""
        return self._manifest.scripts

    @property
    def dims(self) -> int:
        """The number of dimensions of a vector."""
        return self._contract.dims

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; padding and truncation are off."""
        return self._tokenizer

    @property
    def room(self) -> int:
        """How many tokens of a passage the model reads, beside special tokens and the prefix of passages."""
        return max(self._texts.room - self._texts.count(self._contract.passage_prefix), 1)

    calls_at_once = 2
    """So many calls of ``embed`` keep all threads busy: the end of one call leaves some without work."""

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        """Return unit vectors, float32, (len(texts), dims); a text longer than the model's input is cut at
        its end.

        Raises ScoreError when a vector is not finite.
        """
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start in range(0, len(texts), _SLICE):
            some = texts[start : start + _SLICE]
            runs = Runs(OBSERVER.get())
            _, groups = self._pool.run_call(self._work(some, purpose, runs))
            runs.tell()
            for row, vector in chain.from_iterable(groups):
                vectors[start + row] = vector
        return self._finite(vectors)

    async def aembed(
        self,
        texts: Sequence[str],
        *,
        purpose: Literal["query", "passage"] = "passage",
        deadline: float | None = None,
    ) -> Vectors:
        """Return the same as ``embed`` without blocking the event loop; cancelling drops the runs that have
        not started.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. A single query goes before other work of
        its caller: a search waits for it. Raises DeadlineError when the deadline comes first, OverloadError
        when it would come first because too much work waits.
        """
        vectors, _ = await self.aembed_cut(texts, purpose=purpose, deadline=deadline)
        return vectors

    async def aembed_cut(
        self,
        texts: Sequence[str],
        *,
        purpose: Literal["query", "passage"] = "passage",
        deadline: float | None = None,
    ) -> tuple[Vectors, BoolArray]:
        """Return the same as ``aembed``, and which texts were cut at their end, bool, (len(texts),)."""
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        cut = np.zeros(len(texts), dtype=np.bool_)
        with as_a_whole(), self._as_one(texts, purpose, deadline):
            for start in range(0, len(texts), _SLICE):
                some = texts[start : start + _SLICE]
                runs = Runs(OBSERVER.get())
                read, groups = await self._pool.arun_call(
                    self._work(some, purpose, runs),
                    deadline=deadline,
                    urgent=len(texts) == 1 and purpose == "query",
                )
                runs.tell()
                if not groups or not all(groups):
                    raise DeadlineError(
                        f"the deadline came before all of {len(texts)} texts were embedded; send fewer or "
                        "allow more time"
                    )
                cut[start : start + len(some)] = [each.truncated for each in chain.from_iterable(read)]
                for row, vector in chain.from_iterable(groups):
                    vectors[start + row] = vector
        return self._finite(vectors), cut

    def _as_one(
        self, texts: Sequence[str], purpose: Literal["query", "passage"], deadline: float | None
    ) -> AbstractContextManager[None]:
        """Return a block that is admitted as one. What fits into one call is one already."""
        if len(texts) <= _SLICE:
            return nullcontext()
        rate, tokens = self._runs.rate, self._lengths.expected(self._prefix(purpose), texts)
        return self._pool.admitted(tokens, rate, deadline)

    def _prefix(self, purpose: Literal["query", "passage"]) -> str:
        return self._contract.query_prefix if purpose == "query" else self._contract.passage_prefix

    async def aembed_made(
        self,
        items: Sequence[T],
        make: Callable[[T], tuple[R, list[str]]],
        *,
        length: Callable[[T], float],
        rate: Rate,
        expected: Sequence[str],
        deadline: float | None = None,
    ) -> tuple[list[R], Vectors]:
        """Return what ``make`` makes of each item, and the vectors of the passages that it gives with it.

        Making and embedding are admitted as one: nothing is made whose embedding would be late. ``length``
        and ``rate`` are those of the making, see ``Pool.run``. ``expected``: the texts that the passages are
        cut from. Vectors are in the order of items. Raises what ``aembed`` and ``make`` raise.
        """
        prefix, runs = self._contract.passage_prefix, Runs(OBSERVER.get())

        def encode(item: T) -> tuple[R, list[Encoded]]:
            made, texts = make(item)
            return made, self._encoded(prefix, texts)

        def then(found: list[tuple[R, list[Encoded]]]) -> Work[Sequence[int], list[tuple[int, FloatArray]]]:
            return self._runs.work(list(chain.from_iterable(encoded for _, encoded in found)), runs)

        tokens = sum(map(self._lengths.tokens, expected))
        work = Before(Work(encode, items, length, rate, counts=False), then, tokens, self._runs.rate)
        with as_a_whole():
            found, groups = await self._pool.arun_call(work, deadline=deadline)
        runs.tell()
        rows = dict(chain.from_iterable(group for group in groups if group))
        if not all(found) or len(rows) < sum(len(encoded) for _, encoded in found):
            done = sum(each is not None for each in found)
            raise DeadlineError(
                f"the deadline came when {done} of {len(items)} documents were cut, and not all embedded; "
                "send fewer or allow more time"
            )
        vectors = np.empty((len(rows), self.dims), dtype=np.float32)
        for row, vector in rows.items():
            vectors[row] = vector
        return [made for made, _ in found], self._finite(vectors)

    def _work(
        self, texts: Sequence[str], purpose: Literal["query", "passage"], runs: Runs
    ) -> Before[Sequence[str], list[Encoded]]:
        """Return the work of a call: tokenise the texts piece by piece, then run the graph on them."""
        prefix = self._prefix(purpose)
        encode = runs.tokenising(partial(self._encoded, prefix))
        return Before(
            Work(encode, pieces(texts), characters, self._tokenizing, counts=False),
            lambda encoded: self._runs.work(list(chain.from_iterable(encoded)), runs),
            self._lengths.expected(prefix, texts),
            self._runs.rate,
        )

    def _encoded(self, prefix: str, texts: Sequence[str]) -> list[Encoded]:
        """Tokenise texts, each behind the prefix."""
        encoded = list(self._texts.encode(prefix + text for text in texts))
        self._lengths.learn(self._pool, prefix, texts, encoded)
        return encoded

    def _finite(self, vectors: FloatArray) -> FloatArray:
        if not np.isfinite(vectors).all():
            raise ScoreError(
                f"model {self.name} gave a vector that is not finite; its graph or weights are broken, "
                "export it again"
            )
        return vectors

    def close(self) -> None:
        """End the model's threads after the runs that have begun; a shared pool stays open."""
        if not self._shared:
            self._pool.close()

    def _vector(self, hidden: FloatArray) -> FloatArray:
        """Return the unit vector, float32, (dims,), of one text's hidden states, (n_tokens, dims)."""
        pooled = hidden[0] if self._contract.pooling == "cls" else hidden.mean(axis=0)
        return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-12), dtype=np.float32)

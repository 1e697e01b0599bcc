"""The base class of local rerankers: an exported graph that reads pairs of query and passage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...engine.batch_runner import BatchRunner, GraphRunner, threads_for
from ...engine.pool import Before, Pool, Rate, Stage, Work
from ...engine.session import CPU
from ...errors import ModelFolderError, ScoreError
from ...observation import OBSERVER, Runs
from ...text.chunking import OVERLAP_TOKENS, Chunker
from ...text.pairs import Encoded, open_tokenizer, well_formed
from ...text.watch import TimeUpError, Watch
from ...types import Calibration, FloatArray, Passage, Scores
from ..closeable import Closeable
from ..manifest import TOKENIZER, Manifest, ModelKind, Precision
from .open_model import OpenModel, identity, open_model
from .tokenising import TokenEstimate, characters, padding_token, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Pairs(Protocol):
    """Turns a query and a passage into the input of a graph. Safe to share between threads."""

    def encode(self, query: str, passages: Iterable[str]) -> Iterator[Encoded]:
        """Yield the graph's input for the query with each passage, computed only when asked for."""

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a passage fit beside a query, at least 1."""


class LocalReranker(Closeable):
    """Scores pairs with the graph of an exported folder; a ``LongTextReranker``. Subclasses say how a pair is
    encoded.

    On the CPU a score depends on model, query and passage only. Nothing is padded, and pairs of equal length
    share a run only when that changes no bit, so neither other passages nor other calls change a score. On
    other hardware they may change its last bits. Safe to share between threads.

    ``threads`` is the number of runs side by side, 0 for one per core, and for a few on other hardware. A
    ``pool`` that is given is shared with other models and is not closed with this one. ``name`` replaces the
    manifest's name. ``variant`` chooses a precision other than the default one. ``provider`` is the ONNX
    Runtime execution provider that runs the graph. ``graph`` is the folder's graph when it is open already.
    ``reads`` runs instead of the whole graph when it is given. ``padded``: whether pairs of similar length
    share a padded run, None for where another provider than the CPU computes; only a graph with a mask can do
    it.

    Raises SettingsError when the execution provider is not installed, ModelFolderError for a folder that is
    missing, incomplete, altered or of another kind.
    """

    kind: ModelKind

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str | None = None,
        threads: int = 0,
        pool: Pool | None = None,
        variant: Precision | None = None,
        provider: str = CPU,
        graph: OpenModel | None = None,
        reads: GraphRunner | None = None,
        padded: bool | None = None,
    ) -> None:
        folder = Path(folder)
        self._manifest, path, self._session = graph or open_model(folder, self.kind, variant, provider)
        self._precision = self._manifest.precision(variant)
        if (labels := self._session.labels()) != (expected := self._labels(self._manifest)):
            raise ModelFolderError(
                f"{path} gives {labels} logits, its manifest says {expected}; export the model again"
            )
        self._tokenizer = open_tokenizer(folder / TOKENIZER)
        self._pairs = self._reading(self._manifest, self._tokenizer)
        self._identity = identity(self._manifest, path, self._precision, self._stated())
        self._name = name or self._manifest.name
        self._shared = pool is not None
        self._pool = pool or Pool(threads_for(provider, threads))
        self._padded = padded
        self._runs = self._runner(reads or self._session, by_row=self._manifest.by_row(variant))
        self._lengths = self._estimate(self._manifest)
        self._tokenizing, self._cutting = Rate(), Rate()

    def _labels(self, manifest: Manifest) -> int:
        """Return how many outputs the graph gives for a pair: 1 or 2."""
        raise NotImplementedError

    def _reading(self, manifest: Manifest, tokenizer: Tokenizer) -> Pairs:
        """Return the encoder of pairs."""
        raise NotImplementedError

    def _runner(self, reads: GraphRunner, *, by_row: bool) -> BatchRunner[float]:
        """Return what runs the graph on many pairs."""
        return BatchRunner(
            reads,
            self._pool,
            logit,
            by_row=by_row,
            pad_id=padding_token(self._tokenizer),
            padded=self._padded,
        )

    def _estimate(self, manifest: Manifest) -> TokenEstimate:
        """Return the estimate of how many tokens pairs have."""
        return TokenEstimate(manifest.max_length)

    def _stated(self) -> set[str]:
        """Return the fields of the manifest that a score depends on."""
        return {"kind", "max_length", "cross_encoder", "monot5"}

    @property
    def name(self) -> str:
        """The name under which the model is served."""
        return self._name

    @property
    def identity(self) -> str:
        """Everything besides the pair that a score depends on, as one text: the model's files and its
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
    def calibration(self) -> Calibration | None:
        """The coefficients that turn a logit into log-odds of relevance; None when the logit is used
        unchanged.
        """
        return self._manifest.coefficients()

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the model was trained on, None if that is not known."""
        return self._manifest.scripts

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; padding and truncation are off."""
        return self._tokenizer

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one logit per passage, in the order of ``passages``.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. A passage whose run has not begun by
        then is not ``done``. A passage that was not tokenised by then is not marked as ``truncated``. Raises
        ScoreError when a logit is not finite, OverloadError when the work that waits already keeps it from
        ending by the deadline.
        """
        runs, parts = Runs(OBSERVER.get()), pieces(passages)
        done = self._pool.run_call(self._work(query, parts, runs), deadline=deadline)
        return self._scores(parts, *done, runs)

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling drops the runs that have
        not started.
        """
        runs, parts = Runs(OBSERVER.get()), pieces(passages)
        done = await self._pool.arun_call(self._work(query, parts, runs), deadline=deadline)
        return self._scores(parts, *done, runs)

    @property
    def pool(self) -> Pool:
        """The threads that run the model."""
        return self._pool

    @property
    def rate(self) -> Rate:
        """The seconds that a token takes."""
        return self._runs.rate

    def expected_s(self, query: str, passages: Sequence[str], *, most_parts: int | None = 1) -> float:
        """Return the estimated seconds that ``score`` takes one thread, 0 before enough has run.

        ``most_parts``: how many parts of a passage that is too long are scored, None for all.
        """
        rate = self._runs.rate
        return rate.mean * self._lengths.expected(query, passages, most_parts) if rate.known else 0.0

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return, for each (context, text), the passages that the model can read uncut after the query and
        the context.

        A text that fits gives one passage. An empty text gives none, and so does a text that is reached after
        the ``deadline``. At least a quarter of the tokens beside the query belongs to the passage, however
        long the context is.
        """
        return list(map(self._cutter(query, Watch(deadline)), texts))

    async def acut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what ``cut`` returns; cancelling it stops its work soon, also within a text.

        Raises OverloadError when the work that waits leaves no time to score what is cut.
        """
        self._pool.check(deadline)
        with Watch(deadline) as watch:
            work = Work(self._cutter(query, watch), texts, characters, self._cutting, counts=False)
            _, passages = await self._pool.arun_call(work, deadline=deadline, urgent=True)
        return [of_text or [] for of_text in passages]

    def _cutter(self, query: str, watch: Watch) -> Callable[[tuple[str, str]], list[Passage]]:
        """Return the function that cuts one text. It tokenises the query once, when it is called first.

        A text whose cutting ``watch`` ends has no passages.
        """
        room_beside = cache(self._pairs.room_beside)
        whole = Chunker(self._tokenizer)

        def cut(contextual: tuple[str, str]) -> list[Passage]:
            context, text = contextual
            try:
                watch()
                room = room_beside(query)
                beside = whole.count(well_formed(context), watch) if context else 0
                return self._cut(text, max(room - beside, room // 4, 1), room, watch)
            except TimeUpError:
                return []

        return cut

    def _cut(self, text: str, size: int, room: int, watch: Watch) -> list[Passage]:
        chunker = Chunker(self._tokenizer, size=size, overlap=min(OVERLAP_TOKENS, room // 8, size // 2))
        # A short text is not counted: scoring it reads its tokens once more.
        if chunker.fits(well_formed(text), size, watch):
            return [Passage(text, 0, len(text))] if text else []
        return chunker.chunk(text, watch)

    def close(self) -> None:
        """End the model's threads after the runs that have begun; a shared pool stays open."""
        if not self._shared:
            self._pool.close()

    def _work(
        self, query: str, parts: Sequence[Sequence[str]], runs: Runs
    ) -> Before[Sequence[str], list[Encoded]] | Work[Any, Any]:
        """Return the work of a call: tokenise the pairs piece by piece, then run the graph on them."""
        if not parts:
            return self._runs.work([])

        def encode(piece: Sequence[str]) -> list[Encoded]:
            pairs = list(self._pairs.encode(query, piece))
            self._lengths.learn(self._pool, query, piece, pairs)
            return pairs

        return Before(
            Work(runs.tokenising(encode), parts, characters, self._tokenizing, counts=False),
            lambda encoded: self._stages(list(chain.from_iterable(encoded)), runs),
            sum(self._lengths.expected(query, piece) for piece in parts),
            self._runs.rate,
        )

    def _stages(self, pairs: Sequence[Encoded], runs: Runs) -> Stage:
        """Return the work that runs the graph on the pairs of a call."""
        return self._runs.work(pairs, runs)

    def _scores(
        self,
        parts: Sequence[Sequence[str]],
        encoded: Sequence[Sequence[Encoded] | None],
        logits: Sequence[Sequence[tuple[int, float]] | None],
        runs: Runs,
    ) -> Scores:
        """Return the scores of all passages; passages that were not run are not ``done``."""
        runs.tell()
        passages = sum(map(len, parts))
        values = np.zeros(passages, dtype=np.float32)
        done = np.zeros(passages, dtype=np.bool_)
        truncated = np.zeros(passages, dtype=np.bool_)
        for position, logit in chain.from_iterable(group for group in logits if group):
            values[position], done[position] = logit, True
        start = 0
        for piece, pairs in zip(parts, encoded or [None] * len(parts), strict=True):
            for position, pair in enumerate(pairs or (), start):
                truncated[position] = pair.truncated
            start += len(piece)
        if not np.isfinite(values).all():
            raise ScoreError(
                f"model {self.name} gave a score that is not a finite number; its graph or weights are "
                "broken, export it again"
            )
        return Scores(
            values, "logit", done=done, truncated=truncated, cached=np.zeros(passages, dtype=np.bool_)
        )


def logit(head: FloatArray) -> float:
    """Return one logit from a graph's output, (labels,).

    The log-odds of a softmax over two labels, log(p1 / p0), is the difference of the two outputs.
    """
    return float(head[0] if len(head) == 1 else head[1] - head[0])

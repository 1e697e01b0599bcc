"""What cross-encoders and monoT5 share: an exported graph that reads one query and one passage per run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...engine.pool import Pool
from ...engine.runs import BatchRunner, GraphRunner
from ...engine.session import CPU
from ...errors import ModelFolderError, ScoreError
from ...text.chunking import OVERLAP_TOKENS, Chunker
from ...text.pairs import Encoded, open_tokenizer, well_formed
from ...types import Calibration, FloatArray, Passage, Scores
from ..closeable import Closeable
from ..manifest import TOKENIZER, Kind, Manifest, Precision
from .open_model import OpenModel, open_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Pairs(Protocol):
    """How a kind of model reads a query and a passage. Safe to share between threads."""

    def encode(self, query: str, passages: Iterable[str]) -> Iterator[Encoded]:
        """Yield what the graph reads for the query with each passage, as they are asked for."""

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a passage are read beside a query, at least 1."""


class LocalReranker(Closeable):
    """Scores pairs with the graph of an exported folder; a ``Reranker``. Its subclasses say how a pair is
    read.

    A score is a function of model, query and passage alone: nothing is padded, and pairs of equal length
    share a run only where that changes no bit, so neither other passages nor other calls change a score. Safe
    to share between threads. ``threads`` 0 means one run per core at a time; ``pool``, where one is given, is
    shared with other models and not closed with this one; ``name`` replaces the manifest's; ``variant``
    chooses a precision other than its default; ``provider``, one of ONNX Runtime's, another processor than
    the CPU. ``graph``: the folder's, where it is open already; ``reads``: what runs of it, where that is not
    the whole. Raises SettingsError where that is not installed, ModelFolderError for a folder that is
    missing, incomplete, altered or of another kind.
    """

    kind: Kind

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
    ) -> None:
        folder = Path(folder)
        self._manifest, path, self._session = graph or open_model(folder, self.kind, variant, provider)
        if (labels := self._session.labels()) != (expected := self._labels(self._manifest)):
            raise ModelFolderError(
                f"{path} gives {labels} logits, its manifest says {expected}; export the model again"
            )
        self._tokenizer = open_tokenizer(folder / TOKENIZER)
        self._pairs = self._reading(self._manifest, self._tokenizer)
        read = self._manifest.model_dump_json(include={"kind", "max_length", "cross_encoder", "monot5"})
        self._identity = (
            f"{self._manifest.files[path.name].sha256} {self._manifest.files[TOKENIZER].sha256} {read}"
        )
        self._name = name or self._manifest.name
        self._shared = pool is not None
        self._pool = pool or Pool(threads)
        self._runs = BatchRunner(
            reads or self._session, self._pool, _logit, by_row=self._manifest.by_row(variant)
        )

    def _labels(self, manifest: Manifest) -> int:
        """Return how many logits the graph gives."""
        raise NotImplementedError

    def _reading(self, manifest: Manifest, tokenizer: Tokenizer) -> Pairs:
        """Return how pairs are read."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name under which the model is served."""
        return self._name

    @property
    def identity(self) -> str:
        """All that a score depends on besides the pair, as one text: files and contract of the model."""
        return self._identity

    @property
    def manifest(self) -> Manifest:
        """What the folder says of itself."""
        return self._manifest

    @property
    def calibration(self) -> Calibration | None:
        """How a logit becomes log-odds of relevance; None where the logit is taken as it is."""
        return self._manifest.coefficients()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; it neither pads nor truncates."""
        return self._tokenizer

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one logit per passage, in the order given.

        ``deadline`` is a moment of ``time.monotonic()``; a passage whose run has not begun by then is not
        ``done``, and one that was not even tokenised by then is not known to be ``truncated``. Raises
        ScoreError when a logit is not finite, OverloadError when too much is waiting already.
        """
        pairs = self._encode(query, passages, deadline)
        logits = self._runs.run(pairs, deadline=deadline)
        return self._scores(pairs, logits, len(passages))

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it drops what has not
        started.
        """
        pairs = await asyncio.to_thread(self._encode, query, passages, deadline)
        logits = await self._runs.arun(pairs, deadline=deadline)
        return self._scores(pairs, logits, len(passages))

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return, for each (context, text), the passages that can be read whole beside the query, behind the
        context.

        One passage where the text fits, none where it is empty, and none for those after the ``deadline``. At
        least a quarter of the room is the passage's, however long the context.
        """
        room = self._pairs.room_beside(query)
        found: list[list[Passage]] = []
        for context, text in texts:
            late = deadline is not None and time.monotonic() >= deadline
            found.append(
                [] if late else self._cut(text, max(room - self._tokens(context), room // 4, 1), room)
            )
        return found

    def _cut(self, text: str, size: int, room: int) -> list[Passage]:
        if self._tokens(text) <= size:
            return [Passage(text, 0, len(text))] if text else []
        return Chunker(self._tokenizer, size=size, overlap=min(OVERLAP_TOKENS, room // 8, size // 2)).chunk(
            text
        )

    def _tokens(self, text: str) -> int:
        return (
            len(self._tokenizer.encode_batch_fast([well_formed(text)], add_special_tokens=False)[0].ids)
            if text
            else 0
        )

    def close(self) -> None:
        """End the model's threads, after the runs that have begun; a shared pool goes on."""
        if not self._shared:
            self._pool.close()

    def _encode(self, query: str, passages: Sequence[str], deadline: float | None) -> list[Encoded]:
        """Return the pairs in order, as many as the deadline allows: tokenising a thousand long documents
        takes seconds.
        """
        pairs: list[Encoded] = []
        encoded = self._pairs.encode(query, passages)
        while (deadline is None or time.monotonic() < deadline) and (pair := next(encoded, None)) is not None:
            pairs.append(pair)
        return pairs

    def _scores(self, pairs: Sequence[Encoded], logits: Sequence[float | None], passages: int) -> Scores:
        """Return the scores of all passages; those after the encoded ones are not done."""
        values = np.zeros(passages, dtype=np.float32)
        done = np.zeros(passages, dtype=np.bool_)
        truncated = np.zeros(passages, dtype=np.bool_)
        for position, (pair, logit) in enumerate(zip(pairs, logits, strict=True)):
            truncated[position] = pair.truncated
            if logit is not None:
                values[position], done[position] = logit, True
        if not np.isfinite(values).all():
            raise ScoreError(
                f"model {self.name} gave a score that is not a finite number; its graph or weights are "
                "broken, export it again"
            )
        return Scores(
            values, "logit", done=done, truncated=truncated, cached=np.zeros(passages, dtype=np.bool_)
        )


def _logit(head: FloatArray) -> float:
    """Return one logit of the head's output, (labels,): log(p1 / p0) of a softmax over two labels is their
    difference.
    """
    return float(head[0] if len(head) == 1 else head[1] - head[0])

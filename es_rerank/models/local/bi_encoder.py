"""A bi-encoder from an exported folder: one text in, one unit vector out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...engine.batch_runner import BatchRunner
from ...engine.pool import Pool
from ...engine.session import CPU
from ...errors import ModelFolderError, ScoreError
from ...text.pairs import TextEncoder, open_tokenizer
from ...types import FloatArray
from .. import Vectors
from ..closeable import Closeable
from ..manifest import TOKENIZER, Manifest, Precision
from .open_model import open_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SLICE = 512
"""Most texts that are tokenised and queued at once, so that memory does not grow with the number of texts."""


class BiEncoder(Closeable):
    """Embeds texts with an exported bi-encoder; an ``Embedder``.

    A vector depends on the model and the text only: nothing is padded. Safe to share between threads.
    Arguments and errors are those of ``LocalReranker``.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        threads: int = 0,
        pool: Pool | None = None,
        variant: Precision | None = None,
        provider: str = CPU,
    ) -> None:
        folder = Path(folder)
        self._manifest, graph, self._session = open_model(folder, "bi-encoder", variant, provider)
        contract = self._manifest.bi_encoder
        assert contract is not None  # the manifest checks it
        self._contract = contract
        if (dims := self._session.dims()) != contract.dims:
            raise ModelFolderError(
                f"{graph} gives {dims} dimensions, its manifest says {contract.dims}; export the model again"
            )
        self._tokenizer = open_tokenizer(folder / TOKENIZER)
        self._texts = TextEncoder(self._tokenizer, max_length=self._manifest.max_length)
        self._shared = pool is not None
        self._pool = pool or Pool(threads)
        self._runs = BatchRunner(
            self._session, self._pool, self._vector, by_row=self._manifest.by_row(variant)
        )

    @property
    def name(self) -> str:
        """The name that an index records in its mapping's ``_meta``."""
        return self._manifest.name

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model's folder."""
        return self._manifest

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

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        """Return unit vectors, float32, (len(texts), dims); a text longer than the model's input is cut at
        its end.

        Raises ScoreError when a vector is not finite.
        """
        prefix = self._contract.query_prefix if purpose == "query" else self._contract.passage_prefix
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start in range(0, len(texts), _SLICE):
            encoded = list(self._texts.encode(prefix + text for text in texts[start : start + _SLICE]))
            for row, vector in enumerate(self._runs.run(encoded), start):
                vectors[row] = vector
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

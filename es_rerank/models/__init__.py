"""The two seams of the project, and what fulfils them.

``Reranker`` reads a query and passages together; ``Embedder`` turns texts into vectors. Both are protocols:
nothing is inherited, any object with the verb will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..types import Calibration, Passage, Scores

Vectors = npt.NDArray[np.float32]
"""Unit vectors, float32, (n_texts, dims)."""


@runtime_checkable
class Reranker(Protocol):
    """Scores passages against a query."""

    @property
    def name(self) -> str:
        """The name under which the model is served."""

    @property
    def calibration(self) -> Calibration | None:
        """How a logit becomes log-odds of relevance; None where the logit is taken as it is."""

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per passage, in the order given.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds; what is not scored by then is not
        ``done``. Raises ScoreError when the model returns a number that is not finite.
        """

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it frees the work."""


@runtime_checkable
class LongTextReranker(Reranker, Protocol):
    """A reranker that knows how much text it can read at once, and cuts a longer text into passages."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return, for each (context, text), the passages that can be read whole beside the query, behind the
        context.

        One passage where the text fits, none where it is empty, and none for those after the ``deadline``, a
        moment of ``time.monotonic()``.
        """


@runtime_checkable
class LoadedReranker(Reranker, Protocol):
    """A reranker that holds threads or connections until it is closed."""

    def close(self) -> None:
        """Give back what it holds; calls that are waiting fail."""

    async def aclose(self) -> None:
        """Close from within an event loop, without blocking it."""

    def __enter__(self) -> Self:
        """Return the reranker."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """The name that an index records in its mapping's ``_meta``."""

    @property
    def dims(self) -> int:
        """The length of the vectors."""

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        """Return unit vectors, float32, (len(texts), dims)."""

"""The two protocols of the project: ``Reranker`` and ``Embedder``.

A ``Reranker`` reads a query and passages together; an ``Embedder`` turns texts into vectors. Nothing has to
be inherited: any object with the same methods and properties is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..types import BoolArray, Calibration, FirstStageScores, Passage, Scores

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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
        """The coefficients that turn a logit into log-odds of relevance; None when the logit is used
        unchanged.
        """

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return one score per passage, in the order of ``passages``.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. A passage that is not scored by then is
        not ``done``. Raises ScoreError when the model returns a number that is not finite.
        """

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        """Return the same as ``score`` without blocking the event loop; cancelling it stops its work."""


@runtime_checkable
class FirstStageReranker(Reranker, Protocol):
    """A reranker that makes use of the first stage's scores. A search asks it by ``score_after``."""

    def score_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return one score per passage of a window, as ``score`` does. Its ``estimated`` passages are ranked
        after the others.
        """

    async def ascore_after(
        self,
        query: str,
        passages: Sequence[str],
        first_stage: FirstStageScores,
        *,
        deadline: float | None = None,
    ) -> Scores:
        """Return the same as ``score_after`` without blocking the event loop; cancelling it stops it."""


@runtime_checkable
class LongTextReranker(Reranker, Protocol):
    """A reranker that knows how much text it can read at once, and cuts a longer text into passages."""

    def cut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return, for each (context, text), the passages that the model can read uncut after the query and
        the context.

        A text that fits gives one passage, and an empty text gives none. A text that is reached after the
        ``deadline``, a moment of ``time.monotonic()``, gives none either.
        """


@runtime_checkable
class AsyncCutting(LongTextReranker, Protocol):
    """A ``LongTextReranker`` that can cut without blocking the event loop."""

    async def acut(
        self, query: str, texts: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> list[list[Passage]]:
        """Return what ``cut`` returns; cancelling it stops its work."""


@runtime_checkable
class LoadedReranker(Reranker, Protocol):
    """A reranker that holds threads or connections until it is closed."""

    def close(self) -> None:
        """Release the threads or connections; calls that are waiting fail."""

    async def aclose(self) -> None:
        """Close from within an event loop, without blocking it."""

    def __enter__(self) -> Self:
        """Return the reranker."""

    def __exit__(self, *_: object) -> None:
        """Close the reranker."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """The name that an index records in its mapping's ``_meta``."""

    @property
    def dims(self) -> int:
        """The number of dimensions of a vector."""

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        """Return unit vectors, float32, (len(texts), dims), in the order of ``texts``."""


@runtime_checkable
class AsyncEmbedder(Embedder, Protocol):
    """An embedder that can embed without blocking the event loop."""

    async def aembed(
        self,
        texts: Sequence[str],
        *,
        purpose: Literal["query", "passage"] = "passage",
        deadline: float | None = None,
    ) -> Vectors:
        """Return what ``embed`` returns; cancelling it stops its work.

        ``deadline`` is a moment of ``time.monotonic()``, in seconds. Raises DeadlineError when it comes
        first, OverloadError when it would come first because too much work waits.
        """


@runtime_checkable
class CuttingEmbedder(AsyncEmbedder, Protocol):
    """An embedder that tells which texts are longer than what it reads."""

    async def aembed_cut(
        self,
        texts: Sequence[str],
        *,
        purpose: Literal["query", "passage"] = "passage",
        deadline: float | None = None,
    ) -> tuple[Vectors, BoolArray]:
        """Return what ``aembed`` returns, and which texts were cut, bool, (len(texts),)."""


class LoadedEmbedder(AsyncEmbedder, Protocol):
    """An embedder that holds threads or connections until it is closed."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer by which texts are cut into passages: the model's own, or else a measure."""

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that the model was trained on, None if that is not known."""

    def close(self) -> None:
        """Release the threads or connections; calls that are waiting fail."""

    async def aclose(self) -> None:
        """Close from within an event loop, without blocking it."""

    def __enter__(self) -> Self:
        """Return the embedder."""

    def __exit__(self, *_: object) -> None:
        """Close the embedder."""


@runtime_checkable
class HostedEmbedder(Protocol):
    """An embedder whose model is a service elsewhere. It may refuse a text, and it has no tokenizer here."""

    def cut_by(self) -> str | None:
        """Return the name of the tokenizer by which passages are cut; None if it is the model's own."""

    def served_by(self) -> dict[str, str]:
        """Return what an index records of the service: ``dialect`` and ``origin``, without credentials or
        path.
        """

    def embed_accepted(
        self, texts: Sequence[str], given_up: Callable[[], bool] = lambda: False
    ) -> tuple[Vectors, dict[int, str]] | None:
        """Return unit vectors of passages, float32, (len(texts), dims), and by position why the service
        refused a text, which has zeros for a vector. None if ``given_up`` says so while all that is left
        waits for a service that is busy or down.
        """

    async def aclose(self) -> None:
        """Close the connections from within an event loop, without blocking it."""


@runtime_checkable
class BoundedEmbedder(Embedder, Protocol):
    """An embedder that knows how much text it can read at once."""

    @property
    def room(self) -> int:
        """How many tokens of a passage the model reads. What comes after them has no part in the vector."""


def room_of(embedder: Embedder) -> int | None:
    """Return how many tokens of a passage the embedder reads, None if it does not say that."""
    return embedder.room if isinstance(embedder, BoundedEmbedder) else None


@runtime_checkable
class Identified(Protocol):
    """A model that tells its weights from others of the same name."""

    @property
    def identity(self) -> str:
        """Everything besides the texts that an answer depends on, as one text."""


def identity_of(model: Reranker | Embedder) -> str:
    """Return the text that tells a model from all others, or its name if it has no such text."""
    return model.identity if isinstance(model, Identified) else model.name

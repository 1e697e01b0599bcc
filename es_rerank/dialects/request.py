"""What a rerank request asks for and what it gets, in no client's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_CHUNKS = 10
"""Cohere's default for ``max_chunks_per_doc``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A rerank request.

    ``queries``: one for all texts, or one for each text. ``texts``: what the model reads. ``documents``: the
    same as the caller sent them, strings or objects. ``model``: the name that the caller wants, None without
    a wish. ``top_n``: how many of the best are returned, None for all. ``raw_scores``: whether logits are
    wanted instead of probabilities. ``with_texts``: whether the texts are wanted back, None if the caller
    does not say. ``whole``: true where a text of which a part is not read is an error, false where a text may
    be cut to the model's window, None if the caller does not say. ``chunks``: how many parts of a long text
    are read, None if the caller does not say. ``ignored``: the keys of the request that have no effect.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    documents: tuple[Any, ...]
    model: str | None = None
    top_n: int | None = None
    raw_scores: bool = False
    with_texts: bool | None = None
    whole: bool | None = None
    chunks: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def most_parts(self) -> int | None:
        """How many parts of a text that is longer than the model's window are read, None for all of them.

        The best part decides. One part means that the text is cut.
        """
        if self.chunks is not None:
            return self.chunks
        return {None: MOST_CHUNKS, False: 1, True: None}[self.whole]


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of a rerank request.

    ``values``: one score for each text, in the order of the texts. ``order``: the positions of the texts that
    are returned, best first. ``model``: the name of the model that scored. ``tokens``: those that the models
    of this process read for the request.
    """

    values: Sequence[float]
    order: Sequence[int]
    model: str
    tokens: int = 0


def usage(tokens: int) -> dict[str, int]:
    """Return the number of tokens that were read, as OpenAI's API names it."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}

"""Reading a query and a document through a prompt, as monoT5 does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from .pairs import Encoded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MONOT5_PROMPT = "Query: {query} Document: {document} Relevant:"
"""What monoT5 was trained on (castorini/pygaggle, model/tokenize.py)."""

PromptTruncation = Literal["document", "prompt"]
"""How an over-long prompt is cut: ``document`` cuts the document and keeps the prompt's tail, ``prompt`` cuts the whole at its end."""


class PromptEncoder:
    """Encodes prompts within ``max_length`` tokens, special tokens included. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, prompt: str = MONOT5_PROMPT, truncation: PromptTruncation = "document") -> None:
        self._tokenizer, self._max_length, self._prompt, self._truncation = tokenizer, max_length, prompt, truncation

    def encode(self, query: str, documents: Iterable[str]) -> Iterator[Encoded]:
        """Yield the prompt of ``query`` with each document, as they are asked for."""
        raise NotImplementedError

    def room_beside(self, query: str) -> int:
        """Return how many tokens of a document are read beside a query, at least 1."""
        raise NotImplementedError

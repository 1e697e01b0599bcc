"""Who asks for work, and whether a part of it is of use. The sidecar says it for each request."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """One of those between whom the threads of a model are shared fairly.

    ``name`` tells callers apart; it is never shown. ``most_waiting_s`` is how many estimated seconds of work
    this caller may have waiting at once, None for no limit of its own.
    """

    name: str = ""
    most_waiting_s: float | None = None


_NOBODY = Caller()

CALLER: ContextVar[Caller] = ContextVar("es_rerank_caller", default=_NOBODY)
"""The caller of the work that this task or thread does. Tasks and ``asyncio.to_thread`` inherit it.

A program that uses the library alone is one caller, whose name is empty."""

WHOLE: ContextVar[bool] = ContextVar("es_rerank_whole", default=False)
"""Whether work is of use only if all of it is done by its deadline. It is then not begun in vain."""

KNOWN_BY: ContextVar[bytes | None] = ContextVar("es_rerank_known_by", default=b"")
"""Whose scores a cache may use, so that nobody learns from it what others had scored.

It is a digest of what tells who the caller is, empty for a caller without any, and None where the caller is
not known: no score is then taken from a cache or put there."""

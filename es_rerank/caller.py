"""Who asks for work, and whether a part of it is of use. The sidecar says it for each request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """One of those between whom the threads of a model are shared fairly.

    ``name`` tells callers apart; it is never shown. ``most_waiting_s`` is how many estimated seconds of work
    this caller may have waiting at once, None for no limit of its own. ``limit`` says in a refusal where
    that limit stands.
    """

    name: str = ""
    most_waiting_s: float | None = None
    limit: str = field(default="its own limit", compare=False)


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

CONTINUES: ContextVar[bool] = ContextVar("es_rerank_continues", default=False)
"""Whether work is a part of work that was admitted already, so that it is not refused in the middle."""

LATER_S: ContextVar[float] = ContextVar("es_rerank_later_s", default=0.0)
"""Estimated seconds of work that will follow the work that is asked for: admission counts both."""


def followed_by(seconds: float) -> AbstractContextManager[None]:
    """Let so many more estimated seconds of work follow what the block asks for."""
    return during(LATER_S, LATER_S.get() + seconds)


def as_a_whole(*, wanted: bool = True) -> AbstractContextManager[None]:
    """Let the work that the block asks for be of use only as a whole, or in part too if not ``wanted``."""
    return during(WHOLE, wanted)


def continuing() -> AbstractContextManager[None]:
    """Let what the block asks for be a part of work that was admitted."""
    return during(CONTINUES, True)


@contextmanager
def during(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Set a context variable for what the block does, and set it back: one task may serve many requests."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)

"""Make models work in a child of ``os.fork``: the child has the parent's memory, but only the thread that
forked.

Locks that other threads held stay locked in the child. Work that other threads had begun is never finished
there. Sockets are shared with the parent. So an object that has locks, threads or sockets registers here a
method that makes them anew in the child. Native code runs inside ``unforked``, so that no fork happens in the
middle of it. On a system without fork, nothing of this is called.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, cast
from weakref import WeakKeyDictionary

LONGEST_WAIT_S = 60.0
"""Most seconds that a fork waits for running native code. A run of thousands of tokens takes seconds."""

_TOKENIZERS = "TOKENIZERS_PARALLELISM"
"""The environment variable that tells Hugging Face's tokenizers whether to use several threads for a batch.
"""

_RENEWALS: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def in_every_child(renew: Callable[[], None]) -> None:
    """Call a method of an object in every forked child, before other code runs there. The object is not kept
    alive by this.

    ``renew`` runs in every child, even if the child never uses the object, so it should be quick. It must not
    wait for a lock that the object had before the fork. An object has one such method; a second registration
    replaces the first.
    """
    method = cast("MethodType", renew)
    _RENEWALS[method.__self__] = method.__func__


class _Gate:
    """Lets threads into native code, except while a fork is about to happen. The fork waits until they have
    left.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin with no thread inside: a child does not have the threads that were inside."""
        # Re-entrant, so that a signal handler that forks does not wait for the thread that it interrupted.
        self._moved = threading.Condition(threading.RLock())
        self._inside: set[int] = set()
        self._forking: set[int] = set()

    def enter(self) -> None:
        """Enter native code; if forks are about to happen, wait for them first."""
        with self._moved:
            self._moved.wait_for(lambda: not self._forking)
            self._inside.add(threading.get_ident())

    def leave(self) -> None:
        """Leave native code."""
        with self._moved:
            self._inside.discard(threading.get_ident())
            self._moved.notify_all()

    def close(self) -> None:
        """Let no thread in, and wait until the other threads have left."""
        me = threading.get_ident()
        with self._moved:
            self._forking.add(me)
            self._moved.wait_for(lambda: self._inside <= {me}, LONGEST_WAIT_S)

    def open(self) -> None:
        """Let threads in again."""
        with self._moved:
            self._forking.discard(threading.get_ident())
            self._moved.notify_all()


_GATE = _Gate()


@contextmanager
def unforked() -> Iterator[None]:
    """Run a block during which no other thread may fork. The block must not wait for a thread that may fork.

    ONNX Runtime has locks of its own. In a child that was forked while they were held, nobody releases them:
    beside two threads that scored all the time, 6 of 193 children waited for ever.
    """
    _GATE.enter()
    try:
        yield
    finally:
        _GATE.leave()


def _renew() -> None:
    _GATE.renew()
    if _TOKENIZERS in os.environ:
        # When the variable is not set, the library itself stops using threads in a child. When it is set, the
        # library obeys it, and would wait for threads that are not there.
        os.environ[_TOKENIZERS] = "false"
    for holder, renew in list(_RENEWALS.items()):
        renew(holder)


if hasattr(os, "register_at_fork"):
    # ONNX Runtime 1.29 and later send telemetry to Microsoft from a thread that starts with the import. A
    # forked child does not have that thread, and would wait for it for ever when it ends normally. A value
    # that the user set is kept.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.register_at_fork(before=_GATE.close, after_in_parent=_GATE.open, after_in_child=_renew)

"""What ``os.fork`` takes from a model: the child has the parent's memory, but only the thread that forked.

Locks that other threads held stay locked in the child. Work that other threads were to do is never done.
Sockets are the parent's too. A holder of such things names here what it makes anew in a child, and runs
native code so that no fork cuts it in two. On a system without fork, nothing of this is called.
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
"""How long a fork waits for native code that is running. A run of thousands of tokens takes seconds."""

_TOKENIZERS = "TOKENIZERS_PARALLELISM"
"""Whether Hugging Face's tokenizers read the texts of a batch side by side, with threads of their own."""

_RENEWALS: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def in_every_child(renew: Callable[[], None]) -> None:
    """Call a method of an object in every forked child, before other code there. The object is not kept
    alive.

    ``renew`` runs in every child, also where nobody will use its object: it should be quick. It must not wait
    for a lock that the object had before the fork. An object has one such method; another replaces it.
    """
    method = cast("MethodType", renew)
    _RENEWALS[method.__self__] = method.__func__


class _Gate:
    """Lets threads into native code, unless a fork is about to happen. A fork waits until they have left."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin with nobody inside, as a child does: the threads that were are not there."""
        # Re-entrant, so that a signal handler that forks does not wait for the thread that it interrupted.
        self._moved = threading.Condition(threading.RLock())
        self._inside: set[int] = set()
        self._forking: set[int] = set()

    def enter(self) -> None:
        """Go in, after the forks that are about to happen."""
        with self._moved:
            self._moved.wait_for(lambda: not self._forking)
            self._inside.add(threading.get_ident())

    def leave(self) -> None:
        """Go out."""
        with self._moved:
            self._inside.discard(threading.get_ident())
            self._moved.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until the others have left."""
        me = threading.get_ident()
        with self._moved:
            self._forking.add(me)
            self._moved.wait_for(lambda: self._inside <= {me}, LONGEST_WAIT_S)

    def open(self) -> None:
        """Let them in again."""
        with self._moved:
            self._forking.discard(threading.get_ident())
            self._moved.notify_all()


_GATE = _Gate()


@contextmanager
def unforked() -> Iterator[None]:
    """Run a block that no other thread's fork may cut in two. It must not wait for a thread that may fork.

    ONNX Runtime takes locks of its own. In a child that was forked while they were held, nobody opens them:
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
        # Where this is not set, the library stops using threads in a child by itself. Where it is, the
        # library does as it was told, and would wait for threads that are not there.
        os.environ[_TOKENIZERS] = "false"
    for holder, renew in list(_RENEWALS.items()):
        renew(holder)


if hasattr(os, "register_at_fork"):
    # ONNX Runtime 1.29 and later report to Microsoft, from a thread that starts with the import. A forked
    # child that ends in the ordinary way would wait for ever for that thread, which it lacks. A user's
    # setting stands.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.register_at_fork(before=_GATE.close, after_in_parent=_GATE.open, after_in_child=_renew)

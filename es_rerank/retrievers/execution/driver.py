"""Advances the steps of a search, command by command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ...observation import Stage, stage
from .commands import (
    AdmitTexts,
    ChunkTexts,
    Command,
    Context,
    EmbedQuery,
    EsRequest,
    FindPlugin,
    FindVersion,
    Forward,
    ScoreTexts,
    SearchInside,
    SplitLongTexts,
    Steps,
)


class Driver:
    """Advances the steps of a search: holds the current command and measures the time of each command."""

    def __init__(self, steps: Steps[Any], context: Context) -> None:
        self._steps = steps
        self._stats = context.stats
        self._started = time.monotonic()
        self.finished = False
        self.result: Any = None
        self.command: Command

    def start(self) -> None:
        """Run the steps up to their first command."""
        self._advance(lambda: next(self._steps))

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the time of the current command, however it ends."""
        command, began = self.command, time.monotonic()
        name = _stage_of(command)
        # The time of a reranker is told where its texts and scores are (``reranking``).
        told = nullcontext() if name is None or isinstance(command, ScoreTexts) else stage(name)
        try:
            with told:
                yield
        finally:
            now = time.monotonic()
            if name is not None:
                self._stats.seconds[name] = self._stats.seconds.get(name, 0.0) + now - began
            self._stats.seconds["total"] = now - self._started

    def give(self, result: Any) -> None:  # noqa: ANN401 each command has its own result
        """Give the result of the current command to the steps."""
        self._advance(lambda: self._steps.send(result))

    def fail(self, error: Exception) -> None:
        """Give the error of the current command to the steps. Raises it if the steps do not handle it."""
        self._advance(lambda: self._steps.throw(error))

    def _advance(self, step: Callable[[], Command]) -> None:
        try:
            self.command = step()
        except StopIteration as stop:
            self.finished, self.result = True, stop.value


_STAGES: dict[type[Command], Stage] = {
    Forward: "elasticsearch",
    SearchInside: "elasticsearch",
    EmbedQuery: "embed",
    AdmitTexts: "cut",
    SplitLongTexts: "cut",
    ChunkTexts: "cut",
    ScoreTexts: "rerank",
}


def _stage_of(command: Command) -> Stage | None:
    """Return the stage to which the time of a command belongs.

    None for what the connection asks for, not the search.
    """
    if isinstance(command, FindPlugin | FindVersion):
        return None
    return command.stage if isinstance(command, EsRequest) else _STAGES[type(command)]

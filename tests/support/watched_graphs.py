"""A graph whose runs a test sees: what it reads, what it gives, and when it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from es_rerank.engine.batch_runner import GraphRunner
from es_rerank.types import FloatArray


class WatchedGraph:
    """Runs ``graph``, calls ``before`` at the start of each run, and keeps the inputs and the output of each
    run.
    """

    def __init__(self, graph: GraphRunner, before: Callable[[], object] = lambda: None) -> None:
        self._graph, self._before = graph, before
        self.runs: list[tuple[list[list[int]], FloatArray]] = []

    @property
    def provider(self) -> str:
        return self._graph.provider

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        self._before()
        output = self._graph.run(ids, type_ids)
        self.runs.append(([list(each) for each in ids], output))
        return output

    def shares_runs(self, most: int) -> bool:
        return self._graph.shares_runs(most)

"""Runs a decoder's graph: on whole prompts, or on what follows a beginning that was computed before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from ..errors import ModelFolderError
from ..observation import Runs
from ..types import FloatArray
from .batch_runner import RUN_SEQUENCES, BatchRunner, Tokens, equal_lengths
from .pool import Before, Pool, Stage, Work
from .session import CPU, LOGITS, PROBE_VOCABULARY, Session, same_bits

_IDS = "input_ids"

_PROBE_LENGTHS = (5, 24)
"""Lengths in tokens of the test runs behind a past. Decoders are large: a thousand tokens would take
Qwen3-Reranker-0.6B ten seconds when it is loaded."""

_MOST_COPIES = 16
"""Most sequences of a run behind a past on an accelerator. Each has a copy of the past's keys and values: 20
MB for ninety tokens of Qwen3-Reranker-0.6B."""

T = TypeVar("T")


class Past(NamedTuple):
    """The keys and values of tokens that a decoder has read, by the graph's inputs; each float32,
    (1, heads, tokens, head_size).
    """

    arrays: dict[str, FloatArray]


class PastSession(Session):
    """A decoder's graph: ``input_ids`` and the keys and values of the tokens before them.

    For each layer it has the inputs ``past_0_key`` and ``past_0_value``, float32, (batch, heads, past,
    head_size), and the outputs ``present_0_key`` and ``present_0_value`` with the new tokens behind them.
    ``run`` computes whole prompts. Methods may be called from many threads at once. Raises what ``Session``
    raises.
    """

    def _check_inputs(self) -> None:
        nodes = {node.name: node for node in self._session.get_inputs() if node.name != _IDS}
        presents = {node.name for node in self._session.get_outputs()}
        self._sizes: dict[str, tuple[int, int]] = {}
        for name, node in nodes.items():
            shape = node.shape
            if (
                not name.startswith("past_")
                or _present(name) not in presents
                or node.type != "tensor(float)"
                or len(shape) != 4
                or not (isinstance(shape[1], int) and isinstance(shape[3], int))
            ):
                raise ModelFolderError(
                    f"{self._path} asks for {name} as {node.type} of shape {shape}, which no decoder "
                    "here does; export the model with: es-rerank export"
                )
            self._sizes[name] = shape[1], shape[3]
        if not nodes or self._inputs.get(_IDS) != "tensor(int64)" or LOGITS not in presents:
            raise ModelFolderError(
                f"{self._path} is not the graph of a decoder with a past; export the model with: "
                "es-rerank export"
            )

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:  # noqa: ARG002 no segments
        """Return the logits of n whole prompts of equal length, float32, (n, 2)."""
        return self._logits(ids, self._nothing(len(ids)))

    def begin(self, ids: Sequence[int]) -> Past:
        """Return the keys and values of the first tokens of prompts."""
        names = list(self._sizes)
        feeds = {_IDS: np.asarray([ids], dtype=np.int64), **self._nothing(1)}
        arrays = self._session.run([_present(name) for name in names], feeds)
        return Past(dict(zip(names, map(np.asarray, arrays), strict=True)))

    def go_on(self, past: Past, ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the logits of n prompts, float32, (n, 2): those that begin with ``past`` and go on with n
        sequences of equal length.
        """
        rows = len(ids)
        if rows == 1:
            return self._logits(ids, past.arrays)
        return self._logits(
            ids, {name: np.repeat(array, rows, axis=0) for name, array in past.arrays.items()}
        )

    def shares_rests(self, most: int) -> bool:
        """Return whether a run of up to ``most`` sequences behind a past gives bit for bit the results of
        separate runs. See ``Session.shares_runs``.
        """
        draw = np.random.default_rng(0)
        past = self.begin(draw.integers(0, PROBE_VOCABULARY, _PROBE_LENGTHS[0]).tolist())
        probes = [draw.integers(0, PROBE_VOCABULARY, (most, tokens)) for tokens in _PROBE_LENGTHS]
        return all(same_bits(lambda rows: self.go_on(past, rows.tolist()), probe) for probe in probes)

    def _logits(self, ids: Sequence[Sequence[int]], past: dict[str, FloatArray]) -> FloatArray:
        (logits,) = self._session.run([LOGITS], {_IDS: np.asarray(ids, dtype=np.int64), **past})
        return np.asarray(logits, dtype=np.float32)

    def _nothing(self, rows: int) -> dict[str, FloatArray]:
        return {
            name: np.zeros((rows, heads, 0, size), dtype=np.float32)
            for name, (heads, size) in self._sizes.items()
        }


class Begun(Tokens, Protocol):
    """One prompt: ``ids`` follow ``beginning``, which is empty where they are the whole prompt."""

    @property
    def beginning(self) -> tuple[int, ...]:
        """Token ids that come before."""


class PastRunner(BatchRunner[T]):
    """Runs a decoder on prompts of which most begin alike: that beginning is computed once for all of them.

    Arguments are those of ``BatchRunner``. Whole prompts share no run on the CPU.
    """

    def __init__(
        self, session: PastSession, pool: Pool, read: Callable[[FloatArray], T], *, by_row: bool
    ) -> None:
        super().__init__(session, pool, read, by_row=False)
        self._decoder, self._together = session, 1
        if session.provider != CPU:
            self._together = _MOST_COPIES
        elif by_row and session.shares_rests(RUN_SEQUENCES):
            self._together = RUN_SEQUENCES

    def stages(self, prompts: Sequence[Begun], observed: Runs) -> Stage:
        """Return the work that runs the graph on prompts, as ``work`` does. The beginning that they share is
        an item of work before the others.
        """
        shared = next((prompt.beginning for prompt in prompts if prompt.beginning), None)
        if shared is None:
            return self.work(prompts, observed)
        return Before(
            Work(
                observed.timed(self._decoder.begin, len),
                [shared],
                len,
                self.rate,
            ),
            lambda pasts: self._behind(pasts[0], prompts, observed),
            float(sum(len(prompt.ids) for prompt in prompts)),
            self.rate,
        )

    def _behind(
        self, past: Past, prompts: Sequence[Begun], observed: Runs
    ) -> Work[Sequence[int], list[tuple[int, T]]]:
        """Return the work that runs the prompts behind their beginning."""
        begun = [position for position, prompt in enumerate(prompts) if prompt.beginning]
        whole = [position for position, prompt in enumerate(prompts) if not prompt.beginning]
        groups = equal_lengths(
            [len(prompts[position].ids) for position in begun],
            most=self._together,
            side_by_side=self._pool.threads,
            tokens=self._tokens,
        )
        shared = [[begun[place] for place in group] for group in groups]

        def outputs(group: Sequence[int]) -> Sequence[FloatArray]:
            ids = [prompts[position].ids for position in group]
            if prompts[group[0]].beginning:
                return list(self._decoder.go_on(past, ids))
            return list(self._decoder.run(ids, []))

        return self._work(prompts, [*shared, *self._groups(prompts, whole)], outputs, observed)


def _present(past: str) -> str:
    """Return the output that holds what an input held, and the new tokens."""
    return past.replace("past", "present", 1)

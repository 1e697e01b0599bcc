"""A graph over a pool: many sequences in, what is read of each one's output out. Sequences of equal length may share a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ..types import FloatArray
from .pool import Pool
from .session import CPU

RUN_TOKENS = 256
"""Most tokens of a run that more than one sequence shares. A short sequence alone waits for weights more than it multiplies:
fp32 MiniLM-L6, 48 tokens each, takes 10.8 ms for one, 8.6 for each of two, 7.7 of four, 7.4 of eight; at 256 tokens each there
is nothing to gain, and at 400 two together take longer (Xeon with AVX-512, ONNX Runtime 1.32, one thread)."""

RUN_SEQUENCES = 4
"""Most sequences that share a run; eight would be 4 % faster at 48 tokens, and keep twice as many from running elsewhere."""

ACCELERATOR_TOKENS, ACCELERATOR_SEQUENCES = 16_384, 256
"""The same on another execution provider, which is idle unless it is given much at once."""

T = TypeVar("T")


class Tokens(Protocol):
    """One sequence: token ids with special tokens in place, and the segment of each."""

    @property
    def ids(self) -> list[int]:
        """Token ids."""

    @property
    def type_ids(self) -> list[int]:
        """Segment ids, one for each token."""


class Reads(Protocol):
    """What runs a graph, or a part of one: a ``Session``, or something like it."""

    @property
    def provider(self) -> str:
        """The execution provider."""

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the output for sequences of one length, (n, ...)."""

    def shares_runs(self, most: int) -> bool:
        """Whether up to ``most`` sequences in one run give the bits that each gives alone."""


class Runs(Generic[T]):
    """Runs a graph on sequences, each a function of the graph and itself alone: nothing is padded.

    ``read`` takes from the output of one sequence, (labels,) or (n_tokens, dims), what is wanted. ``by_row``: sequences of
    equal length may share a run, where the same bits come out. In dynamic int8 they never may: one scale for all
    activations of a run would let neighbours change each other's scores. Other processors than the CPU get larger runs, whose
    sizes may change last bits.
    """

    def __init__(self, session: Reads, pool: Pool, read: Callable[[FloatArray], T], *, by_row: bool) -> None:
        self._session, self._pool, self._read = session, pool, read
        self._most, self._tokens = 1, RUN_TOKENS
        if session.provider != CPU:
            self._most, self._tokens = ACCELERATOR_SEQUENCES, ACCELERATOR_TOKENS
        elif by_row and session.shares_runs(RUN_SEQUENCES):
            self._most = RUN_SEQUENCES

    def run(self, sequences: Sequence[Tokens], *, deadline: float | None = None) -> list[T | None]:
        """Return what ``Pool.run`` returns, raising what it raises; None for a sequence whose run had not begun."""
        groups = self._groups(sequences)
        return _in_order(
            groups,
            self._pool.run(self._one, _chosen(sequences, groups), length=_length, deadline=deadline),
            len(sequences),
        )

    async def arun(self, sequences: Sequence[Tokens], *, deadline: float | None = None) -> list[T | None]:
        """Return the same as ``run`` without blocking the event loop."""
        groups = self._groups(sequences)
        return _in_order(
            groups,
            await self._pool.arun(self._one, _chosen(sequences, groups), length=_length, deadline=deadline),
            len(sequences),
        )

    def _groups(self, sequences: Sequence[Tokens]) -> list[list[int]]:
        return equal_lengths(
            [len(each.ids) for each in sequences],
            most=self._most,
            side_by_side=self._pool.threads,
            tokens=self._tokens,
        )

    def _one(self, group: Sequence[Tokens]) -> list[T]:
        return [
            self._read(each)
            for each in self._session.run([each.ids for each in group], [each.type_ids for each in group])
        ]


def equal_lengths(
    lengths: Sequence[int], *, most: int, side_by_side: int, tokens: int = RUN_TOKENS
) -> list[list[int]]:
    """Return the positions of sequences in groups of one length each, the longest first, in the order given within a length.

    A group has at most ``most`` sequences and, unless it has one alone, at most ``tokens`` tokens, and no more than its
    share where ``side_by_side`` runs share all of them, so that no core is left without work.
    """
    share = min(tokens, sum(lengths) // max(1, side_by_side))
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        length = lengths[position]
        last = groups[-1] if groups else []
        if last and lengths[last[0]] == length and len(last) < most and (len(last) + 1) * length <= share:
            last.append(position)
        else:
            groups.append([position])
    return groups


def _chosen(sequences: Sequence[Tokens], groups: Sequence[Sequence[int]]) -> list[list[Tokens]]:
    return [[sequences[position] for position in group] for group in groups]


def _in_order(
    groups: Sequence[Sequence[int]], found: Sequence[Sequence[T] | None], sequences: int
) -> list[T | None]:
    """Return what was found in the order of the sequences, None for those of a group that was not run."""
    ordered: list[T | None] = [None] * sequences
    for group, results in zip(groups, found, strict=True):
        for position, result in zip(group, results or (), strict=results is not None):
            ordered[position] = result
    return ordered


def _length(group: Sequence[Tokens]) -> int:
    return sum(len(each.ids) for each in group)

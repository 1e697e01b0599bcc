"""Runs a graph on many sequences with the threads of a pool.

Sequences of equal length may share a run. On other hardware than the CPU sequences of similar length do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ..observation import Runs
from ..types import FloatArray
from .padding import similar_lengths
from .pool import Pool, Rate, Work
from .processor import cores
from .session import CPU, Session

RUN_TOKENS = 256
"""Maximum number of tokens in a run that several sequences share.

A short sequence alone spends more time on loading weights than on computing. Measured with fp32 MiniLM-L6
and 48 tokens per sequence: one sequence in a run takes 10.8 ms. Each of two takes 8.6 ms, each of four 7.7
ms, each of eight 7.4 ms. With 256 tokens per sequence a shared run gains nothing, and with 400 tokens two
sequences together take longer than one after the other (Xeon with AVX-512, ONNX Runtime 1.32, one thread)."""

RUN_SEQUENCES = 4
"""Maximum number of sequences in a run. Eight would be 4 % faster at 48 tokens, but would leave less work
for the other threads."""

ACCELERATOR_TOKENS, ACCELERATOR_SEQUENCES = 16_384, 256
"""The two maxima for an execution provider other than the CPU, padding included. A GPU is idle unless each
run is large."""

ACCELERATOR_THREADS = 4
"""Runs side by side on such a provider, unless told: one computes there while the other threads cut texts
into tokens and make the next run. Each more would take the memory of a run, and begin what a deadline could
drop."""

T = TypeVar("T")


class Tokens(Protocol):
    """One sequence for a model: token ids, special tokens included, and one segment id per token."""

    @property
    def ids(self) -> list[int]:
        """Token ids."""

    @property
    def type_ids(self) -> list[int]:
        """Segment ids, one for each token."""


class GraphRunner(Protocol):
    """The interface of an object that runs a graph or a part of a graph. ``Session`` is one."""

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the execution provider."""

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        """Return the output for n sequences of equal length, float32, (n, ...)."""

    def shares_runs(self, most: int) -> bool:
        """Return whether sequences may be computed together: whether one call of the session with
        up to ``most`` sequences gives bit for bit the same results as one call for each sequence.
        """


def threads_for(provider: str, threads: int = 0) -> int:
    """Return how many runs go on side by side on an execution provider; ``threads`` 0 leaves it to us."""
    return threads or (cores() if provider == CPU else min(ACCELERATOR_THREADS, cores()))


class BatchRunner(Generic[T]):
    """Runs a graph on many sequences. A sequence's result does not depend on the other sequences, but for its
    last bits where runs are padded.

    ``read`` turns the output of one sequence, float32, (labels,) or (n_tokens, dims), into its result.
    ``by_row`` says that sequences of equal length may share a run, if the session then gives the same bits.
    It must be False for dynamic int8 quantization: there one scale holds for all activations of a run, so
    that sequences would change each other's scores. On an execution provider other than the CPU, sequences of
    equal length always share runs, and the size of a run may change the last bits of a result.

    ``pad_id`` is the model's padding token. With it, sequences of similar length share a run, padded, where
    another provider than the CPU computes and the graph has a mask; ``padded`` says it for any provider. Not
    where ``by_row`` is False: padding would change a run's scale too.
    """

    def __init__(
        self,
        session: GraphRunner,
        pool: Pool,
        read: Callable[[FloatArray], T],
        *,
        by_row: bool,
        pad_id: int | None = None,
        padded: bool | None = None,
    ) -> None:
        self._session, self._pool, self._read = session, pool, read
        self._padded: tuple[Session, int] | None = None
        if padded is None:
            padded = session.provider != CPU
        if padded and by_row and pad_id is not None and isinstance(session, Session) and session.pads(pad_id):
            self._padded = session, pad_id
        self._most, self._tokens = 1, RUN_TOKENS
        self.rate = Rate()
        """Seconds that a token takes."""
        if session.provider != CPU or self._padded:
            self._most, self._tokens = ACCELERATOR_SEQUENCES, ACCELERATOR_TOKENS
        elif by_row and session.shares_runs(RUN_SEQUENCES):
            self._most = RUN_SEQUENCES

    def work(
        self, sequences: Sequence[Tokens], observed: Runs | None = None
    ) -> Work[Sequence[int], list[tuple[int, T]]]:
        """Return the work that runs the graph on the sequences. An item is a group that shares a run.

        The result of an item is (position, result) of each of its sequences. ``observed`` measures the runs.
        """

        def outputs(group: Sequence[int]) -> Sequence[FloatArray]:
            ids = [sequences[position].ids for position in group]
            type_ids = [sequences[position].type_ids for position in group]
            if self._padded is None:
                return list(self._session.run(ids, type_ids))
            session, pad_id = self._padded
            return session.run_padded(ids, type_ids, pad_id)

        return self._work(sequences, self._groups(sequences, range(len(sequences))), outputs, observed)

    def _work(
        self,
        sequences: Sequence[Tokens],
        groups: Sequence[Sequence[int]],
        outputs: Callable[[Sequence[int]], Sequence[FloatArray]],
        observed: Runs | None,
    ) -> Work[Sequence[int], list[tuple[int, T]]]:
        """Return the work whose items are ``groups`` of positions, the longest sequence of each first;
        ``outputs`` runs one of them.
        """

        def run(group: Sequence[int]) -> list[tuple[int, T]]:
            return [
                (position, self._read(output)) for position, output in zip(group, outputs(group), strict=True)
            ]

        def tokens(group: Sequence[int]) -> int:
            return len(sequences[group[0]].ids) * len(group)

        timed = run if observed is None else observed.timed(run, tokens)
        return Work(timed, groups, tokens, self.rate)

    def _groups(self, sequences: Sequence[Tokens], positions: Sequence[int]) -> list[list[int]]:
        """Return the positions in groups that share a run: of equal length, of similar length if padded."""
        lengths = [len(sequences[position].ids) for position in positions]
        if self._padded:
            groups = similar_lengths(lengths, most=self._most, tokens=self._tokens)
        else:
            groups = equal_lengths(
                lengths, most=self._most, side_by_side=self._pool.threads, tokens=self._tokens
            )
        return [[positions[place] for place in group] for group in groups]


def equal_lengths(
    lengths: Sequence[int], *, most: int, side_by_side: int, tokens: int = RUN_TOKENS
) -> list[list[int]]:
    """Return groups of positions in ``lengths``. All sequences of a group have the same length.

    Groups of longer sequences come first. Sequences of the same length keep their order. A group has at most
    ``most`` sequences. A group of more than one sequence has at most ``tokens`` tokens, and at most 1 /
    ``side_by_side`` of all tokens: ``side_by_side`` runs go in parallel, and each thread is to have work.
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

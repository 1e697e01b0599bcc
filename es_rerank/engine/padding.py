"""Batches of sequences of different lengths, for graphs with a mask: who shares a run, and its arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..types import FloatArray

LEAST_FILLED = 0.75
"""Each sequence of a run has at least this share of the tokens of the longest one. So no more than a quarter
of what is computed is padding."""


def similar_lengths(lengths: Sequence[int], *, most: int, tokens: int) -> list[list[int]]:
    """Return groups of positions in ``lengths``: every position once, longer sequences first.

    The first sequence of a group is its longest, to whose length the others are padded. Sequences of the same
    length keep their order. A group has at most ``most`` sequences. A group of more than one has at most
    ``tokens`` tokens, padding included, and none of its sequences is shorter than ``LEAST_FILLED`` of the
    longest.
    """
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        last = groups[-1] if groups else []
        longest = lengths[last[0]] if last else 0
        if (
            0 < len(last) < most
            and (len(last) + 1) * longest <= tokens
            and lengths[position] >= LEAST_FILLED * longest
        ):
            last.append(position)
        else:
            groups.append([position])
    return groups


def padded(sequences: Sequence[Sequence[int]], fill: int) -> list[list[int]]:
    """Return the sequences with ``fill`` at their ends, all as long as the longest."""
    longest = max(map(len, sequences), default=0)
    return [[*sequence, *[fill] * (longest - len(sequence))] for sequence in sequences]


def without_padding(output: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    """Return the output of each sequence of a padded run: logits, (labels,), or hidden states, (n_tokens,
    dims). ``output`` is (n, labels) or (n, longest, dims).
    """
    return [row if output.ndim < 3 else row[:length] for row, length in zip(output, lengths, strict=True)]


def mask_of(lengths: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return the mask of a padded run, (n, longest): true for a token, false for padding."""
    return np.arange(max(lengths, default=0)) < np.asarray(lengths)[:, None]

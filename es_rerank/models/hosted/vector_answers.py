"""Vectors in the answers of embedding services: checked before use, and brought to length 1."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from ...dialects.asking_vectors import VectorRow
from ...errors import RemoteScoreError
from ...types import FloatArray
from .. import Vectors
from .answers import FEW_BYTES

_BYTES_OF_NUMBER = 32
"""Most bytes of JSON for one number of a vector: sign, 17 digits, exponent, comma and white space."""

MOST_DIMS = 16_384
"""Most dimensions that an answer may have before those of the model are known."""

_IS_UNIT = 1e-5
"""A vector whose squared length differs from 1 by less is left as it is, so that the vectors of a sidecar are
the same, bit for bit, as on its own machine."""


def most_vector_bytes(texts: Sequence[str], dims: int | None) -> int:
    """Return how many bytes an answer may have: the vectors of ``texts``, and the texts themselves."""
    sent = sum(len(text.encode()) for text in texts)
    return FEW_BYTES + len(texts) * (1_024 + _BYTES_OF_NUMBER * (dims or MOST_DIMS)) + 6 * sent


def unit_vectors(rows: Sequence[VectorRow], count: int, dims: int | None, service: str) -> Vectors:
    """Return unit vectors, float32, (count, dims), in the order of the texts; ``rows`` are (index, vector) in
    any order.

    Raises RemoteScoreError unless every index from 0 to ``count`` - 1 is there exactly once, with a vector of
    ``dims`` finite numbers that are not all 0. ``dims`` None: those of the first.
    """
    found: dict[int, FloatArray] = {}
    for index, given in rows:
        if type(index) is not int or not 0 <= index < count or index in found:
            twice = type(index) is int and index in found
            what = f"two vectors for text {index}" if twice else f"a vector for text {str(index)[:60]}"
            raise _wrong(service, f"gave {what} where {count} texts were sent")
        vector = _numbers(given)
        if vector is None:
            raise _wrong(service, f"gave text {index} something that is not a vector of numbers")
        if dims is None:
            dims = len(vector)
        if len(vector) != dims or dims == 0:
            raise RemoteScoreError(
                f"{service} gave text {index} a vector of {len(vector)} dimensions where {dims} were "
                "expected; its model may be another one now: check the address, the model and ?dims=",
                service=service,
            )
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not np.isfinite(length) or length == 0:
            raise RemoteScoreError(
                f"{service} gave text {index} a vector that is not finite or has only zeros; its model is "
                "broken",
                service=service,
            )
        found[index] = vector if abs(length * length - 1) < _IS_UNIT else (vector / length).astype(np.float32)
    if len(found) < count:
        missing = next(index for index in range(count) if index not in found)
        raise _wrong(service, f"gave {len(found)} vectors for {count} texts, none for text {missing}")
    if not count:
        return np.empty((0, dims or 0), dtype=np.float32)
    return np.stack([found[index] for index in range(count)]).astype(np.float32, copy=False)


def _numbers(given: object) -> FloatArray | None:
    """Return a vector of JSON numbers, or of float32 in little-endian order in base64; None for others."""
    if isinstance(given, str):
        try:
            packed = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return None
        return np.frombuffer(packed, dtype="<f4") if len(packed) % 4 == 0 else None
    if not isinstance(given, list):
        return None
    if len(given) == 1 and isinstance(given[0], list):
        given = given[0]  # llama.cpp nests the vector of a text once more on some paths
    if not all(type(number) in (int, float) for number in given):
        return None
    with np.errstate(over="ignore"):
        try:
            return np.asarray(given, dtype=np.float64).astype(np.float32)
        except OverflowError:
            return None


def _wrong(service: str, what: str) -> RemoteScoreError:
    return RemoteScoreError(
        f"{service} {what}; this is not a usable embedding service, check its address", service=service
    )

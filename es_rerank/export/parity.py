"""The check that every exported graph has to pass: its scores agree with torch's scores."""

from __future__ import annotations

import numpy as np

from ..errors import ParityError
from ..models.manifest import Fp16Parity, Int8Parity
from ..models.parity_pairs import LEAST_AGREEMENT, pairwise_agreement
from ..types import FloatArray

LEAST_MEAN_COSINE = 0.98
"""Smallest mean cosine between a bi-encoder's int8 vectors and torch's vectors."""

FP16_TOLERANCE = 0.05
"""Largest allowed difference between torch's logits in fp32 and those of the fp16 graph. fp16 has 11 bits: a
logit of 10 is rounded by up to 0.004, and every layer rounds."""


def largest_difference(name: str, torch: FloatArray, fp32: FloatArray, tolerance: float) -> float:
    """Return the largest absolute difference between torch's numbers and the fp32 graph's.

    Raises ParityError when it is above the tolerance or not finite. The order needs no check of its own:
    within the tolerance, only scores that differ by less than twice the tolerance can swap places.
    """
    difference = float(np.abs(torch - fp32).max())
    if not difference <= tolerance:  # also true when the difference is not a number
        raise ParityError(
            f"the exported graph of {name} differs from torch by {difference:.2e}, more than the tolerance "
            f"of {tolerance:.0e}; nothing was kept"
        )
    return difference


def int8_figures(
    name: str,
    torch: FloatArray,
    int8: FloatArray,
    *,
    torch_vectors: FloatArray | None = None,
    vectors: FloatArray | None = None,
) -> Int8Parity:
    """Return how far the int8 scores, (n_pairs,), are from torch's scores.

    Raises ParityError below LEAST_AGREEMENT or LEAST_MEAN_COSINE.
    """
    difference = np.abs(torch - int8)
    agreement = pairwise_agreement(torch, int8)
    if not agreement >= LEAST_AGREEMENT:
        raise ParityError(
            f"int8 leaves {agreement:.1%} of the passage pairs of {name} in torch's order, less than "
            f"{LEAST_AGREEMENT:.0%}; "
            "export it with --no-int8. Nothing was kept"
        )
    cosines = None if torch_vectors is None or vectors is None else (torch_vectors * vectors).sum(axis=1)
    if cosines is not None and not float(cosines.mean()) >= LEAST_MEAN_COSINE:
        raise ParityError(
            f"int8 vectors of {name} have a mean cosine of {cosines.mean():.4f} with torch's, less than "
            f"{LEAST_MEAN_COSINE}; "
            "export it with --no-int8. Nothing was kept"
        )
    return Int8Parity(
        max_difference=round(float(difference.max()), 5),
        mean_difference=round(float(difference.mean()), 5),
        agreement=round(agreement, 4),
        mean_cosine=None if cosines is None else round(float(cosines.mean()), 5),
        min_cosine=None if cosines is None else round(float(cosines.min()), 5),
    )


def fp16_figures(name: str, torch: FloatArray, fp16: FloatArray, kept_fp32: int) -> Fp16Parity:
    """Return how far the logits of the fp16 graph, (n_pairs,), are from torch's logits in fp32.

    Raises ParityError above FP16_TOLERANCE, below LEAST_AGREEMENT, and for a logit that is not finite.
    """
    difference = np.abs(torch - fp16)
    agreement = pairwise_agreement(torch, fp16)
    if not float(difference.max()) <= FP16_TOLERANCE:  # also true when it is not a number
        raise ParityError(
            f"the fp16 graph of {name} differs from torch by {difference.max():.2e}, more than the tolerance "
            f"of {FP16_TOLERANCE}; export it without --fp16. Nothing was kept"
        )
    if not agreement >= LEAST_AGREEMENT:
        raise ParityError(
            f"fp16 leaves {agreement:.1%} of the passage pairs of {name} in torch's order, less than "
            f"{LEAST_AGREEMENT:.0%}; export it without --fp16. Nothing was kept"
        )
    return Fp16Parity(
        tolerance=FP16_TOLERANCE,
        max_difference=round(float(difference.max()), 5),
        mean_difference=round(float(difference.mean()), 5),
        agreement=round(agreement, 4),
        kept_fp32=kept_fp32,
    )

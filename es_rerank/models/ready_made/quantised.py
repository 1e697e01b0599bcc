"""What is known of a ready-made int8 graph, and how its scores stand beside those of the fp32 graph."""

from __future__ import annotations

import numpy as np

from ...types import FloatArray
from ..manifest import Int8Parity, Quantisation, QuantisationScheme
from ..parity_pairs import PARITY_QUERIES, pairwise_agreement
from .graph_file import GraphFacts

_EVERYWHERE = "any x86-64 or ARM, with or without VNNI"
_EXACT = "x86-64 with VNNI, or ARM"
_UNKNOWN = "x86-64 with VNNI, or ARM; the range of its weights is not known"

_OPERATORS = frozenset({"Attention", "Conv", "Gather", "Gemm", "LSTM", "MatMul"})
_NAMED = {
    "MatMulInteger": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "QLinearMatMul": "MatMul",
    "QGemm": "Gemm",
    "QAttention": "Attention",
    "ConvInteger": "Conv",
    "QLinearConv": "Conv",
    "DynamicQuantizeLSTM": "LSTM",
}
"""Operators that compute in int8, and those that they replace."""


def quantisation_of(facts: GraphFacts) -> Quantisation:
    """Return what the manifest states of an int8 graph, as far as the file shows it.

    Weights whose range the file does not show count as 8 bits. Scales of activations count as dynamic when
    any operator computes them in the run: then each pair has a run of its own.
    """
    replaced = {_NAMED[name] for name in facts.operators & _NAMED.keys()}
    return Quantisation(
        scheme=_scheme(facts),
        operators=tuple(sorted(replaced or facts.operators & _OPERATORS)),
        per_channel=facts.per_channel,
        reduce_range=facts.signed and facts.seven_bits,
        made_for=_made_for(facts),
    )


def int8_beside(fp32: FloatArray, int8: FloatArray) -> Int8Parity:
    """Compare scores, float32, (n_pairs,), of the pairs of ``parity_pairs``."""
    difference = np.abs(fp32 - int8)
    return Int8Parity(
        max_difference=round(float(difference.max()), 5),
        mean_difference=round(float(difference.mean()), 5),
        agreement=round(pairwise_agreement(fp32, int8), 4),
    )


def vectors_beside(fp32: FloatArray, int8: FloatArray) -> Int8Parity:
    """Compare unit vectors, float32, (n_texts, dims), of the queries and then of the passages."""
    ours, theirs = (
        (vectors[: len(PARITY_QUERIES)] @ vectors[len(PARITY_QUERIES) :].T).ravel()
        for vectors in (int8, fp32)
    )
    cosines = (fp32 * int8).sum(axis=1)
    return int8_beside(theirs, ours).model_copy(
        update={
            "mean_cosine": round(float(cosines.mean()), 5),
            "min_cosine": round(float(cosines.min()), 5),
        }
    )


def _scheme(facts: GraphFacts) -> QuantisationScheme:
    if facts.signed:
        return "QInt8 weights, dynamic activations" if facts.dynamic else "QInt8 weights, static activations"
    return "QUInt8 weights, dynamic activations" if facts.dynamic else "QUInt8 weights, static activations"


def _made_for(facts: GraphFacts) -> str:
    if not facts.signed or facts.seven_bits:
        return _EVERYWHERE
    return _UNKNOWN if facts.largest is None else _EXACT

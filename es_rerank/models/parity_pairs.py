"""The fixed texts on which graphs of a model are compared: every query with every passage, 80 pairs.

An export is compared with torch on them, an imported int8 graph with the fp32 graph beside it.

They cover what breaks exports: one word and a long question, an empty text, Chinese, accents, code,
punctuation, and a passage longer than every window. No text spells out a special token: this engine reads it
as text, and Hugging Face reads it as the token.
"""

from __future__ import annotations

import numpy as np

from ..types import FloatArray

LEAST_AGREEMENT = 0.9
"""Smallest share of passage pairs of one query that int8 must leave in the order of the original."""

_QUESTION = (
    "I have been reading about the way in which tides are formed and I understand that the moon pulls on "
    "the water nearest to it, but I do not see why "
    "there should be a second bulge on the far side of the earth, why there are two high tides on most "
    "coasts but only one on some, and whether the sun, "
    "which is so much heavier than the moon, has any part in it; please explain this without formulas if "
    "that is possible."
)

PARITY_QUERIES: tuple[str, ...] = (
    "lighthouse",
    "Who signed the treaty of Westphalia?",
    "how do I keep sourdough starter alive when I travel for two weeks",
    "什么是黑洞？",  # noqa: RUF001 Chinese has its own question mark
    "",
    "python list index out of range in a while loop",
    "¿Qué río atraviesa Córdoba y desemboca en el Atlántico?",
    _QUESTION,
)

_TREATY = (
    "The Peace of Westphalia is the collective name for two treaties signed in October 1648 in Osnabrück "
    "and Münster. They ended the Thirty Years' War. "
    "Envoys of the Holy Roman Emperor, of France and of Sweden signed, together with those of the princes "
    "and free cities of the Empire."
)
_LIGHTHOUSE = (
    "The lighthouse at the end of the mole was built of granite in 1836. Its lamp burned colza oil until "
    "the keeper, a widow named Agnes Rolland, "
    "talked the harbour board into paraffin. Ships saw it from fourteen miles away on a clear night."
)
_BREAD = (
    "Feed the starter, let it rise for an hour, and put it into the refrigerator in a closed jar. Kept cold "
    "it needs flour and water once a week at most; "
    "after three weeks a grey liquid stands on top, which is harmless and can be poured off. Dried on "
    "baking paper it keeps for years."
)
_TIDES = (
    "Tides come from the difference between the moon's pull on the near side of the earth and on the far "
    "side. The solid earth is drawn away from the water "
    "behind it, so that a second bulge stands there. The sun raises tides not quite half as high; at new "
    "and full moon both work together. The shape of "
    "a basin decides whether one tide or the other dies out, and so some coasts see one high water a day."
)

PARITY_PASSAGES: tuple[str, ...] = (
    _TREATY,
    _LIGHTHOUSE,
    _BREAD,
    _TIDES,
    "黑洞是时空中引力极强的区域,任何粒子甚至光都无法从中逃逸。其边界称为事件视界。二〇一九年,科学家公布了第一张黑洞的照片。",
    "",
    "No.",
    (
        "while i <= len(items):  # IndexError: list index out of range\n    print(items[i]); i += 1\n"
        "The last index is len(items) - 1: write `<` instead of `<=`."
    ),
    (
        "El Guadalquivir nace en la sierra de Cazorla, pasa por Córdoba y Sevilla y desemboca en el "
        "océano Atlántico en Sanlúcar de Barrameda."
    ),
    "\n\n".join([_TIDES, _BREAD, _LIGHTHOUSE, _TREATY] * 12),
)

PARITY_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (query, passage) for query in PARITY_QUERIES for passage in PARITY_PASSAGES
)


def pairwise_agreement(reference: FloatArray, other: FloatArray) -> float:
    """Return the share of passage pairs that two arrays of scores put in the same order, from 0 to 1.

    Both arrays are (n_queries * n_passages,), query by query. A pair is two passages of the same query.
    Pairs that ``reference`` scores equally do not count. Pairs that only ``other`` scores equally count as
    different.
    Kendall's tau is twice this share minus one.
    """
    same, counted = 0, 0
    for first, second in zip(
        reference.reshape(len(PARITY_QUERIES), len(PARITY_PASSAGES)),
        other.reshape(len(PARITY_QUERIES), len(PARITY_PASSAGES)),
        strict=True,
    ):
        order, other_order = (np.sign(row[:, None] - row[None, :]) for row in (first, second))
        counted += int((order != 0).sum())
        same += int(((order == other_order) & (order != 0)).sum())
    return same / counted if counted else 1.0

"""Joins the lines of a paragraph of a PDF page that pdfminer takes for paragraphs of their own.

pdfminer ends a paragraph where the next line is half a line's height away. So each line of a text with a line
spacing of 1.5 is one. Here the distance is compared with the usual one of the document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pdfminer.layout import LTTextBoxHorizontal, LTTextLineHorizontal

_MOST_SPACING = 2.5
"""Lines of a paragraph are at most so many heights of a line apart: the spacing "double" has 2.3."""

_LEAST = 3
"""So often, a distance must be there to be the usual one."""

_LIKE = 1.08
"""Distances that differ less than this are alike, and so are heights."""


class LineDistances:
    """The distances between the lines of a document, as they were on its pages so far."""

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()

    def add(self, boxes: Sequence[Any]) -> None:
        """Count the distances on a page, whose text boxes are in reading order."""
        for above, below in pairwise(line for box in boxes for line in _lines(box)):
            distance = _distance(above, below)
            if distance is not None:
                self._seen[round(2 * distance)] += 1  # in half points

    def go_on(self, above: Any, below: Any) -> bool:  # noqa: ANN401 pdfminer's boxes have no common type
        """Return whether a box is the next line of the paragraph of the box above it."""
        lines_above, lines_below = list(_lines(above)), list(_lines(below))
        if not lines_above or not lines_below or not self._seen:
            return False
        distance = _distance(lines_above[-1], lines_below[0])
        usual, times = max(self._seen.items(), key=lambda seen: (seen[1], -seen[0]))
        return distance is not None and times >= _LEAST and distance <= usual / 2 * _LIKE


def _lines(box: Any) -> Iterator[Any]:  # noqa: ANN401 as above
    if isinstance(box, LTTextLineHorizontal):
        yield box
    elif isinstance(box, LTTextBoxHorizontal):
        yield from box


def _distance(above: Any, below: Any) -> float | None:  # noqa: ANN401 as above
    """Return how far a line is below another one, in points; None if they cannot be of one paragraph."""
    height = min(above.height, below.height)
    distance = float(above.y0 - below.y0)
    alike = max(above.height, below.height) <= height * _LIKE
    overlap = min(above.x1, below.x1) - max(above.x0, below.x0)
    return distance if alike and overlap > 0 and height / 2 < distance <= height * _MOST_SPACING else None

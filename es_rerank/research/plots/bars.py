"""Values as horizontal bars in SVG, each with its extremes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from .frame import INK, framed

_LABEL, _BAR, _RIGHT = 260, 380, 120
_ROW, _TOP, _THICK, _BETWEEN = 28, 46, 18, 14
OURS, BESIDE, BEFORE = "#0b64dd", "#7fb2f5", "#a9b4c2"
"""What a bar shows: the thing itself, what comes near it, and what it is compared with."""

_WIDTH = _LABEL + _BAR + _RIGHT


class Bar(NamedTuple):
    """One bar: its label, its value from 0 up with the extremes, and its colour."""

    label: str
    value: float
    low: float
    high: float
    colour: str = OURS


def chart(title: str, bars: Sequence[Bar], *, digits: int = 1, together: int | None = None) -> str:
    """Return an SVG picture of at least one bar, a line over each bar's end from its lowest to its highest value.

    ``digits``: how many of them stand behind the point. ``together``: how many bars are of one thing, with a gap before the
    next ones; all without it.
    """
    scale = _BAR / (max(bar.high for bar in bars) or 1.0)
    tops = [
        _TOP + _ROW * number + _BETWEEN * (number // (together or len(bars))) for number in range(len(bars))
    ]
    height = tops[-1] + _ROW + 12
    drawn = "".join(_bar(bar, top, scale, digits) for bar, top in zip(bars, tops, strict=True))
    return framed(title, drawn, _WIDTH, height, indent=12, font_size=13)


def _bar(bar: Bar, top: int, scale: float, digits: int) -> str:
    middle, base = top + _THICK / 2, top + _THICK - 4
    low, high, end = (_LABEL + value * scale for value in (bar.low, bar.high, bar.value))
    return (
        f'<text x="{_LABEL - 8}" y="{base}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{end - _LABEL:.1f}" height="{_THICK}" fill="{bar.colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{INK}"/>'
        f'<text x="{high + 8:.1f}" y="{base}">{bar.value:.{digits}f}</text>\n'
    )

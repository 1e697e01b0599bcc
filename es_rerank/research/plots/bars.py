"""Horizontal bar charts in SVG, with a line from the lowest to the highest value of each bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape  # nosec B406 # it writes XML and reads none

from .frame import INK, framed

_LABEL, _BAR, _RIGHT = 260, 380, 120
_ROW, _TOP, _THICK, _BETWEEN = 28, 46, 18, 14
BLUE, LIGHT_BLUE, GREY = "#0b64dd", "#7fb2f5", "#a9b4c2"
"""Colours of a bar: the measured thing, a variant of it, and the thing that it is compared with."""

_WIDTH = _LABEL + _BAR + _RIGHT


class Bar(NamedTuple):
    """One bar: label, value from 0 up, lowest and highest value, colour, and a text after the value."""

    label: str
    value: float
    low: float
    high: float
    colour: str = BLUE
    note: str = ""


def chart(
    title: str,
    bars: Sequence[Bar],
    *,
    digits: int = 1,
    together: int | None = None,
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """Return an SVG bar chart of at least one bar. A line over each bar's end goes from its lowest to its
    highest value.

    ``digits`` is the number of decimals. ``together`` is the number of bars in a group; groups have a gap
    between them. Without ``together`` all bars are one group. ``groups`` has the headings of groups of
    different sizes instead, each with the number of its bars.
    """
    scale = _BAR / (max(bar.high for bar in bars) or 1.0)
    if groups:
        return _with_headings(title, bars, groups, scale, digits)
    tops = [
        _TOP + _ROW * number + _BETWEEN * (number // (together or len(bars))) for number in range(len(bars))
    ]
    height = tops[-1] + _ROW + 12
    drawn = "".join(_bar(bar, top, scale, digits) for bar, top in zip(bars, tops, strict=True))
    return framed(title, drawn, _WIDTH, height, indent=12, font_size=13)


def _with_headings(
    title: str, bars: Sequence[Bar], groups: Sequence[tuple[str, int]], scale: float, digits: int
) -> str:
    drawn, top, left = [], _TOP, iter(bars)
    for heading, number in groups:
        drawn.append(f'<text x="12" y="{top + _THICK - 4}" font-weight="600">{escape(heading)}</text>\n')
        for _ in range(number):
            top += _ROW
            drawn.append(_bar(next(left), top, scale, digits))
        top += _ROW + _BETWEEN
    return framed(title, "".join(drawn), _WIDTH, top, indent=12, font_size=13)


def _bar(bar: Bar, top: int, scale: float, digits: int) -> str:
    middle, base = top + _THICK / 2, top + _THICK - 4
    low, high, end = (_LABEL + value * scale for value in (bar.low, bar.high, bar.value))
    return (
        f'<text x="{_LABEL - 8}" y="{base}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{end - _LABEL:.1f}" height="{_THICK}" fill="{bar.colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{INK}"/>'
        f'<text x="{high + 8:.1f}" y="{base}">{bar.value:.{digits}f}{escape(bar.note)}</text>\n'
    )

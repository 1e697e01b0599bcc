"""Line plots in SVG: panels with axes, two panels in a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape  # nosec B406 # it writes XML and reads none

from .frame import AXES_HEIGHT, AXES_WIDTH, BOTTOM, GRID, INK, LEFT, RIGHT, TOP, framed

_LEGEND, _GAP = 20, 20
_PER_ROW = 2
_PANEL = LEFT + AXES_WIDTH + RIGHT
COLOURS = ("#0b64dd", "#0f9d76", "#8a94a3", "#c2570c")
"""Colours of curves: this engine's first; grey is for peers."""

_TICKS = 6
_DENSE_DECADES = 3
_STEPS = (1, 2, 2.5, 5, 10)


class Line(NamedTuple):
    """A straight line over the horizontal axis of a panel."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y) from left to right, joined by lines.

    If the curve has a fitted ``line``, that line is drawn instead and the points are not joined. ``colour``
    is one of COLOURS.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = COLOURS[0]
    dashed: bool = False
    line: Line | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Axes with their curves, which have at least one point.

    With ``log`` the vertical axis is logarithmic and all values must be positive; without, it begins at 0.
    """

    title: str
    across: str
    up: str
    curves: Sequence[Curve]
    log: bool = False


class _Scale(NamedTuple):
    """The map from values to pixels on an axis from ``low`` to ``high``."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def at(self, value: float) -> float:
        if self.log:
            return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)
        return self.pixels * (value - self.low) / (self.high - self.low)


def curves(title: str, panels: Sequence[Panel]) -> str:
    """Return an SVG picture of panels, from left to right, two in a row."""
    high = TOP + AXES_HEIGHT + BOTTOM + _LEGEND * max(len(panel.curves) for panel in panels)
    width, height = (
        _PANEL * min(len(panels), _PER_ROW),
        high + (high - _GAP) * (-(-len(panels) // _PER_ROW) - 1),
    )
    drawn = ""
    for number, panel in enumerate(panels):
        row, column = divmod(number, _PER_ROW)
        drawn += f'<g transform="translate({_PANEL * column} {(high - _GAP) * row})">\n{_panel(panel)}</g>\n'
    return framed(title, drawn, width, height)


_NOTHING = 1e-300
"""Values up to this one are drawn as 0: a fraction of them may be too small for a float."""


def _panel(panel: Panel) -> str:
    points = [point for curve in panel.curves for point in curve.points]
    across = _linear([x for x, _ in points], AXES_WIDTH)
    values = [y for _, y in points]
    up = _logarithmic(values) if panel.log else _linear(values, AXES_HEIGHT)
    drawn = [
        f'<text x="{LEFT}" y="58" font-size="13" font-weight="600">{escape(panel.title)}</text>\n',
        _axes(across, up, panel),
    ]
    for number, curve in enumerate(panel.curves):
        drawn += [_curve(curve, across, up), _legend(curve, number)]
    return "".join(drawn)


def _linear(values: Sequence[float], pixels: float) -> _Scale:
    """Return a scale from 0 to the first tick that is not below the highest value."""
    ticks = _ticks(max(values))
    return _Scale(0.0, ticks[-1], pixels)


def _logarithmic(values: Sequence[float]) -> _Scale:
    """Return a scale between the powers of ten around the values."""
    low = math.floor(math.log10(min(values)))
    return _Scale(10.0**low, 10.0 ** max(math.ceil(math.log10(max(values))), low + 1), AXES_HEIGHT, log=True)


def _ticks(highest: float) -> list[float]:
    """Return at most seven round numbers as ticks: from 0 to the first one that is not below ``highest``."""
    highest = highest if highest > _NOTHING else 0.0
    rough = (highest or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * (1 - 1e-9))
    return (
        [step * number for number in range(math.ceil(highest / step * (1 - 1e-9)) + 1)]
        if highest
        else [0.0, step]
    )


def _steps_of(scale: _Scale) -> list[float]:
    """Return the ticks of a logarithmic scale: powers of ten, and where there is room also 2 and 5 times a
    power.
    """
    low, high = round(math.log10(scale.low)), round(math.log10(scale.high))
    between = (1, 2, 5) if high - low <= _DENSE_DECADES else (1,)
    return [
        value
        for power in range(low, high + 1)
        for size in between
        if (value := size * 10.0**power) <= scale.high * (1 + 1e-9)
    ]


def _axes(across: _Scale, up: _Scale, panel: Panel) -> str:
    bottom, middle = TOP + AXES_HEIGHT, LEFT + AXES_WIDTH / 2
    drawn = []
    for value in _steps_of(up) if up.log else _ticks(up.high):
        y = bottom - up.at(value)
        drawn.append(
            f'<line x1="{LEFT}" x2="{LEFT + AXES_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        )
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>\n')
    for value in _ticks(across.high):
        x = LEFT + across.at(value)
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="{INK}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{value:,.10g}</text>\n')
    return (
        "".join(drawn)
        + f'<line x1="{LEFT}" x2="{LEFT + AXES_WIDTH}" y1="{bottom}" y2="{bottom}" stroke="{INK}"/>\n'
        f'<text x="{middle}" y="{bottom + 40}" text-anchor="middle">{escape(panel.across)}</text>'
        f'<text x="{LEFT}" y="{TOP - 9}" fill-opacity="0.7">{escape(panel.up)}</text>\n'
    )


def _curve(curve: Curve, across: _Scale, up: _Scale) -> str:
    placed = [(LEFT + across.at(x), TOP + AXES_HEIGHT - up.at(y)) for x, y in curve.points]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{curve.colour}"/>' for x, y in placed)
    stroke = f'fill="none" stroke="{curve.colour}" stroke-width="1.6"{_dash(curve)}'
    return f'<path d="{_path(curve, placed, across, up)}" {stroke}/>{dots}\n'


def _path(curve: Curve, placed: Sequence[tuple[float, float]], across: _Scale, up: _Scale) -> str:
    ends = placed
    if curve.line is not None:
        values = [x for x, _ in curve.points]
        fitted = [
            (x, curve.line.intercept + curve.line.slope * x)
            for x in (_above_axis(curve.line, min(values)), max(values))
        ]
        ends = [(LEFT + across.at(x), TOP + AXES_HEIGHT - up.at(y)) for x, y in fitted]
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in ends)


def _above_axis(line: Line, x: float) -> float:
    """Return where a line begins: at ``x``, or where it reaches 0 if it rises and is below 0 at ``x``."""
    return -line.intercept / line.slope if line.slope > 0 > line.intercept + line.slope * x else x


def _legend(curve: Curve, number: int) -> str:
    y = TOP + AXES_HEIGHT + BOTTOM + _LEGEND * number
    stroke = f'stroke="{curve.colour}" stroke-width="1.6"{_dash(curve)}'
    return (
        f'<line x1="{LEFT}" x2="{LEFT + 26}" y1="{y}" y2="{y}" {stroke}/>'
        f'<circle cx="{LEFT + 13}" cy="{y}" r="3" fill="{curve.colour}"/>'
        f'<text x="{LEFT + 34}" y="{y + 4}">{escape(curve.label)}</text>\n'
    )


def _dash(curve: Curve) -> str:
    return ' stroke-dasharray="5 4"' if curve.dashed else ""

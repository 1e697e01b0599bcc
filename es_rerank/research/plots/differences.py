"""A bar plot in SVG of the change of each query, sorted: how many queries won or lost, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from .frame import AXES_HEIGHT, AXES_WIDTH, BOTTOM, GRID, INK, LEFT, RIGHT, TOP, framed

_BETTER, _WORSE = "#0b64dd", "#c2570c"
_TICKS = (1.0, 0.5, 0.0, -0.5, -1.0)


def differences(title: str, values: Sequence[float]) -> str:
    """Return an SVG plot of at least one value from -1 to 1: one bar for each value, the best on the left."""
    ordered = sorted(values, reverse=True)
    wide = AXES_WIDTH / len(ordered)
    bars = "".join(_bar(LEFT + wide * place, wide, value) for place, value in enumerate(ordered) if value)
    across = (
        f'<text x="{LEFT + AXES_WIDTH / 2}" y="{TOP + AXES_HEIGHT + 40}" text-anchor="middle">'
        f"{len(ordered):,} queries, from the best to the worst</text>\n"
    )
    up = f'<text x="{LEFT}" y="{TOP - 9}" fill-opacity="0.7">difference of nDCG@10</text>\n'
    return framed(
        title, f"{up}{_grid()}{bars}{across}", LEFT + AXES_WIDTH + RIGHT, TOP + AXES_HEIGHT + BOTTOM
    )


def _at(value: float) -> float:
    return TOP + AXES_HEIGHT * (1.0 - value) / 2


def _grid() -> str:
    return "".join(
        f'<line x1="{LEFT}" x2="{LEFT + AXES_WIDTH}" y1="{_at(value):.1f}" y2="{_at(value):.1f}" '
        f'stroke="{GRID if value else INK}"/>'
        f'<text x="{LEFT - 8}" y="{_at(value) + 4:.1f}" text-anchor="end">{value:+g}</text>\n'
        for value in _TICKS
    )


def _bar(left: float, wide: float, value: float) -> str:
    top, height = min(_at(value), _at(0.0)), abs(_at(value) - _at(0.0))
    colour = _BETTER if value > 0 else _WORSE
    return f'<rect x="{left:.2f}" y="{top:.1f}" width="{wide:.2f}" height="{height:.1f}" fill="{colour}"/>\n'

"""Differences of single queries in SVG, sorted: how many won, how many lost, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_LEFT, _TOP, _RIGHT, _BOTTOM = 66, 84, 26, 54
_WIDTH, _HEIGHT = 420, 300
_BETTER, _WORSE, _INK, _GRID = "#0b64dd", "#c2570c", "#1c1e23", "#e3e6ea"
_TICKS = (1.0, 0.5, 0.0, -0.5, -1.0)


def differences(title: str, values: Sequence[float]) -> str:
    """Return an SVG picture of values from -1 to 1, of which there is at least one: the best on the left, a bar each."""
    ordered = sorted(values, reverse=True)
    wide = _WIDTH / len(ordered)
    bars = "".join(_bar(_LEFT + wide * place, wide, value) for place, value in enumerate(ordered) if value)
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="16" y="26" font-size="15" font-weight="600">{escape(title)}</text>\n'
        f'<text x="{_LEFT}" y="{_TOP - 9}" fill-opacity="0.7">difference of nDCG@10</text>\n{_grid()}{bars}'
        f'<text x="{_LEFT + _WIDTH / 2}" y="{_TOP + _HEIGHT + 40}" text-anchor="middle">{len(ordered):,} queries, from the best to the worst</text>\n</svg>\n'
    )


def _at(value: float) -> float:
    return _TOP + _HEIGHT * (1.0 - value) / 2


def _grid() -> str:
    return "".join(
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{_at(value):.1f}" y2="{_at(value):.1f}" stroke="{_GRID if value else _INK}"/>'
        f'<text x="{_LEFT - 8}" y="{_at(value) + 4:.1f}" text-anchor="end">{value:+g}</text>\n'
        for value in _TICKS
    )


def _bar(left: float, wide: float, value: float) -> str:
    top = min(_at(value), _at(0.0))
    return f'<rect x="{left:.2f}" y="{top:.1f}" width="{wide:.2f}" height="{abs(_at(value) - _at(0.0)):.1f}" fill="{_BETTER if value > 0 else _WORSE}"/>\n'

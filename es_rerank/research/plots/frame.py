"""The frame of every plot: a white background with a title, and the colours of text and grid."""

from __future__ import annotations

from xml.sax.saxutils import escape  # nosec B406 # it writes XML and reads none

INK, GRID = "#1c1e23", "#e3e6ea"

AXES_WIDTH, AXES_HEIGHT = 420, 300
"""Size of a panel's axes, in pixels."""

LEFT, TOP, RIGHT, BOTTOM = 66, 84, 26, 54
"""Margins around the axes, in pixels."""


def framed(title: str, drawn: str, width: int, height: int, *, indent: int = 16, font_size: int = 12) -> str:
    """Return an SVG picture with the elements ``drawn`` in a frame of ``width`` and ``height`` pixels.

    ``title`` begins at ``indent`` pixels from the left.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="{font_size}" fill="{INK}">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{indent}" y="26" font-size="15" font-weight="600">{escape(title)}</text>\n{drawn}</svg>\n'
    )

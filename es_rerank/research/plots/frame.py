"""What every picture stands in: a white ground with a title, and the colours of text and grid."""

from __future__ import annotations

from xml.sax.saxutils import escape

INK, GRID = "#1c1e23", "#e3e6ea"

AXES_WIDTH, AXES_HEIGHT = 420, 300
"""Size of a panel's axes, in pixels; what stands around them follows."""

LEFT, TOP, RIGHT, BOTTOM = 66, 84, 26, 54
"""Room around the axes."""


def framed(title: str, drawn: str, width: int, height: int, *, indent: int = 16, font_size: int = 12) -> str:
    """Return an SVG picture of what was drawn, in a frame of so many pixels; ``title`` begins at ``indent``."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="{font_size}" fill="{INK}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{indent}" y="26" font-size="15" font-weight="600">{escape(title)}</text>\n{drawn}</svg>\n'
    )

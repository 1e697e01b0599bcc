"""What a request is before it is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .json_texts import Value

INDEX = "INDEX"
"""Stands for the name of the index, wherever a request names it."""

KEY = b"fuzz-key"
"""The key of the sidecar."""

Style = Literal["elasticsearch", "tei", "page"]


@dataclass(frozen=True)
class Draft:
    """A request before it is changed. ``lines``: the body is one value on each line."""

    route: str
    method: str
    path: str
    body: Value = None
    parameters: dict[str, str] = field(default_factory=dict)
    headers: dict[str, bytes] = field(default_factory=dict)
    has_body: bool = True
    lines: bool = False
    style: Style = "elasticsearch"


SOURCE = "\x00body\x00"
"""Stands for the body as the value of a parameter."""

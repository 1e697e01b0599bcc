"""Which fields of a record are its text, title, id and metadata."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of fields that the caller chose. A dotted name is a path into nested objects.

    Several ``text`` fields are joined by a blank line. ``metadata`` None means all other fields.
    """

    text: tuple[str, ...] = ()
    title: str | None = None
    id: str | None = None
    metadata: tuple[str, ...] | None = None

"""Reads documents, makes passages and vectors of them, and writes them into an Elasticsearch index."""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .metadata import Unfit
    from .pipeline import Ingest, IngestReport
    from .reading.fields import Fields
    from .reading.objects import documents_of
    from .reading.sources import read_sources, source_files
    from .rejects import Reject

__all__ = [
    "Fields",
    "Ingest",
    "IngestReport",
    "Reject",
    "Unfit",
    "documents_of",
    "read_sources",
    "source_files",
]

_HOMES = {
    "Fields": ".reading.fields",
    "Ingest": ".pipeline",
    "IngestReport": ".pipeline",
    "Reject": ".rejects",
    "Unfit": ".metadata",
    "documents_of": ".reading.objects",
    "read_sources": ".reading.sources",
    "source_files": ".reading.sources",
}
"""The home of each public name, imported on its first use: a process that converts files needs none."""


if not typing.TYPE_CHECKING:  # a type checker reads the imports above, and reports a name that is not there

    def __getattr__(name: str) -> object:
        """Import a public name on its first use (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name], __name__), name)
        return value

    def __dir__() -> list[str]:
        """Return all names, those too that are not imported yet."""
        return sorted({*globals(), *__all__})

"""Reads documents from where people have them: each file here is one kind of source.

The id of a record is its ``_id`` or ``id``. ``title`` and ``text`` are strings. All other keys, and the keys
of a ``metadata`` object, become metadata. A record without an id gets an id that is computed from its
content. The same record then always gets the same id. When its content changes, it gets another id, and the
earlier document stays in the index.
"""

from .fields import Fields
from .sources import SUFFIXES, read_sources, source_files

__all__ = ["SUFFIXES", "Fields", "read_sources", "source_files"]

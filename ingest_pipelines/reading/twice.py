"""Tells which two files hold documents of one id: the later document replaces the earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from es_rerank.collection import Document

from ..rejects import Reject
from .files import FoundFile

_MOST_IDS = 100_000
"""Most ids that are remembered, as numbers, which take about 10 MB. The run itself counts all of them."""


class FirstTwice:
    """Watches the documents of all files, and tells the first id that two different ones have."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._places: dict[int, tuple[int, int]] = {}
        self._told = False

    def watch(self, items: Iterable[Document | Reject], file: FoundFile) -> Iterator[Document | Reject]:
        """Yield the items of a file."""
        self._files.append(str(file.path))
        here = len(self._files) - 1
        for item in items:
            if not self._told and isinstance(item, Document):
                self._look(item, here, file)
            yield item

    def _look(self, document: Document, here: int, file: FoundFile) -> None:
        key, content = hash(document.id), hash((document.title, document.text))
        if key not in self._places:
            if len(self._places) < _MOST_IDS:
                self._places[key] = here, content
            return
        before, content_before = self._places[key]
        if content == content_before:  # nothing is lost
            return
        self._told = True
        self._places.clear()
        both = "twice in it" if before == here else f"in {self._files[before]} too"
        file.tell(
            f"the id {document.id[:100]!r} is {both}; of documents with one id, only the last one stays: "
            "if they are different documents, give them different ids (--id-field)"
        )

"""What a source gives: its documents, its rejects and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from es_rerank.collection import Document
from ingest_pipelines import Reject, read_sources
from ingest_pipelines.rejects import RejectsFile


class Given(NamedTuple):
    """What was read."""

    documents: list[Document]
    rejects: list[Reject]
    notes: list[str]

    @property
    def ids(self) -> list[str]:
        return [document.id for document in self.documents]

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.documents]


def given(*sources: Path, **options: Any) -> Given:
    """Read the sources to their end."""
    notes: list[str] = []
    items = list(read_sources(sources, on_note=notes.append, **options))
    documents = [item for item in items if isinstance(item, Document)]
    return Given(documents, [item for item in items if isinstance(item, Reject)], notes)


def rejects_file(rejects: list[Reject], path: Path) -> Path:
    """Write a rejects file as an ingest does."""
    file = RejectsFile("articles", path)
    for reject in rejects:
        file.write(reject)
    file.close()
    return path


def put(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files into a folder, by their names in it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder

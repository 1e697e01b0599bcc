"""Says which file is read for each source, and by which reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from es_rerank.collection import Document, find_file
from es_rerank.errors import SourceError

from ..rejects import Reject
from .files import FoundFile, Reader, kind_of
from .json_lines import read_json_lines

READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
"""The end of a file's name, in lower case, and who reads such a file. Each may be gzipped (``.jsonl.gz``)."""

SUFFIXES = tuple(READERS)


def source_files(sources: Sequence[Path]) -> list[Path]:
    """Return the file to read for each source. For a folder that is its corpus file.

    Raises SourceError for a source that does not exist, for a folder without a corpus, and for a file whose
    name does not end in one of ``SUFFIXES``.
    """
    return [_source_file(source) for source in sources]


def _source_file(source: Path) -> Path:
    if source.is_dir():
        return find_file(source, "corpus.jsonl")
    if not source.is_file():
        raise SourceError(
            f"{source} does not exist; "
            "a source is a JSONL file or a folder that holds corpus.jsonl or corpus.jsonl.gz",
            path=str(source),
        )
    if kind_of(source.name) not in READERS:
        raise SourceError(
            f"{source} cannot be read: its name ends in none of {', '.join(SUFFIXES)}; "
            "convert it to JSONL first",
            path=str(source),
        )
    return source


def read_sources(sources: Sequence[Path]) -> Iterator[Document | Reject]:
    """Return an iterator over the documents of all sources. A line that holds no document gives a Reject.

    Only one line is in memory at a time. Raises SourceError at once for a source that cannot be read at all
    (see ``source_files``). The iterator raises SourceError when it meets a damaged file.
    """
    files = source_files(sources)
    return (item for path in files for item in READERS[kind_of(path.name)](FoundFile(path, path.name)))

"""Texts that int8 is fitted to, one JSON object a line: ``{"query": "...", "passages": ["...", ...]}``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..collection import read_jsonl
from ..errors import SourceError


class Asked(NamedTuple):
    """A query and the passages that the model reads together with it."""

    query: str
    passages: Sequence[str]


def read_texts(path: Path) -> list[Asked]:
    """Return the lines of a file of queries and passages; the file may be gzipped.

    Raises SourceError, with the line number, for a file that cannot be read or has a line of another shape.
    Raises it also for an empty file.
    """
    lines = []
    for line, record in read_jsonl(path):
        query, passages = record.get("query"), record.get("passages")
        if (
            not isinstance(query, str)
            or not isinstance(passages, list)
            or not passages
            or not all(isinstance(passage, str) for passage in passages)
        ):
            raise SourceError(
                f'{path}, line {line}: "query" must be a string and "passages" a list of at least one',
                path=str(path),
                line=line,
            )
        lines.append(Asked(query, passages))
    if not lines:
        raise SourceError(
            f"{path} holds no texts; give some hundred lines like " + '{"query": "...", "passages": ["..."]}',
            path=str(path),
        )
    return lines

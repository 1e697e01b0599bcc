"""Keeps what a calibration is fitted to in a folder, so that it is fitted again in seconds.

The first stages of a collection do not depend on the reranker: ``COLLECTION.json`` has them. The logits of a
reranker are in ``COLLECTION.DIGEST.npz``, where the digest is that of the reranker's identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import SourceError
from ...models import Reranker
from ...scores import as_logits
from ...types import FloatArray
from .calibration_windows import FoundQuery


class FoundQueries(BaseModel):
    """The queries of a collection with their windows. ``made_by`` states all that they depend on.

    ``documents`` of the collection's ``of`` documents were searched; ``queries`` were drawn, of which those
    in ``found`` have a relevant document in a window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: dict[str, Any]
    documents: int
    of: int
    drawn: int
    found: list[FoundQuery]


class KeptWindows:
    """The first stages and logits of collections, kept in ``folder``; with None nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def first_stages(
        self, name: str, made_by: Mapping[str, Any], make: Callable[[], FoundQueries]
    ) -> tuple[FoundQueries, bool]:
        """Return the first stages of a collection, and whether they were kept.

        Those that were made by something else than ``made_by`` are made anew. Raises SourceError when the
        file is not one of this class.
        """
        path = None if self._folder is None else self._folder / f"{name}.json"
        if path is not None and path.is_file():
            try:
                kept = FoundQueries.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, ValidationError) as error:
                raise SourceError(
                    f"{path} has no windows of es-rerank calibrate: {error}; delete it or give another "
                    "folder",
                    path=str(path),
                ) from error
            if kept.made_by == json.loads(json.dumps(made_by)):
                return kept, True
        made = make()
        if path is not None:
            _written(path, made.model_dump_json().encode())
        return made, False

    def logits(
        self, name: str, found: FoundQueries, reranker: Reranker, identity: str
    ) -> tuple[list[FloatArray], bool]:
        """Return for each query the logits of its texts, float32, (n,), and whether they were kept.

        ``identity`` names the reranker's weights and how it reads a pair. Raises SourceError for a file that
        does not fit.
        """
        digest = hashlib.sha256(f"{identity} {_texts(found)}".encode()).hexdigest()[:16]
        path = None if self._folder is None else self._folder / f"{name}.{digest}.npz"
        lengths = [len(query.texts) for query in found.found]
        if path is not None and path.is_file():
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                    kept = np.asarray(stored["logits"], dtype=np.float32)
            except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
                raise SourceError(
                    f"{path} has no logits: {error}; delete it or give another folder", path=str(path)
                ) from error
            if len(kept) == sum(lengths):
                return _cut(kept, lengths), True
        made = [as_logits(reranker.score(query.text, query.texts)) for query in found.found]
        if path is not None:
            with path.with_suffix(".part").open("wb") as part:
                np.savez_compressed(part, logits=np.concatenate([*made, np.zeros(0, dtype=np.float32)]))
            path.with_suffix(".part").replace(path)
        return made, False


def _texts(found: FoundQueries) -> str:
    """Return a digest of all pairs that are scored."""
    digest = hashlib.sha256()
    for query in found.found:
        digest.update(json.dumps([query.text, query.texts]).encode())
    return digest.hexdigest()


def _cut(values: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    return np.split(values, np.cumsum(lengths)[:-1]) if lengths else []


def _written(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)

"""Walks through a folder: which of its files are read, in which order, and what is left out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from es_rerank.collection import find_file, is_collection

from .files import kind_of
from .json_lines import is_rejects_file

_OF_PROGRAMS = frozenset({"__pycache__", "node_modules", "__MACOSX"})
"""Folders that programs fill, whose names do not begin with a dot."""

_OF_COLLECTIONS = frozenset({"corpus.jsonl", "corpus.jsonl.gz", "queries.jsonl", "queries.jsonl.gz", "qrels"})
_SHOWN = 5
_MOST_KINDS = 1_000


class Found(NamedTuple):
    """A file or a folder. ``name``: see ``FoundFile``. ``fault``: why a folder cannot be listed."""

    path: Path
    name: str
    is_folder: bool = False
    fault: str | None = None


@dataclass(slots=True)
class LeftOut:
    """Counts what is left out: files of other kinds by their suffix, and all else by the reason."""

    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add_kind(self, name: str) -> None:
        """Count a file of a kind that is not read."""
        kind = kind_of(name) or "without a suffix"
        self.kinds[kind if len(self.kinds) < _MOST_KINDS else "others"] += 1

    def __str__(self) -> str:
        parts = []
        if self.kinds:
            most = [f"{times} {kind}" for kind, times in self.kinds.most_common(_SHOWN)]
            more = ["…"] if len(self.kinds) > _SHOWN else []
            parts.append(f"{self.kinds.total()} files of kinds that are not read ({', '.join(most + more)})")
        parts += [f"{times} {reason}" for reason, times in self.reasons.most_common()]
        return f"left out: {'; '.join(parts)}" if parts else ""


def walk(
    folder: Path, kinds: Collection[str], left_out: LeftOut, *, not_this: Path | None = None, name: str = ""
) -> Iterator[Found]:
    """Yield the files of a folder and of the folders in it, sorted by name, folder by folder.

    Files whose suffix is not in ``kinds`` are left out, and so is ``not_this`` (a resolved path), the file
    that takes this run's rejects. Links are not followed. Of a folder in BEIR layout only the corpus is read.
    ``name`` is the name of the folder itself, "" for a source.
    """
    source = Found(folder, name, folder.is_dir())
    waiting = [source]
    while waiting:
        found = waiting.pop()
        if not found.is_folder:
            yield found
            continue
        try:
            inside = list(_inside(found, kinds, left_out, not_this, is_source=found is source))
        except OSError as error:
            yield found._replace(fault=f"the folder cannot be listed: {error.strerror or error}")
        else:
            waiting.extend(reversed(inside))


def _inside(
    folder: Found, kinds: Collection[str], left_out: LeftOut, not_this: Path | None, *, is_source: bool
) -> Iterator[Found]:
    """Yield the files and folders of one folder that are not left out, sorted."""
    with os.scandir(folder.path) as entries:
        kept = {
            entry.name: entry.is_dir(follow_symlinks=False) for entry in entries if _is_kept(entry, left_out)
        }
    if is_collection(folder.path):
        corpus = find_file(folder.path, "corpus.jsonl")
        beside = sum(name not in _OF_COLLECTIONS for name in kept)
        left_out.reasons.update({"files beside a corpus.jsonl": beside} if beside else {})
        if is_source or corpus.name in kept:  # a corpus of a source may be a link, as in a cache of the Hub
            yield Found(corpus, _joined(folder.name, corpus.name))
        return
    for name in sorted(kept):
        path = folder.path / name
        composed = unicodedata.normalize("NFC", name)
        found = Found(path, _joined(folder.name, name if composed in kept else composed), kept[name])
        if found.is_folder:
            yield found
        elif kind_of(name) not in kinds:
            left_out.add_kind(name)
        elif is_rejects_file(name) or (not_this is not None and path.resolve() == not_this):
            left_out.reasons["rejects of an earlier run (name such a file to read it)"] += 1
        else:
            yield found


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out of a folder, whatever it holds."""
    return name.startswith((".", "~$")) or name in _OF_PROGRAMS or is_rejects_file(name)


def _is_kept(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    reason = ""
    if entry.is_symlink():
        reason = "links, which are not followed"
    elif entry.name.startswith((".", "~$")):
        reason = "hidden files and folders"
    elif entry.name in _OF_PROGRAMS:
        reason = "folders that programs fill"
    elif not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
        reason = "pipes and devices"
    if reason:
        left_out.reasons[reason] += 1
    return not reason


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

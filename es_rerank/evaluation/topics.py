"""What an experiment asks and knows: the queries and judgements of one split, checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..collection import Qrels, held_out, read_corpus, read_qrels, read_queries, splits
from ..errors import SettingsError, SourceError
from .packaged import by_hash

T = TypeVar("T")

_NAMED = 5
"""How many ids a fault names; the rest are counted."""


HELD_OUT = "held-out"
"""What stands behind a split of which the tenth of the queries is meant that training leaves out."""


class Source(NamedTuple):
    """A collection as the command line names it: ``DIR``, ``DIR:SPLIT`` or ``DIR:SPLIT:held-out``."""

    folder: Path
    split: str | None = None
    held_out: bool = False

    @classmethod
    def named(cls, text: str) -> Source:
        """Return what was named; a folder whose own name holds a colon is that folder."""
        if Path(text).exists() or ":" not in text:
            return cls(Path(text))
        before, _, last = text.rpartition(":")
        if last != HELD_OUT:
            return cls(Path(before), last)
        folder, _, split = before.rpartition(":")
        return cls(Path(folder), split, held_out=True) if folder and not Path(before).exists() else cls(Path(before), held_out=True)


@dataclass(frozen=True, slots=True)
class Topics:
    """The judged queries of a split: texts and judgements by query id.

    ``documents`` counts the corpus; ``skipped`` counts judged queries that were left out because nothing is relevant
    to them, so that no order could be better than another.
    """

    collection: str
    split: str
    queries: dict[str, str]
    qrels: Qrels
    documents: int
    skipped: int


def the_split(folder: Path, named: str | None) -> str:
    """Return the split that was named, or the only one.

    Raises SettingsError, listing the splits, when there are several and none was named; SourceError when there is none.
    """
    known = splits(folder)
    if named is not None:
        return named
    if not known:
        raise SourceError(f"{folder} has no judgements; a split is a file qrels/NAME.tsv or .tsv.gz: query-id, corpus-id, score", path=str(folder))
    if len(known) > 1:
        raise SettingsError(f"{folder} has several splits with judgements ({', '.join(known)}); name one with --split")
    return known[0]


def read_topics(folder: Path, split: str, *, limit: int | None = None, only_held_out: bool = False) -> Topics:
    """Return the queries of a split that have a relevant document; with ``limit`` the first so many by hash of their id.

    ``only_held_out``: of the tenth of the queries that training leaves out (``collection.held_out``).
    Raises SourceError with every fault of the collection in one message: files that are missing or cannot be read,
    judgements of queries or documents that are not there, queries without words, ids that occur twice, nothing relevant.
    """
    faults: list[str] = []
    corpus = _tried(lambda: Counter(document.id for document in read_corpus(folder)), faults)
    queries = _tried(lambda: read_queries(folder), faults)
    qrels = _tried(lambda: read_qrels(folder, split), faults)
    if corpus is not None and queries is not None and qrels is not None:
        faults += _faults(corpus, queries, qrels)
    if corpus is None or queries is None or qrels is None or faults:
        raise SourceError(f"{folder} cannot be evaluated:" + "".join(f"\n- {fault}" for fault in faults), path=str(folder))
    asked = {query: judged for query, judged in qrels.items() if not only_held_out or held_out(query)}
    wanted = by_hash(query for query, judged in asked.items() if _has_relevant(judged))
    if not wanted:
        raise SourceError(f"{folder} has no query of the split {split!r} in the tenth that is held out; leave :{HELD_OUT} away", path=str(folder))
    kept = wanted[:limit]
    return Topics(
        folder.resolve().name,
        f"{split}:{HELD_OUT}" if only_held_out else split,
        {query: queries[query] for query in kept},
        {query: qrels[query] for query in kept},
        len(corpus),
        len(asked) - len(wanted),
    )


def _tried(read: Callable[[], T], faults: list[str]) -> T | None:
    try:
        return read()
    except SourceError as error:
        faults.append(error.message)
        return None


def _has_relevant(judged: dict[str, int]) -> bool:
    return any(grade > 0 for grade in judged.values())


def _faults(corpus: Counter[str], queries: dict[str, str], qrels: Qrels) -> list[str]:
    """Return what is wrong between files that are well each by itself."""
    found = {
        "documents have the id of another one": [name for name, count in corpus.items() if count > 1],
        "judged queries are not in queries.jsonl": [query for query in qrels if query not in queries],
        "judged queries have no words": [query for query in qrels if not queries.get(query, "-").strip()],
        "judged documents are not in corpus.jsonl": sorted({name for judged in qrels.values() for name in judged if name not in corpus}),
    }
    faults = [f"{len(ids)} {what}: {_listed(ids)}" for what, ids in found.items() if ids]
    return faults if any(map(_has_relevant, qrels.values())) else [*faults, "no query has a relevant document (a judgement above 0)"]


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:_NAMED])) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")

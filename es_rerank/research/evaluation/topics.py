"""The queries and judgements of one split, checked before an experiment runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...collection import Qrels, held_out, read_corpus, read_qrels, read_queries, splits
from ...errors import SettingsError, SourceError
from .packaged import by_hash

T = TypeVar("T")

_LISTED_IDS = 5
"""Number of ids that a message lists; the others are only counted."""


HELD_OUT = "held-out"
"""Suffix of a split that means only the held-out tenth of its queries, chosen by a hash of their ids.

Training recipes do not use this tenth when they say ``part="train"``.
"""


class CollectionArgument(NamedTuple):
    """A collection as the command line names it: ``DIR``, ``DIR:SPLIT`` or ``DIR:SPLIT:held-out``."""

    folder: Path
    split: str | None = None
    held_out: bool = False

    @classmethod
    def named(cls, text: str) -> CollectionArgument:
        """Return the collection that ``text`` names. If ``text`` is an existing path, it is a folder, even
        with a colon.
        """
        if Path(text).exists() or ":" not in text:
            return cls(Path(text))
        before, _, last = text.rpartition(":")
        if last != HELD_OUT:
            return cls(Path(before), last)
        folder, _, split = before.rpartition(":")
        return (
            cls(Path(folder), split, held_out=True)
            if folder and not Path(before).exists()
            else cls(Path(before), held_out=True)
        )


@dataclass(frozen=True, slots=True)
class Topics:
    """The judged queries of a split: their texts and judgements, by query id.

    ``documents`` is the size of the corpus. ``skipped`` counts the judged queries without a relevant
    document; they are left out, because every order of their hits is worth the same. ``missing`` lists judged
    documents that are not in the corpus: they count as not found, as in trec_eval. ``pools`` maps a query id
    to the documents that the query searches; a query without an entry searches the whole collection.
    """

    collection: str
    split: str
    queries: dict[str, str]
    qrels: Qrels
    documents: int
    skipped: int
    missing: list[str] = field(default_factory=list)
    pools: dict[str, list[str]] = field(default_factory=dict)


def the_split(folder: Path, named: str | None) -> str:
    """Return the split that was named, or the only split.

    Raises SettingsError, with a list of the splits, when there are several and none was named. Raises
    SourceError when there is none.
    """
    known = splits(folder)
    if named is not None:
        return named
    if not known:
        raise SourceError(
            f"{folder} has no judgements; a split is a file qrels/NAME.tsv or .tsv.gz: query-id, corpus-id, "
            "score",
            path=str(folder),
        )
    if len(known) > 1:
        raise SettingsError(
            f"{folder} has several splits with judgements ({', '.join(known)}); name one: DIR:SPLIT, or "
            "--split SPLIT"
        )
    return known[0]


def read_topics(
    folder: Path,
    split: str,
    *,
    limit: int | None = None,
    only_held_out: bool = False,
    same_title: bool = False,
) -> Topics:
    """Return the queries of a split that have a relevant document.

    With ``limit``, only the first queries by a hash of their ids. With ``only_held_out``, only the held-out
    tenth of the queries (``collection.held_out``). With ``same_title``, each query searches only the judged
    documents whose title is the title of one of its relevant documents: passages of one article against each
    other.

    Raises SourceError with all faults of the collection in one message. Faults are: files that are missing or
    cannot be read, judgements of unknown queries or only of unknown documents, queries without words, ids
    that occur twice, no relevant document.
    """
    faults: list[str] = []
    titles = _read_or_note_fault(
        lambda: [(document.id, document.title) for document in read_corpus(folder)], faults
    )
    queries = _read_or_note_fault(lambda: read_queries(folder), faults)
    qrels = _read_or_note_fault(lambda: read_qrels(folder, split), faults)
    if titles is not None and queries is not None and qrels is not None:
        faults += _faults(Counter(name for name, _ in titles), queries, qrels)
    if titles is None or queries is None or qrels is None or faults:
        raise SourceError(
            f"{folder} cannot be evaluated:" + "".join(f"\n- {fault}" for fault in faults), path=str(folder)
        )
    asked = {query: judged for query, judged in qrels.items() if not only_held_out or held_out(query)}
    wanted = by_hash(query for query, judged in asked.items() if _has_relevant(judged))
    if not wanted:
        raise SourceError(
            f"{folder} has no query of the split {split!r} in the tenth that is held out; leave out "
            f":{HELD_OUT}",
            path=str(folder),
        )
    kept, title_of = wanted[:limit], dict(titles)
    relevant = {name for query in kept for name, grade in qrels[query].items() if grade > 0}
    untitled = sorted(name for name in relevant if not title_of.get(name, name))
    if same_title and untitled:
        raise SourceError(
            f"{len(untitled)} relevant documents of {folder} have no title: {_listed(untitled)}; leave out "
            "--same-title",
            path=str(folder),
        )
    return Topics(
        folder.resolve().name,
        ":".join([split, *([HELD_OUT] if only_held_out else []), *(["same title"] if same_title else [])]),
        {query: queries[query] for query in kept},
        {query: qrels[query] for query in kept},
        len(titles),
        len(asked) - len(wanted),
        sorted({name for query in kept for name in qrels[query]} - title_of.keys()),
        _pools(title_of, qrels, kept) if same_title else {},
    )


def lacks(topics: Topics) -> str | None:
    """Return a warning about judged documents that are not in the corpus; None when there are none."""
    if not topics.missing:
        return None
    return (
        f"{topics.collection}: {len(topics.missing)} judged documents are not in corpus.jsonl and count as "
        "not found: "
        f"{_listed(topics.missing)}"
    )


def _pools(titles: dict[str, str], qrels: Qrels, queries: Sequence[str]) -> dict[str, list[str]]:
    """Return the pool of each query: judged documents with the title of one of the query's relevant
    documents.
    """
    judged = dict.fromkeys(name for grades in qrels.values() for name in grades if name in titles)
    by_title: dict[str, list[str]] = {}
    for name in judged:
        by_title.setdefault(titles[name], []).append(name)
    wanted = {
        query: dict.fromkeys(
            titles[name] for name, grade in qrels[query].items() if grade > 0 and name in titles
        )
        for query in queries
    }
    return {query: [name for title in chosen for name in by_title[title]] for query, chosen in wanted.items()}


def _read_or_note_fault(read: Callable[[], T], faults: list[str]) -> T | None:
    try:
        return read()
    except SourceError as error:
        faults.append(error.message)
        return None


def _has_relevant(judged: dict[str, int]) -> bool:
    return any(grade > 0 for grade in judged.values())


def _faults(corpus: Counter[str], queries: dict[str, str], qrels: Qrels) -> list[str]:
    """Return the faults between files, each of which is correct by itself."""
    ids_by_fault = {
        "documents have the id of another one": [name for name, count in corpus.items() if count > 1],
        "judged queries are not in queries.jsonl": [query for query in qrels if query not in queries],
        "judged queries have no words": [query for query in qrels if not queries.get(query, "-").strip()],
    }
    judged_documents = {name for judged in qrels.values() for name in judged}
    if judged_documents and not judged_documents & corpus.keys():
        ids_by_fault["judged documents are not in corpus.jsonl, and none is"] = sorted(judged_documents)
    faults = [f"{len(ids)} {fault}: {_listed(ids)}" for fault, ids in ids_by_fault.items() if ids]
    return (
        faults
        if any(map(_has_relevant, qrels.values()))
        else [*faults, "no query has a relevant document (a judgement above 0)"]
    )


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _LISTED_IDS} more" if len(ids) > _LISTED_IDS else ""
    return ", ".join(map(repr, ids[:_LISTED_IDS])) + more

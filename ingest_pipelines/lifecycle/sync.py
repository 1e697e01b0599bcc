"""Removes from an index what its sources do not hold any more, after an ingest has read them whole.

Before the ingest, the ids of the index are written into a temporary file, each with the numbers of its last
change. Every id that is read is taken out. What is left at the end is removed, unless somebody wrote it
meanwhile. No clock is compared, and the memory does not grow.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from elasticsearch import ApiError, Elasticsearch, TransportError

from es_rerank.collection import Document, parse_object
from es_rerank.errors import IngestError, IngestStoppedError, SettingsError, SourceError

from ..patience import Patience
from ..reading import SUFFIXES
from ..reading.files import MOST_RECORD, FoundFile, kind_of
from ..reading.json_lines import is_rejects_file
from ..rejects import Reject, is_reject
from .removal import ID_BYTES, Stored, remove_unchanged

_PAGE = 1_000
_CACHE_KB = 16_384
"""Most memory that the file of ids takes."""

_KEEP_ALIVE = "5m"
_MOST_LOSSES = 5
"""So often, a point in time may be lost, as when a node restarts, before the ids are given up."""

_LOST = "search_context_missing_exception"

_RECORDS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv"})
"""Kinds of files that hold several documents. When one cannot be read, the ids of its documents are not
known. Every other kind that is read is one document, and its id is the file's name."""


class Sync:
    """The ids that an index held when an ingest began, less those that the ingest has read.

    Use it as a context manager. Raises IngestError when the temporary file cannot be written.
    """

    def __init__(self, client: Elasticsearch, index: str, patience: Patience) -> None:
        self._client = client
        self._index = index
        self._patience = patience
        self._held = 0
        self._read = 0
        self._unknown = 0
        self._whole = False

    def __enter__(self) -> Self:
        # An empty name is a file without a name in the folder for temporary files: it goes with the process.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            with _told():
                self._file.execute("PRAGMA journal_mode = OFF")
                self._file.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
                self._file.execute(
                    "CREATE TABLE gone (id BLOB, routing TEXT, seq_no INTEGER, term INTEGER, "
                    "PRIMARY KEY (id, routing)) WITHOUT ROWID"
                )
                self._file.execute("BEGIN")  # one transaction, which ends with the file
                self._fill()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def watch(self, items: Iterable[Document | Reject]) -> Iterator[Document | Reject]:
        """Yield what a source gives, and remember that it is there."""
        for item in items:
            self._read += 1
            known = (item.id,) if isinstance(item, Document) else _ids_of(item)
            self._unknown += not known
            with _told():
                self._file.executemany("DELETE FROM gone WHERE id = ?", [(_key(each),) for each in known])
            yield item
        self._whole = True

    def finish(
        self, version: str, *, agreed: bool, stopping: Callable[[], bool]
    ) -> Iterator[tuple[int, str | None]]:
        """Remove what was not read, unless there is a doubt. Yield the number of documents that are gone so
        far, and why none is removed, else None. When this ends, no search finds what was removed.

        ``version`` is the index that the documents were written into at last. ``agreed``: somebody has said
        that more than half of the documents may go. ``stopping``: whether to end early, which raises
        IngestStoppedError. Raises as ``removal.remove_unchanged`` does.
        """
        doubt = self._doubt(version, agreed=agreed)
        removed = 0
        yield removed, doubt
        if doubt is None and self._left():
            for count in remove_unchanged(self._client, self._index, self._unread(stopping), self._patience):
                removed += count
                yield removed, None
            self._patience.whole(lambda: self._client.indices.refresh(index=self._index))

    def _doubt(self, version: str, *, agreed: bool) -> str | None:
        """Return why nothing should be removed, None when there is no doubt."""
        left = self._left()
        if version != self._index:
            return f"{version} came into use instead of {self._index} meanwhile; repeat the run"
        if not self._whole:
            return "the sources were not read to their end; repeat the run"
        if not self._read:
            return "the sources hold no document; if that is right, delete the index"
        if left and self._unknown:
            return (
                f"{self._unknown} rejects have no id, so it is not known which documents they are; "
                "correct them in the sources and repeat the run"
            )
        if not agreed and 2 * left > self._held:
            return (
                f"of the {self._held} documents that the index held before, the sources hold "
                f"{self._held - left} under their ids, and {left} would go; the id of a file is its path "
                "within the source, so name the same folders as before; if all is right, repeat the run with "
                "--yes. What this run read is indexed"
            )
        return None

    def _unread(self, stopping: Callable[[], bool]) -> Iterator[Stored]:
        with _told():
            for key, *rest in self._file.execute("SELECT * FROM gone ORDER BY id"):
                if stopping():
                    raise IngestStoppedError(
                        "the ingest was stopped while it removed documents; all that the sources hold is "
                        "indexed, and the same run removes the rest"
                    )
                yield Stored(key.decode("utf-8", "surrogatepass"), *rest)

    def _left(self) -> int:
        with _told():
            (count,) = self._file.execute("SELECT count(*) FROM gone").fetchone()
            return int(count)

    def _fill(self) -> None:
        """Write the ids of the index. All that was written before is searched, refreshed or not."""
        self._patience.whole(lambda: self._client.indices.refresh(index=self._index))
        for attempt in range(_MOST_LOSSES):
            self._file.execute("DELETE FROM gone")
            try:
                for page in _pages(self._client, self._index, self._patience):
                    rows = [
                        (_key(hit["_id"]), hit.get("_routing", ""), hit["_seq_no"], hit["_primary_term"])
                        for hit in page
                    ]
                    self._file.executemany("INSERT INTO gone VALUES (?, ?, ?, ?)", rows)
            except ApiError as error:
                if _LOST not in str(error.body) or attempt == _MOST_LOSSES - 1:
                    raise
            else:
                self._held = self._left()
                return


class NoSync(AbstractContextManager["NoSync"]):
    """What stands for a ``Sync`` when nothing is to be removed."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def watch(self, items: Iterable[Document | Reject]) -> Iterable[Document | Reject]:
        """Return the items as they are."""
        return items

    def finish(self, *_: object, **__: object) -> Iterator[tuple[int, str | None]]:
        """Yield nothing."""
        return iter(())


def sync_of(client: Elasticsearch, index: str, patience: Patience, *, wanted: bool) -> Sync | NoSync:
    """Return what removes from the index, or what removes nothing."""
    return Sync(client, index, patience) if wanted else NoSync()


def check_sync(*, sync: bool, rebuild: bool) -> None:
    """Raise SettingsError when both are asked."""
    if sync and rebuild:
        raise SettingsError(
            "a rebuild holds the documents of its sources and no other, so sync is not needed; leave one of "
            "the two out"
        )


def check_sync_sources(sources: Sequence[Path]) -> None:
    """Raise SettingsError for a source that holds rejects: all other documents of the index would go."""
    for source in sources:
        if is_rejects_file(source.name) or _begins_with_reject(source):
            raise SettingsError(
                f"{source} holds rejects of an earlier run: with --sync, all other documents would be "
                "removed; ingest it without --sync, or correct the documents in their sources and name those"
            )


def _begins_with_reject(source: Path) -> bool:
    """Return whether a file has a reject as its first line. What cannot be read is told by its reader."""
    file = FoundFile(source, source.name)
    if file.suffix not in _RECORDS or not source.is_file():
        return False
    try:
        with file.open() as lines:
            first = lines.readline(MOST_RECORD)
        return is_reject(parse_object(first, source, 1))
    except (OSError, EOFError, zlib.error, SourceError):
        return False


def _pages(client: Elasticsearch, index: str, patience: Patience) -> Iterator[list[dict[str, Any]]]:
    """Yield the hits of a whole index in pages, without their sources."""
    once = client.options(max_retries=0)
    pit = patience.call(lambda: once.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE))["id"]
    after: list[Any] | None = None

    def ask() -> Any:  # noqa: ANN401 the client's answer
        return once.search(
            pit={"id": pit, "keep_alive": _KEEP_ALIVE},
            size=_PAGE,
            sort=[{"_shard_doc": "asc"}],
            search_after=after,
            source=False,
            seq_no_primary_term=True,
            track_total_hits=False,
            allow_partial_search_results=False,
        )

    try:
        while True:
            answer = patience.call(ask)
            pit, hits = answer.get("pit_id", pit), answer["hits"]["hits"]
            if not hits:
                return
            yield hits
            after = hits[-1]["sort"]
    finally:
        with suppress(ApiError, TransportError):  # Elasticsearch closes it by itself later
            once.close_point_in_time(id=pit)


def _ids_of(reject: Reject) -> tuple[str, ...]:
    """Return the ids that the document of a reject may have, none when that is not known."""
    if reject.id is None or (reject.document is None and not _one_document(reject)):
        return ()
    encoded = reject.id.encode("utf-8", "backslashreplace")
    # A file with a longer name has a hash of it as its id.
    return (reject.id,) if len(encoded) <= ID_BYTES else (hashlib.sha256(encoded).hexdigest()[:32],)


def _one_document(reject: Reject) -> bool:
    """Return whether the file of a reject is one document. Of what is no file it is not known."""
    file = Path(reject.file or "")
    kind = kind_of(file.name)
    return kind in SUFFIXES and kind not in _RECORDS and not file.is_dir()


def _key(identifier: str) -> bytes:
    return identifier.encode("utf-8", "surrogatepass")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IngestError(
            f"the ids of the index cannot be kept in the folder for temporary files ({error}); make room or "
            "set TMPDIR, and repeat the run"
        ) from error

"""Runs an ingest in rounds on a Ray cluster.

The driver reads the sources and makes batches of them, which it puts into Ray's object store. A round is one
pipeline of Ray Data over the batches of some documents: tasks convert files, take out what is unchanged and
cut; actors embed; tasks write. So the driver holds the documents of one batch and the ids of two rounds, and
the object store the batches of two rounds, however large the corpus is.
"""

from __future__ import annotations

import pickle  # nosec B403 # between processes of one Ray cluster, which pickle everything else too
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self

import ray
import ray.data

from es_rerank.collection import Document
from es_rerank.models import Embedder, room_of
from es_rerank.text.chunking import Chunker

from ..counting import Running, Tally
from ..pipeline import Ingest
from ..reading.deferred import DeferredDocument
from ..rejects import Reject
from ..stages import IngestBatch, ingest_batches
from ..target import Target
from ..vectors import written_for
from .cluster import cluster_workers, connected, quiet
from .connection import Connection
from .errors import first_cause
from .tasks import BatchDatasink, Carried, Embedding, Plan, block_of, prepare
from .workers import Workers

_FIRST_ROUND = 2_000
_MOST_DOCUMENTS = 50_000
"""Documents of a round for each embedding actor, at most."""

_MOST_CHARACTERS = 32_000_000
"""Characters of a round for each embedding actor, at most."""

_LONG_ROUND_S = 60.0
"""A round that takes less is followed by one of twice the documents: each round starts its actors anew."""

_FILES_AT_ONCE = 8
"""Files that one task converts."""

_WHOLE_BLOCKS: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}

_WRITES = 2
"""Bulk requests side by side for each actor, as without Ray."""

_TASK_CPUS = 0.5
_WRITE_CPUS = 0.25


@dataclass(slots=True)
class _Round:
    """The batches of a round, in the object store."""

    blocks: list[Any] = field(default_factory=list)
    superseded: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))


class RayIngest(Ingest):
    """An ``Ingest`` whose documents are converted, cut, embedded and written by a Ray cluster.

    ``connection``: how the machines of the cluster reach the Elasticsearch of ``client``. ``load``: loads the
    embedder there, with so many threads; it is pickled. ``address``: see ``cluster.connected``. ``actors``
    and ``threads``: how many processes embed, and the threads of each; None: as many as there is room for.
    ``on_note`` gets what is told of converted files. All else is as in ``Ingest``.

    Of documents with the same id, the last one of the sources is kept, as ``Ingest`` does.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 as Ingest
        embedder: Embedder,
        *,
        chunker: Chunker,
        connection: Connection,
        load: Callable[[int], Embedder],
        address: str | None = None,
        actors: int | None = None,
        threads: int | None = None,
        on_note: Callable[[str], None] = lambda _note: None,
        **options: Any,  # noqa: ANN401 those of Ingest
    ) -> None:
        super().__init__(client, embedder, chunker=chunker, **options)
        self._connection, self._load, self._address = connection, load, address
        self._actors, self._threads = actors, threads
        self._on_note = on_note

    def _runner(self, documents: Iterable[Document | Reject], target: Target) -> Running:
        """Return the run, ready to begin."""
        plan = Plan(
            self._connection,
            target.name,
            target.versions,
            self._recipe,
            pickle.dumps(self._chunker),
            room_of(self._embedder),
            self._patience,
            self._patience.call(lambda: written_for(self._client)),
            self._max_chunk_bytes,
            self._batch_documents,
            self._batch_characters,
            getattr(self._embedder, "scripts", None),
        )
        return RayRun(
            documents,
            target,
            plan,
            load=self._load,
            address=self._address,
            workers=lambda: cluster_workers(self._actors, self._threads),
            on_note=self._on_note,
        )


class RayRun:
    """A run at work (see ``counting.Running``)."""

    def __init__(
        self,
        documents: Iterable[Document | Reject],
        target: Target,
        plan: Plan,
        *,
        load: Callable[[int], Embedder],
        address: str | None,
        workers: Callable[[], Workers],
        on_note: Callable[[str], None],
    ) -> None:
        self._batches = _apart(
            ingest_batches(documents, plan.recipe, documents=plan.documents, characters=plan.characters)
        )
        self._target, self._plan = target, plan
        self._load, self._address, self._choose = load, address, workers
        self._on_note = on_note
        self._documents = _FIRST_ROUND
        self._finishing = self.cut_short = False
        self._told_to_finish: Future[None] = Future()
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(connected(self._address))
            stack.enter_context(quiet())
            self._workers = self._choose()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # the thread that reads puts nothing into a Ray that has ended
            self._finishing = True
        self._stack.close()

    def finish(self) -> None:
        """Begin no further round. The one that runs is written to its end."""
        with self._lock:
            self._finishing = True
            if not self._told_to_finish.done():
                self._told_to_finish.set_result(None)

    def __iter__(self) -> Iterator[Tally]:
        coming = self._begun()
        while (current := self._come(coming)).blocks:
            coming = self._begun()
            started = time.monotonic()
            yield from self._written(current)
            if time.monotonic() - started < _LONG_ROUND_S:
                self._documents = min(2 * self._documents, _MOST_DOCUMENTS * self._workers.actors)

    def _come(self, coming: Future[_Round]) -> _Round:
        """Return the next round when it is read; an empty one after ``finish``."""
        # A source may be a pipe that nobody writes into, so ``finish`` does not wait for it.
        either: list[Future[Any]] = [coming, self._told_to_finish]
        wait(either, return_when=FIRST_COMPLETED)
        if not self._finishing:
            return coming.result()
        self.cut_short |= not coming.done() or bool(coming.result().blocks)
        return _Round()

    def _begun(self) -> Future[_Round]:
        """Let another thread read the next round, while this one is written."""
        future: Future[_Round] = Future()

        def read() -> None:
            try:
                future.set_result(self._read())
            except BaseException as error:  # noqa: BLE001 raised again where the round is asked for
                future.set_exception(error)

        threading.Thread(target=read, name="ingest-read", daemon=True).start()
        return future

    def _read(self) -> _Round:
        """Return the next round, without batches at the end. An error of a source comes after what was read
        before it.
        """
        if self._error is not None:
            raise self._error
        round_, places, documents, characters = _Round(), dict[str, int](), 0, 0
        try:
            for batch in self._batches:
                if self._finishing:
                    self.cut_short = True
                    break
                number = len(round_.blocks)
                for identifier in batch.documents:
                    if identifier in places:
                        round_.superseded[places[identifier]].add(identifier)
                    places[identifier] = number
                # Here, in their order, so that a field gets the type that it would get without Ray.
                self._target.map(batch)
                block = block_of(Carried(number, batch))
                with self._lock:
                    if self._finishing:
                        self.cut_short = True
                        break
                    round_.blocks.append(ray.put(block))
                documents += len(batch.documents) + len(batch.rejects)
                characters += batch.characters()
                if documents >= self._documents or characters >= _MOST_CHARACTERS * self._workers.actors:
                    break
        except BaseException as error:
            self._error = error
            if not round_.blocks:
                raise
        return round_

    def _written(self, current: _Round) -> Iterator[Tally]:
        """Run a round, and yield the counts of its batches."""
        plan = replace(
            self._plan,
            versions=self._target.versions,
            stamp=_later_than(self._plan.stamps),
            superseded=dict(current.superseded),
        )
        self._plan = replace(self._plan, stamps=(*self._plan.stamps, plan.stamp))
        sink, workers = BatchDatasink(replace(plan, chunker=b"")), self._workers
        load = _Load(self._load, workers.threads)
        try:
            (
                ray.data.from_arrow_refs(current.blocks)
                .map_batches(partial(prepare, plan=plan), num_cpus=_TASK_CPUS, **_WHOLE_BLOCKS)
                .map_batches(
                    Embedding,
                    fn_constructor_args=(load, plan.recipe.embedder, plan.recipe.dims),
                    num_cpus=workers.cpus,
                    concurrency=min(workers.actors, len(current.blocks)),
                    **_WHOLE_BLOCKS,
                )
                .write_datasink(
                    sink,
                    ray_remote_args={"num_cpus": _WRITE_CPUS},
                    concurrency=min(_WRITES * workers.actors, len(current.blocks)),
                )
            )
        except ray.exceptions.RayError as error:
            raise first_cause(error) from None
        for result in (each for returned in sink.returned for each in returned):
            self._target.follow(result.versions)
            for note in result.notes:
                self._on_note(note)
            yield result.tally


@dataclass(frozen=True, slots=True)
class _Load:
    """Loads the embedder of an actor."""

    load: Callable[[int], Embedder]
    threads: int

    def __call__(self) -> Embedder:
        return self.load(self.threads)


def _apart(batches: Iterable[IngestBatch]) -> Iterator[IngestBatch]:
    """Yield the batches that hold something, and files to convert in batches of their own."""
    for batch in batches:
        deferred = [key for key, each in batch.documents.items() if isinstance(each, DeferredDocument)]
        for start in range(0, len(deferred), _FILES_AT_ONCE):
            keys = deferred[start : start + _FILES_AT_ONCE]
            yield IngestBatch(documents={key: batch.documents.pop(key) for key in keys})
        if batch.documents or batch.rejects or batch.duplicates:
            yield batch


def _later_than(stamps: tuple[str, ...]) -> str:
    """Return the time now, later than those of all rounds before."""
    now = datetime.now(UTC)
    if stamps:
        now = max(now, datetime.fromisoformat(stamps[-1]) + timedelta(microseconds=1))
    return now.isoformat()

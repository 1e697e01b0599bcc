"""Runs an ingest: skips unchanged documents, cuts the others into passages, embeds and indexes them.

All stages work side by side, each on a batch of its own (see ``flow`` and ``stages``).
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elasticsearch import Elasticsearch

from es_rerank.collection import Document
from es_rerank.errors import IngestError, IngestStoppedError
from es_rerank.models import Embedder, HostedEmbedder
from es_rerank.text.chunking import Chunker

from .counting import CountedFlow, Running, Tally
from .embedding import BATCHES_AT_ONCE, cutting_and_embedding
from .flow import Flow, Step
from .lifecycle.documents import Deleted, delete_documents
from .lifecycle.sync import check_sync, sync_of
from .mapping import recipe_of
from .metadata import Unfit, UnfitValues
from .patience import Patience
from .reading.objects import documents_of
from .rejects import Reject, RejectsFile
from .search_record import record_reranker, reranker_for
from .stages import InFlight, IngestBatch, as_sources, ingest_batches, without_unchanged
from .target import Address, Target
from .vector_growth import options_to_keep, takes_oversampling, vector_growth, writable_with
from .vector_options import IndexOptions, VectorOptions, named_options, options_by_size
from .vectors import written_for
from .versions import managed_index, writable_index


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The counts of an ingest, at its end or so far.

    ``index`` is the name that the caller gave. ``version`` is the concrete index that it names. Every
    document that was read counts in exactly one of four numbers. ``documents``: it was indexed; their
    passages are counted in ``passages``. ``skipped``: the index already holds it unchanged. ``failed``: it
    was not indexed and is in the file ``rejects``. ``duplicates``: a later document of the same run has the
    same id and replaced it. ``seconds`` is the time of the run. ``rejects`` is None when no document failed.

    After a run with ``sync``, ``removed`` counts the documents that were removed because the sources do not
    hold them any more; else it is None. ``not_removed`` says why none was removed though some might be.

    What is stored but not indexed as it stands: ``titles_cut`` counts the documents whose title is embedded
    only in part, ``passages_cut`` the passages of which the embedder reads only the beginning, and ``unfit``
    the values of metadata that are not indexed as their field's type. ``other_scripts`` counts the documents
    by script whose text is mainly in a script that the embedder was not trained on; kNN hardly finds them.
    """

    index: str
    version: str
    documents: int = 0
    passages: int = 0
    skipped: int = 0
    failed: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    rejects: Path | None = None
    removed: int | None = None
    not_removed: str | None = None
    titles_cut: int = 0
    passages_cut: int = 0
    unfit: tuple[Unfit, ...] = ()
    other_scripts: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the report as the JSON object that ``es-rerank ingest --json`` prints."""
        shown = ["index", "documents", "passages", "skipped", "failed"]
        if self.removed is not None:
            shown.append("removed")
        return {name: getattr(self, name) for name in shown} | {"seconds": round(self.seconds, 3)}


_WRITES_AT_ONCE = 2
"""Bulk requests side by side: Elasticsearch indexes one while the other is sent and parsed."""

OnReport = Callable[[IngestReport], None]


class Ingest:
    """Writes documents into an index, with passages and vectors. Documents that did not change are skipped.

    ``index_options``: the type of index that Elasticsearch makes of the vectors. With "auto", a new index
    gets what fits its number of passages, also while it grows (see ``vector_options``), and an index that
    exists keeps what somebody named. With None, a rebuild keeps it too. ``default_reranker``: the reranker
    that the index records for searches that name neither a field nor a reranker. Without it, the one that is
    recorded stays, also in a rebuild.

    A batch ends after ``batch_documents`` documents, or earlier when it holds ``batch_characters`` characters
    of text. It is sent in one bulk request, or in several requests of at most ``max_chunk_bytes`` bytes, or
    less if Elasticsearch or a proxy takes less (see ``BulkWriter``). Batches of at most six times
    ``batch_characters``, or one larger batch, are in memory, however large the corpus is. An embedder with an
    attribute ``calls_at_once`` is called in so many threads at once, any other in one. When Elasticsearch is
    busy (see ``patience.BUSY``), or a connection breaks, any request is repeated up to ``max_retries`` times.
    The first wait is ``initial_backoff_s`` seconds, and each further wait is twice as long.
    """

    def __init__(
        self,
        client: Elasticsearch,
        embedder: Embedder,
        *,
        chunker: Chunker,
        index_options: IndexOptions | None = None,
        default_reranker: str | None = None,
        batch_documents: int = 100,
        batch_characters: int = 200_000,
        max_chunk_bytes: int = 8 * 1024 * 1024,
        max_retries: int = 6,
        initial_backoff_s: float = 1.0,
    ) -> None:
        self._client = client
        self._embedder = embedder
        self._chunker = chunker
        self._batch_documents = batch_documents
        self._batch_characters = batch_characters
        self._max_chunk_bytes = max_chunk_bytes
        self._patience = Patience(max_retries, initial_backoff_s, lambda: self._stopping)
        self._recipe = recipe_of(embedder, chunker)
        self._index_options = index_options
        self._default_reranker = default_reranker
        if index_options not in (None, "auto"):
            named_options(index_options, embedder.dims)  # raises before anything is written
        self._running: Running | None = None
        self._stopping = False

    def run(
        self,
        index: str,
        documents: Iterable[Any],
        *,
        rebuild: bool = False,
        rejects: Path | None = None,
        sync: bool = False,
        remove_most: bool = False,
        on_progress: OnReport | None = None,
        before_switch: OnReport | None = None,
    ) -> IngestReport:
        """Index the documents under the name ``index`` and return the counts.

        ``documents`` are what ``documents_of`` takes: dicts, and documents of LangChain and LlamaIndex too.
        ``on_progress`` is called with the counts after every batch. Documents that are in the index but not
        in ``documents`` stay there. With ``sync`` they are removed at the end (see ``lifecycle.sync``), more
        than half of the index only with ``remove_most`` too.

        With ``rebuild`` a new version of the index is made, which holds
        ``documents`` only (see ``versions``). A document that cannot be indexed is written to the file
        ``rejects`` (see ``RejectsFile``), and the run continues. A rebuild switches to the new version even
        if some documents failed: correct them in the file and ingest the file. ``before_switch`` is called
        right before it does, when all is written and searchable; an error of it ends the run. The index is
        refreshed once, at the end.

        Raises SettingsError for ``sync`` with ``rebuild``, and for a file ``rejects`` that holds something
        else, IndexMismatchError when the index does not fit, IngestError when a rebuild would leave the
        index empty, when the index takes no documents (a full disk) or the rejects cannot be written,
        IngestStoppedError after ``stop``, SourceError when a source is damaged, and the errors of the
        elasticsearch client. After an error, the same run can be started again: it skips the documents that
        are already indexed.
        """
        started = time.monotonic()
        check_sync(sync=sync, rebuild=rebuild)
        self._check_going()
        items = documents_of(documents)
        file_of_rejects = RejectsFile(index, rejects)
        self._answering(index)
        vectors = self._vector_options(index, rebuild=rebuild)
        reranker = reranker_for(
            self._client, index, self._patience, named=self._default_reranker, rebuild=rebuild
        )
        with (
            writable_with(
                lambda options: writable_index(
                    self._client, index, self._recipe, self._patience, rebuild=rebuild, vectors=options
                ),
                vectors,
            ) as version,
            closing(file_of_rejects) as rejects_file,
            sync_of(self._client, version, self._patience, wanted=sync) as in_sync,
        ):
            record_reranker(self._client, version, reranker, self._patience)
            growth = vector_growth(self._client, version, vectors, self._patience)
            report, unfit = IngestReport(index, version), UnfitValues()
            target = Target(
                self._client, Address(index, version, self._recipe), self._patience, self._max_chunk_bytes
            )
            with self._runner(in_sync.watch(items), target) as running:
                self._running = running
                if self._stopping:
                    running.finish()
                try:
                    for tally in running:
                        report = self._counted(tally, report, unfit, rejects_file)
                        report = replace(report, seconds=time.monotonic() - started)
                        growth.go_on_in(target.versions[-1])
                        growth.reached(report.passages)
                        if on_progress:
                            on_progress(report)
                except IngestStoppedError as error:  # Elasticsearch is busy, and is waited for no more
                    report = replace(report, version=target.versions[-1])
                    raise _stopped(report, rebuild=rebuild) from error
            report = replace(report, version=target.versions[-1])
            if not rebuild:  # a new version is looked at before the alias moves
                target.check_there()
            self._patience.whole(lambda: self._client.indices.refresh(index=report.version))
            _check_complete(report, cut_short=running.cut_short, rebuild=rebuild)
            if before_switch:
                before_switch(report)
            removals = in_sync.finish(report.version, agreed=remove_most, stopping=lambda: self._stopping)
            for removed, doubt in removals:
                report = replace(report, removed=removed, not_removed=doubt)
                if on_progress:
                    on_progress(report)
        return replace(report, seconds=time.monotonic() - started)

    def put(self, index: str, document: Any) -> IngestReport:  # noqa: ANN401 see ``documents_of``
        """Write one document into the index, or into a new one; searches find it when this returns.

        ``document`` is any item that ``run`` takes. Raises IngestError when it cannot be indexed, with the
        reason, and else as ``run`` does.
        """
        with TemporaryDirectory() as folder:
            report = self.run(index, [document], rejects=Path(folder) / "reject.jsonl")
            if report.rejects is not None:
                reject = json.loads(report.rejects.read_text(encoding="utf-8"))
                named = "the document" if reject["id"] is None else f"document {reject['id']!r}"
                reason = reject["reason"].removeprefix("item 1: ")
                raise IngestError(f"{named} was not indexed: {reason}", failed=1)
        return report

    def delete(self, index: str, ids: Sequence[str]) -> Deleted:
        """Delete documents of the index; see ``lifecycle.documents.delete_documents``."""
        return delete_documents(self._client, index, ids, self._patience)

    def _answering(self, index: str) -> None:
        """Ask a service once before an index is made for its vectors. Raises what ``embed`` raises."""
        embedder = self._embedder
        if isinstance(embedder, HostedEmbedder) and not managed_index(self._client, index, self._patience):
            embedder.embed_accepted([], lambda: self._stopping)
            self._check_going()

    def _vector_options(self, index: str, *, rebuild: bool) -> VectorOptions:
        """Return the options of an index that is made: those that were named, or those of a small one."""
        oversamples, dims = self._patience.call(lambda: takes_oversampling(self._client)), self._recipe.dims
        named = self._index_options
        if named is None and rebuild:
            kept = options_to_keep(self._client, index, dims, self._patience, oversamples=oversamples)
            if kept is not None:
                return kept
        if named is None or named == "auto":
            return options_by_size(0, dims, oversamples=oversamples)
        return named_options(named, dims, oversamples=oversamples)

    def stop(self) -> None:
        """Let the run end soon: what is embedded or being embedded is written, and nothing else is begun.

        The run then raises IngestStoppedError, unless nothing was left to do. A further run raises
        it at once.
        May be called from any thread and from a signal's handler.
        """
        self._stopping = True
        if (running := self._running) is not None:
            # In a thread of its own, because the one that a signal interrupts may hold the flow's lock.
            threading.Thread(target=running.finish, name="ingest-stop", daemon=True).start()

    def _check_going(self) -> None:
        if self._stopping:
            raise IngestStoppedError("the ingest was stopped before it began")

    def _runner(self, documents: Iterable[Document | Reject], target: Target) -> Running:
        """Return the stages of a run, ready to begin."""
        client, patience, stamp = self._client, self._patience, datetime.now(UTC).isoformat()
        in_flight, stamps = InFlight(), (stamp,)
        encode = patience.call(lambda: written_for(client))
        steps: list[Step[IngestBatch]] = [
            Step(
                "skip",
                lambda batch: without_unchanged(batch, client, target.versions, patience, stamps, in_flight),
            ),
            *cutting_and_embedding(self._embedder, self._chunker, lambda: flow.finishing),
            Step("encode", lambda batch: as_sources(batch, encode, stamp)),
            Step("map", target.map),
            Step("write", target.write, workers=_WRITES_AT_ONCE, keys=lambda batch: batch.documents.keys()),
        ]
        flow: Flow[IngestBatch] = Flow(
            ingest_batches(
                documents, self._recipe, documents=self._batch_documents, characters=self._batch_characters
            ),
            steps,
            weight=IngestBatch.characters,
            most_weight=BATCHES_AT_ONCE * self._batch_characters,
        )
        return CountedFlow(flow, in_flight, getattr(self._embedder, "scripts", None))

    def _counted(
        self, tally: Tally, report: IngestReport, unfit: UnfitValues, rejects_file: RejectsFile
    ) -> IngestReport:
        """Write the rejects of a batch, and return ``report`` with the counts of the batch added."""
        for reject in tally.rejects:
            rejects_file.write(reject)
        for misfits in tally.unfit:
            unfit.add(*misfits)
        return replace(
            report,
            documents=report.documents + tally.documents,
            passages=report.passages + tally.passages,
            skipped=report.skipped + tally.skipped,
            failed=report.failed + len(tally.rejects),
            duplicates=report.duplicates + tally.duplicates,
            rejects=rejects_file.path,
            titles_cut=report.titles_cut + tally.titles_cut,
            passages_cut=report.passages_cut + tally.passages_cut,
            unfit=unfit.counts(),
            other_scripts=report.other_scripts + tally.other_scripts,
        )


def _check_complete(report: IngestReport, *, cut_short: bool, rebuild: bool) -> None:
    """Raise the error of a run that was stopped, or of a rebuild that would leave the index empty."""
    if cut_short:
        raise _stopped(report, rebuild=rebuild)
    if rebuild and not report.documents:
        why = f", and {report.rejects} holds each of them with the reason" if report.rejects else ""
        raise IngestError(
            f"nothing was indexed, so {report.index} stays as it was; {report.failed} documents failed{why}",
            failed=report.failed,
        )


def _stopped(report: IngestReport, *, rebuild: bool) -> IngestStoppedError:
    done = f"{report.documents} documents were indexed, {report.skipped} skipped, {report.failed} failed"
    if report.rejects is not None:
        done += f" ({report.rejects} holds these)"
    then = (
        f"the new version {report.version} is deleted and {report.index} stays as it was; begin again with "
        "the same run"
        if rebuild
        else "the same run goes on where this one stopped, and meets again what failed"
    )
    return IngestStoppedError(
        f"the ingest into {report.index} was stopped: {done}; {then}", failed=report.failed
    )

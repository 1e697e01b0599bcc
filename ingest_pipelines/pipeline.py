"""Runs an ingest: skips unchanged documents, cuts the others into passages, embeds and indexes them.

The next batch is embedded while Elasticsearch indexes the current one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from es_rerank.collection import Document
from es_rerank.errors import IngestError
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker

from .mapping import IndexRecipe
from .prefetch import prefetch
from .rejects import Reject, RejectsFile, rejected
from .stages import InFlight, IngestBatch, embedded, ingest_batches, skip_unchanged
from .vectors import written_for
from .versions import writable_index


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The counts of an ingest, at its end or so far.

    ``index`` is the name that the caller gave. ``version`` is the concrete index that it names. Every
    document that was read counts in exactly one of four numbers. ``documents``: it was indexed; their
    passages are counted in ``passages``. ``skipped``: the index already holds it unchanged. ``failed``: it
    was not indexed and is in the file ``rejects``. ``duplicates``: a later document of the same run has the
    same id and replaced it. ``seconds`` is the time of the run. ``rejects`` is None when no document failed.
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

    def as_json(self) -> dict[str, Any]:
        """Return the report as the JSON object that ``es-rerank ingest --json`` prints."""
        shown = ("index", "documents", "passages", "skipped", "failed")
        return {name: getattr(self, name) for name in shown} | {"seconds": round(self.seconds, 3)}


_TOO_LARGE = 413

OnReport = Callable[[IngestReport], None]


class Ingest:
    """Writes documents into an index, with passages and vectors. Documents that did not change are skipped.

    A batch ends after ``batch_documents`` documents, or earlier when it holds ``batch_characters`` characters
    of text. Its passages are embedded in one call. It is sent in one bulk request, or in several requests of
    at most ``max_chunk_bytes`` bytes. At most two batches are in memory, however large the corpus is. When
    Elasticsearch is overloaded (429, 503), a request is repeated up to ``max_retries`` times. The first wait
    is ``initial_backoff_s`` seconds, and each further wait is twice as long.
    """

    def __init__(
        self,
        client: Elasticsearch,
        embedder: Embedder,
        *,
        chunker: Chunker,
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
        self._max_retries = max_retries
        self._initial_backoff_s = initial_backoff_s
        self._recipe = IndexRecipe(embedder.name, embedder.dims, chunker.size, chunker.overlap)

    def run(
        self,
        index: str,
        documents: Iterable[Document | Reject],
        *,
        rebuild: bool = False,
        rejects: Path | None = None,
        on_progress: OnReport | None = None,
    ) -> IngestReport:
        """Index the documents under the name ``index`` and return the counts.

        ``on_progress`` is called with the counts after every batch. Documents that are in the index but not
        in ``documents`` stay there. With ``rebuild`` a new version of the index is made, which holds
        ``documents`` only (see ``versions``). A document that cannot be indexed is written to the file
        ``rejects`` (see ``RejectsFile``), and the run continues. A rebuild switches to the new version even
        if some documents failed: correct them in the file and ingest the file. The index is refreshed once,
        at the end.

        Raises IndexMismatchError when the index does not fit, IngestError when a rebuild would leave the
        index empty, SourceError when a source is damaged, and the errors of the elasticsearch client. After
        an error, the same run can be started again: it skips the documents that are already indexed.
        """
        started = time.monotonic()
        with (
            writable_index(self._client, index, self._recipe, rebuild=rebuild) as version,
            closing(RejectsFile(index, rejects)) as rejects_file,
        ):
            report = IngestReport(index, version)
            with closing(self._reports(report, documents, rejects_file)) as reports:
                for so_far in reports:
                    report = replace(so_far, seconds=time.monotonic() - started)
                    if on_progress:
                        on_progress(report)
            self._client.indices.refresh(index=version)
            if rebuild and not report.documents:
                raise IngestError(
                    f"nothing was indexed, so {index} stays as it was; {report.failed} documents failed",
                    failed=report.failed,
                )
        return replace(report, seconds=time.monotonic() - started)

    def _reports(
        self, report: IngestReport, documents: Iterable[Document | Reject], rejects_file: RejectsFile
    ) -> Generator[IngestReport]:
        """Write all batches and yield the counts so far after each of them."""
        in_flight = InFlight()
        stamp = datetime.now(UTC).isoformat()
        read = ingest_batches(
            documents, self._recipe, documents=self._batch_documents, characters=self._batch_characters
        )
        fresh = skip_unchanged(read, self._client, report.version, stamp, in_flight)
        with closing(
            prefetch(embedded(fresh, self._chunker, self._embedder, written_for(self._client), stamp))
        ) as ready:
            for batch in ready:
                report = self._write(batch, report, rejects_file)
                in_flight.leave(batch.documents)
                yield report

    def _write(self, batch: IngestBatch, report: IngestReport, rejects_file: RejectsFile) -> IngestReport:
        """Write one batch and return ``report`` with the counts of the batch added."""
        written: list[str] = []
        replaced = 0
        for identifier, info in self._bulk(batch, report.version):
            if "error" in info:
                batch.rejects.append(rejected(batch.documents[identifier], _reason(info)))
                continue
            written.append(identifier)
            # If the earlier document with this id failed, this one is new in the index and not a duplicate.
            replaced += identifier in batch.again and info.get("result") == "updated"
        for reject in batch.rejects:
            rejects_file.write(reject)
        return replace(
            report,
            documents=report.documents + len(written) - replaced,
            passages=report.passages + sum(len(batch.passages[identifier]) for identifier in written),
            skipped=report.skipped + batch.skipped,
            failed=report.failed + len(batch.rejects),
            duplicates=report.duplicates + batch.duplicates + replaced,
            rejects=rejects_file.path,
        )

    def _bulk(self, batch: IngestBatch, index: str) -> Iterable[tuple[str, dict[str, Any]]]:
        """Send the batch and yield (id, Elasticsearch's answer) for each of its documents."""
        results = streaming_bulk(
            self._client,
            batch.actions,
            index=index,
            max_chunk_bytes=self._max_chunk_bytes,
            max_retries=self._max_retries,
            initial_backoff=self._initial_backoff_s,
            max_backoff=30,
            retry_on_status=(429, 503),
            raise_on_error=False,
            # When a request cannot be parsed or is too large, only its documents fail. Any other error (no
            # permission, no index, no node) would meet all further requests too, so it ends the run.
            ignore_status=(400, 413),
        )
        for _, item in results:
            ((_, info),) = item.items()
            yield info["_id"], info


def _reason(info: dict[str, Any]) -> str:
    """Return why Elasticsearch refused a document, with the cause that Elasticsearch reports."""
    error = info["error"]
    if info["status"] == _TOO_LARGE:
        return (
            f"{_TOO_LARGE}: the document is larger than Elasticsearch's limit for one request "
            "(setting http.max_content_length, 100 MB by default)"
        )
    if not isinstance(error, dict):
        return f"{info['status']}: {error}"
    cause = error.get("caused_by") or {}
    because = f" ({cause['reason']})" if cause.get("reason") else ""
    return f"{info['status']} {error.get('type')}: {error.get('reason')}{because}"

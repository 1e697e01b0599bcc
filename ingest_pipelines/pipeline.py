"""The ingest: read, leave out what is unchanged, chunk, embed, index; embedding and indexing overlap."""

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

from .mapping import Recipe
from .prefetch import prefetch
from .rejects import Reject, RejectsFile, rejected
from .stages import Batch, InFlight, batches, embedded, skip_unchanged
from .vectors import written_for
from .versions import writable_index


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did, or has done so far.

    ``index`` is the name that was asked for, ``version`` the concrete index behind it. Every document that was read
    is counted once: in ``documents`` (indexed, with ``passages`` passages), ``skipped`` (in the index, unchanged),
    ``failed`` (in the file ``rejects``), or ``duplicates`` (a later document of the same run had its id and won).
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
        """Return the report as ``es-rerank ingest --json`` prints it."""
        shown = ("index", "documents", "passages", "skipped", "failed")
        return {name: getattr(self, name) for name in shown} | {"seconds": round(self.seconds, 3)}


_TOO_LARGE = 413

Progress = Callable[[IngestReport], None]


class Ingest:
    """Writes documents into an index: passages with vectors, behind an alias, leaving out what is there unchanged.

    ``batch_documents`` documents, or ``batch_characters`` characters of text if they come first, are embedded at once
    and make one bulk request of at most ``max_chunk_bytes`` bytes (or several). Two batches are held at most,
    whatever the corpus. A refusal for want of room (429, 503) is tried again ``max_retries`` times, the waits doubling
    from ``initial_backoff_s`` seconds.
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
        self._recipe = Recipe(embedder.name, embedder.dims, chunker.size, chunker.overlap)

    def run(
        self,
        index: str,
        documents: Iterable[Document | Reject],
        *,
        rebuild: bool = False,
        rejects: Path | None = None,
        on_progress: Progress | None = None,
    ) -> IngestReport:
        """Index the documents under ``index`` and return what was done; ``on_progress`` is called after every batch.

        Documents that are in the index but not among ``documents`` stay, unless ``rebuild`` makes a new version of the
        index (see ``versions``). A document that cannot be indexed goes to the file ``rejects`` (see ``RejectsFile``)
        and the run goes on; a rebuild switches all the same, and the mended rejects are ingested into the new version.
        The index is refreshed once, at the end.
        Raises IndexMismatchError when the index does not fit, IngestError when a rebuild would leave it empty, SourceError
        for a damaged source, and the elasticsearch client's errors; run again, and it goes on where it stopped.
        """
        started = time.monotonic()
        with (
            writable_index(self._client, index, self._recipe, rebuild=rebuild) as version,
            closing(RejectsFile(index, rejects)) as refused,
        ):
            report = IngestReport(index, version)
            with closing(self._reports(report, documents, refused)) as reports:
                for so_far in reports:
                    report = replace(so_far, seconds=time.monotonic() - started)
                    if on_progress:
                        on_progress(report)
            self._client.indices.refresh(index=version)
            if rebuild and not report.documents:
                raise IngestError(
                    f"nothing was indexed, so {index} is left as it was; {report.failed} documents failed",
                    failed=report.failed,
                )
        return replace(report, seconds=time.monotonic() - started)

    def _reports(
        self, report: IngestReport, documents: Iterable[Document | Reject], refused: RejectsFile
    ) -> Generator[IngestReport]:
        """Yield the report as it stands after every batch."""
        in_flight = InFlight()
        stamp = datetime.now(UTC).isoformat()
        read = batches(
            documents, self._recipe, documents=self._batch_documents, characters=self._batch_characters
        )
        fresh = skip_unchanged(read, self._client, report.version, stamp, in_flight)
        with closing(
            prefetch(embedded(fresh, self._chunker, self._embedder, written_for(self._client), stamp))
        ) as ready:
            for batch in ready:
                report = self._written(batch, report, refused)
                in_flight.leave(batch.documents)
                yield report

    def _written(self, batch: Batch, report: IngestReport, refused: RejectsFile) -> IngestReport:
        """Write one batch and return the report with it counted in."""
        written: list[str] = []
        replaced = 0
        for identifier, info in self._bulk(batch, report.version):
            if "error" in info:
                batch.rejects.append(rejected(batch.documents[identifier], _reason(info)))
                continue
            written.append(identifier)
            # Where the earlier one failed, this is the first to arrive, and no duplicate.
            replaced += identifier in batch.again and info.get("result") == "updated"
        for reject in batch.rejects:
            refused.write(reject)
        return replace(
            report,
            documents=report.documents + len(written) - replaced,
            passages=report.passages + sum(len(batch.passages[identifier]) for identifier in written),
            skipped=report.skipped + batch.skipped,
            failed=report.failed + len(batch.rejects),
            duplicates=report.duplicates + batch.duplicates + replaced,
            rejects=refused.path,
        )

    def _bulk(self, batch: Batch, index: str) -> Iterable[tuple[str, dict[str, Any]]]:
        """Yield (id, Elasticsearch's answer) for every document of the batch."""
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
            # A request that cannot be parsed or is too large fails its documents; anything else (no permission, no
            # index, no node) would fail all that follow too, and ends the run.
            ignore_status=(400, 413),
        )
        for _, item in results:
            ((_, info),) = item.items()
            yield info["_id"], info


def _reason(info: dict[str, Any]) -> str:
    """Return why Elasticsearch refused a document, with the cause that it gives for it."""
    error = info["error"]
    if info["status"] == _TOO_LARGE:
        return f"{_TOO_LARGE}: the document is larger than Elasticsearch takes in one request (its setting http.max_content_length, 100 MB unless set)"
    if not isinstance(error, dict):
        return f"{info['status']}: {error}"
    cause = error.get("caused_by") or {}
    because = f" ({cause['reason']})" if cause.get("reason") else ""
    return f"{info['status']} {error.get('type')}: {error.get('reason')}{because}"

"""Runs an ingest: skips unchanged documents, cuts the others into passages, embeds and indexes them.

The next batch is embedded while Elasticsearch indexes the current one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch

from es_rerank.collection import Document
from es_rerank.errors import IngestError
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker
from es_rerank.text.scripts import other_scripts

from .bulk import BulkWriter
from .mapping import METADATA, IndexRecipe, metadata_body
from .metadata import MetadataFields, Unfit, UnfitValues
from .patience import Patience
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
    titles_cut: int = 0
    passages_cut: int = 0
    unfit: tuple[Unfit, ...] = ()
    other_scripts: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the report as the JSON object that ``es-rerank ingest --json`` prints."""
        shown = ("index", "documents", "passages", "skipped", "failed")
        return {name: getattr(self, name) for name in shown} | {"seconds": round(self.seconds, 3)}


_MAPPING_ATTEMPTS = 5
"""How often the types of new metadata fields are chosen again after another ingest chose them first."""

OnReport = Callable[[IngestReport], None]


class Ingest:
    """Writes documents into an index, with passages and vectors. Documents that did not change are skipped.

    A batch ends after ``batch_documents`` documents, or earlier when it holds ``batch_characters`` characters
    of text. Its passages are embedded in one call. It is sent in one bulk request, or in several requests of
    at most ``max_chunk_bytes`` bytes, or less if Elasticsearch or a proxy takes less (see ``BulkWriter``). At
    most two batches are in memory, however large the corpus is. When Elasticsearch is busy (429, 502, 503,
    504), or a connection breaks, any request is repeated up to ``max_retries`` times. The first wait is
    ``initial_backoff_s`` seconds, and each further wait is twice as long.
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
        self._patience = Patience(max_retries, initial_backoff_s)
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
        index empty, when the index takes no documents (a full disk) or the rejects cannot be written,
        SourceError when a source is damaged, and the errors of the elasticsearch client. After an error, the
        same run can be started again: it skips the documents that are already indexed.
        """
        started = time.monotonic()
        with (
            writable_index(self._client, index, self._recipe, self._patience, rebuild=rebuild) as version,
            closing(RejectsFile(index, rejects)) as rejects_file,
        ):
            report = IngestReport(index, version)
            with closing(self._reports(report, documents, rejects_file)) as reports:
                for so_far in reports:
                    report = replace(so_far, seconds=time.monotonic() - started)
                    if on_progress:
                        on_progress(report)
            self._patience.call(lambda: self._client.indices.refresh(index=version))
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
        in_flight, stamp = InFlight(), datetime.now(UTC).isoformat()
        read = ingest_batches(
            documents, self._recipe, documents=self._batch_documents, characters=self._batch_characters
        )
        fresh = skip_unchanged(read, self._client, report.version, self._patience, stamp, in_flight)
        encode = self._patience.call(lambda: written_for(self._client))
        target = _Target(self._client, report.version, self._patience, self._max_chunk_bytes)
        with closing(prefetch(embedded(fresh, self._chunker, self._embedder, encode, stamp))) as ready:
            for batch in ready:
                report = self._write(batch, report, target, rejects_file)
                in_flight.leave(batch.documents)
                yield report

    def _write(
        self, batch: IngestBatch, report: IngestReport, target: _Target, rejects_file: RejectsFile
    ) -> IngestReport:
        """Write one batch and return ``report`` with the counts of the batch added."""
        written: list[str] = []
        replaced = 0
        for identifier, info in target.write(batch):
            if "error" in info:
                batch.rejects.append(rejected(batch.documents[identifier], _reason(info)))
                continue
            written.append(identifier)
            # If the earlier document with this id failed, this one is new in the index and not a duplicate.
            replaced += identifier in batch.again and info.get("result") == "updated"
        for reject in batch.rejects:
            rejects_file.write(reject)
        cut = [batch.cut[identifier] for identifier in written]
        return replace(
            report,
            documents=report.documents + len(written) - replaced,
            passages=report.passages + sum(len(document.passages) for document in cut),
            skipped=report.skipped + batch.skipped,
            failed=report.failed + len(batch.rejects),
            duplicates=report.duplicates + batch.duplicates + replaced,
            rejects=rejects_file.path,
            titles_cut=report.titles_cut + sum(document.title_cut for document in cut),
            passages_cut=report.passages_cut + sum(document.passages_cut for document in cut),
            unfit=target.count_unfit(batch.documents[identifier] for identifier in written),
            other_scripts=report.other_scripts + self._other_scripts(batch, written),
        )

    def _other_scripts(self, batch: IngestBatch, written: list[str]) -> Counter[str]:
        known = getattr(self._embedder, "scripts", None)
        texts = (batch.documents[identifier].text for identifier in written)
        return other_scripts(texts, known) if known else Counter()


class _Target:
    """The index that an ingest writes into, and the metadata fields of its mapping."""

    def __init__(self, client: Elasticsearch, version: str, patience: Patience, max_bytes: int) -> None:
        self._client = client
        self._version = version
        self._patience = patience
        self._writer = BulkWriter(client, version, max_bytes=max_bytes, patience=patience)
        self._fields = self._mapped()
        self._unfit = UnfitValues()

    def write(self, batch: IngestBatch) -> Iterator[tuple[str, dict[str, Any]]]:
        """Write the documents of a batch and yield (id, Elasticsearch's answer) of each."""
        self._map_metadata(batch)
        yield from self._writer.write(batch.sources.items())

    def count_unfit(self, written: Iterable[Document]) -> tuple[Unfit, ...]:
        """Count the values of these documents that do not have the type of their field; return all counts."""
        for document in written:
            self._unfit.add(*self._fields.unfit(document.metadata))
        return self._unfit.counts()

    def _map_metadata(self, batch: IngestBatch) -> None:
        """Add the fields of new metadata to the mapping.

        Another ingest may add a field of the same name at the same time; its type then holds.
        """
        for attempt in range(_MAPPING_ATTEMPTS):
            new = self._fields.learn([document.metadata for document in batch.documents.values()])
            if not new:
                return
            properties = metadata_body(new)
            try:
                self._patience.call(
                    lambda properties=properties: self._client.indices.put_mapping(  # type: ignore[misc]
                        index=self._version, properties=properties
                    )
                )
            except BadRequestError:
                if attempt == _MAPPING_ATTEMPTS - 1:
                    raise
                self._fields = self._mapped()
            else:
                return

    def _mapped(self) -> MetadataFields:
        answer = self._patience.call(lambda: self._client.indices.get_mapping(index=self._version))
        (state,) = answer.values()
        return MetadataFields(state["mappings"]["properties"][METADATA].get("properties", {}))


def _reason(info: dict[str, Any]) -> str:
    """Return why a document was refused, with the cause that Elasticsearch reports."""
    status, error = info["status"], info["error"]
    if not isinstance(error, dict):
        return str(error) if status is None else f"{status}: {error}"
    cause = error.get("caused_by") or {}
    because = f" ({cause['reason']})" if cause.get("reason") else ""
    return f"{status} {error.get('type')}: {error.get('reason')}{because}"

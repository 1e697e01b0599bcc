"""The index that an ingest writes into: its metadata fields, and the documents of a batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from es_rerank.errors import IngestError
from es_rerank.text.hit_fields import HEADING

from .blocks import STAYS, successor_of
from .bulk import BlockedError, BulkWriter
from .mapping import METADATA, IndexRecipe, heading_body, metadata_body
from .metadata import MetadataFields
from .patience import Patience
from .stages import IngestBatch

_MAPPING_ATTEMPTS = 5
"""How often the types of new metadata fields are chosen again after another ingest chose them first."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a run writes: the index that ``name`` named at its start, which was made by ``recipe``."""

    name: str
    version: str
    recipe: IndexRecipe


class Target:
    """The index that an ingest writes into, and the metadata fields of its mapping.

    ``versions``: the index, and the one before it if a re-embedding has replaced that while the run wrote.
    ``map`` is for one batch after the other. ``write`` may be called for several batches at once.
    """

    def __init__(self, client: Elasticsearch, address: Address, patience: Patience, max_bytes: int) -> None:
        self._client = client
        self._address = address
        self._patience = patience
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self.versions: tuple[str, ...] = ()
        self._has_headings = False
        self._go_on_in(address.version)

    def _go_on_in(self, version: str) -> None:
        self.versions = (*self.versions, version)
        self._version, self._uuid = version, ""
        self._writer = BulkWriter(self._client, version, max_bytes=self._max_bytes, patience=self._patience)
        self._fields = self._mapped()

    @property
    def name(self) -> str:
        """The name that the index had for the caller when the run began."""
        return self._address.name

    def check_there(self) -> None:
        """Raise IngestError when somebody has deleted the index that was written.

        Elasticsearch then makes another one of its name for the next bulk request, with a mapping of its own.
        """
        self._state()

    def follow(self, versions: Sequence[str]) -> None:
        """Go on in the last of ``versions``, into which another machine went on after a re-embedding."""
        with self._lock:
            for version in versions:
                if version not in self.versions:
                    self._go_on_in(version)

    def map(self, batch: IngestBatch) -> IngestBatch:
        """Add the fields of new metadata to the mapping, and note which values are not of their field's type.

        Another ingest may add a field of the same name at the same time; its type then holds.
        """
        with self._lock:
            return self._map(batch)

    def _map(self, batch: IngestBatch) -> IngestBatch:
        documents = batch.documents.values()
        if not self._has_headings and any(document.format == "markdown" for document in documents):
            # An index of an earlier release has no field for them.
            self._patience.call(
                lambda: self._client.indices.put_mapping(index=self._version, properties=heading_body())
            )
            self._has_headings = True
        for attempt in range(_MAPPING_ATTEMPTS):
            new = self._fields.learn([document.metadata for document in documents])
            if not new:
                break
            properties = metadata_body(new)
            try:
                self._patience.call(
                    lambda properties=properties: self._client.indices.put_mapping(  # type: ignore[misc]
                        index=self._version, properties=properties
                    )
                )
            except NotFoundError:
                raise IngestError(self._gone()) from None
            except BadRequestError:
                if attempt == _MAPPING_ATTEMPTS - 1:
                    raise
                self._fields = self._mapped()
            else:
                break
        found = ((document.id, self._fields.unfit(document.metadata)) for document in documents)
        batch.unfit = {identifier: unfit for identifier, unfit in found if any(unfit)}
        return batch

    def write(self, batch: IngestBatch) -> IngestBatch:
        """Write the documents and keep Elasticsearch's answer for each of them.

        When the index is blocked for writes because it was re-embedded, this goes on in the new version if
        its recipe is the same. Raises IngestError and IndexMismatchError as ``successor_of``.
        """
        waiting, writer, followed = dict(batch.sources), self._writer, False
        while True:
            try:
                for identifier, answer in writer.write(waiting.items()):
                    batch.answers[identifier] = answer
                    followed = False
                break
            except BlockedError as block:
                if followed:  # what blocks it is not of this index
                    raise IngestError(STAYS.format(index=self._version, reason=block)) from block
                writer, followed = self._follow(writer, batch, str(block)), True
                waiting = {key: value for key, value in waiting.items() if key not in batch.answers}
        batch.sources = {}
        return batch

    def _follow(self, blocked: BulkWriter, batch: IngestBatch, reason: str) -> BulkWriter:
        """Return the writer to go on with after a block. The batch is mapped there too."""
        with self._lock:
            if self._writer is blocked:  # otherwise another batch has met the block before
                version = successor_of(
                    self._client,
                    self._address.name,
                    self._version,
                    self._address.recipe,
                    self._patience,
                    reason,
                )
                if version == self._version:
                    return blocked
                self._go_on_in(version)
            self.map(batch)
            return self._writer

    def _mapped(self) -> MetadataFields:
        properties = self._state()["mappings"]["properties"]
        self._has_headings = HEADING in properties["passages"]["properties"]
        return MetadataFields(properties[METADATA].get("properties", {}))

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any]
            (state,) = self._patience.call(lambda: self._client.indices.get(index=self._version)).values()
        except NotFoundError:
            raise IngestError(self._gone()) from None
        uuid = state["settings"]["index"]["uuid"]
        if self._uuid not in ("", uuid):
            raise IngestError(self._gone())
        self._uuid = uuid
        return state

    def _gone(self) -> str:
        return (
            f"somebody has deleted the index {self._version} while it was written, and what was written is "
            f"lost; if there is an index {self._version} now, it is none of es-rerank's: delete it. Then "
            "repeat the run"
        )

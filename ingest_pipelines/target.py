"""The index that an ingest writes into: its metadata fields, and the documents of a batch."""

from __future__ import annotations

from elasticsearch import BadRequestError, Elasticsearch

from es_rerank.text.hit_fields import HEADING

from .bulk import BulkWriter
from .mapping import METADATA, heading_body, metadata_body
from .metadata import MetadataFields
from .patience import Patience
from .stages import IngestBatch

_MAPPING_ATTEMPTS = 5
"""How often the types of new metadata fields are chosen again after another ingest chose them first."""


class Target:
    """The index that an ingest writes into, and the metadata fields of its mapping.

    ``map`` is for one batch after the other. ``write`` may be called for several batches at once.
    """

    def __init__(self, client: Elasticsearch, version: str, patience: Patience, max_bytes: int) -> None:
        self._client = client
        self._version = version
        self._patience = patience
        self._writer = BulkWriter(client, version, max_bytes=max_bytes, patience=patience)
        self._has_headings = False
        self._fields = self._mapped()

    def map(self, batch: IngestBatch) -> IngestBatch:
        """Add the fields of new metadata to the mapping, and note which values are not of their field's type.

        Another ingest may add a field of the same name at the same time; its type then holds.
        """
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
        """Write the documents and keep Elasticsearch's answer for each of them."""
        batch.answers = dict(self._writer.write(batch.sources.items()))
        batch.sources = {}
        return batch

    def _mapped(self) -> MetadataFields:
        answer = self._patience.call(lambda: self._client.indices.get_mapping(index=self._version))
        (state,) = answer.values()
        properties = state["mappings"]["properties"]
        self._has_headings = HEADING in properties["passages"]["properties"]
        return MetadataFields(properties[METADATA].get("properties", {}))

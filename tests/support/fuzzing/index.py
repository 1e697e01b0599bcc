"""The index that the drawn requests search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elasticsearch import Elasticsearch

from .searches import MAPPINGS, documents


@contextmanager
def filled(es: Elasticsearch, name: str) -> Iterator[str]:
    """Make the index, and delete it when the block ends."""
    es.indices.create(
        index=name,
        mappings={"properties": MAPPINGS},
        settings={"number_of_shards": 2, "number_of_replicas": 0},
    )
    try:
        operations = [
            part
            for place, document in enumerate(documents(60))
            for part in ({"index": {"_id": str(place)}}, document)
        ]
        assert not es.bulk(index=name, operations=operations, refresh=True)["errors"]
        yield name
    finally:
        es.options(ignore_status=404).indices.delete(index=name)

"""Deletes single documents of an index that es-rerank made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elasticsearch import Elasticsearch

from es_rerank.errors import IngestError, SettingsError

from ..patience import Patience
from ..versions import managed_index
from .removal import remove_documents


class Deleted(NamedTuple):
    """What a deletion did. ``version``: the concrete index. ``removed`` and ``missing``: the ids that it
    removed, and those that the index did not hold, both in the order of the caller.
    """

    version: str
    removed: list[str]
    missing: list[str]


def delete_documents(
    client: Elasticsearch, name: str, ids: Sequence[str], patience: Patience | None = None
) -> Deleted:
    """Delete documents with their passages and vectors from the index that ``name`` names.

    When this returns, no search finds them any more. Raises IngestError when there is no such index, or when
    Elasticsearch refuses the deletion, IndexMismatchError when es-rerank did not make the index,
    SettingsError when ``name`` is not the name of one index or ``ids`` is no sequence of texts, and the
    errors of the client.
    """
    if isinstance(ids, str) or not all(isinstance(each, str) for each in ids):
        raise SettingsError(f"ids must be a list of texts, found {ids!r:.200}; for one, write [{ids!r:.200}]")
    patient = patience or Patience()
    found = managed_index(client, name, patient)
    if found is None:
        raise IngestError(f"there is no index [{name}]; es-rerank index list shows which there are")
    version, _ = found
    return Deleted(version, *remove_documents(client, version, ids, patient))

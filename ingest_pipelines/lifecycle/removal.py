"""Removes documents from an index by their ids. Passages and vectors are nested, so they go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from elasticsearch import ApiError, Elasticsearch

from es_rerank.errors import IngestError

from ..bulk import TOO_LARGE, passes
from ..patience import Patience, listed

T = TypeVar("T")

ID_BYTES = 512
"""Elasticsearch's limit for an id, in bytes."""

_PART = 500
"""Documents in one request, which has at most 300 kB."""

_GONE, _CHANGED = (200, 404), 409


class Stored(NamedTuple):
    """A document of an index, and the numbers of its last change. ``routing`` is empty for most."""

    id: str
    routing: str
    seq_no: int
    primary_term: int

    def address(self) -> dict[str, str]:
        """Return what names the document in a request."""
        return {"_id": self.id, **({"routing": self.routing} if self.routing else {})}


def remove_unchanged(
    client: Elasticsearch, index: str, documents: Iterable[Stored], patience: Patience
) -> Iterator[int]:
    """Remove the documents that were not written since they were read. Yield after each request how many of
    its documents are gone.

    Raises IngestError when Elasticsearch refuses to remove one, as with a block or without the privilege, and
    the errors of the client.
    """
    for part in _parts(documents):
        actions = [
            {**each.address(), "if_seq_no": each.seq_no, "if_primary_term": each.primary_term}
            for each in part
        ]
        changed = _send(client, index, actions, patience)
        # If the answer to an earlier attempt was lost, the document is gone, and not changed.
        yield len(part) - len(_present(client, index, changed, patience))


def remove_documents(
    client: Elasticsearch, index: str, ids: Sequence[str], patience: Patience
) -> tuple[list[str], list[str]]:
    """Remove documents. Return the ids that were removed, and those that the index does not hold.

    When this returns, no search finds what was removed. Raises as ``remove_unchanged`` does.
    """
    wanted = list(dict.fromkeys(ids))
    found: set[str] = set()
    for part in _parts(filter(_possible, wanted)):
        there = _present(client, index, [{"_id": each} for each in part], patience)
        _send(client, index, there, patience)
        found.update(each["_id"] for each in there)
    if found:
        patience.whole(lambda: client.indices.refresh(index=index))
    return [each for each in wanted if each in found], [each for each in wanted if each not in found]


def _present(
    client: Elasticsearch, index: str, addresses: Sequence[dict[str, Any]], patience: Patience
) -> list[dict[str, Any]]:
    """Return those of the addresses that the index holds a document at, searchable or not yet."""
    if not addresses:
        return []
    docs = [{**address, "_source": False} for address in addresses]
    # Whole: a document that could not be looked up may be there.
    answer = patience.whole(lambda: listed(client.mget(index=index, docs=docs), "docs", len(docs)))
    return [address for address, each in zip(addresses, answer["docs"], strict=True) if each.get("found")]


def _send(
    client: Elasticsearch, index: str, actions: Sequence[dict[str, Any]], patience: Patience
) -> list[dict[str, Any]]:
    """Remove documents, and return the addresses of those that were changed since the numbers in ``actions``
    were read.
    """
    waiting, retry = list(actions), 0
    changed: list[dict[str, Any]] = []
    while waiting:
        busy: list[dict[str, Any]] = []
        for action, info in zip(waiting, _answers(client, index, waiting, patience), strict=True):
            if passes(info) and retry < patience.max_retries:
                busy.append(action)
            elif info["status"] == _CHANGED:
                changed.append({key: action[key] for key in ("_id", "routing") if key in action})
            elif info["status"] not in _GONE:
                raise IngestError(
                    f"documents of {index} cannot be removed: {_reason(info)}; those that are removed stay "
                    "so, and the same command removes the others"
                )
        if busy:
            patience.wait(retry)
        waiting, retry = busy, retry + 1
    return changed


def _answers(
    client: Elasticsearch, index: str, actions: Sequence[dict[str, Any]], patience: Patience
) -> list[dict[str, Any]]:
    """Return what Elasticsearch says of each document. A request that is too large is sent in halves."""
    operations = [{"delete": action} for action in actions]
    once = client.options(max_retries=0)  # the client would repeat it at once
    try:
        answer = patience.call(
            lambda: listed(once.bulk(index=index, operations=operations), "items", len(actions))
        )
    except ApiError as error:
        if error.status_code != TOO_LARGE or len(actions) == 1:
            raise
        half = len(actions) // 2
        first, rest = actions[:half], actions[half:]
        return [*_answers(client, index, first, patience), *_answers(client, index, rest, patience)]
    return [item["delete"] for item in answer["items"]]


def _reason(info: dict[str, Any]) -> str:
    error = info.get("error")
    return f"{info['status']} {error.get('reason') if isinstance(error, dict) else error}"


def _possible(identifier: str) -> bool:
    """Return whether a document can have this id."""
    try:
        return 0 < len(identifier.encode()) <= ID_BYTES
    except UnicodeEncodeError:
        return False


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, _PART)):
        yield part

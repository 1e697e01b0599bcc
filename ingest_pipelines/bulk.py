"""Sends documents in bulk requests. A request that is too large is halved and sent again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from elastic_transport import ObjectApiResponse, SerializationError
from elasticsearch import ApiError, Elasticsearch

from .patience import BUSY, DROPPED, Patience, is_of_elasticsearch, listed
from .pressure import never_fits

TOO_LARGE = 413
_BAD_REQUEST = 400

_CALM = 16
"""After so many requests without a broken connection, requests may be twice as large again."""


_OF_ALL = (404, 405, 407)
"""What a proxy says of every request, and not of what is in it."""

_MOST_FOREIGN = 20
"""So many documents in a row are refused by a proxy before the run ends: it may refuse all."""

_CONFLICT, _FAULT = 409, 500

_PASSING = frozenset(
    {
        "already_closed_exception",
        "illegal_index_shard_state_exception",
        "index_shard_closed_exception",
        "index_shard_not_started_exception",
        "no_longer_primary_shard_exception",
        "no_shard_available_action_exception",
        "node_closed_exception",
        "node_disconnected_exception",
        "node_not_connected_exception",
        "process_cluster_event_timeout_exception",
        "shard_not_found_exception",
        "unavailable_shards_exception",
    }
)
"""Types of errors of a document while a node starts or ends, whatever their status is."""


class BlockedError(Exception):
    """An index, or the whole cluster, takes no document. The message is Elasticsearch's reason."""


class _Line(NamedTuple):
    """A document as the two lines of a bulk request."""

    id: str
    action: bytes
    source: bytes

    @property
    def size(self) -> int:
        return len(self.action) + len(self.source) + 2


class BulkWriter:
    """Writes documents into one index, each with its id, so that a request may be sent twice.

    A request has at most ``max_bytes`` bytes, or one document. Elasticsearch or a proxy before it may take
    less: a request that is refused as too large (413), or whose connection is closed, is halved and sent
    again, down to single documents. After a 413, further requests are as small; after a broken connection
    they are so for a while, because it may have had another cause. The same holds for a request that needs
    more memory than Elasticsearch ever takes for indexing. A request that is refused as malformed (400), or
    by a proxy, is halved too, so that one document does not take others with it.

    When Elasticsearch is busy (see ``patience.BUSY``), the request or those of its documents that were
    refused are sent again as ``patience`` says. With the ``op_type`` "create", a document that is there is
    refused.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        *,
        max_bytes: int,
        patience: Patience,
        op_type: Literal["index", "create"] = "index",
    ) -> None:
        self._client = client
        self._op_type = op_type
        self._index = index
        self._max_bytes = max_bytes
        self._safe_bytes = max_bytes
        self._calm = self._foreign = 0
        self._patience = patience
        self._json = client.transport.serializers.get_serializer("application/json")

    def write(self, documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send documents (id, source) and yield (id, answer) of each, as Elasticsearch's ``items`` give it.

        The answer of a document that was refused has a key ``error``. Raises the errors of the client that
        every document would meet, such as no permission or no node, and BlockedError.
        """
        dumps = self._json.dumps
        yield from self._send(
            [_Line(name, dumps({self._op_type: {"_id": name}}), dumps(source)) for name, source in documents]
        )

    def _send(self, lines: Sequence[_Line], retry: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send documents in as many requests as they need. ``retry``: how often they were refused as busy."""
        waiting = deque(lines)
        while waiting:
            part = [waiting.popleft()]
            size, most = part[0].size, min(self._max_bytes, self._safe_bytes)
            while waiting and size + waiting[0].size <= most:
                size += waiting[0].size
                part.append(waiting.popleft())
            yield from self._send_part(part, size, retry)

    def _send_part(self, part: list[_Line], size: int, retry: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send one request of ``size`` bytes; in halves if it is refused whole."""
        try:
            answer = self._request(part)
        except ApiError as error:
            if not _may_be_of_one(error):
                raise
            if len(part) == 1:
                self._count_foreign(error)
                yield part[0].id, {"status": error.status_code, "error": _error(error, size)}
                return
            if error.status_code == TOO_LARGE or never_fits(error):
                self._max_bytes = min(self._max_bytes, size // 2)
        except DROPPED as error:
            if len(part) == 1:
                self._check_node(error)
                self._count_foreign(error)
                yield part[0].id, {"status": None, "error": _dropped(error, size)}
                return
            self._safe_bytes, self._calm = min(self._safe_bytes, size // 2), 0
            self._patience.wait(0, error)
        else:
            self._calm, self._foreign = self._calm + 1, 0
            if self._calm % _CALM == 0:
                self._safe_bytes = min(self._safe_bytes * 2, self._max_bytes)
            yield from self._answered(part, answer["items"], retry)
            return
        half = (len(part) + 1) // 2
        yield from self._send(part[:half], retry)
        yield from self._send(part[half:], retry)

    def _request(self, part: Sequence[_Line]) -> ObjectApiResponse[Any]:
        operations: list[Any] = [content for line in part for content in (line.action, line.source)]
        client = self._client.options(max_retries=0)  # the client would repeat it at once
        return self._patience.call(
            lambda: listed(client.bulk(operations=operations, index=self._index), "items", len(part)),
            dropped=len(part) == 1,
        )

    def _answered(
        self, part: Sequence[_Line], items: Sequence[dict[str, Any]], retry: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the answers. Documents that Elasticsearch was too busy for are sent again.

        Raises BlockedError when the index takes no document at all, as on a full disk: every document would
        be a reject. The answers of other documents in the request come before that.
        """
        busy, block = [], None
        over: list[_Line] = []
        for line, item in zip(part, items, strict=True):
            info = item[self._op_type]
            if info["status"] in BUSY and (reason := never_fits(info.get("error"))):
                if len(part) == 1:
                    yield line.id, {"status": info["status"], "error": reason}
                else:
                    over.append(line)
            elif self._passes(info) and retry < self._patience.max_retries:
                busy.append(line)
            elif (blocked := _blocked(info)) is not None:
                block = blocked
            else:
                yield line.id, info
        if block is not None:
            raise BlockedError(block)
        for some in (over[: len(over) // 2], over[len(over) // 2 :]):  # together they were too large
            yield from self._send(some, retry)
        if busy:
            self._patience.wait(retry, "it is busy, or a shard is not active")
            yield from self._send(busy, retry + 1)

    def _passes(self, info: dict[str, Any]) -> bool:
        """Return whether a document that was refused may be taken when it comes again."""
        return passes(info) or (info["status"] == _CONFLICT and self._op_type == "index")

    def _count_foreign(self, error: Exception) -> None:
        """Raise ``error`` if a proxy has refused many documents in a row."""
        if isinstance(error, SerializationError) or (isinstance(error, ApiError) and _is_foreign(error)):
            self._foreign += 1
            if self._foreign >= _MOST_FOREIGN:
                raise error

    def _check_node(self, error: Exception) -> None:
        """Raise ``error`` if Elasticsearch does not answer small requests either."""
        try:
            answer = self._client.indices.exists(index=self._index)
        except (*DROPPED, ApiError):
            raise error from None
        if not is_of_elasticsearch(answer.meta.headers):
            raise error


def passes(info: dict[str, Any]) -> bool:
    """Return whether a document of a bulk request was refused for a cause that passes by itself."""
    error = info.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return (info["status"] in BUSY and info["status"] != _FAULT) or kind in _PASSING


def _may_be_of_one(error: ApiError) -> bool:
    """Return whether a request may be refused because of one of its documents, or of their number."""
    of_one = error.status_code in (_BAD_REQUEST, TOO_LARGE) or _is_foreign(error)
    return of_one or never_fits(error) is not None


def _is_foreign(error: ApiError) -> bool:
    """Return whether a proxy before Elasticsearch has refused a request for what is in it."""
    refused = 402 <= error.status_code < 500 and error.status_code not in (*BUSY, *_OF_ALL, TOO_LARGE)
    return refused and not is_of_elasticsearch(error.meta.headers)


def _blocked(info: dict[str, Any]) -> str | None:
    """Return the reason if the answer of a document says that the index, or the cluster, takes none."""
    error = info.get("error")
    if not isinstance(error, dict) or error.get("type") != "cluster_block_exception":
        return None
    return str(error.get("reason"))


def _error(error: ApiError, size: int) -> Any:  # noqa: ANN401 any JSON value
    """Return why a single document was refused."""
    if over := never_fits(error):
        return over
    if error.status_code == TOO_LARGE:
        return (
            f"the document needs a request of {size} bytes; Elasticsearch (setting http.max_content_length, "
            "100 MB by default) or a proxy before it takes less"
        )
    if _is_foreign(error):
        return f"a proxy before Elasticsearch refuses the document: {error.body!s:.300}"
    return error.body.get("error") if isinstance(error.body, dict) else str(error)


def _dropped(error: Exception, size: int) -> str:
    if isinstance(error, SerializationError):
        return f"to each request with this document ({size} bytes) comes {error.message}"
    return (
        f"the connection broke at each request with this document ({size} bytes), though Elasticsearch "
        f"answers others; a proxy may take less: {error}"
    )

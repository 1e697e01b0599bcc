"""Sends documents in bulk requests. A request that is too large is halved and sent again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, Elasticsearch

from .patience import BUSY, DROPPED, Patience

TOO_LARGE = 413
_BAD_REQUEST = 400

_CALM = 16
"""After so many requests without a broken connection, requests may be twice as large again."""


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
    they are so for a while, because it may have had another cause. A request that is refused as malformed
    (400) is halved too, so that one document does not take others with it.

    When Elasticsearch is busy (429, 502, 503, 504), the request or those of its documents that were refused
    are sent again as ``patience`` says. With the ``op_type`` "create", a document that is there is refused.
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
        self._calm = 0
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
            if error.status_code not in (_BAD_REQUEST, TOO_LARGE):
                raise
            if len(part) == 1:
                yield part[0].id, {"status": error.status_code, "error": _error(error, size)}
                return
            if error.status_code == TOO_LARGE:
                self._max_bytes = min(self._max_bytes, size // 2)
        except DROPPED as error:
            if len(part) == 1:
                self._check_node(error)
                yield part[0].id, {"status": None, "error": _dropped(error, size)}
                return
            self._safe_bytes, self._calm = min(self._safe_bytes, size // 2), 0
            self._patience.wait(0)
        else:
            self._calm += 1
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
            lambda: client.bulk(operations=operations, index=self._index), dropped=len(part) == 1
        )

    def _answered(
        self, part: Sequence[_Line], items: Sequence[dict[str, Any]], retry: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the answers. Documents that Elasticsearch was too busy for are sent again.

        Raises BlockedError when the index takes no document at all, as on a full disk: every document would
        be a reject. The answers of other documents in the request come before that.
        """
        busy, block = [], None
        for line, item in zip(part, items, strict=True):
            info = item[self._op_type]
            if info["status"] in BUSY and retry < self._patience.max_retries:
                busy.append(line)
            elif (blocked := _blocked(info)) is not None:
                block = blocked
            else:
                yield line.id, info
        if block is not None:
            raise BlockedError(block)
        if busy:
            self._patience.wait(retry)
            yield from self._send(busy, retry + 1)

    def _check_node(self, error: Exception) -> None:
        """Raise ``error`` if Elasticsearch does not answer small requests either."""
        try:
            self._client.indices.exists(index=self._index)
        except DROPPED:
            raise error from None


def _blocked(info: dict[str, Any]) -> str | None:
    """Return the reason if the answer of a document says that the index, or the cluster, takes none."""
    error = info.get("error")
    if not isinstance(error, dict) or error.get("type") != "cluster_block_exception":
        return None
    return str(error.get("reason"))


def _error(error: ApiError, size: int) -> Any:  # noqa: ANN401 any JSON value
    """Return why a single document was refused."""
    if error.status_code == TOO_LARGE:
        return (
            f"the document needs a request of {size} bytes; Elasticsearch (setting http.max_content_length, "
            "100 MB by default) or a proxy before it takes less"
        )
    return error.body.get("error") if isinstance(error.body, dict) else str(error)


def _dropped(error: Exception, size: int) -> str:
    return (
        f"the connection broke at each request with this document ({size} bytes), though Elasticsearch "
        f"answers others; a proxy may take less: {error}"
    )

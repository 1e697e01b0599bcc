"""Walks through the documents of Elasticsearch indices in a point in time. Pages are bounded in bytes.

The order is that of ``_seq_no``, the number of the last change of a document, which a restart of a node does
not change. A point in time that is lost is opened anew, and the walk goes on after the last number. So no
document is left out, and only one that was changed since comes a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from elasticsearch import ApiError, Elasticsearch, TransportError

from es_rerank.errors import SourceError

from ..patience import Patience

Hit = dict[str, Any]

KEEP_ALIVE = "30m"
"""How long Elasticsearch keeps a point in time between two pages, each of which may take minutes to embed."""

PAGE_BYTES = 2 * 1024 * 1024
"""A page has so many bytes at most, unless its documents, 25 at most, are larger than those before."""

_FIRST_PAGE = 10
_MOST_HITS = 25
"""Few, since documents that follow small ones may have megabytes each."""

_MOST_IDS = 1_000
"""Most hits of a page without ``_source``."""

_MOST_LOSSES = 5
"""So often in a row, a point in time may be lost before a page was read."""

_MOST_AT_LAST = 10_000
"""Most documents with one number. Each shard counts for itself, so there is one of each shard at most, except
in an index that keeps no numbers."""

_LONGEST_PATH = 3_000
"""Most characters of names in a path: Elasticsearch's default for a whole request line is 4,096."""

_GONE = 404
_LOST = "search_context_missing_exception"


class IndexWalk:
    """The documents of ``indices`` (names with commas) that match ``query``, from one point in time.

    ``source`` says what of each document is read, as ``_source`` of a search. ``after``: only documents whose
    ``_seq_no`` is larger. ``preference`` names the shards. Use it as a context manager: the point in time is
    opened at the start, which raises SourceError when the indices cannot be read, and closed at the end.
    ``pit`` is its id.
    """

    def __init__(
        self,
        client: Elasticsearch,
        indices: str,
        *,
        source: Mapping[str, Any] | bool = True,
        query: Mapping[str, Any] | None = None,
        after: int = -1,
        preference: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._client = client
        self._indices = indices
        self._source = source
        self._query = query
        self._preference = preference
        self._patience = patience or Patience()
        self.pit: str | None = None
        self._ended = False
        self._size = _FIRST_PAGE
        self._last = after + 1  # the next page has numbers from here
        self._at_last: set[tuple[str, str]] = set()
        self._search_after: Sequence[Any] | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Close the point in time, from any thread. What is read of it afterwards is a SourceError."""
        self._ended = True
        if self.pit is not None:
            with suppress(ApiError, TransportError):  # Elasticsearch closes it by itself later
                self._client.options(max_retries=0).close_point_in_time(id=self.pit)
            self.pit = None

    def hits(self) -> Iterator[Hit]:
        """Yield the hits, each with ``_index``, ``_id`` and what was asked of ``_source``.

        Raises SourceError when an index was deleted meanwhile, and the errors of the client.
        """
        while page := self._page():
            for hit in page:
                number, key = hit["sort"][0], (hit["_index"], hit["_id"])
                if number != self._last:
                    self._last, self._at_last = number, set()
                elif key in self._at_last:
                    continue
                if len(self._at_last) < _MOST_AT_LAST:
                    self._at_last.add(key)
                yield hit
            self._search_after = page[-1]["sort"]

    def _page(self) -> list[Hit]:
        for _ in range(_MOST_LOSSES):
            try:
                answer = self._patience.call(self._ask)
            except ApiError as error:
                if error.status_code != _GONE and _LOST not in str(error.body):
                    raise
                self._reopen()
            else:
                self.pit = answer.get("pit_id", self.pit)
                hits: list[Hit] = answer["hits"]["hits"]
                self._adapt(hits)
                return hits
        raise SourceError(
            f"the point in time over {self._indices} was lost {_MOST_LOSSES} times in a row; repeat the run, "
            "which skips what is indexed",
            path=self._indices,
        )

    def _ask(self) -> Any:  # noqa: ANN401 the client's answer
        size = self._size
        self._size = max(1, size // 2)  # if this fails, the next attempt asks for less
        answer = self._client.options(max_retries=0).search(
            pit={"id": self.pit, "keep_alive": KEEP_ALIVE},
            size=size,
            sort=[{"_seq_no": "asc"}, {"_shard_doc": "asc"}],
            query=self._whole_query(),
            search_after=self._search_after,
            source=self._source,
            track_total_hits=False,
            allow_partial_search_results=False,
        )
        self._size = size
        return answer

    def _whole_query(self) -> dict[str, Any]:
        later = {"range": {"_seq_no": {"gte": self._last}}}
        filters = [*([self._query] if self._query else []), *([later] if self._last > 0 else [])]
        return {"bool": {"filter": filters}} if filters else {"match_all": {}}

    def _adapt(self, hits: Sequence[Hit]) -> None:
        """Choose the size of the next page by the largest document of this one."""
        most = _MOST_IDS if self._source is False else _MOST_HITS
        largest = max((len(json.dumps(hit.get("_source"))) for hit in hits), default=1)
        self._size = max(1, min(PAGE_BYTES // largest, self._size * 2, most))

    def _reopen(self) -> None:
        if self._ended:
            raise SourceError(f"the reading of {self._indices} has ended", path=self._indices)
        if len(self._at_last) >= _MOST_AT_LAST:
            raise SourceError(
                f"the point in time over {self._indices} was lost, and this index keeps no _seq_no by which "
                "the reading could go on; repeat the run, which skips what is indexed",
                path=self._indices,
            )
        self.pit = None
        self._search_after = None
        self._open()

    def _open(self) -> None:
        with readable(self._indices):
            answer = self._patience.call(
                lambda: self._client.open_point_in_time(
                    index=self._indices, keep_alive=KEEP_ALIVE, preference=self._preference
                )
            )
        self.pit = answer["id"]


class readable:  # noqa: N801 a context manager
    """Turns the errors of Elasticsearch that say that an index cannot be read into a SourceError."""

    def __init__(self, indices: str) -> None:
        self._indices = indices

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, ApiError):
            return
        reasons = {
            404: "there is no such index, alias or data stream",
            403: "its reading is not allowed; the privilege read is needed, and view_index_metadata too for "
            "what es-rerank has made",
            401: "Elasticsearch does not accept the credentials",
            400: "Elasticsearch refuses to search it",
        }
        if (reason := reasons.get(error.status_code)) is not None:
            raise SourceError(
                f"{self._indices} cannot be read: {reason} ({_told(error)})", path=self._indices
            ) from error


def _told(error: ApiError) -> str:
    body = error.body
    told = body.get("error") if isinstance(body, dict) else None
    reason = told.get("reason") if isinstance(told, dict) else None
    return str(reason or error)


def names_of(indices: Sequence[str], expression: str) -> str:
    """Return the names of concrete indices as one text, or ``expression`` if that is too long for a path.

    An alias may move while its documents are read, and concrete indices do not.
    """
    names = ",".join(indices)
    return names if 0 < len(names) <= _LONGEST_PATH else expression

"""A sink of Ray Data that writes rows into an Elasticsearch index.

ds.write_datasink(ElasticsearchDatasink("http://localhost:9200", "articles", id_column="_id"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar

from ray.data import Datasink
from ray.data.block import Block, BlockAccessor
from ray.data.datasource.datasink import WriteResult

from es_rerank.errors import IngestError, SettingsError

from ..bulk import BlockedError, BulkWriter
from ..patience import Patience
from .connection import API_KEYS, Connection, Hidden
from .errors import told
from .rows import Failure, Written, documents_of

_ROWS = 500
"""Rows that are Python objects at a time; a bulk request has at most as many documents."""

_TOLD = 3
"""Failures that the error message shows."""

Returned = TypeVar("Returned")


class BulkDatasink(Datasink[Returned], Generic[Returned]):
    """A sink with a connection and a patience, whose results are in ``returned`` when all is written."""

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self._connection, self._patience = connection, patience
        self.returned: list[Returned] = []

    def get_name(self) -> str:
        """Return the name that Ray shows. It holds no address."""
        return "Elasticsearch"

    def on_write_complete(self, write_result: WriteResult[Returned]) -> None:
        """Keep what the tasks returned."""
        self.returned = list(write_result.write_returns)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url})"


class ElasticsearchDatasink(BulkDatasink[Written]):
    """Writes each row as a document.

    ``url``: the address of Elasticsearch. ``index``: an index, alias or data stream. ``id_column``: the
    column of the ids, which is not a part of the document. All other columns are its fields, or
    ``source_column`` is the document, as JSON text or as a struct. ``op_type``: "index" replaces a document
    of the same id, "create" does not and fails for this row; a data stream takes "create" only.

    Credentials are read from the environment of each worker: ``api_key_env`` names the variable of an API
    key, ``user`` and ``password_env`` a user and the variable of the password. ``ca_certs`` is a file on each
    machine.

    A bulk request has at most ``chunk_bytes`` bytes. One that is too large for Elasticsearch or a proxy is
    halved. When Elasticsearch is busy (see ``patience.BUSY``), what was refused is sent again up to
    ``max_retries`` times; the first wait is ``initial_backoff_s`` seconds, each further one twice as long.

    A row that is refused does not stop the others. ``write_datasink`` then raises IngestError at the end, or
    with ``raise_failures=False`` does not. The attributes ``documents`` and ``failures`` tell the result. Ray
    runs a task again whose worker died. With "index", that changes nothing in the index; with "create", rows
    that the first attempt wrote are failures with status 409.
    """

    def __init__(
        self,
        url: str,
        index: str,
        *,
        id_column: str = "_id",
        source_column: str | None = None,
        op_type: Literal["index", "create"] = "index",
        api_key_env: str | None = None,
        user: str | None = None,
        password_env: str | None = None,
        ca_certs: str | None = None,
        chunk_bytes: int = 8 * 1024 * 1024,
        max_retries: int = 6,
        initial_backoff_s: float = 1.0,
        raise_failures: bool = True,
    ) -> None:
        if op_type not in ("index", "create"):
            raise SettingsError(f'op_type is "index" or "create", not {op_type!r}')
        if user is not None and password_env is None:
            raise SettingsError("user needs password_env, the environment variable of the password")
        keys = API_KEYS if api_key_env is None else (api_key_env,)
        super().__init__(
            Connection(Hidden(url), keys, user, password_env, ca_certs),
            Patience(max_retries, initial_backoff_s),
        )
        self._index, self._op_type = index, op_type
        self._id_column, self._source_column = id_column, source_column
        self._chunk_bytes = chunk_bytes
        self._raise_failures = raise_failures

    @property
    def documents(self) -> int:
        """How many documents were written, after ``write_datasink``."""
        return sum(each.documents for each in self.returned)

    @property
    def failures(self) -> list[Failure]:
        """The rows that were not indexed, after ``write_datasink``."""
        return [failure for each in self.returned for failure in each.failures]

    def write(self, blocks: Iterable[Block], ctx: object) -> Written:  # noqa: ARG002 Ray passes it
        """Write the rows of one task. Raises IngestError when the index takes no document at all."""
        with told():
            client = self._connection.client()
            writer = BulkWriter(
                client,
                self._index,
                max_bytes=self._chunk_bytes,
                patience=self._patience,
                op_type=self._op_type,
            )
            dumps = client.transport.serializers.get_serializer("application/json").dumps
            written = Written()
            for rows in _rows(blocks):
                documents = list(documents_of(rows, self._id_column, self._source_column, written, dumps))
                try:
                    for name, answer in writer.write(documents):
                        if "error" in answer:
                            written.failures.append(Failure(name, answer["status"], _reason(answer["error"])))
                        else:
                            written.documents += 1
                except BlockedError as block:
                    raise IngestError(f"index {self._index} takes no documents: {block}") from None
        return written

    def on_write_complete(self, write_result: WriteResult[Written]) -> None:
        """Keep the result. Raises IngestError when rows failed, unless ``raise_failures`` is False."""
        super().on_write_complete(write_result)
        failures = self.failures
        if failures and self._raise_failures:
            shown = "; ".join(f"{each.id}: {each.reason}" for each in failures[:_TOLD])
            raise IngestError(
                f"{len(failures)} of {self.documents + len(failures)} documents were not indexed; the "
                f"attribute failures of the sink holds them all. The first: {shown}",
                failed=len(failures),
            )


def _rows(blocks: Iterable[Block]) -> Iterator[list[dict[str, Any]]]:
    for block in blocks:
        table = BlockAccessor.for_block(block).to_arrow()
        for start in range(0, table.num_rows, _ROWS):
            yield table.slice(start, _ROWS).to_pylist()


def _reason(error: Any) -> str:  # noqa: ANN401 any JSON value
    if not isinstance(error, dict):
        return str(error)
    cause = (error.get("caused_by") or {}).get("reason")
    return f"{error.get('type')}: {error.get('reason')}{f' ({cause})' if cause else ''}"

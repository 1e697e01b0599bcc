"""Makes documents of the rows of a data set. This module does not import Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elasticsearch import SerializationError


class Failure(NamedTuple):
    """A row that was not indexed. ``status`` is Elasticsearch's, None if it was not sent or not answered.

    ``id`` is None for a row without an id.
    """

    id: str | None
    status: int | None
    reason: str


@dataclass(slots=True)
class Written:
    """What was written: how many ``documents``, and the ``failures``."""

    documents: int = 0
    failures: list[Failure] = field(default_factory=list)


def documents_of(
    rows: Iterable[dict[str, Any]],
    id_column: str,
    source_column: str | None,
    written: Written,
    dumps: Callable[[Any], bytes],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (id, document) of each row, of which ``dumps`` makes JSON. A row that is none is a failure.

    ``source_column``: see ``ElasticsearchDatasink``. ``written`` gets the failures.
    """
    for row in rows:
        identifier = row.pop(id_column, None)
        name = None if identifier is None else str(identifier)
        try:
            if not name:
                raise ValueError(f"the row has no id in the column {id_column}")  # noqa: TRY301 told below
            document = row if source_column is None else _decoded(row.get(source_column))
            if not isinstance(document, dict):
                raise TypeError(f"the column {source_column} holds no JSON object")  # noqa: TRY301 as above
            dumps(document)
        except (ValueError, TypeError, RecursionError, SerializationError) as error:
            written.failures.append(Failure(name, None, str(error)))
        else:
            yield name, document


def _decoded(value: Any) -> Any:  # noqa: ANN401 any value of a column
    return json.loads(value) if isinstance(value, str | bytes) else value

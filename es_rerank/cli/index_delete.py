"""``es-rerank index delete``: remove single documents, with their passages and vectors."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import IngestError
from .output import ElasticsearchUrl, Json, print_json, stdout

_MOST_NAMED = 20


def delete(
    name: Annotated[
        str, typer.Argument(help="Name that searches use, or a version of it.", show_default=False)
    ],
    ids: Annotated[
        list[str],
        typer.Argument(help="Ids of documents. Before one that begins with -, write --.", show_default=False),
    ],
    *,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Remove documents by their ids, with their passages and vectors. An id that is not there is an error,
    after the others were removed.
    """
    from ingest_pipelines.lifecycle.documents import delete_documents

    from ..settings import read_settings
    from .connection import connect

    with connect(elasticsearch_url, read_settings()) as client:
        done = delete_documents(client, name, ids)
    if as_json:
        print_json({"index": name, "version": done.version, "removed": done.removed, "missing": done.missing})
    else:
        stdout.print(f"{len(done.removed)} removed from {done.version}", markup=False, highlight=False)
    if done.missing:
        named = ", ".join(map(repr, done.missing[:_MOST_NAMED]))
        more = len(done.missing) - _MOST_NAMED
        raise IngestError(
            f"{name} holds no document with these ids: {named}{f' and {more} more' if more > 0 else ''}; "
            f"{len(done.removed)} of {len(done.removed) + len(done.missing)} were removed",
            failed=len(done.missing),
        )

"""``es-rerank ingest --from-index``: documents that are in an Elasticsearch index already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..addresses import masked
from ..collection import Document
from ..errors import SettingsError, UnreachableError
from .output import stderr

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ingest_pipelines import Fields, IngestReport, Reject

    from ..settings import Settings

_PANEL = "Documents of an index"

FromIndexOption = Annotated[
    str | None,
    typer.Option(
        "--from-index",
        metavar="NAME",
        help="Read an index, alias or data stream instead of files. With INDEX itself and --rebuild, INDEX "
        "is embedded anew while others read and write it.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
FromUrlOption = Annotated[
    str | None,
    typer.Option(
        "--from-url",
        metavar="URL",
        help="The Elasticsearch of --from-index, if it is another. Its key is ES_RERANK_FROM_API_KEY.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
FromQueryOption = Annotated[
    str | None,
    typer.Option(
        "--from-query",
        metavar="JSON",
        help="Read only the documents that match this query of Elasticsearch's.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class FromIndex:
    """What the options say. ``fields`` are those of the source, chosen by the caller."""

    name: str
    url: str | None
    query: dict[str, Any] | None
    fields: Fields


@dataclass(frozen=True, slots=True)
class IndexSource:
    """The documents of an index, and what a rebuild from itself does right before its end.

    ``told`` prints what is to be known afterwards, and returns the report to show.
    """

    documents: Iterator[Document | Reject]
    before_switch: Callable[[IngestReport], None] | None = None
    told: Callable[[IngestReport], IngestReport] = lambda report: report


def from_index_of(
    name: str | None, url: str | None, query: str | None, fields: Fields, sources: Sequence[object]
) -> FromIndex | None:
    """Return what the options say, None without ``--from-index``.

    Raises SettingsError for options that contradict each other.
    """
    if name is None:
        if url is not None or query is not None:
            raise SettingsError("--from-url and --from-query need --from-index, the index that is read")
        if not sources:
            raise SettingsError("name a source: files, folders, or --from-index with an index to read")
        return None
    if sources:
        raise SettingsError(f"--from-index {name} and files cannot be read in one run; ingest them in two")
    try:
        asked = None if query is None else json.loads(query)
    except ValueError as error:
        raise SettingsError(f"--from-query is no JSON: {error}") from error
    if asked is not None and not isinstance(asked, dict):
        raise SettingsError('--from-query must be a JSON object, such as {"term": {"language": "en"}}')
    return FromIndex(name, url, asked, fields)


@contextmanager
def index_source(
    given: FromIndex, into: str, client: Elasticsearch, settings: Settings, *, rebuild: bool, embedder: str
) -> Iterator[IndexSource]:
    """Give the documents of an index, for the index ``into`` of ``client``.

    Raises SourceError when the index cannot be read, SettingsError when it is ``into`` itself and the options
    do not fit a re-embedding.
    """
    from ingest_pipelines import Fields
    from ingest_pipelines.live_copy import LiveCopy
    from ingest_pipelines.reading.elasticsearch_index import finds_a_part

    with ExitStack() as stack:
        source = stack.enter_context(_source_client(given, client, settings))
        if _same(source, given.name, client, into):
            if not rebuild or given.query is not None or given.fields != Fields():
                raise SettingsError(
                    f"--from-index {given.name} is the index that is written; to embed it anew, give "
                    "--rebuild and --embedder, and no --from-query and no options of fields"
                )
            if given.name != into and finds_a_part(source, given.name):
                raise SettingsError(
                    f"--from-index {given.name} finds only a part of the index that is written, and all "
                    f"of it must be embedded anew; name {into} there too"
                )
            copy = stack.enter_context(LiveCopy(client, into, embedder=embedder))
            yield IndexSource(copy.documents(), copy.finish, lambda report: _tell(report, copy.way_back))
            return
        yield IndexSource(stack.enter_context(_documents(given, source)))


@contextmanager
def read_only(given: FromIndex, client: Elasticsearch, settings: Settings) -> Iterator[Iterator[Any]]:
    """Give the documents of an index as they are now. Nothing is written."""
    with _source_client(given, client, settings) as source, _documents(given, source) as documents:
        yield documents


@contextmanager
def _documents(given: FromIndex, source: Elasticsearch) -> Iterator[Iterator[Any]]:
    from ingest_pipelines.reading.elasticsearch_index import index_documents

    def tell(note: str) -> None:
        stderr.print(note, highlight=False, markup=False, soft_wrap=True)

    with index_documents(
        source, given.name, fields=given.fields, query=given.query, on_note=tell
    ) as documents:
        yield documents


@contextmanager
def _source_client(given: FromIndex, client: Elasticsearch, settings: Settings) -> Iterator[Elasticsearch]:
    """Give the client of ``--from-url``, or else that of the index that is written."""
    from .connection import BULK_TIMEOUT_S, connect

    if given.url is None:
        yield client
        return
    own = {
        "elasticsearch_api_key": settings.from_api_key,
        "elasticsearch_ca_certs": settings.from_ca_certs or settings.elasticsearch_ca_certs,
    }
    try:
        source = connect(given.url, settings.model_copy(update=own), request_timeout_s=BULK_TIMEOUT_S)
    except UnreachableError as error:
        raise UnreachableError(
            f"no Elasticsearch that can be used answers at {masked(given.url)}; check --from-url and its "
            "certificate (ES_RERANK_FROM_CA_CERTS)",
            url=masked(given.url),
        ) from error
    with source:
        yield source


def _same(source: Elasticsearch, name: str, client: Elasticsearch, into: str) -> bool:
    """Whether two names mean the same indices, also where one cluster has two addresses. What cannot be
    looked at is told by what reads it.
    """
    from elasticsearch import ApiError

    if source is client and name == into:
        return True
    try:
        return _uuids(source, name) == _uuids(client, into) != set()
    except ApiError:
        return False


def _uuids(client: Elasticsearch, name: str) -> set[str]:
    answer = client.indices.get_settings(index=name, name="index.uuid")
    return {state["settings"]["index"]["uuid"] for state in answer.values()}


def _tell(report: IngestReport, way_back: Callable[[str], str]) -> IngestReport:
    if report.duplicates:
        stderr.print(
            f"{report.duplicates} documents were changed meanwhile, and copied again", highlight=False
        )
    stderr.print(
        f"{report.index} is {report.version} now; the version before is kept and takes no writes; "
        f"{way_back(report.version)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return replace(report, duplicates=0)

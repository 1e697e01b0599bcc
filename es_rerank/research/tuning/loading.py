"""Reads judgements from where a user has them: a file, or an index with events of UBI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import SourceError
from .clicks import LEAST_SHOWN, ratings_of
from .judgements import HIGHEST_RATING, Judgements
from .reading import JudgementFormat, format_of, read_qrels_file, read_table
from .texts import text_of
from .ubi import CLICK, IMPRESSION, Record, check_log, read_log, records_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

UBI_QUERIES = "ubi_queries"
"""The index of the searches in UBI."""

_PAGE = 1_000
_KEEP_ALIVE = "2m"


class Options(NamedTuple):
    """How judgements are read.

    ``form`` is None where the content tells it. ``queries`` names the file of query texts, or the file or
    index of the searches of UBI. ``highest`` is the highest rating that counts. ``clicks`` are the actions
    that count as a click, and ``least_shown`` is as in ``clicks.ratings_of``.
    """

    form: JudgementFormat | None = None
    queries: str | None = None
    highest: float = HIGHEST_RATING
    clicks: Sequence[str] = (CLICK,)
    least_shown: int = LEAST_SHOWN


def load_judgements(client: Elasticsearch, given: str, options: Options) -> Judgements:
    """Return the judgements of a file, or of an index of UBI events.

    Raises SourceError for a name that is neither, and for what cannot be read; SettingsError for qrels
    without ``queries``; the errors of Elasticsearch for an index that may not be read.
    """
    path = Path(given)
    if not path.exists():
        _check_index(client, given)
        named = options.queries or (UBI_QUERIES if client.indices.exists(index=UBI_QUERIES) else None)
        return _of_events(client, _events(client, given, options.clicks), named, given, options)
    text = text_of(path)
    form = options.form or format_of(path, text)
    if form == "csv":
        return read_table(path, text, highest=options.highest)
    if form == "qrels":
        queries = None if options.queries is None else Path(options.queries)
        return read_qrels_file(path, text, queries, highest=options.highest)
    return _of_events(client, records_of(path), options.queries, given, options)


def _check_index(client: Elasticsearch, given: str) -> None:
    named = Path(given).name == given and not Path(given).suffix
    if not named or not client.indices.exists(index=given):
        raise SourceError(
            f"{given} is neither a file nor an index with events of UBI; check the name", path=given
        )


def _of_events(
    client: Elasticsearch, events: Iterable[Record], queries: str | None, given: str, options: Options
) -> Judgements:
    searches: Iterable[Record] = ()
    if queries is not None:
        path = Path(queries)
        if not path.exists():
            _check_index(client, queries)
        searches = records_of(path) if path.exists() else _records(client, queries, {"match_all": {}})
    log = read_log(chain(searches, events), clicks=options.clicks)
    check_log(log, given if queries is None else f"{given} with {queries}")
    return ratings_of(log, least_shown=options.least_shown)


def _events(client: Elasticsearch, index: str, clicks: Sequence[str]) -> Iterator[Record]:
    wanted = [{"match": {"action_name": name}} for name in (*clicks, IMPRESSION)]
    return _records(client, index, {"bool": {"should": wanted, "minimum_should_match": 1}})


def _records(client: Elasticsearch, index: str, query: dict[str, Any]) -> Iterator[Record]:
    """Yield the sources of all documents that a query matches, in pages over a point in time."""
    pit = client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE)["id"]
    try:
        after: list[Any] | None = None
        while True:
            answer = client.search(
                pit={"id": pit, "keep_alive": _KEEP_ALIVE},
                query=query,
                size=_PAGE,
                sort=["_shard_doc"],
                search_after=after,
                track_total_hits=False,
            )
            pit, hits = answer["pit_id"], answer["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"]
    finally:
        client.close_point_in_time(id=pit)

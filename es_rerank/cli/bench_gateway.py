"""``es-rerank bench gateway``: measure the latency that sidecar and library add to Elasticsearch's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.progress import TaskID
from rich.table import Table

from ..research.bench.gateway import (
    DOCUMENTS,
    GATEWAY_ROUNDS,
    CaseRow,
    Searcher,
    Way,
    fill,
    measure,
    own_index,
)
from ..research.bench.machine import machine
from .bench_options import end_on_sigterm
from .output import Json, print_json, progress, stderr, stdout

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ..settings import Settings

_DRAWN_EVERY = 10
"""Rounds between two updates of the progress bar, because an update takes time itself."""

_CAPTION = (
    "added: difference to Elasticsearch alone in the same round, median over rounds, with its bootstrap "
    "interval"
)


def gateway(
    elasticsearch_url: Annotated[
        str | None,
        typer.Option(
            help="Elasticsearch that gets the bench's index; ELASTICSEARCH_URL is ignored here.",
            show_default="a node of its own",
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="How many short documents the index holds.")
    ] = DOCUMENTS,
    rounds: Annotated[
        int, typer.Option(min=1, max=100_000, help="How often each search is timed, in each way.")
    ] = GATEWAY_ROUNDS,
    as_json: Json = False,
) -> None:
    """Measure the latency that sidecar and library add to Elasticsearch's own: the same searches through
    each, interleaved.
    """
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect, found_or_started

    settings = read_settings()
    end_on_sigterm()
    elasticsearch = found_or_started(elasticsearch_url, settings)
    with (
        connect(elasticsearch.url, settings, request_timeout_s=BULK_TIMEOUT_S) as client,
        _sidecar(elasticsearch.url, settings) as sidecar,
        own_index(client) as index,
    ):
        with progress(documents, "indexing") as bar:
            fill(client, index, documents, lambda done: bar.update(TaskID(0), completed=done))
        measured = _measured(_ways(client, sidecar), index, rounds)
    about = machine(elasticsearch.version)
    if as_json:
        print_json(
            {
                "machine": about,
                "documents": documents,
                "rounds": rounds,
                "cases": [row.as_json() for row in measured],
            }
        )
    else:
        _show(measured, about, f"{documents:,} documents, {rounds:,} rounds")
    if not elasticsearch.found:
        stderr.print("the node keeps running; stop it with: es-rerank down", highlight=False)


@contextmanager
def _sidecar(url: str, settings: Settings) -> Iterator[Elasticsearch]:
    """Yield a client of a sidecar over ``url``; the client sends the credentials in ``url``, as every caller
    does.
    """
    from .connection import BULK_TIMEOUT_S, client_of, with_port
    from .own_sidecar import own_sidecar

    parts = urlsplit(with_port(url))
    credentials, at, host = parts.netloc.rpartition("@")
    with (
        own_sidecar(parts._replace(netloc=host).geturl()) as address,
        client_of(
            address.replace("://", f"://{credentials}{at}", 1), settings, request_timeout_s=BULK_TIMEOUT_S
        ) as client,
    ):
        yield client


def _ways(client: Elasticsearch, sidecar: Elasticsearch) -> dict[Way, Searcher]:
    """Return the clients to time, without retries: the time of a retry would be added to that of the first
    attempt.
    """
    from ..client import RerankClient

    once = client.options(max_retries=0)
    return {"direct": once, "sidecar": sidecar.options(max_retries=0), "library": RerankClient(once)}


def _measured(ways: Mapping[Way, Searcher], index: str, rounds: int) -> list[CaseRow]:
    with progress(rounds, "warming up", by_itself=False) as bar:

        def show(done: int) -> None:
            if done % _DRAWN_EVERY == 0:
                bar.update(
                    TaskID(0), completed=done, description="timing" if done else "warming up", refresh=True
                )

        return measure(ways, index, rounds, show)


def _show(measured: list[CaseRow], about: dict[str, str | int], extent: str) -> None:
    title = (
        f"{extent}; {about['cpu']}, {about['cores']} cores, Python {about['python']}, Elasticsearch "
        f"{about['elasticsearch']}"
    )
    table = Table(
        "milliseconds",
        title=title,
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("p50", "p95", "min", "max", "added", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in measured:
        change = row.added
        compared = (
            ("", "")
            if change is None
            else (f"{change.median:+.2f}", f"{change.low:+.2f} to {change.high:+.2f}")
        )
        table.add_row(row.case.about, *(f"{value:.2f}" for value in row.spread), *compared)
    stdout.print(table)

"""``es-rerank bench gateway``: measure the latency that sidecar, library and plugin add to Elasticsearch."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.progress import TaskID
from rich.table import Table

from ..defaults import HOST, PORT
from ..errors import EsRerankError
from ..research.bench.gateway import (
    DOCUMENTS,
    GATEWAY_ROUNDS,
    CaseRow,
    Searcher,
    fill,
    measure,
    own_index,
)
from ..research.bench.gateway_searches import Way
from ..research.bench.machine import machine
from .output import Json, print_json, progress, stderr, stdout

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ..settings import Settings

_DRAWN_EVERY = 10
"""Rounds between two updates of the progress bar, because an update takes time itself."""

_CAPTION = (
    "added: difference to Elasticsearch alone in the same round, median over rounds, with its bootstrap "
    "interval; for rrf of both and rerank, Elasticsearch alone is the match query"
)

_SIDECAR_SETTINGS = {"ES_RERANK_SCORE_CACHE": "0", "ES_RERANK_PLUGIN": "never"}
"""With a cache, a round's second search would not compute the scores that its first one computed."""

_LISTENING_S = 2.0
_MANY_MS = 100


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
    plugin: Annotated[
        bool | None,
        typer.Option(
            "--plugin/--no-plugin",
            help="Whether the plugin inside Elasticsearch is measured too. A node that is started gets it.",
            show_default="if the node has it",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the latency that sidecar, library and plugin add to Elasticsearch's own: the same searches
    through each, interleaved.
    """
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect, found_or_started

    settings = read_settings()
    elasticsearch = found_or_started(elasticsearch_url, settings, plugin=_starts_with_plugin(plugin))
    with connect(elasticsearch.url, settings, request_timeout_s=BULK_TIMEOUT_S) as client:
        port = _if_wanted(plugin, _port_of_plugin, client)
        with _sidecar(elasticsearch.url, settings, port) as sidecar, own_index(client) as index:
            reached = port > 0 and _if_wanted(plugin, _plugin_reaches_us, client) > 0
            ways = _ways(client, sidecar, plugin=reached)
            with progress(documents, "indexing") as bar:
                fill(client, index, documents, lambda done: bar.update(TaskID(0), completed=done))
            measured = _measured(ways, index, rounds)
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


def _starts_with_plugin(wanted: bool | None) -> bool:
    """Return whether a node that is started gets the plugin: if not told, if this machine can start such a
    node.
    """
    from ..node.account import default_cache
    from ..node.lifecycle import obstacles

    return not obstacles(default_cache(), os.environ) if wanted is None else wanted


def _if_wanted(wanted: bool | None, look: Callable[[Elasticsearch], int], client: Elasticsearch) -> int:
    """Return what ``look`` finds out about the plugin, 0 to measure no plugin.

    Raises EsRerankError when the plugin is wanted and cannot be measured. If not told, it is left out then.
    """
    if wanted is False:
        return 0
    try:
        return look(client)
    except EsRerankError as error:
        if wanted:
            raise
        stderr.print(f"[yellow]note:[/] {error}", highlight=False, soft_wrap=True)
        return 0


def _port_of_plugin(client: Elasticsearch) -> int:
    """Return the port where our sidecar must listen so that the node's plugin asks it.

    Raises EsRerankError when there is no plugin, or our sidecar cannot be the one that it asks.
    """
    asked = _sidecar_of_plugin(client)
    if asked is None:
        raise _unmeasured("the node has none; `es-rerank up --plugin` starts one that has it")
    url = str(asked.get("url"))
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname != HOST or parts.path.strip("/"):
        raise _unmeasured(
            f"it asks the sidecar at {url}; set the node's es_rerank.url to an address of this machine, such "
            f"as http://{HOST}:{PORT}"
        )
    port = parts.port or 80
    if _listens(port):
        raise _unmeasured(
            f"it asks the sidecar at {url}, where something listens; stop it, so that this command's sidecar "
            "can listen there"
        )
    return port


def _plugin_reaches_us(client: Elasticsearch) -> int:
    """Return 1 if the node's plugin reaches our sidecar.

    Raises EsRerankError if it does not, for example because the node is on another machine.
    """
    asked = _sidecar_of_plugin(client) or {}
    if asked.get("status") != "ok":
        raise _unmeasured(
            f"it does not reach this command's sidecar ({asked.get('reason', 'it does not answer')}); use a "
            "node of this machine"
        )
    return 1


def _unmeasured(reason: str) -> EsRerankError:
    return EsRerankError(f"the plugin is not measured: {reason}")


def _sidecar_of_plugin(client: Elasticsearch) -> dict[str, Any] | None:
    """Return what the node's plugin says about its sidecar, None if the node has no plugin."""
    from elasticsearch import ApiError

    try:
        answer = client.perform_request("GET", "/_es_rerank", headers={"accept": "application/json"})
        return dict(answer.body["sidecar"])
    except (ApiError, KeyError, TypeError, ValueError):
        return None


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=_LISTENING_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _sidecar(url: str, settings: Settings, port: int) -> Iterator[Elasticsearch]:
    """Yield a client of a sidecar over ``url``; the client sends the credentials in ``url``, as every caller
    does.

    The sidecar listens at ``port``; 0 takes a free one.
    """
    from .connection import BULK_TIMEOUT_S, client_of, with_port
    from .own_sidecar import own_sidecar

    parts = urlsplit(with_port(url))
    credentials, at, host = parts.netloc.rpartition("@")
    with (
        own_sidecar(parts._replace(netloc=host).geturl(), port=port, settings=_SIDECAR_SETTINGS) as address,
        client_of(
            address.replace("://", f"://{credentials}{at}", 1), settings, request_timeout_s=BULK_TIMEOUT_S
        ) as client,
    ):
        yield client


def _ways(client: Elasticsearch, sidecar: Elasticsearch, *, plugin: bool) -> dict[Way, Searcher]:
    """Return the clients to time, without retries: the time of a retry would be added to that of the first
    attempt.
    """
    from ..client import RerankClient

    once = client.options(max_retries=0)
    ways: dict[Way, Searcher] = {
        "direct": once,
        "sidecar": sidecar.options(max_retries=0),
        "library": RerankClient(once, plugin="never"),
    }
    return {**ways, "plugin": once} if plugin else ways


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
        title=title,
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("milliseconds", no_wrap=True)
    for name in ("p50", "p95", "min", "max", "added", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in measured:
        change = row.added
        compared = (
            ("", "")
            if change is None
            else (_shown(change.median, "+"), f"{_shown(change.low, '+')} to {_shown(change.high, '+')}")
        )
        table.add_row(row.case.about, *(_shown(value) for value in row.spread), *compared)
    stdout.print(table)


def _shown(value: float, sign: str = "") -> str:
    """Return milliseconds as text: without decimals from 100 on, so that the table stays narrow."""
    return f"{value:{sign}.{2 if abs(value) < _MANY_MS else 0}f}"

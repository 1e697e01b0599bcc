"""``es-rerank up``: find or start a local Elasticsearch."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, print_json, stderr, stdout

_HEAP = typer.Option(
    "--heap-mb",
    min=256,
    help="Heap of a node that is started, in MiB; the process uses about 300 MiB more.",
)
_TIMEOUT = typer.Option(
    "--timeout-s",
    min=1,
    help="Most seconds until a started node answers; downloads are not counted.",
)


def up(
    heap_mb: Annotated[int, _HEAP] = 512,
    timeout_s: Annotated[float, _TIMEOUT] = 180,
    as_json: Json = False,
) -> None:
    """Find or start a local Elasticsearch and print its address. It keeps running; data of an earlier node is
    kept.
    """
    from .. import node
    from ..settings import read_settings

    settings = read_settings()
    with stderr.status("Elasticsearch: looking, downloading where needed, starting ..."):
        found = node.up(settings.state_dir, heap_mb=heap_mb, timeout_s=timeout_s)
    if settings.elasticsearch_url is not None and settings.elasticsearch_url.rstrip("/") != found.url:
        stderr.print(
            "[yellow]note:[/] ELASTICSEARCH_URL is set: other commands use that address, not this node"
        )
    if as_json:
        print_json(
            {
                "url": found.url,
                "version": found.version,
                "how": found.how,
                "ok": True,
                "started": not found.found,
                "pid": found.pid,
            }
        )
    else:
        stdout.print(
            f"Elasticsearch {found.version} ({found.how}) {'runs' if found.found else 'started'} at "
            f"[bold]{found.url}[/]"
        )

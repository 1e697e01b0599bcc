"""``es-rerank up``: find or start a local Elasticsearch."""

from __future__ import annotations

from typing import Annotated

import typer

from ..defaults import HOST, PORT
from ..errors import SettingsError
from .output import Json, print_json, stderr, stdout
from .starting import notes, shown_start, tell

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
_SIDECAR = typer.Option(
    "--sidecar",
    help=f"Address of the sidecar that the plugin asks; without it, http://{HOST}:{PORT}.",
    show_default=False,
)


def up(
    heap_mb: Annotated[int, _HEAP] = 512,
    timeout_s: Annotated[float, _TIMEOUT] = 180,
    plugin: Annotated[
        bool,
        typer.Option("--plugin", help="Install the plugin in the node; `es-rerank plugin` says what it is."),
    ] = False,
    sidecar: Annotated[str | None, _SIDECAR] = None,
    as_json: Json = False,
) -> None:
    """Find or start a local Elasticsearch and print its address. It keeps running; data of an earlier node is
    kept.
    """
    from .. import node
    from ..settings import read_settings

    if sidecar is not None and not plugin:
        raise SettingsError("--sidecar is the address that the plugin asks; give --plugin too")
    settings = read_settings()
    of_plugin = {} if sidecar is None else {"es_rerank.url": sidecar}
    with shown_start() as progress:
        found = node.up(
            settings.state_dir,
            heap_mb=heap_mb,
            timeout_s=timeout_s,
            plugin=plugin,
            settings=of_plugin,
            download_url=settings.elasticsearch_download_url,
            progress=progress,
        )
    tell(found)
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
                "distribution": found.distribution,
                "notes": notes(found),
                "ok": True,
                "started": not found.found,
                "pid": found.pid,
                **({"sidecar": found.sidecar} if found.sidecar else {}),
            }
        )
    else:
        stdout.print(
            f"Elasticsearch {found.version} ({found.how}) {'runs' if found.found else 'started'} at "
            f"[bold]{found.url}[/]"
        )
        if found.sidecar:
            stdout.print(f"with the plugin, which asks the sidecar at [bold]{found.sidecar}[/]")

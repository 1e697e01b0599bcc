"""``es-rerank down``: stop the local Elasticsearch that ``up`` started."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, print_json, stdout


def down(
    purge: Annotated[bool, typer.Option("--purge", help="Remove its data as well.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the local Elasticsearch that `up` started, and no other. Data stays unless --purge is given."""
    from .. import node
    from ..settings import read_settings

    done = node.down(read_settings().state_dir, purge=purge)
    was = done.stopped
    if as_json:
        print_json(
            {
                "url": was and was.url,
                "version": was and was.version,
                "how": was and was.how,
                "ok": True,
                "stopped": was is not None,
                "purged": done.purged,
            }
        )
        return
    stdout.print(
        f"stopped Elasticsearch {was.version} ({was.how}) at {was.url}"
        if was
        else "no node of ours runs: nothing to stop"
    )
    if done.purged:
        stdout.print("removed its data")

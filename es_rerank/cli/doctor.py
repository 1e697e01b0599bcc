"""``es-rerank doctor``: check what this machine has, and what is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from .output import ElasticsearchUrl, Json, print_json, stdout

if TYPE_CHECKING:
    from ..node import Diagnosis

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(elasticsearch_url: ElasticsearchUrl = None, as_json: Json = False) -> None:
    """Check Elasticsearch, Java, Docker, models and machine; exit with 1 when searching with reranking cannot
    work here.
    """
    from .. import node
    from ..addresses import resolved
    from ..settings import read_settings

    settings = read_settings()
    key = settings.elasticsearch_api_key
    address = elasticsearch_url or settings.elasticsearch_url
    diagnosis = node.doctor(
        settings.state_dir,
        resolved(address) if address else None,
        api_key=key.get_secret_value() if key else None,
        ca_certs=settings.elasticsearch_ca_certs,
        reranker=settings.reranker,
        embedder=settings.embedder,
        download_url=settings.elasticsearch_download_url,
    )
    if as_json:
        rows = [asdict(check) for check in diagnosis.checks]
        print_json(
            {
                "url": diagnosis.url,
                "version": diagnosis.version,
                "how": diagnosis.how,
                "distribution": diagnosis.distribution,
                "ok": diagnosis.ok,
                "checks": rows,
            }
        )
    else:
        stdout.print(_table(diagnosis))
    if not diagnosis.ok:
        raise typer.Exit(1)


def _table(diagnosis: Diagnosis) -> Table:
    table = Table("", "what", "found", "what to do", box=None)
    for check in diagnosis.checks:
        table.add_row(
            f"[{_COLOURS[check.status]}]{check.status}[/]",
            check.name,
            escape(check.found),
            escape(check.remedy),
        )
    return table

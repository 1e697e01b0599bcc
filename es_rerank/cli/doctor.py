"""``es-rerank doctor``: check what this machine has, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .output import ElasticsearchUrl, Json, print_json, stdout

if TYPE_CHECKING:
    from ..node import Diagnosis
    from ..node.speed import ModelSpeed
    from ..settings import Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


Speed = Annotated[
    bool,
    typer.Option(
        "--speed/--no-speed",
        help="Measure how many pairs and passages the models read in a second, and what a window of 50 "
        "costs. It takes about a second.",
    ),
]


def doctor(elasticsearch_url: ElasticsearchUrl = None, speed: Speed = True, as_json: Json = False) -> None:
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
        variant=settings.precision,
        # Of several rerankers that are served, one is enough that reads an instruction.
        instruction=None if settings.more_rerankers else settings.instruction,
        provider=settings.execution_provider,
        measured=partial(_measured, settings) if speed else None,
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
                "cpu": _cpu(),
                "speed": [_shown(each) for each in diagnosis.speeds],
            }
        )
    else:
        stdout.print(_table(diagnosis))
    if not diagnosis.ok:
        raise typer.Exit(1)


def _measured(settings: Settings) -> Iterator[ModelSpeed]:
    from ..node.speed import model_speeds

    return model_speeds(
        settings.reranker,
        settings.embedder,
        variant=settings.precision,
        threads=settings.threads,
        provider=settings.execution_provider,
    )


def _cpu() -> dict[str, str | int | bool]:
    from ..engine.processor import architecture, cores, has_amx, has_vnni, processor_name

    return {
        "name": processor_name(),
        "architecture": architecture(),
        "cores": cores(),
        "vnni": has_vnni(),
        "amx": has_amx(),
    }


def _shown(speed: ModelSpeed) -> dict[str, Any]:
    """Return the speed of a model as JSON: pairs or passages a second, and milliseconds of a window."""
    from ..node.speed import WINDOW

    rows = []
    for tokens, by_precision in () if speed.speeds is None else speed.speeds.seconds.items():
        for precision in sorted(by_precision):
            per_second = round(1 / by_precision[precision], 1)
            row: dict[str, Any] = {"precision": precision, "tokens": tokens}
            if speed.role == "reranker":
                row |= {"pairs_per_s": per_second, "window": WINDOW}
                row["window_ms"] = round(speed.window_ms(precision, tokens), 1)
            else:
                row["passages_per_s"] = per_second
            rows.append(row)
    return {
        "role": speed.role,
        "model": speed.model,
        "precision": speed.precision,
        "why": speed.why,
        "threads": speed.threads,
        "measured": rows,
        "fault": speed.fault,
    }


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

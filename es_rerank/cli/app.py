"""The program: one typer application, one file per command."""

from __future__ import annotations

import sys

import typer
from elasticsearch import ApiError, TransportError

from ..errors import EsRerankError
from .ask import ask
from .bench import bench
from .calibrate import calibrate
from .demo import demo
from .doctor import doctor
from .down import down
from .evaluate import evaluate
from .export import export
from .ingest import ingest
from .output import leave
from .search import search
from .serve import serve
from .train import train
from .up import up

app = typer.Typer(
    name="es-rerank",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rerank Elasticsearch hits with a cross-encoder, on any licence.",
)

app.command()(demo)
app.command()(up)
app.command()(down)
app.command()(doctor)
app.command()(evaluate)
app.command()(export)
app.command()(search)
app.command()(ask)
app.command()(serve)
app.command()(train)
app.command()(calibrate)
app.command()(ingest)
app.add_typer(bench)


def main() -> None:
    """Run the program; every known error becomes one sentence on stderr and its exit code."""
    try:
        app()
    except (EsRerankError, ApiError, TransportError) as error:
        leave(error)
    except KeyboardInterrupt:
        sys.exit(130)

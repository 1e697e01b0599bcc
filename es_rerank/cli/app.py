"""The program ``es-rerank``: one typer application, with one file per command.

Only the requested command is imported, so that help, completion and small commands start at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, ClassVar

import typer

from ..addresses import masked_in
from .lazy_group import Entry, LazyGroup
from .output import leave, print_text


class _Program(LazyGroup):
    """The commands of the program."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 typer's context is private to it
        """Run the command. In a message about a wrong argument, a password in that argument is masked."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(message := getattr(error, "message", None), str):
                error.__dict__["message"] = masked_in(message)
            raise

    entries: ClassVar = {
        "demo": Entry(
            "demo",
            "Start Elasticsearch, index the packaged collection, and show hits and nDCG@10 before and "
            "after reranking.",
        ),
        "up": Entry(
            "up",
            "Find or start a local Elasticsearch and print its address. It keeps running; data of an "
            "earlier node is kept.",
        ),
        "down": Entry(
            "down",
            "Stop the local Elasticsearch that `up` started, and no other. "
            "Data stays unless --purge is given.",
        ),
        "plugin": Entry(
            "plugin", "Put retrievers, query vectors and passages into Elasticsearch itself, as a plugin."
        ),
        "doctor": Entry(
            "doctor",
            "Check Elasticsearch, Java, Docker, models and machine; exit with 1 when searching with "
            "reranking cannot work here.",
        ),
        "evaluate": Entry(
            "evaluate",
            "Index collections (unchanged documents are skipped) and compare nDCG@10 of first stage and "
            "reranked order.",
        ),
        "export": Entry(
            "export",
            "Export a torch model to ONNX, quantise it, and keep it only if its scores agree with torch's.",
        ),
        "import": Entry(
            "import_model",
            "Make a model folder from ready-made ONNX graphs of the Hub, a folder or a jar, without torch.",
        ),
        "search": Entry(
            "search", "Search an index and rerank its first hits; --json prints the Elasticsearch response."
        ),
        "ask": Entry(
            "ask",
            "Print a prompt of the best passages for a question, numbered for citations; with --llm, "
            "print a model's answer instead.",
        ),
        "serve": Entry(
            "serve",
            "Serve reranking and Elasticsearch's own search API over HTTP, until interrupted.",
        ),
        "mcp": Entry(
            "mcp",
            "Serve the tools search and ask over some indices to a host of the Model Context Protocol (MCP), "
            "such as a chat program. They only read.",
        ),
        "key": Entry(
            "key",
            "Make an API key of the sidecar. Its table for the file of keys goes to stdout, the key itself "
            "to stderr.",
        ),
        "role": Entry(
            "role",
            "Print the least-privilege Elasticsearch role, and the request for an API key with it.",
        ),
        "train": Entry(
            "train",
            "Train a cross-encoder; afterwards export it with: es-rerank export OUT FOLDER.",
        ),
        "calibrate": Entry(
            "calibrate",
            "Learn the calibrations of a cross-encoder, of a pair alone and blended with each first stage, "
            "from training splits. They take the place of those in its manifest.",
        ),
        "tune": Entry(
            "tune",
            "Fit a reranker's blends and probabilities to an index by judgements or clicks, and with --train "
            "its weights; half of the queries say whether it is better.",
        ),
        "ingest": Entry(
            "ingest",
            "Index documents with passages and vectors. Unchanged documents are skipped, so the command "
            "may be repeated.",
        ),
        "index": Entry("index", "List, check and clean the indices that es-rerank made."),
        "bench": Entry("bench", "Measure speed, side by side in one run."),
    }


app = typer.Typer(
    name="es-rerank",
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Rerank Elasticsearch hits with a cross-encoder, on any licence.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_text(f"es-rerank {version('es-rerank')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Read the options of the program itself."""


def main() -> None:
    """Run the program; an error of ours is printed as one sentence on stderr and gives its exit code."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 what is not known is raised again
        leave(error)
    except KeyboardInterrupt:
        sys.exit(130)

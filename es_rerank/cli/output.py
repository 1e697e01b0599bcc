"""What every command shares: the consoles for output and messages, and the exit after an error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Annotated, Any, NoReturn, cast

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ..addresses import masked_in, said_of
from ..errors import EsRerankError, SearchError, UnreachableError, outcome_of
from ..standard_error import Stderr, plain_retry

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]
ElasticsearchUrl = Annotated[
    str | None,
    typer.Option(
        "--elasticsearch-url",
        help="Elasticsearch to use instead of ES_RERANK_ELASTICSEARCH_URL or a running local node.",
        show_default=False,
    ),
]

OUTPUT_CLOSED = 141
"""Exit code after the reader of stdout has gone, as ``head`` goes: the code that a shell reports after
SIGPIPE."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors of a disk that is full, may not be written, or fails."""

_INCOMPLETE = {
    "partial": "the answer is partial",
    "first_stage": "the hits are not reranked and have the order of the first stage",
}
"""What a person is told, by the status of an answer that is not whole."""


_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if code not in b"\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}
"""What is shown for control characters except tab and line feed, and for those that end a line or turn the
direction of what follows."""

_NO_END = 10_000
"""Characters in a line where nothing bounds it."""


class _Plain(Console):
    """A console that shows names and texts of others as they are: ``:100:`` is no picture, and a control
    character, which would move the cursor or change colours, is shown as a picture of it.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 as Console takes them
        super().__init__(emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 as Console takes them
        """Return the text as it is shown."""
        return super().render_str(text.translate(_PICTURES), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return what the terminal gets."""
        if (
            isinstance(renderable, Text)
            and (plain := renderable.plain.translate(_PICTURES)) != renderable.plain
        ):
            renderable = renderable.copy()
            renderable.plain = plain  # of the same length, so the styles stay where they are
        return super().render(renderable, options)


class _Stdout(_Plain):
    """The console for results. When its reader has gone, the program ends: nobody reads the result."""

    def on_broken_pipe(self) -> None:
        """End the program without a message."""
        leave_quietly()


class _Stderr(_Plain):
    """The console for messages. When its reader has gone or its disk is full, the program continues its work,
    and its exit code tells the rest.
    """

    def __init__(self) -> None:
        super().__init__(stderr=True, file=cast("IO[str]", Stderr()))

    def on_broken_pipe(self) -> None:
        """Print nothing from now on."""
        self.quiet = True


stdout = _Stdout()
stderr = _Stderr()


def print_table(table: Table) -> None:
    """Print a table on stdout. A file and a pipe have no width, so no cell is cut there."""
    width = stdout.width
    if not stdout.is_terminal:
        stdout.width = _NO_END
    try:
        stdout.print(table)
    finally:
        stdout.width = width


def print_json(value: Any) -> None:  # noqa: ANN401 any JSON value
    """Print one JSON document on stdout, plain, so that other programs can read it."""
    print_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def say(text: str) -> None:
    """Print a line on stderr as it is: brackets and colons in names are no markup."""
    stderr.print(text, markup=False, emoji=False, highlight=False)


def print_text(text: str) -> None:
    """Print a text on stdout unchanged and flush it; if the reader of stdout has gone, exit without a
    message.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        raise EsRerankError(
            f"the output cannot be written: {error.strerror}; check where stdout goes"
        ) from error


def log_to_stderr() -> None:
    """Send the log of this process to stderr: stdout is for answers."""
    import structlog

    stream: Any = Stderr()  # it writes and flushes, which is all that structlog asks of a file
    processors = structlog.get_config()["processors"]
    structlog.configure(
        processors=processors if plain_retry in processors else [plain_retry, *processors],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


def leave_quietly() -> NoReturn:
    """End the program because nobody reads its output.

    The process continues to ignore SIGPIPE, as Python does by default. A socket whose other side has closed
    causes the same signal, and that must not end a server or an ingest.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # buffered output is flushed there at exit
    raise SystemExit(OUTPUT_CLOSED)


def warn_if_incomplete(block: Mapping[str, Any]) -> None:
    """Say on stderr that an answer is not whole, and what is to be known about its scores.

    ``block`` is its ``rerank`` block.
    """
    what = _INCOMPLETE.get(block["status"])
    notes = [] if what is None else [f"{what}: {block.get('reason')}"]
    for note in [*notes, *block.get("warnings", ())]:
        said = f"warning: {note}"
        stderr.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(total: int | None, what: str, *, by_itself: bool = True) -> Iterator[Progress]:
    """Show a progress bar on stderr with one task (id 0), so that stdout stays clean.

    With ``by_itself`` False, the bar is drawn only on request: no thread runs beside the work that is timed.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, auto_refresh=by_itself) as bar:
        bar.add_task(what, total=total)
        yield bar


def leave(error: Exception) -> NoReturn:
    """Print one sentence on stderr and exit with the code of the error's class.

    An error that is not ours and not the elasticsearch client's is raised again.
    """
    known = as_known(error)
    stderr.print(f"[bold red]error:[/] {_escaped(masked_in(known.message))}", highlight=False, soft_wrap=True)
    raise SystemExit(outcome_of(known).exit_code)


def as_known(error: Exception) -> EsRerankError:
    """Return ``error`` if it is ours; an error of the elasticsearch client becomes a SearchError or
    UnreachableError, and that of a full disk an EsRerankError.

    Any other error is raised again.
    """
    if isinstance(error, EsRerankError):
        return error
    from elasticsearch import ApiError, TransportError

    if isinstance(error, ApiError) and error.error == "index_not_found_exception":
        index = error.info.get("error", {}).get("index", "?")
        return SearchError(
            f"there is no index [{index}]; index documents with: es-rerank ingest {index} SOURCE, or check "
            "the name and the address"
        )
    if isinstance(error, ApiError):
        said = "; ".join(_suppressed(error.body)) or str(error)
        return SearchError(f"Elasticsearch answered {error.status_code}: {said}")
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" {error.filename}" if error.filename else " a file, or stdout,"
        return EsRerankError(
            f"{error.strerror}: the program cannot write{where}; what it wrote before stays. Make room, or "
            "choose another folder (TMPDIR for temporary files, ES_RERANK_STATE_DIR, --out), and repeat the "
            "command"
        )
    if isinstance(error, TransportError):
        return UnreachableError(
            f"Elasticsearch does not answer ({said_of(error.message)}); check --elasticsearch-url or "
            "ELASTICSEARCH_URL, or start a node with: es-rerank up"
        )
    raise error


def _suppressed(body: Any) -> list[str]:  # noqa: ANN401 a proxy may answer anything
    """Return why the leaves of a tree failed, each reason once. The error above them does not say it."""
    error = body.get("error") if isinstance(body, dict) else None
    failures = error.get("suppressed", []) if isinstance(error, dict) else []
    shards = [
        failure["failed_shards"][0] if failure.get("failed_shards") else failure for failure in failures
    ]
    reasons = [shard["reason"] for shard in shards]
    return list(dict.fromkeys(said["reason"] if isinstance(said, dict) else said for said in reasons))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")

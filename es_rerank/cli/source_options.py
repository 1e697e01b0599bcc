"""The options of ``es-rerank ingest`` that say what is read, and what is told while it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..collection import RECORD_SHAPE, Document
from ..errors import SettingsError
from .output import stderr

if TYPE_CHECKING:
    from ingest_pipelines import Reject

RECORDS = "Fields of records (JSON, JSONL, CSV, TSV, BEIR)"

SourcesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Files, folders of files (links are not followed), BEIR folders, the rejects file of an earlier "
        "run, or - for JSON lines from standard input. Kinds: JSON lines, JSON, CSV, TSV, Markdown and text; "
        "with the extra documents also HTML, PDF, DOCX and PPTX; records and text may be gzipped. JSON "
        f"lines: {RECORD_SHAPE}",
        show_default=False,
    ),
]
TextFieldsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text-field",
        metavar="FIELD",
        help="Field of the text; several are joined by a blank line. a.b is field b of object a.",
        show_default="text, else the only one of text, content, body, 正文, 内容 in any case",
        rich_help_panel=RECORDS,
    ),
]
TitleFieldOption = Annotated[
    str | None,
    typer.Option(
        "--title-field",
        metavar="FIELD",
        help="Field of the title.",
        show_default="title, else the only one of title, headline, name, 标题 in any case (without text)",
        rich_help_panel=RECORDS,
    ),
]
IdFieldOption = Annotated[
    str | None,
    typer.Option(
        "--id-field",
        metavar="FIELD",
        help="Field of the id. A record without an id gets one made from its content; with this option, it "
        "fails.",
        show_default="_id, else id",
        rich_help_panel=RECORDS,
    ),
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="FIELD",
        help="Field that becomes metadata, which searches filter by; give it for each.",
        show_default="all other fields",
        rich_help_panel=RECORDS,
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        help="Encoding of text files, tables and JSON, such as gb18030.",
        show_default="byte order mark, else UTF-8, else guessed",
    ),
]


def check_rejects(rejects: Path | None, sources: Sequence[Path]) -> None:
    """Raise SettingsError where the file for rejects is itself a source. In a folder it is left out."""
    if rejects is not None and rejects.resolve() in {
        file.resolve() for source in sources for file in (source, source / "corpus.jsonl")
    }:
        raise SettingsError(
            f"--rejects {rejects} is also a source, and would be overwritten while it is read; give another "
            "file"
        )


def tell(note: str) -> None:
    """Print a sentence about what is read."""
    stderr.print(note, highlight=False, markup=False, soft_wrap=True)


class FirstReject:
    """Keeps why the first record or file could not be read, so that the error at the end can say it."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def among(self, items: Iterator[Document | Reject]) -> Iterator[Document | Reject]:
        """Pass all items on."""
        for item in items:
            if self.reason is None and not isinstance(item, Document):
                self.reason = item.reason
            yield item

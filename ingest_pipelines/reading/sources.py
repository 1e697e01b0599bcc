"""Says which file is read for each source, and by which reader."""

from __future__ import annotations

import stat
import unicodedata
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from es_rerank.collection import Document, is_collection
from es_rerank.errors import MissingExtraError, SourceError

from ..rejects import Reject
from .converted import CONVERTED, read_converted
from .deferred import defer
from .encodings import check_encoding
from .fields import Fields
from .files import STDIN, FoundFile, Reader, kind_of
from .json_files import read_json
from .json_lines import is_rejects_file, read_json_lines, read_rejects
from .markdown import MARKDOWN, read_markdown
from .meter import Meter
from .notes import Notes, OnNote
from .plain_text import read_plain_text
from .tables import read_table
from .twice import FirstTwice
from .walking import Found, LeftOut, is_hidden, walk

_RECORDS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_table,
    ".tsv": read_table,
}
_WHOLE: dict[str, Reader] = {
    **dict.fromkeys(MARKDOWN, read_markdown),
    **dict.fromkeys((".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org"), read_plain_text),
    **dict.fromkeys(CONVERTED, read_converted),
}
"""Readers of files that are one document, whose id is the file's name."""

READERS: dict[str, Reader] = _RECORDS | _WHOLE
"""The end of a file's name, in lower case, and who reads such a file. Each may be gzipped (``.jsonl.gz``)."""

SUFFIXES = tuple(READERS)


def source_files(sources: Sequence[Path]) -> list[Path]:
    """Return the files that are read for these sources, in their order.

    Raises SourceError as ``read_sources`` does.
    """
    _check(sources)
    return [found.path for source in sources for found in _found(source, LeftOut(), None) if not found.fault]


def read_sources(
    sources: Sequence[Path],
    *,
    fields: Fields | None = None,
    encoding: str | None = None,
    not_this: Path | None = None,
    on_note: OnNote | None = None,
    meter: Meter | None = None,
    elsewhere: bool = False,
) -> Iterator[Document | Reject]:
    """Return an iterator over the documents of all sources.

    A source is a file, a folder with all its files, a folder in BEIR layout, a rejects file, or ``-``: JSON
    lines from standard input. What cannot be read gives a Reject: a record, or a file with its place. Only
    one record, or one file that is a document, is in memory at a time.

    ``fields`` says which fields of a record are its text, title, id and metadata; ``encoding`` what text is
    encoded in, None: it is detected. In folders, the file ``not_this`` is left out. ``on_note`` gets a
    sentence for all that is no fault: guesses, and what is left out. By default these are warnings of Python.
    ``meter`` tells, while documents are read, which share of the files was read. With ``elsewhere``, files to
    convert are not opened: they are a ``DeferredDocument``.

    Raises SourceError at once for a source that does not exist, for a file of a kind that is not read, for a
    folder without any file that is read, and for sources of which two files have the same name, as they would
    be one document. Raises SettingsError for names of fields or an encoding that cannot be meant.
    """
    chosen = fields or Fields()
    chosen.check()
    if encoding is not None:
        check_encoding(encoding)
    _check(sources)
    notes = Notes(on_note or _warn)
    like = FoundFile(Path(), "", chosen, encoding, notes, meter or Meter(), elsewhere)
    return _read(sources, like, not_this and not_this.resolve())


def _warn(note: str) -> None:
    warnings.warn(note, stacklevel=2)


def _read(sources: Sequence[Path], like: FoundFile, not_this: Path | None) -> Iterator[Document | Reject]:
    like.meter.expect(
        found.path for source in sources for found in _found(source, LeftOut(), not_this) if not found.fault
    )
    twice = FirstTwice()
    for source in sources:
        left_out, of_hub = LeftOut(), is_collection(source)  # its corpus may be a link
        for found in _found(source, left_out, not_this):
            file = like.at(found.path, found.name)
            file.meter.begin(found.path)
            if found.fault:
                yield file.reject(found.fault)
            elif found.path != source and not of_hub and _is_no_file(found.path):
                yield file.reject(
                    "it is a link, a pipe or a device, and was a file when the folder was listed"
                )
            elif found.path == source and is_rejects_file(source.name):
                yield from _rejects(file)
            else:
                yield from twice.watch(_items(file), file)
        if note := str(left_out):
            like.at(source, "").tell(note)
    like.notes.close(like.fields.named())


def _items(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the documents of a file. What ends the reading is a reject of the file."""
    reader = read_json_lines if file.path == STDIN else READERS[file.suffix]
    try:
        yield from (defer if file.elsewhere and reader is read_converted else reader)(file)
    except SourceError as error:
        yield file.rejected(error)
    except MissingExtraError as error:
        yield file.reject(error.message)
    except (OSError, EOFError, zlib.error) as error:
        yield file.reject(f"it cannot be read: {getattr(error, 'strerror', None) or error}")


def _rejects(file: FoundFile) -> Iterator[Document | Reject]:
    """Yield the documents of a rejects file, and of the files that it names, each of them once."""
    seen: set[tuple[Path, str]] = set()
    try:
        for item in read_rejects(file):
            if not isinstance(item, FoundFile):
                yield item
            elif (item.path, item.name) not in seen:
                seen.add((item.path, item.name))
                yield from _again(item)
    except SourceError as error:
        yield file.rejected(error)
    except (OSError, EOFError, zlib.error) as error:
        yield file.reject(f"it cannot be read: {getattr(error, 'strerror', None) or error}")


def _again(file: FoundFile) -> Iterator[Document | Reject]:
    left_out = LeftOut()
    for found in walk(file.path, READERS, left_out, name=file.name):
        inner = file.at(found.path, found.name)
        if found.fault:
            yield inner.reject(found.fault)
        elif inner.suffix not in READERS or is_rejects_file(found.path.name):
            yield inner.reject("it is of a kind that is not read")
        elif found.path.exists() and not found.path.is_file():
            yield inner.reject("it is a pipe or a device")
        else:
            yield from _items(inner)
    if note := str(left_out):
        file.tell(note)


def _is_no_file(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False  # opening it tells why it cannot be read


def _found(source: Path, left_out: LeftOut, not_this: Path | None) -> Iterator[Found]:
    if source.is_dir():
        return walk(source, READERS, left_out, not_this=not_this)
    return iter([Found(source, source.name)])


def _check(sources: Sequence[Path]) -> None:
    for source in sources:
        _check_source(source)
    if len(sources) > 1:
        _check_together(sources)


def _check_source(source: Path) -> None:
    kinds = ", ".join(SUFFIXES)
    if source.is_dir():
        left_out = LeftOut()
        if next(walk(source, READERS, left_out), None) is None:
            raise SourceError(
                f"{source} holds neither corpus.jsonl nor a file whose name ends in {kinds}"
                f"{f'; {left_out}' if str(left_out) else ''}",
                path=str(source),
            )
    elif source != STDIN and source.exists() and not source.is_file():
        raise SourceError(
            f"{source} is a pipe or a device; give - as the source, and its JSON lines on standard input",
            path=str(source),
        )
    elif source != STDIN and not source.is_file():
        raise SourceError(
            f"{source} does not exist; a source is a folder, a file whose name ends in {kinds} (or that and "
            ".gz), or - for JSON lines from standard input",
            path=str(source),
        )
    elif source != STDIN and kind_of(source.name) not in READERS:
        raise SourceError(
            f"{source} cannot be read: its name ends in none of {kinds}; convert it to one of them first",
            path=str(source),
        )


def _is_read_in(source: Path, folder: Path) -> bool:
    return source.is_relative_to(folder) and not any(map(is_hidden, source.relative_to(folder).parts))


def _check_together(sources: Sequence[Path]) -> None:
    """Raise SourceError where one source lies in another, or a file of two would be the same document."""
    folders = [
        (number, source, source.resolve())
        for number, source in enumerate(sources)
        if source.is_dir() and not is_collection(source)
    ]
    files: dict[str, Path] = {}
    for number, source in enumerate(sources):
        resolved = source.resolve()
        for other, folder, place in folders:
            if other != number and source != STDIN and _is_read_in(resolved, place):
                raise SourceError(
                    f"{source} lies in {folder}, which is a source too; leave out one of them",
                    path=str(source),
                )
        before = [folder for other, folder, _ in folders if other < number]
        if before or files:
            _check_names(source, files, before)
        if not source.is_dir():
            files.setdefault(unicodedata.normalize("NFC", source.name), source)


def _check_names(source: Path, files: dict[str, Path], folders: Sequence[Path]) -> None:
    for found in _found(source, LeftOut(), None):
        if kind_of(found.path.name) not in _WHOLE:
            continue
        name = unicodedata.normalize("NFC", found.name)
        twin = files.get(name) or next(filter(None, (_twin(name, folder) for folder in folders)), None)
        if twin:
            raise SourceError(
                f"{twin} and {found.path} would be one document, as both are {found.name} in their "
                "source; give the folder that holds both, or rename one",
                path=str(found.path),
            )


def _twin(name: str, folder: Path) -> Path | None:
    """Return the file of another source that has the same name there, None if there is none that is read."""
    parts = name.split("/")
    if any(map(is_hidden, parts)):
        return None
    for form in ("NFC", "NFD"):
        twin = folder
        for part in parts:
            twin /= unicodedata.normalize(form, part)
            if twin.is_symlink():
                break
        else:
            if twin.is_file():
                return twin
    return None

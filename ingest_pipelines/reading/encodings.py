"""Finds the encoding of a text file: a byte order mark, UTF-8, or a guess of charset-normalizer."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from es_rerank.errors import SettingsError, SourceError
from es_rerank.extras import install_command

from .files import MOST_CHARACTERS, FoundFile

MOST_BYTES = 4 * MOST_CHARACTERS
"""Most bytes of a file that is one document. No Unicode encoding takes more than four for a character."""

_CHUNK = 1 << 20
_SAMPLE = 1 << 15
"""Bytes of the lines that are not ASCII from which an encoding is guessed."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does, so it is tried before
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_WESTERN = "cp1252"


def check_encoding(encoding: str) -> None:
    """Raise SettingsError where Python has no encoding of text of this name."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError) as error:
        raise SettingsError(f"--encoding {encoding!r} is no encoding of text that Python knows") from error


def encoding_of_mark(begin: bytes) -> str | None:
    """Return the encoding that a byte order mark at the beginning of a file names, else None."""
    return next((encoding for mark, encoding in _MARKS if begin.startswith(mark)), None)


def encoding_of(file: FoundFile) -> str:
    """Return the name of a Python codec for the text of a file. The whole file is read, in pieces.

    It is the encoding that the caller named, or that of the byte order mark, or UTF-8 where the bytes are
    valid. All else is guessed, and said by ``file.tell``. Raises SourceError for a file that is binary, for
    one of UTF-8 with broken bytes, and where no encoding is found.
    """
    if file.encoding:
        return "utf-8-sig" if codecs.lookup(file.encoding).name == "utf-8" else file.encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, pending, sample, valid = 1, b"", b"", True
    with file.open() as stream:
        begin = stream.read(_CHUNK)
        marked = encoding_of_mark(begin)
        if marked:
            return marked
        while begin:
            if b"\0" in begin:
                raise file.fault("it is no text, but binary; if it is UTF-16 or UTF-32, name its --encoding")
            if valid:
                try:
                    decoder.decode(begin)
                except UnicodeDecodeError as error:
                    valid = False
                    number += begin.count(b"\n", 0, max(0, error.start - len(pending)))
                else:
                    number += begin.count(b"\n")
                    pending = decoder.getstate()[0]
            if len(sample) < _SAMPLE:
                sample += _beyond_ascii(begin, _SAMPLE - len(sample))
            begin = stream.read(_CHUNK)
    if valid and not pending:
        return "utf-8"
    return _guessed(file, sample, number)


def read_text(file: FoundFile) -> str:
    """Return the text of a file that is one document. Its lines end in a line feed, as on every system.

    Raises SourceError where it is binary, empty or too long, or where its encoding is not found.
    """
    encoding = encoding_of(file)
    with file.open() as stream:
        content = stream.read(MOST_BYTES + 1)
    text = "" if len(content) > MOST_BYTES else _decoded(file, content, encoding)
    if len(content) > MOST_BYTES or len(text) > MOST_CHARACTERS:
        size = f"{len(text)} characters" if text else f"more than {MOST_BYTES} bytes"
        raise file.fault(f"it has {size}; at most {MOST_CHARACTERS} characters are one document; split it")
    if not text.strip():
        raise file.fault("it is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def decoded(file: FoundFile, stream: IO[bytes], encoding: str) -> Iterator[io.TextIOWrapper]:
    """Give a stream of characters over a stream of bytes. The ends of lines stay as they are.

    Raises SourceError for bytes that the encoding does not have.
    """
    mark = _mark_in(encoding)
    if mark and cast("io.BufferedReader", stream).peek(len(mark)).startswith(mark):
        stream.read(len(mark))
    with io.TextIOWrapper(stream, encoding=encoding, newline="") as text:
        try:
            yield text
        except UnicodeError as error:
            raise _wrong_bytes(file, error, encoding) from error


def _mark_in(encoding: str) -> bytes:
    """Return the byte order mark in an encoding that keeps it as a character; empty if there is none."""
    if codecs.lookup(encoding).name in {name for _, name in _MARKS}:
        return b""
    try:
        return "\ufeff".encode(encoding)
    except UnicodeError:
        return b""


def _wrong_bytes(file: FoundFile, error: UnicodeError, encoding: str) -> SourceError:
    return file.fault(
        f"it holds bytes that are not {encoding} ({error}); save it as UTF-8, or name its --encoding"
    )


def _decoded(file: FoundFile, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        raise _wrong_bytes(file, error, encoding) from error


def _beyond_ascii(chunk: bytes, most: int) -> bytes:
    """Return the lines that are not ASCII. A line feed is never part of a character."""
    if chunk.isascii():
        return b""
    lines, size = [], 0
    for line in chunk.splitlines(keepends=True):
        if not line.isascii():
            lines.append(line)
            size += len(line)
            if size >= most:
                break
    return b"".join(lines)[:most]


def _guessed(file: FoundFile, sample: bytes, line: int) -> str:
    if is_broken_utf8(sample):
        raise file.fault("a byte is not UTF-8, though the others are; save the file as UTF-8 anew", line)
    try:
        from charset_normalizer import from_bytes  # noqa: PLC0415 an extra
    except ImportError:
        raise file.fault(
            "it is not UTF-8; save it as UTF-8, name its --encoding, or install what guesses encodings: "
            f"{install_command('documents')}",
            line,
        ) from None
    matches = list(from_bytes(sample))
    if not matches:
        raise file.fault("it is in no encoding that is known; save it as UTF-8, or name its --encoding", line)
    best = matches[0]
    as_good = [match for match in matches if match.chaos <= best.chaos]
    # Texts of Western Europe fit the tables of Central Europe as well, which then stand first.
    encoding = next((_WESTERN for match in as_good if _WESTERN in match.could_be_from_charset), best.encoding)
    others = sorted({match.encoding for match in as_good if match.coherence == best.coherence})
    if len(others) > 1 and encoding != _WESTERN:
        raise file.fault(f"its encoding may be {' or '.join(others)}; name it by --encoding", line)
    file.tell(f"read as {encoding}, which is guessed; --encoding names another")
    return encoding


def is_broken_utf8(sample: bytes) -> bool:
    """Return whether nearly all bytes beyond ASCII are characters of UTF-8, as by chance they never are."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - broken >= 3 * broken

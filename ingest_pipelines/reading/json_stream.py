"""Reads one JSON value after the other from a stream of characters, with the line of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from .files import MOST_RECORD, FoundFile

_CHUNK = 1 << 18
_BLANK = re.compile(r"[ \t\n\r]*")
_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_QUOTES = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_END_OF_PLAIN = re.compile(r"[,\]}\s]")
_SHOWN = 1_000
_TOO_LONG = (
    "the record has {} characters, at most {} are read; only its beginning is kept here: split it in the "
    "file that was read"
)

_NEAR_THE_END = 12
"""A value that goes on in the next piece fails this near to the end: ``\\ud83d\\ude0`` is the longest."""


class Value(NamedTuple):
    """A JSON value, its text as it stands in the file, and its line. ``fault`` says why it cannot be used."""

    value: Any
    text: str
    line: int
    fault: str | None = None


class JsonStream:
    """The values of a stream. One is in memory at a time, with the piece of the stream that holds it.

    All methods raise SourceError, with the line, where the stream is not JSON.
    """

    def __init__(self, stream: IO[str], file: FoundFile) -> None:
        self._stream = stream
        self._file = file
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._line, self._counted = 1, 0
        self._constant: str | None = None
        self._decoder = json.JSONDecoder(parse_constant=self._note_constant)

    @property
    def line(self) -> int:
        """The line of the next character, from 1."""
        self._line += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """Return the next character that is not white space, "" at the end."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def value(self) -> Value:
        """Return the next value. Of one that is longer than ``MOST_RECORD``, only its beginning."""
        self.peek()
        line = self.line
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or self._is_near_the_end(error.pos)
                if not unfinished or self._ended:
                    self._at = min(error.pos, len(self._buffer))
                    raise self._file.fault(f"not JSON ({error.msg})", self.line) from error
                if len(self._buffer) - self._at > MOST_RECORD:
                    return self._skipped(line)
            except RecursionError as error:
                return self._skipped(line, f"its objects are nested too deep ({error})")
            except ValueError as error:  # a whole number of more digits than Python converts
                return self._skipped(line, f"not JSON ({error})")
            else:
                if end - self._at > MOST_RECORD:
                    return self._skipped(line)
                if end < len(self._buffer) or self._ended:
                    return self._found(value, end, line)
            self._more()

    def elements(self) -> Iterator[Value]:
        """Yield the elements of the array that begins here."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        while True:
            yield self.value()
            if self.peek() == "]":
                self._take("]")
                return
            self._take(",")

    def names(self) -> Iterator[str]:
        """Yield the names in the object that begins here. The caller reads the value after each."""
        self._take("{")
        if self.peek() == "}":
            self._take("}")
            return
        while True:
            if self.peek() != '"':
                raise self._expected("a name in quotes")
            name = str(self.value().value)
            self._take(":")
            yield name
            if self.peek() == "}":
                self._take("}")
                return
            self._take(",")

    def end(self) -> None:
        """Raise SourceError unless the stream ends here."""
        if self.peek():
            raise self._expected("the end of the file")

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise self._expected(character)
        self._at += 1

    def _expected(self, what: str) -> Exception:
        found = self.peek() or "the end of the file"
        return self._file.fault(f"not JSON (expected {what}, found {found})", self.line)

    def _found(self, value: Any, end: int, line: int) -> Value:  # noqa: ANN401 any JSON value
        text, self._at = self._buffer[self._at : end], end
        constant, self._constant = self._constant, None
        return Value(value, text, line, f"not JSON ({constant} is not a JSON number)" if constant else None)

    def _skipped(self, line: int, fault: str | None = None) -> Value:
        """Pass over a value by its brackets and quotes. ``fault`` says why; None: it is too long.

        The value has its whole text, or the beginning of one that is longer than ``MOST_RECORD``.
        """
        text, size, depth, begin = "", 0, 0, self._at
        inside, plain = False, self._buffer[self._at] not in '"{['
        while True:
            if inside:
                quoted = _IN_QUOTES.match(self._buffer, self._at)
                self._at = quoted.end() if quoted else self._at
                inside = not self._buffer.startswith('"', self._at)
                self._at += not inside
            else:
                sign = (_END_OF_PLAIN if plain else _STRUCTURE).search(self._buffer, self._at)
                self._at = len(self._buffer) if sign is None else sign.start() if plain else sign.end()
                character = sign.group() if sign and not plain else ""
                inside = character == '"'
                depth += (character in ("{", "[")) - (character in ("}", "]"))
            # A backslash at the end belongs to the character after it, which is in the next piece.
            left = self._buffer[self._at : self._at + 2]
            ended = depth == 0 and not inside and (not plain or left != "")
            if not ended and left and not (inside and left == "\\"):
                continue
            size += self._at - begin
            text += self._buffer[begin : self._at]
            text = text[: _SHOWN if size > MOST_RECORD else MOST_RECORD]
            if ended or not self._more():
                break
            begin = self._at
        if not ended and not plain:
            raise self._file.fault(fault or "not JSON (the file ends within a value)", line)
        if size > MOST_RECORD:
            return Value(None, f"{text} …", line, _TOO_LONG.format(size, MOST_RECORD))
        return Value(None, text, line, fault)

    def _is_near_the_end(self, position: int) -> bool:
        return position >= len(self._buffer) - _NEAR_THE_END

    def _more(self) -> bool:
        """Read a further piece, at least as long as what is left. Return whether there was one."""
        self._line, kept = self.line, self._buffer[self._at :]
        piece = self._stream.read(max(_CHUNK, len(kept)))
        self._buffer, self._at, self._counted = kept + piece, 0, 0
        self._ended = not piece
        return bool(piece)

    def _note_constant(self, constant: str) -> None:
        self._constant = constant

"""The process that converts files: reads and writes JSON lines.

Each line of standard input is ``[path, encoding or null]``. For each file it writes ``{"begun": true}``,
``{"page": n}`` before each page of a PDF, and then either ``{"text", "title", "metadata", "notes"}`` or
``{"reason"}``; ``"memory": true`` where memory was short. It ends when standard input ends, even in the
middle of a file, and when nothing came for a while.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import queue
import signal
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil

from .converted import MOST_CHARACTERS, Converted, OnPage, UnreadableError

IDLE_S = 60.0
"""After so many seconds without a file the process ends."""

_DEEPEST = 10_000
"""Python's limit of nested calls here. markdownify needs about three for each level of HTML."""

_FORBIDDEN = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.bind",
    "urllib.Request",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
)
"""Events of Python that reading a file never needs: network, other programs, changes of files."""


def main(memory: int) -> None:
    """Answer until standard input ends. ``memory``: most bytes that the process takes beyond its start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides when this one ends
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(_DEEPEST)
    _limit_memory(memory)
    asked: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()

    def answer(**what: Any) -> None:  # noqa: ANN401 any JSON value
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    with suppress(queue.Empty, BrokenPipeError):
        while True:
            path, encoding = asked.get(timeout=IDLE_S)
            answer(begun=True)
            try:
                done = _convert(Path(path), encoding, lambda number: answer(page=number))
            except UnreadableError as error:
                answer(reason=str(error))
            except RecursionError:
                answer(reason="it is nested too deeply")
            except MemoryError:
                answer(
                    reason=f"it needs more than {memory >> 20} MB of memory to be read; split it", memory=True
                )
            except Exception as error:  # noqa: BLE001 a file may make a parser fail in any way
                answer(reason=f"{type(error).__name__}: {error}")
            else:
                size = len(done.text)
                if size > MOST_CHARACTERS:
                    answer(
                        reason=f"its text has {size} characters; at most {MOST_CHARACTERS} are one document"
                    )
                else:
                    answer(**done._asdict())
    os._exit(0)  # the thread may hold standard input


def _listen(asked: queue.SimpleQueue[tuple[str, str | None]]) -> None:
    with open(0, "rb", buffering=0, closefd=False) as requests:
        for line in requests:
            asked.put(json.loads(line))
    os._exit(0)


_OFFICE = (".docx", ".pptx")
_KINDS = (
    (b"%PDF-", ".pdf", "a PDF"),
    (b"PK\x03\x04", _OFFICE, "a ZIP archive or an Office file (.docx, .pptx)"),
    (bytes.fromhex("d0cf11e0a1b11ae1"), _OFFICE, "an Office file, old or protected by a password,"),
)
"""How files begin, the ends of their names, and what they are."""

_LONGEST_BEGIN = 8


def _convert(path: Path, encoding: str | None, on_page: OnPage) -> Converted:
    """Return the file as Markdown. Its converter, with the libraries, is imported when it is first needed."""
    name = path.name.lower()
    with _opened(path) as stream:
        begin = stream.read(_LONGEST_BEGIN)
        if not begin:
            raise UnreadableError("it is empty")
        for sign, ends, what in _KINDS:
            if begin.startswith(sign) and not name.removesuffix(".gz").endswith(ends):
                raise UnreadableError(f"it is {what} under another name; rename it")
        stream.seek(0)
        if name.removesuffix(".gz").endswith(".pdf"):
            from .pdf import convert_pdf  # noqa: PLC0415

            _forbid()
            return convert_pdf(stream, on_page)
        if name.removesuffix(".gz").endswith(_OFFICE):
            from .office import convert_office  # noqa: PLC0415

            _forbid()
            return convert_office(stream, Path(name.removesuffix(".gz")).suffix)
        from .web import convert_html  # noqa: PLC0415

        _forbid()
        return convert_html(stream, encoding)


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


_forbids = False


def _forbid() -> None:
    """Refuse network, programs and changes of files from now on, whatever a library would do."""
    global _forbids  # noqa: PLW0603 a hook cannot be removed, so there is one of the process
    if not _forbids:
        _forbids = True
        sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        raise PermissionError(f"a file that is converted may not cause {event}")


def _limit_memory(size: int) -> None:
    """Let the process take ``size`` bytes more than now. macOS does not keep this limit."""
    import resource  # noqa: PLC0415 not on every system

    most = psutil.Process().memory_info().vms + size
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))

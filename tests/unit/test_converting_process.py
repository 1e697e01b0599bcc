"""The process that converts files has limits, and ends with the program that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import own_files
import psutil
import pytest

from ingest_pipelines.reading.conversion.child import Converter
from ingest_pipelines.reading.conversion.converted import UnreadableError

_HOLDER = """
import sys, threading
from pathlib import Path
from ingest_pipelines.reading.conversion.child import Converter
converter = Converter()
threading.Thread(target=converter.convert, args=(Path(sys.argv[1]),), daemon=True).start()
while converter._child is None:
    pass
print(converter._child.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.long  # 3 s: a process that is killed at work
def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    endless = tmp_path / "endless.pdf"
    os.mkfifo(endless)
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(endless)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = psutil.Process(int(holder.stdout.readline()))
        holder.send_signal(signal.SIGKILL)
        gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone == [child]


@pytest.mark.long  # 20 s: a page of many tags that fills a small memory
def test_a_file_that_needs_too_much_memory_is_a_reject_and_the_next_is_read(tmp_path: Path) -> None:
    large, small = tmp_path / "large.html", tmp_path / "small.html"
    large.write_bytes(b"<p>x</p>" * 2_000_000)
    small.write_bytes(b"<p>x</p>")
    converter = Converter(memory=300 << 20)
    with pytest.raises(UnreadableError, match="more than 300 MB of memory"):
        converter.convert(large)
    assert converter.convert(small).text == "x"
    converter.close()


@pytest.mark.long  # 60 s: XML that keeps a parser busy, and a PDF of many pages
def test_hostile_and_large_files_are_given_up_or_read(tmp_path: Path) -> None:
    converter = Converter(whole_seconds=20)
    deep = tmp_path / "deep.docx"
    deep.write_bytes(own_files.docx("<w:sdt><w:sdtContent>" * 30_000 + "</w:sdtContent></w:sdt>" * 30_000))
    bomb = tmp_path / "bomb.pptx"
    bomb.write_bytes(own_files.docx("<!--" + " " * (300 << 20) + "-->"))
    for path, reason in ((deep, "longer than 20 seconds"), (bomb, "unpacks to 300 MB of XML")):
        with pytest.raises(UnreadableError, match=reason):
            converter.convert(path)
    pages = tmp_path / "pages.pdf"
    pages.write_bytes(own_files.pdf([own_files.pdf_lines([f"Page {number}."]) for number in range(2000)]))
    converted = converter.convert(pages)
    assert converted.text.split("\n\n") == [f"Page {number}." for number in range(2000)]
    assert converted.metadata["pages"] == 2000
    converter.close()

"""HTML, PDF, DOCX and PPTX become Markdown; what cannot be converted is a reject, and harms nothing else."""

from __future__ import annotations

import gzip
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import own_files
import psutil
import pytest

from es_rerank.collection import Document
from ingest_pipelines import Reject
from ingest_pipelines.reading import converted
from ingest_pipelines.reading.conversion.child import Converter
from ingest_pipelines.reading.conversion.cleaning import clean, joined_cjk_lines, joined_words
from ingest_pipelines.reading.conversion.converted import UnreadableError
from ingest_pipelines.reading.converted import read_converted
from ingest_pipelines.reading.fields import Fields
from ingest_pipelines.reading.files import FoundFile

ROWS = [["Year", "国家"], ["1997", "日本"], ["2005", "a|b"]]
TABLE = "| Year | 国家 |\n| --- | --- |\n| 1997 | 日本 |\n| 2005 | a\\|b |"

PAGE = """<!doctype html><html lang="zh-CN"><head><meta charset="gb2312"><title>京都 议定书</title>
<meta name="author" content="Ada"><meta property="article:published_time" content="2024-01-31">
<style>p { color: red }</style></head><body><nav><a href="/">Home</a></nav><script>alert(1)</script>
<h1>条约</h1><p>Signed in <a href="https://example.org/k">Kyoto</a>, see <a href="../x.html">here</a>,
snake_case. <img alt="A map" src="data:image/png;base64,AAAA"></p><pre><code>def f(a):
    return a * 2</code></pre>
<table><tr><td>Year</td><td>国家</td></tr><tr><td>1997</td><td>日本</td></tr><tr><td>2005</td><td>a|b</td></tr></table>
<div hidden>unseen</div><svg><title>drawn</title></svg></body></html>"""

GOOD = {
    "page.html": PAGE.encode("gb18030"),
    "page.pdf": own_files.pdf(
        [
            own_files.pdf_lines(["条约"])
            + own_files.pdf_lines(["The com-", "mittee met."], y=700)
            + own_files.pdf_table(ROWS)
        ],
        {"Title": "Treaties", "Author": "Ada", "CreationDate": "D:20240131120000+08'00'"},
    ),
    "page.docx": own_files.docx(
        own_files.paragraph("条约", "H1") + own_files.paragraph("snake_case") + own_files.table(ROWS),
        title="季度报告",
        author="Ada",
        parts={"word/media/image1.png": b"no image"},
    ),
    "page.pptx": own_files.pptx("条约", ROWS, "snake_case", "Say it slowly."),
}
EXPECTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "page.html": (
        "京都 议定书",
        (
            "# 条约\n\nSigned in [Kyoto](https://example.org/k), see here,\nsnake_case. A map\n\n"
            f"```\ndef f(a):\n    return a * 2\n```\n\n{TABLE}"
        ),
        {"language": "zh-CN", "author": "Ada", "created": "2024-01-31"},
    ),
    "page.pdf": (
        "Treaties",
        f"条约\n\nThe committee met.\n\n{TABLE}",
        {"author": "Ada", "created": "2024-01-31T12:00:00+08:00", "pages": 1},
    ),
    "page.docx": (
        "季度报告",
        f"# 条约\n\nsnake_case\n\n{TABLE}",
        {"author": "Ada", "created": "2024-01-31T12:00:00Z"},
    ),
    "page.pptx": (
        "条约",
        f"# 条约\n\n{TABLE}\n\nA [map]\n\n### Notes:\nSay it slowly.\n\n# Second\nsnake_case",
        {"author": "Ada"},
    ),
}

BAD = {
    "empty.pdf": (b"", "it is empty"),
    "scan.pdf": (own_files.pdf([b"0 0 10 10 re f"] * 3), "none of its 3 pages holds text"),
    "half.pdf": (GOOD["page.pdf"][:700], "not a PDF that can be read"),
    "other.pdf": (b"%PDF-1.7\nnothing", "not a PDF that can be read"),
    "half.docx": (GOOD["page.docx"][:500], "not a DOCX file that can be read"),
    "half.pptx": (GOOD["page.pptx"][:5000], "not a PPTX file that can be read"),
    "office.pdf": (GOOD["page.docx"], "it is a ZIP archive or an Office file (.docx, .pptx) under another"),
    "page.html": (GOOD["page.pdf"], "it is a PDF under another name"),
    "really.docx": (GOOD["page.pdf"], "it is a PDF under another name"),
    "old.pdf": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "it is an Office file, old or protected"),
    "blank.docx": (own_files.docx(""), "it holds no text"),
    "old.docx": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "protected by a password"),
    "deep.html": (b"<div>" * 4_000 + b"x", "nested too deeply"),
    "script.html": (b"<body><script>document.write(1)</script></body>", "it holds no text"),
    "broken.html": (
        ('<meta charset="utf-8">' + "条约 " * 50).encode().replace(b"\xe6", b"\xff", 7),
        "bytes that are not utf-8",
    ),
}


def found(path: Path, encoding: str | None = None, fields: Fields | None = None) -> FoundFile:
    return FoundFile(path, path.name, fields or Fields(), encoding)


def one(
    path: Path, content: bytes, encoding: str | None = None, fields: Fields | None = None
) -> Document | Reject:
    path.write_bytes(content)
    (item,) = read_converted(found(path, encoding, fields))
    return item


@pytest.mark.parametrize("name", GOOD)
def test_each_kind_gives_markdown_and_what_the_file_says_of_itself(tmp_path: Path, name: str) -> None:
    document = one(tmp_path / name, GOOD[name])
    title, text, metadata = EXPECTED[name]
    assert isinstance(document, Document)
    assert (document.id, document.title, document.format) == (name, title, "markdown")
    assert document.text == text
    assert {"path": name, **metadata}.items() <= document.metadata.items()
    named = one(tmp_path / f"{name}.gz", gzip.compress(GOOD[name]), fields=Fields(metadata=("author",)))
    assert isinstance(named, Document)
    assert named.text == text
    assert named.metadata.keys() == {"path", "file_type", "author"}


def test_what_cannot_be_converted_is_a_reject_that_says_why(tmp_path: Path) -> None:
    for name, (content, reason) in BAD.items():
        item = one(tmp_path / name, content)
        assert isinstance(item, Reject), name
        assert (item.id, item.file, item.document) == (name, str(tmp_path / name), None)
        assert reason in item.reason, item.reason
    assert isinstance(one(tmp_path / "page.html", GOOD["page.html"]), Document)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("<p>条约</p>".encode(), None),
        ("<p>条约</p>".encode("utf-8-sig"), None),
        ("<p>条约</p>".encode("utf-16"), None),
        ('<meta charset="utf-16"><p>条约</p>'.encode(), None),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=Big5"><p>條約</p>'.encode("big5"),
            None,
        ),
        ('<?xml version="1.0" encoding="EUC-JP"?><html><p>条約</p></html>'.encode("euc-jp"), None),
        ('<meta charset="iso-8859-1"><p>€ 条</p>'.replace(" 条", "").encode("cp1252"), None),
        ('<meta charset="no-such"><p>条约</p>'.encode(), None),
        ("<html><head><title>T<p>条约".encode().replace(b"T<", b"T</title><"), None),
        ("<!-- c --><?php echo 1 ?><p>条约\0</p>".encode(), None),
        ('<meta charset="utf-8"><p>条约</p>'.encode("gb18030"), "gb18030"),
        (("<p>" + "京都议定书于一九九七年签署二〇〇五年生效。" * 9).encode("gb18030"), None),
    ],
)
def test_a_page_is_read_in_its_encoding(tmp_path: Path, content: bytes, encoding: str | None) -> None:
    document = one(tmp_path / "page.htm", content, encoding)
    assert isinstance(document, Document), document
    assert document.text.startswith(("条约", "条約", "條約", "€", "京都议定书于一九九七年签署"))


def test_pages_of_a_pdf_without_text_are_told(tmp_path: Path) -> None:
    text = own_files.pdf_lines(["Read me."])
    document = one(
        tmp_path / "a.pdf", own_files.pdf([b"0 0 9 9 re f", text, b"0 0 9 9 re f"], {"Title": "a.docx"})
    )
    assert isinstance(document, Document)
    assert (document.title, document.text) == ("a", "Read me.")
    assert document.metadata["pages_without_text"] == [1, 3]


def test_characters_and_line_ends_that_only_the_page_needs_are_cleaned() -> None:
    assert clean("of\ufb01ce\x00 \u2f00\r\nline  \n\n\n\nnext\x0c\udc00") == "office 一\nline\n\nnext\n\ufffd"
    assert joined_words("An exam-\nple, well-known and well-\nknown, ha\u00adrd\u00ad\nly, 3-\nfold") == (
        "An example, well-known and well-known, hardly, 3-\nfold"
    )
    assert joined_cjk_lines("条\n约 is\na 条约\n\n条") == "条约 is\na 条约\n\n条"


class _Counting(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"secret")


@pytest.fixture
def address() -> Iterator[str]:
    _Counting.asked = []
    server = HTTPServer(("127.0.0.1", 0), _Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_nothing_that_a_file_names_is_fetched_or_read(tmp_path: Path, address: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    drawing = (
        '<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/'
        'wordprocessingDrawing"><a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">'
        '<a:graphicData><pic:pic xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:blipFill>'
        '<a:blip r:link="{}" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"/>'
        "</pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    links = "".join(
        f'<Relationship Id="{name}" TargetMode="External" Target="{target}" Type="http://schemas.openxmlformats.org/'
        'officeDocument/2006/relationships/image"/>'
        for name, target in (("web", f"{address}/a.png"), ("file", secret.as_uri()))
    )
    relations = f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{links}</Relationships>'
    body = own_files.paragraph("Text") + drawing.format("web") + drawing.format("file")
    items = [
        one(tmp_path / "a.docx", own_files.docx(body, parts={"word/_rels/document.xml.rels": relations})),
        one(
            tmp_path / "a.xhtml",
            f'<!DOCTYPE html [<!ENTITY file SYSTEM "{secret.as_uri()}"><!ENTITY web SYSTEM "{address}/b">]>'
            "<html><head>"
            f'<link rel="stylesheet" href="{address}/c"><script src="{address}/d"></script></head><body>'
            f'<img src="{address}/e"><iframe src="{address}/f"></iframe>Text &file; &web;</body>'.encode(),
        ),
    ]
    assert ["Text" in item.text for item in items if isinstance(item, Document)] == [True] * len(items)
    assert "secret" not in str([item.text for item in items if isinstance(item, Document)]).replace(
        str(secret), ""
    )
    assert _Counting.asked == []


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    endless = tmp_path / "endless.pdf"
    os.mkfifo(endless)  # as a parser that comes to no end
    converter = Converter(whole_seconds=0.1)
    with pytest.raises(UnreadableError, match=r"longer than 0\.1 seconds"):
        converter.convert(endless)
    assert not [
        child
        for child in psutil.Process().children()
        if "reading.conversion" in " ".join(child.cmdline()) and child.pid != _shared_pid()
    ]


def _shared_pid() -> int | None:
    from ingest_pipelines.reading.conversion import child  # noqa: PLC0415

    running = child._shared._child  # noqa: SLF001
    return None if running is None else running.pid


def test_a_process_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bs4.py").write_text("raise SystemExit('code of the folder that is read')")
    one(tmp_path / "page.html", GOOD["page.html"])
    pid = _shared_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert isinstance(one(tmp_path / "page.html", GOOD["page.html"]), Document)
    assert _shared_pid() not in (None, pid)


def test_without_the_extra_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest_pipelines import read_sources  # noqa: PLC0415

    monkeypatch.setattr(converted, "find_spec", lambda name: None)
    (tmp_path / "a.html").write_bytes(GOOD["page.html"])
    (tmp_path / "b.md").write_text("# B\n\nText")
    page, text = read_sources([tmp_path])
    assert isinstance(page, Reject)
    assert "[documents]" in page.reason
    assert isinstance(text, Document)


def test_html_without_end_tags_is_not_nested(tmp_path: Path) -> None:
    document = one(tmp_path / "old.html", b"<h1>Old</h1>" + b"<p>one<ul><li>a<li>b</ul>" * 1500)
    assert isinstance(document, Document)
    assert document.title == "Old"
    assert document.text.count("* b") == 1500


def test_text_that_looks_like_markup_stays(tmp_path: Path) -> None:
    page = b"<p>data:1,2 and a_b * c # d</p><pre>![an](image) &lt;b&gt;</pre>"
    document = one(tmp_path / "page.html", page)
    assert isinstance(document, Document)
    assert document.text == "data:1,2 and a_b * c # d\n\n```\n![an](image) <b>\n```"


def test_no_text_takes_the_square_of_its_length() -> None:
    for text in ("a" * 300_000, " " * 300_000 + "x", "条" * 300_000, "-\n" * 100_000):
        assert joined_cjk_lines(joined_words(clean(text)))

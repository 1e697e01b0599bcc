"""Markdown files: front matter becomes metadata, and the title is the one that a reader sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from es_rerank.collection import Document
from es_rerank.text.markdown import first_heading
from ingest_pipelines import Reject
from ingest_pipelines.reading.fields import Fields
from ingest_pipelines.reading.files import FoundFile
from ingest_pipelines.reading.markdown import read_markdown

YAML = """---
title: "Kyoto: a treaty"
tags: [climate, 条约]
date: 2024-01-31
updated: 2024-01-31 12:30:00 +08:00
jekyll: 2024-01-31 12:30:00 +0800
minutes: 2024-01-31 12:30
country: no
starts: 12:30
version: 1.10
year: 1997
draft: false
nothing: null
author: {name: Ada, since: 2020-02-01}
2020: a number as key
limit: .inf
raw: !!binary aGVsbG8=
members: !!set {b, a}
---
# Heading

Text.
"""

BOMB = "b0: &b0 x\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 10))
"""A few lines that stand for a billion values."""
MERGED = "b0: &b0 {a: 1, b: 2}\n" + "".join(
    f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)


def one(path: Path, content: str | bytes, fields: Fields | None = None) -> Document | Reject:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (item,) = read_markdown(FoundFile(path, path.name, fields or Fields()))
    return item


def read(path: Path, content: str | bytes, fields: Fields | None = None) -> Document:
    document = one(path, content, fields)
    assert isinstance(document, Document), document
    return document


def test_front_matter_becomes_metadata_that_json_can_hold(tmp_path: Path) -> None:
    document = read(tmp_path / "kyoto.md", YAML)
    assert (document.id, document.title, document.format) == ("kyoto.md", "Kyoto: a treaty", "markdown")
    assert document.text == "# Heading\n\nText."
    assert json.loads(json.dumps(document.metadata, allow_nan=False)) == {
        "path": "kyoto.md",
        "file_type": "md",
        "tags": ["climate", "条约"],
        "date": "2024-01-31",
        "updated": "2024-01-31T12:30:00+08:00",
        "jekyll": "2024-01-31T12:30:00+08:00",
        "minutes": "2024-01-31T12:30:00",
        "country": "no",
        "starts": "12:30",
        "version": 1.1,
        "year": 1997,
        "draft": False,
        "nothing": None,
        "author": {"name": "Ada", "since": "2020-02-01"},
        "2020": "a number as key",
        "limit": "inf",
        "raw": "aGVsbG8=",
        "members": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("Before.\n\n# The *first* `one` [link](x) #\n\n# Second", "The first one link", "Before."),
        ("Under *line*\n===\n\ntext", "Under line", "Under"),
        ("```sh\n# no heading\n```\n\n~~~~\n# neither\n~~~\n# nor\n~~~~\n# Real", "Real", "```sh"),
        ("## Level 2\n\n#hash tag\n\ntext", "page", "## Level 2"),
        ("---\ntitle: ''\n---\n# Heading", "Heading", "# Heading"),
        ("---\ntitle: [a, b]\n---\ntext", "page", "text"),
        ("---\ntitle: 2024\n---\ntext", "2024", "text"),
        ("\ufeff---\r\ntitle: 条约\r\n---\r\n\r\ntext\r\n", "条约", "text"),
        ("+++\ntitle = 'TOML'\ndate = 2024-01-31\n+++\ntext", "TOML", "text"),
        ("---\n\nA rule, and text: with a colon.\n\n---\n\nMore.", "page", "---\n\nA rule"),
        ("---\nmy own key: 1\n---\ntext", "page", "text"),
        ("---\nA text between rules.\n---\nMore.", "page", "---\nA text"),
        ("---\n# only: a comment\ntitle: T\n...\ntext", "T", "text"),
        ("<!--\n# A licence\n-->\n\n# Real", "Real", "<!--"),
        ("> # Quoted\n\n- # Item\n\n# Real", "Real", "> #"),
        ("Line one\nLine two\n===", "Line one Line two", "Line one"),
        ("# C\\# &amp; <b>*bold*</b> {#id}", "C# & bold", "# C"),
        ("# ![](logo.png)\n\n# Next", "Next", "# !["),
    ],
)
def test_the_title_is_the_front_matters_or_the_first_heading_or_the_name(
    tmp_path: Path, content: str, title: str, text: str
) -> None:
    document = read(tmp_path / "page.md", content)
    assert (document.title, document.text[: len(text)]) == (title, text)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("---\na: 1\ntitle: Kyoto: a treaty\n---\ntext", 3, "not YAML"),
        ("---\ntitle: T\n\ntext without an end", 1, "no line of --- ends it"),
        ("---\na: [1\n---\ntext", None, "not YAML"),
        ("---\na: !!python/object/apply:os.system ['true']\n---\ntext", 2, "not YAML"),
        ("+++\na = 1\nb = \n+++\ntext", 3, "not TOML"),
        ("---\na: 1\n---\n\n", None, "no text"),
        ("---\na: 1\nb: 2\nc: 3\nd: 2024-13-45\n---\ntext", 5, "not YAML: month must be in 1..12"),
        ("---\na: 1\nd: 2024-13-45 10:00\n---\ntext", 3, "not YAML: month must be in 1..12"),
        ("---\n" + BOMB + "---\ntext", 1, "more than 100000 values"),
        ("---\n" + MERGED + "---\ntext", 6, "more than 100000 values are merged"),
        ("---\nt: 1\na: 0x" + "f" * 10_000 + "\n---\ntext", 1, "a number of more than 1,000 digits"),
        ("+++\na = 0x" + "f" * 10_000 + "\n+++\ntext", 1, "a number of more than 1,000 digits"),
        ("+++\nt = 1\n" + ".".join(["a"] * 40_000) + " = 1\n+++\ntext", 3, "a line of more than 1000 dots"),
        ("+++\n" + ("a." * 999 + "a = 1\n") * 2 + "+++\ntext", 3, "not TOML"),
        ("+++\n[a" + """ . 'a' . "a\"""" * 20_000 + "]\n+++\ntext", 2, "a line of more than 1000 dots"),
        ("---\na: &a [*a]\n---\ntext", 1, "nested deeper"),
        ("---\na: " + "[" * 600 + "\n---\ntext", 2, "not YAML"),
        ("---\na: " + "x" * 300_000 + "\n---\ntext", 1, "at most 262144"),
    ],
)
def test_broken_front_matter_is_a_reject_with_its_line(
    tmp_path: Path, content: str, line: int | None, reason: str
) -> None:
    reject = one(tmp_path / "page.md", content)
    assert isinstance(reject, Reject)
    assert reason in reject.reason
    assert line in (reject.line, None)
    assert reject.file == str(tmp_path / "page.md")


@pytest.mark.parametrize(
    ("fields", "identifier", "title", "metadata"),
    [
        (Fields(id="slug", title="name"), "k-1", "Kyoto", {"title": "T", "a": {"b": 1}}),
        (Fields(metadata=("a.b",)), "page.md", "T", {"a.b": 1}),
        (Fields(id="missing"), "page.md", "T", {"slug": "k-1", "name": "Kyoto", "a": {"b": 1}}),
    ],
)
def test_fields_of_front_matter_are_chosen_by_name(
    tmp_path: Path, fields: Fields, identifier: str, title: str, metadata: dict[str, Any]
) -> None:
    content = "---\nslug: k-1\nname: Kyoto\ntitle: T\na: {b: 1}\n---\ntext"
    document = read(tmp_path / "page.md", content, fields)
    assert (document.id, document.title) == (identifier, title)
    assert document.metadata == {"path": "page.md", "file_type": "md", **metadata}


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ("a ![m](data:image/png;base64,AAAA) b", "a ![m]() b"),
        ("![][i]\n\n[i]: <data:image/png;base64,AA+/==>\n\nb", "![][i]\n\n[i]: <>\n\nb"),
        ("[i]: data:image/svg+xml,%3Csvg(1)%3E\nb", "[i]: \nb"),
        ("<img src=data:image/png;base64,AAAA> b", "<img src=> b"),
        ("<IMG alt='x' SRC = \"data:image/png;base64,AA\nAA\"> b", "<IMG alt='x' SRC = \"\"> b"),
        ("<img src=\"data:image/svg+xml,<svg a='1'>\"> b", '<img src=""> b'),
        ("<style>p {background: url('data:image/gif;base64,AAAA')}</style>b", "('')}</style>b"),
        ("{ src: `data:image/png;base64," + "A" * 200 + "` }", "{ src: `` }"),
        ("Write data:image/png;base64,AAAA or src = data: it is text.", "src = data: it is text."),
        ("[data]: the data: of it", "[data]: the data: of it"),
    ],
)
def test_pictures_as_data_are_left_out(tmp_path: Path, content: str, left: str) -> None:
    assert read(tmp_path / "page.md", content).text.endswith(left)


def test_a_heading_is_found_in_a_long_text_at_once() -> None:
    heading = "[" * 200_000 + "x" + " " * 200_000
    assert first_heading("-" * 200_000 + "x\n" + heading + f"\n# {heading}y") == "[" * 1000
    assert first_heading("```\n" + "# code\n" * 30_000 + "```\n# Real") == "Real"

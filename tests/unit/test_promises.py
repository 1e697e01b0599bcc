"""Each promise of the README points at the tests that hold it, and nothing in the README is without."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from promises import HELD_TABLES, NO_PROMISE, PROMISES

ROOT = Path(__file__).parents[2]
GENERATED = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.DOTALL)
"""Tables that tests write, and hold row by row."""
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
ITEM = re.compile(r"\n(?=- |\d+\. )")


def collapsed(text: str) -> str:
    return " ".join(text.split())


README = collapsed((ROOT / "README.md").read_text(encoding="utf-8"))


def paragraphs(text: str) -> list[str]:
    """Return the README's paragraphs, list items and rows of tables, white space collapsed.

    Headings, code and generated tables are left out. A table that is listed by its header is one paragraph.
    """
    found: list[str] = []
    for block in re.split(r"\n\s*\n", CODE.sub("", GENERATED.sub("", text))):
        lines = block.strip()
        if lines.startswith("|"):
            header, _, *rows = lines.split("\n")
            listed = any(header.startswith(begin) for begin in (*HELD_TABLES, *NO_PROMISE))
            found += [header] if listed else rows
        elif lines and not lines.startswith("#"):
            found += ITEM.split(lines)
    return [collapsed(each) for each in found]


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("fragment", [fragment for fragment, *_ in PROMISES])
def test_the_readme_has_each_promise_once(fragment: str) -> None:
    assert README.count(fragment) == 1
    assert fragment == collapsed(fragment)


def test_promises_stand_in_the_order_of_the_readme() -> None:
    places = [README.find(fragment) for fragment, *_ in PROMISES]
    assert places == sorted(set(places))


def test_each_promise_names_tests_that_exist() -> None:
    held = [*PROMISES, *((header, *tests) for header, tests in HELD_TABLES.items())]
    assert [fragment for fragment, *tests in held if not tests] == []
    named = {test for _, *tests in held for test in tests}
    missing = [test for test in named if test.partition("::")[2] not in functions(test.partition("::")[0])]
    assert missing == []


def test_each_paragraph_has_a_promise_or_is_said_to_have_none() -> None:
    listed = (*HELD_TABLES, *NO_PROMISE)
    without = [
        each
        for each in paragraphs((ROOT / "README.md").read_text(encoding="utf-8"))
        if not any(fragment in each for fragment, *_ in PROMISES) and not each.startswith(listed)
    ]
    assert without == [], "add what they promise to tests/support/promises.py, or say there why they do not"


def test_what_is_listed_as_no_promise_is_there_and_has_none() -> None:
    every = paragraphs((ROOT / "README.md").read_text(encoding="utf-8"))
    for begin in (*HELD_TABLES, *NO_PROMISE):
        (paragraph,) = (each for each in every if each.startswith(begin))
        assert [fragment for fragment, *_ in PROMISES if fragment in paragraph] == [], begin


def test_a_new_paragraph_and_a_new_row_would_be_seen() -> None:
    table = "| x | y |\n| --- | --- |\n| 1 | 2 |\n"
    text = f"# Title\n\nOne\nthing.\n\n```bash\ncode\n```\n\n- a\n  b\n- c\n\n{table}"
    assert paragraphs(text) == ["One thing.", "- a b", "- c", "| 1 | 2 |"]

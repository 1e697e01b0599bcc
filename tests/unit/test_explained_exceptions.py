"""Each exception from a check of security has its reason beside it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOQA = re.compile(r"# noqa: (?P<codes>[A-Z]+\d+(?:, ?[A-Z]+\d+)*)(?P<reason>.*)")
NOSEC = re.compile(r"# nosec(?P<tests>[^#]*)(?:#(?P<reason>.*))?")


def code() -> list[tuple[str, str]]:
    """Return each line of the product's Python code with its place."""
    files = [
        file
        for folder in ("es_rerank", "ingest_pipelines", "plugin")
        for file in (ROOT / folder).rglob("*.py")
    ]
    return [
        (f"{file.relative_to(ROOT)}:{number}", line)
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    ]


def unexplained(line: str) -> bool:
    """Whether a line leaves out a check of security without a reason, or all checks."""
    noqa, nosec = NOQA.search(line), NOSEC.search(line)
    secured = noqa is not None and any(re.fullmatch(r"S\d+", each) for each in re.split(", ?", noqa["codes"]))
    reason = noqa["reason"].partition("# nosec")[0].strip() if noqa and secured else ""
    if secured and not reason:
        return True
    if nosec is None:
        return bool(re.search(r"# noqa(?!:)", line))
    named = re.fullmatch(r"(?:\s*B\d{3},?)+\s*", nosec["tests"])
    return not named or not (reason or (nosec["reason"] or "").strip())


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("x = 1", False),
        ("run()  # noqa: S603 this program", False),
        ("run()  # noqa: S603 this program  # nosec B603", False),
        ("run()  # nosec B603 # this program", False),
        ("run()  # noqa: S603", True),
        ("run()  # noqa: S603  # nosec B603", True),
        ("run()  # noqa: ANN401, S603", True),
        ("run()  # noqa: ANN401", False),
        ("run()  # noqa", True),
        ("run()  # nosec", True),
        ("run()  # nosec B603", True),
        ("run()  # nosec # all", True),
    ],
)
def test_a_line_without_a_reason_would_be_seen(line: str, *, bad: bool) -> None:
    assert unexplained(line) == bad


def test_each_exception_in_the_code_has_a_reason() -> None:
    assert [place for place, line in code() if unexplained(line)] == []


def test_the_configuration_leaves_out_no_check_of_security_for_the_whole_code() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)["tool"]
    ruff = settings["ruff"]["lint"]
    assert ruff["select"] == ["ALL"]
    assert [rule for rule in ruff["ignore"] if re.fullmatch(r"S\d*", rule)] == []
    for files, rules in ruff["per-file-ignores"].items():
        if files != "tests/**":
            assert "S" not in rules
    for skipped in settings["bandit"]["skips"]:
        assert re.search(rf'^  "{skipped}", # \S+', text, re.MULTILINE), f"{skipped} has no reason"
    check = (ROOT / "scripts" / "check").read_text(encoding="utf-8")
    assert "run bandit -q -c pyproject.toml -r es_rerank ingest_pipelines" in check

"""docs/faults.md has the rows that stand at the tests, and no others."""

from __future__ import annotations

from pathlib import Path

from fault_table import rows, table

_FILE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_table_is_that_of_the_tests() -> None:
    before, _, found = _FILE.read_text(encoding="utf-8").partition("| when |")
    assert before.startswith("# What happens when something fails\n")
    assert "| when |" + found.partition("\n\n")[0] + "\n" == table() or _write(table()), "now it is"


def _write(expected: str) -> bool:
    """Put the table into the file, so that only a commit is missing; the test fails all the same."""
    before, _, found = _FILE.read_text(encoding="utf-8").partition("| when |")
    _, gap, after = found.partition("\n\n")
    _FILE.write_text(before + expected.rstrip("\n") + (gap + after if gap else "\n"), encoding="utf-8")
    return False


def test_each_row_has_a_fault_of_its_own() -> None:
    told = [row.when for row in rows()]
    assert len(told) == len(set(told)) >= 20
    assert all(len(part) > 3 and "|" not in part for row in rows() for part in row)

"""docs/clients.md has the rows that stand at the tests of the clients, and no others."""

from __future__ import annotations

from pathlib import Path

from client_table import rows, table

_FILE = Path(__file__).parents[2] / "docs" / "clients.md"


def test_the_table_is_that_of_the_tests() -> None:
    _, _, found = _FILE.read_text(encoding="utf-8").partition("| client |")
    assert "| client |" + found.partition("\n\n")[0].rstrip("\n") + "\n" == table() or _write(table()), (
        "now it is"
    )


def _write(expected: str) -> bool:
    """Put the table into the file, so that only a commit is missing; the test fails all the same."""
    before, _, found = _FILE.read_text(encoding="utf-8").partition("| client |")
    _, gap, after = found.partition("\n\n")
    _FILE.write_text(before + expected.rstrip("\n") + (gap + after if gap else "\n"), encoding="utf-8")
    return False


def test_each_row_is_of_one_client_and_dialect() -> None:
    told = [(row.client, row.dialect) for row in rows()]
    assert len(told) == len(set(told))
    assert all(part and "|" not in part for row in rows() for part in row)

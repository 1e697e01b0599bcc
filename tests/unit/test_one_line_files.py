"""What is told of a record in a file that is one line."""

from __future__ import annotations

from pathlib import Path

from sources import given, put


def test_a_record_of_a_file_that_is_one_line_is_told_by_its_number(tmp_path: Path) -> None:
    found = given(put(tmp_path, {"a.json": '[{"id": "1", "text": "x"}, {"id": "2", "text": 3}, 4]'}))
    ends = [reject.reason.rpartition("(")[2] for reject in found.rejects]
    assert ends == ["record 2 of the file)", "record 3 of the file)"]

"""The share of the sources that was read is told in bytes, whatever the files are."""

from __future__ import annotations

from pathlib import Path

from ingests import write

from ingest_pipelines import read_sources
from ingest_pipelines.reading.meter import Meter


def test_the_share_grows_from_file_to_file_and_within_one(tmp_path: Path) -> None:
    records: list[dict[str, object] | str] = [
        {"_id": str(number), "text": "x" * 1_000} for number in range(500)
    ]
    write(tmp_path / "a.jsonl", records)
    write(tmp_path / "b.jsonl.gz", records)
    (tmp_path / "c.txt").write_text("y" * 250_000)
    meter, shares = Meter(), list[float]()
    for _ in read_sources([tmp_path], meter=meter):
        share = meter.share()
        assert share is not None
        shares.append(share)
    assert shares == sorted(shares)
    assert len(shares) == 1_001
    assert 0 < shares[0] < 0.2
    assert 0.2 < shares[250] < 0.6
    assert shares[-1] == 1


def test_nothing_is_known_of_a_pipe() -> None:
    meter = Meter()
    assert meter.share() is None
    meter.expect([Path("/dev/null"), Path("does not exist")])
    assert meter.share() is None

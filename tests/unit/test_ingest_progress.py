"""What an ingest shows while it runs is what it did lately."""

from __future__ import annotations

import pytest

from es_rerank.cli.ingest_progress import Rates
from ingest_pipelines import IngestReport


def report(seconds: float, passages: int, *, skipped: int = 0, failed: int = 0) -> IngestReport:
    return IngestReport("a", "a-1", passages // 2, passages, skipped, failed, seconds=seconds)


def test_the_rate_is_that_of_the_last_minute() -> None:
    rates = Rates()
    assert rates.line(report(10, 1_000)) == "500 documents, 100 passages/s"
    assert rates.line(report(100, 1_000)) == "500 documents, 0 passages/s"
    assert rates.line(report(101, 1_200, failed=3)) == "600 documents, 200 passages/s, 3 failed"


@pytest.mark.parametrize(
    ("seconds", "left"), [(10, "30 s"), (100, "5 min"), (10_000, "8.3 h")], ids=["s", "min", "h"]
)
def test_the_time_left_is_that_of_the_share_not_yet_read(seconds: float, left: str) -> None:
    line = Rates(lambda: 0.25).line(report(seconds, 0, skipped=7))
    assert line == f"0 documents, 0 passages/s, 7 unchanged, {left} left"


def test_nothing_is_said_of_time_when_nothing_was_read_lately() -> None:
    rates = Rates(lambda: 0.5)
    rates.line(report(10, 0))
    assert rates.line(report(11, 0)) == "0 documents, 0 passages/s, 11 s left"
    assert "left" not in rates.line(report(200, 0))


def test_what_waits_after_the_reading_has_no_time_left() -> None:
    assert Rates(lambda: 1.0).line(report(10, 20)) == "10 documents, 2 passages/s, all is read"

"""``bench cascade``: multiply-adds of a graph, ways to read less, and the fit that a cascade needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank import load_reranker
from es_rerank.cli.app import app
from es_rerank.models.load import check_reranker, model_folder
from es_rerank.models.manifest import read_manifest
from es_rerank.research.bench.cascade import (
    CascadeWindow,
    by_itself,
    cheap_alone,
    fit,
    measured,
    smaller_window,
    together,
    ways,
    whole_window,
)
from es_rerank.research.bench.operations import Operations, operations_of
from es_rerank.settings import BUNDLED_RERANKER
from es_rerank.types import Blend, Calibration

BLEND = Blend(1.0, 0.5, 0.0)


def window(number: int, size: int = 30) -> CascadeWindow:
    draw = np.random.default_rng(number)
    cheap, places = draw.normal(size=size), np.sort(draw.normal(size=size))[::-1]
    better = 2 * cheap + 0.5 * places + 0.3 * draw.normal(size=size) - 1
    return CascadeWindow(
        f"q{number}",
        [f"d{place}" for place in range(size)],
        places,
        cheap.astype(np.float32),
        better.astype(np.float32),
        np.tile([[1.0, 4.0]], (size, 1)),
    )


WINDOWS = [window(number) for number in range(20)]


def best_ten(orders: Mapping[str, Sequence[str]]) -> float:
    """The share of the better model's blended best ten that is among the first ten."""
    hit = 0.0
    for one in WINDOWS:
        places = (one.first_stage - one.first_stage.mean()) / one.first_stage.std()
        order = np.argsort(-(one.better + 0.5 * one.better.std() * places), kind="stable")[:10]
        hit += len({one.documents[place] for place in order} & set(orders[one.query][:10])) / 10
    return hit / len(orders)


def test_the_multiply_adds_of_the_bundled_model_are_those_of_its_layers() -> None:
    width, folder = 384, model_folder(BUNDLED_RERANKER)
    found = operations_of(folder / read_manifest(folder).variant(None))
    # Five whole layers of 12 matrices of width², two of the last one, and attention of the first token there.
    assert found.each == 62 * width**2 + 2 * width
    assert found.once == 11 * width**2 + width
    assert found.pairs == 5 * 2 * width
    assert Operations(2.0, 1.0, 0.5).of([2, 4]) == [7.0, 17.0]


def test_a_fit_finds_the_coefficients_and_the_margin_that_a_share_keeps_to() -> None:
    found = fit(WINDOWS)
    assert found.joined.logit == pytest.approx(2.0, abs=0.1)
    assert found.joined.first_stage == pytest.approx(0.5, abs=0.1)
    assert found.joined.intercept == pytest.approx(-1.0, abs=0.1)
    assert found.alone.first_stage == 0
    joined, alone = found.with_margin(0.9)
    assert (found.residuals <= joined.margin + 1e-4).mean() == pytest.approx(0.9, abs=0.02)
    assert alone.margin > joined.margin > found.with_margin(0.6)[0].margin >= 0


def test_what_costs_less_is_worth_less_and_the_whole_window_costs_one() -> None:
    found = fit(WINDOWS)

    def of(way: object) -> tuple[float, float, float]:
        return measured(way, WINDOWS, None, BLEND, best_ten)  # type: ignore[arg-type]

    assert of(whole_window()) == (1.0, 1.0, 1.0)
    assert of(smaller_window(0.5))[:2] == (0.5, 0.5)
    cheap, joined = of(cheap_alone(0.5, None, None)), of(together(0.5, found.joined, BLEND))
    assert cheap[:2] == joined[:2] == (0.75, 0.5)
    assert joined[2] >= cheap[2]
    wide, narrow = (of(by_itself(each, found.with_margin(each)[0], BLEND)) for each in (0.95, 0.5))
    assert narrow[0] < wide[0] < 1.25
    assert narrow[2] <= wide[2]
    assert wide[2] > 0.97
    names = [way.name for way in ways(found, BLEND, None, Calibration(1.0, 0.0))]
    assert names[0] == "whole window"
    assert len(set(names)) == len(names)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(10, 40))
def test_a_way_is_what_the_served_cascade_reads(number: int, size: int) -> None:
    one = window(number, size)
    found = fit(WINDOWS)
    scores, cost = by_itself(0.8, found.with_margin(0.8)[0], BLEND).read(one)
    assert scores.estimated is not None
    read = ~scores.estimated
    assert scores.values[read].tolist() == one.better[read].tolist()
    assert cost == size + 4 * read.sum()
    assert read.sum() >= 10


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Thirty documents of letters, half of them relevant for one of three queries."""
    folder = tmp_path / "letters"
    (folder / "qrels").mkdir(parents=True)
    words = ["river", "king", "moon"]
    documents = [
        {"_id": f"d{n}", "title": "", "text": f"{words[n % 3]} of the {'deep ' * (n % 5)}forest {n}"}
        for n in range(30)
    ]
    queries = [{"_id": f"q{n}", "text": f"{word} of the forest"} for n, word in enumerate(words)]
    for name, lines in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = "".join(f"q{n % 3}\td{n}\t1\n" for n in range(0, 30, 2))
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


def test_a_fit_is_written_and_a_window_then_ends_by_itself(tmp_path: Path, collection: Path) -> None:
    small, large = tiny_cross_encoder(tmp_path / "small", 0), tiny_cross_encoder(tmp_path / "large", 1)
    asked = ["bench", "cascade", str(small), str(large), "--fit", f"{collection}:dev", "--threads", "1"]
    done = CliRunner().invoke(app, [*asked, "--write", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["written"] is True
    assert report["collections"] == {f"{collection}:dev": 3}
    whole = report["ways"][0]
    assert (whole["way"], whole[f"{collection}:dev"]["cost"]) == ("whole window", 1.0)
    fitted = read_manifest(small).stand_in
    assert fitted is not None
    assert fitted.model_dump() == report["stand_in"]
    assert fitted.model == "tiny-cross-encoder"
    ends = f"cascade:top10+{small}+{large}"
    assert check_reranker(ends)
    with load_reranker(ends) as both:
        assert both.score("river", [f"passage {number}" for number in range(20)]).done.all()
    shown = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert "first stage and cheap model, 0.3" in shown.stdout
    assert "not written (--write)" in shown.stdout
    nothing = CliRunner().invoke(app, ["bench", "cascade", str(small)])
    assert nothing.exit_code != 0
    assert "nothing to fit on" in nothing.output or "nothing to fit on" in str(nothing.exception)

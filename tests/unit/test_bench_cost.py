"""What a window costs: lines through known points, passages of exact lengths, the budget,
and the command on a tiny model.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import GRAPH, reseal, tiny_cross_encoder, tiny_monot5
from typer.testing import CliRunner
from watched_graphs import WatchedGraph

from es_rerank.cli import bench_cost
from es_rerank.cli.app import app
from es_rerank.cli.bench_cost import read_cost_texts
from es_rerank.engine.session import CPU
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.load import load_embedder, model_folder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import file_record
from es_rerank.research.bench import cost_cells
from es_rerank.research.bench.cost import (
    CANDIDATE_COUNTS,
    LINE_CANDIDATES,
    LINE_TOKENS,
    TOKENS,
    Budget,
    Cell,
    Speed,
    Timing,
    cheapest_first,
    fit_line,
    passages_of_length,
    thread_counts,
    timed,
)
from es_rerank.research.bench.cost_cells import CostTexts
from es_rerank.research.evaluation.packaged import packaged
from es_rerank.settings import BUNDLED_RERANKER
from es_rerank.types import FloatArray

# --- arithmetic ---------------------------------------------------------------------------------------------

coordinates = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


@settings(deadline=None)
@given(coordinates, coordinates, st.lists(st.integers(-100, 100), min_size=3, max_size=12, unique=True))
def test_points_on_a_line_give_the_line(slope: float, intercept: float, across: list[int]) -> None:
    found = fit_line([(x, intercept + slope * x) for x in across])
    assert found is not None
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=1e-6)
    assert found.r2 == pytest.approx(1, abs=1e-6) or abs(slope) < 1e-2


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-100, 100), st.integers(-100, 100)),
        min_size=3,
        max_size=12,
        unique_by=lambda point: point[0],
    )
)
def test_a_fit_explains_a_share_and_no_other_line_is_nearer(points: list[tuple[int, int]]) -> None:
    found = fit_line(points)
    assert found is not None
    assert -1e-9 <= found.r2 <= 1 + 1e-9

    def left(slope: float, intercept: float) -> float:
        return sum((y - slope * x - intercept) ** 2 for x, y in points)

    best = left(found.slope, found.intercept)
    assert all(
        best <= left(found.slope + dx, found.intercept + dy) + 1e-6
        for dx in (-0.1, 0, 0.1)
        for dy in (-0.1, 0, 0.1)
    )


def test_two_points_lie_on_any_line_and_are_no_evidence_for_one() -> None:
    assert fit_line([]) is None
    assert fit_line([(1, 100.0), (2, 190.0)]) is None
    assert fit_line([(1, 100.0), (1, 110.0), (2, 190.0)]) is None


def test_a_known_r2() -> None:
    found = fit_line([(0, 0), (1, 2), (2, 1)])
    assert found is not None
    assert (found.slope, found.intercept, found.r2) == pytest.approx((0.5, 0.5, 0.25))


def test_the_lines_come_first_and_what_the_model_cuts_is_left_out() -> None:
    lines, others = cheapest_first(512)
    assert sorted(lines + others) == [
        (candidates, tokens) for candidates in CANDIDATE_COUNTS for tokens in TOKENS
    ]
    assert {tokens for candidates, tokens in lines if candidates == LINE_CANDIDATES} == set(TOKENS)
    assert {candidates for candidates, tokens in lines if tokens == LINE_TOKENS} == set(CANDIDATE_COUNTS)
    for cells in (lines, others):
        assert all(before[0] * before[1] <= after[0] * after[1] for before, after in pairwise(cells))
    assert max(tokens for part in cheapest_first(255) for _, tokens in part) == 128


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_double_up_to_all(most: int, expected: list[int]) -> None:
    assert thread_counts(most) == expected


def test_a_run_is_timed_as_often_as_asked_and_once_before() -> None:
    calls: list[Sequence[str]] = []
    timing = timed(calls.append, ["a", "b"], 4)
    assert calls == [["a", "b"]] * 5
    assert 0 <= timing.low <= timing.ms <= timing.high


def test_a_budget_ends_by_its_clock() -> None:
    moments = iter([100.0, 104.9, 105.0])
    budget = Budget(5.0, lambda: next(moments))
    assert [budget.left, budget.left] == [True, False]


def test_what_was_not_measured_has_no_number() -> None:
    assert Cell("int8", 10, 32).as_json() == {
        "precision": "int8",
        "candidates": 10,
        "tokens": 32,
        "ms": None,
        "min_ms": None,
        "max_ms": None,
    }
    assert Speed.of("int8", 2, 100, Timing(200.0, 100.0, 400.0)).as_json("threads", "pairs") == {
        "precision": "int8",
        "threads": 2,
        "pairs_per_second": 500.0,
        "min": 250.0,
        "max": 1000.0,
    }


# --- passages of exact lengths ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> CostTexts:
    return read_cost_texts(packaged())


class Zeros:
    """A graph that gives every sequence the logit 0 at once."""

    provider = CPU

    def run(self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> FloatArray:
        return np.zeros((len(ids), 1), dtype=np.float32)

    def shares_runs(self, most: int) -> bool:
        return True


@pytest.mark.parametrize("tokens", [32, 512])
def test_passages_are_read_as_exactly_so_many_tokens(tokens: int, texts: CostTexts) -> None:
    reads = WatchedGraph(Zeros())
    with CrossEncoder(model_folder(BUNDLED_RERANKER), threads=1, reads=reads) as model:
        found = texts.beside_query(model)(tokens)
        assert len(set(found)) == len(found) == max(CANDIDATE_COUNTS)
        assert not model.score(texts.query, found).truncated.any()
    read = [ids for run, _ in reads.runs for ids in run]
    assert len(read) == len(found)
    assert {len(ids) for ids in read} == {tokens}


def test_passages_for_the_embedder_are_as_long(texts: CostTexts) -> None:
    with load_embedder(threads=1) as model:
        assert {len(model.tokenizer.encode(text).ids) for text in texts.for_embedder(model, "")(64)} == {64}


def test_a_collection_that_is_too_small_says_so(tmp_path: Path) -> None:
    with CrossEncoder(tiny_cross_encoder(tmp_path / "model"), threads=1) as model:
        cut = partial(
            passages_of_length,
            tokenizer=model.tokenizer,
            length=lambda text: len(model.tokenizer.encode("ab", text).ids),
        )
        assert cut(["abcde", "fghij"], tokens=10, number=2) == ["abcde", "fghij"]
        assert cut(["abcde", "fghij"], tokens=12, number=2) == ["abcde fg", "fghij ab"]
        for tokens in (3, 5, 100):
            with pytest.raises(
                SettingsError, match=f"gives 0 passages that are read as {tokens} tokens, fewer than 2"
            ):
                cut(["abcde", "fghij"], tokens=tokens, number=2)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def two_precisions(tmp_path: Path) -> Path:
    folder, other = tiny_cross_encoder(tmp_path / "model"), tiny_cross_encoder(tmp_path / "other", seed=1)
    (folder / "second.onnx").write_bytes((other / GRAPH).read_bytes())
    files = {name: file_record(folder / name) for name in (GRAPH, "second.onnx", "tokenizer.json")}
    return reseal(folder, variants={"fp32": GRAPH, "int8": "second.onnx"}, files=files)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Few passages, cut from a small collection whose letters are tokens."""
    folder = tmp_path / "collection"
    folder.mkdir()
    documents = [
        {"_id": str(number), "title": "", "text": f"{number} times the tide turns and the moon goes round"}
        for number in range(210)
    ]
    for name, records in (("corpus", documents), ("queries", [{"_id": "q", "text": "tide"}])):
        (folder / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8"
        )
    monkeypatch.setattr(cost_cells, "EMBEDDED", 2)
    return ["--data", str(folder), "--rounds", "1", "--threads", "2"]


def test_a_run_reports_cells_lines_threads_and_draws_them(
    two_precisions: Path, small: list[str], tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app,
        [
            "bench",
            "cost",
            str(two_precisions),
            *small,
            "--json",
            "--embedder",
            "--plot",
            str(tmp_path / "cost.svg"),
        ],
    )
    assert done.exception is None, done.output
    shown = json.loads(done.stdout)
    assert set(shown) == {
        "machine",
        "model",
        "max_length",
        "query",
        "rounds",
        "cells",
        "fits",
        "threads",
        "embedder",
    }
    assert {(cell["precision"], cell["candidates"], cell["tokens"]) for cell in shown["cells"]} == {
        (precision, candidates, tokens)
        for precision in ("fp32", "int8")
        for candidates in CANDIDATE_COUNTS
        for tokens in (32, 64, 128)
    }
    assert all(0 < cell["min_ms"] <= cell["ms"] <= cell["max_ms"] for cell in shown["cells"])
    assert [
        (each["precision"], each["against"], each["points"], each["line"] is None) for each in shown["fits"]
    ] == [
        (precision, against, points, points < 3)
        for precision in ("int8", "fp32")
        for against, points in (("candidates", 5), ("tokens", 3), ("threads", 2))
    ]
    assert all(set(each["line"]) == {"slope", "intercept", "r2"} for each in shown["fits"] if each["line"])
    assert [(speed["precision"], speed["threads"]) for speed in shown["threads"]] == [
        ("int8", 1),
        ("int8", 2),
        ("fp32", 1),
        ("fp32", 2),
    ]
    assert [speed["tokens"] for speed in shown["embedder"]] == [32, 64, 128, 256]
    titles = [
        each.text or "" for each in ET.parse(tmp_path / "cost.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    for title in ("Cost by candidates", "Cost by length", "Speed by threads", "Embedder by length"):
        assert any(title in each for each in titles)


def test_without_time_nothing_is_measured_and_no_number_is_shown(
    two_precisions: Path, small: list[str], tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app, ["bench", "cost", str(two_precisions), *small, "--budget", "0", "--embedder", "--json"]
    )
    assert done.exception is None, done.output
    shown = json.loads(done.stdout)
    assert all(cell["ms"] is None for cell in shown["cells"])
    assert shown["threads"] == []
    assert "embedder" not in shown
    assert all(each["line"] is None for each in shown["fits"])
    drawn = CliRunner().invoke(
        app,
        ["bench", "cost", str(two_precisions), *small, "--budget", "0", "--plot", str(tmp_path / "none.svg")],
    )
    assert drawn.exception is not None
    assert "nothing was measured within --budget" in str(drawn.exception)
    assert not (tmp_path / "none.svg").exists()


def test_a_table_says_how_much_of_it_was_measured(
    two_precisions: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once(Budget):
        """Time for the first cells alone."""

        begun = 0

        @property
        def left(self) -> bool:
            self.begun += 1
            return self.begun <= 4

    monkeypatch.setattr(bench_cost, "Budget", Once)
    done = CliRunner().invoke(app, ["bench", "cost", str(two_precisions), *small], env={"COLUMNS": "80"})
    assert done.exception is None, done.output
    assert "measured: 4 of 30 cells" in done.stdout


def test_what_is_no_cross_encoder_or_no_picture_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "cost", str(tiny_monot5(tmp_path / "model"))])
    assert isinstance(done.exception, ModelFolderError)
    done = CliRunner().invoke(app, ["bench", "cost", "--plot", "a.png"])
    assert isinstance(done.exception, SettingsError)

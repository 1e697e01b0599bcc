"""Which sequences share a run, and that no bit of any of them changes by it."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from encoder_graphs import encoder
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tiny_models import GRAPH, save_graph

from es_rerank.engine.batch_runner import RUN_SEQUENCES, BatchRunner, equal_lengths
from es_rerank.engine.pool import Pool
from es_rerank.engine.session import Session
from es_rerank.errors import SettingsError
from es_rerank.export.attention import fuse_attention
from es_rerank.export.first_token import first_token_only
from es_rerank.types import FloatArray

WINDOW = 128


class Sequence(NamedTuple):
    ids: list[int]
    type_ids: list[int]


def sequence(*ids: int) -> Sequence:
    return Sequence(list(ids), [0] * len(ids))


def first(output: FloatArray) -> float:
    return float(output[0])


def in_order(groups: list[list[tuple[int, float]] | None], sequences: int) -> list[float | None]:
    found = dict(chain.from_iterable(group for group in groups if group))
    return [found.get(position) for position in range(sequences)]


def run(runs: BatchRunner[float], pool: Pool, sequences: list[Sequence]) -> list[float | None]:
    _, groups = pool.run_call(runs.work(sequences))
    return in_order(groups, len(sequences))


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 6), st.integers(1, 4), st.integers(1, 200))
def test_groups_hold_every_sequence_once_among_its_equals(
    lengths: list[int], most: int, side_by_side: int, tokens: int
) -> None:
    groups = equal_lengths(lengths, most=most, side_by_side=side_by_side, tokens=tokens)
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len({lengths[position] for position in group}) == 1
        assert group == sorted(group)
        assert len(group) <= most
        assert len(group) == 1 or len(group) * lengths[group[0]] <= min(tokens, sum(lengths) // side_by_side)
    firsts = [lengths[group[0]] for group in groups]
    assert firsts == sorted(firsts, reverse=True)


def test_equal_sequences_are_shared_out_over_the_threads() -> None:
    assert equal_lengths([50] * 4, most=4, side_by_side=1) == [[0, 1, 2, 3]]
    assert equal_lengths([50] * 4, most=4, side_by_side=2) == [[0, 1], [2, 3]]
    assert equal_lengths([50] * 4, most=1, side_by_side=2) == [[0], [1], [2], [3]]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of one layer as wide as MiniLM."""
    path = encoder(tmp_path_factory.mktemp("wide") / GRAPH, scaled=True, width=384, heads=12, layers=1)
    assert fuse_attention(path, WINDOW)
    assert first_token_only(path)
    return path


def test_sequences_that_share_a_run_keep_their_bits(wide: Path) -> None:
    session, pool = Session(wide), Pool(2)
    together = BatchRunner(session, pool, first, by_row=True)
    draw = np.random.default_rng(0)
    sequences = [sequence(*draw.integers(0, 100, length).tolist()) for length in draw.integers(3, 30, 120)]
    found = run(together, pool, sequences)
    assert found == [first(session.run([each.ids], [each.type_ids])[0]) for each in sequences]
    assert found == run(together, pool, sequences[::-1])[::-1]
    pool.close()


def test_runs_are_shared_only_where_that_changes_no_bit(tmp_path: Path, wide: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=1),
        helper.make_node("ReduceSum", ["numbers", "rows"], ["sums"], keepdims=1),
        helper.make_node("ReduceMean", ["sums"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["sums", "mean"], ["logits"]),
    ]
    nodes.insert(0, helper.make_node("Constant", [], ["rows"], value_ints=[1]))
    save_graph(tmp_path, nodes, {}, ("logits", ["batch", 1]))
    assert not Session(tmp_path / GRAPH).shares_runs(RUN_SEQUENCES)
    assert Session(wide).shares_runs(RUN_SEQUENCES)


def test_what_had_not_begun_by_the_deadline_is_none(wide: Path) -> None:
    pool = Pool(1)
    runs = BatchRunner(Session(wide), pool, first, by_row=True)
    _, groups = pool.run_call(runs.work([sequence(1, 2, 3)] * 9), deadline=time.monotonic() - 1)
    assert in_order(groups, 9) == [None] * 9
    pool.close()


async def test_the_same_comes_out_asynchronously(wide: Path) -> None:
    pool = Pool(2)
    runs = BatchRunner(Session(wide), pool, first, by_row=True)
    sequences = [sequence(*range(1, length)) for length in (9, 4, 9, 5, 9, 9, 9, 4)]
    _, groups = await pool.arun_call(runs.work(sequences))
    assert in_order(groups, len(sequences)) == run(runs, pool, sequences)
    pool.close()


_PEAK = """
import sys
from pathlib import Path
from es_rerank.engine.pool import Pool
from es_rerank.engine.batch_runner import BatchRunner
from es_rerank.engine.session import Session
from es_rerank.errors import SettingsError

class One:
    ids, type_ids = [5] * 512, [0] * 512

def peak():
    # Not ru_maxrss, which begins with that of the process that started this one.
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))

pool, session = Pool(2), Session(Path(sys.argv[1]))
runs = BatchRunner(session, pool, lambda output: float(output[0]), by_row=True)
pool.run_call(runs.work([One] * 2))
few = peak()
pool.run_call(runs.work([One] * 1000))
print(few, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_thousand_passages_of_512_tokens_need_no_more_memory_than_two(wide: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(wide)], capture_output=True, text=True, check=True, timeout=300
    )
    few, many = (int(each) / 1024 for each in done.stdout.split())
    assert many - few < 32
    assert many < 400


def test_a_provider_that_is_not_installed_is_named(wide: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no CUDAExecutionProvider, only .*CPUExecutionProvider"):
        Session(wide, "CUDAExecutionProvider")


def test_another_processor_than_the_cpu_gets_larger_runs(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, pool, sizes = Session(wide), Pool(1), list[int]()
    run_of_session = session.run

    def counted(ids: list[list[int]], type_ids: list[list[int]]) -> FloatArray:
        sizes.append(len(ids))
        return run_of_session(ids, type_ids)

    monkeypatch.setattr(session, "provider", "OtherExecutionProvider")
    monkeypatch.setattr(session, "run", counted)
    found = run(BatchRunner(session, pool, first, by_row=False), pool, [sequence(*range(1, 21))] * 300)
    assert sizes == [256, 44]
    assert np.ptp(np.asarray(found, dtype=np.float64)) < 1e-5
    pool.close()

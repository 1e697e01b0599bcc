"""Sequences of different lengths that share a run, as on a GPU: here on the CPU."""

from __future__ import annotations

import sys
import time
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from encoder_graphs import encoder
from hypothesis import given
from hypothesis import strategies as st
from masked_graphs import masked_encoder
from ready_made import encoder_repository
from tiny_models import GRAPH, tiny_t5_tokenizer, tiny_tokenizer
from tokenizers import Tokenizer, models

from es_rerank.engine.batch_runner import (
    ACCELERATOR_SEQUENCES,
    ACCELERATOR_THREADS,
    ACCELERATOR_TOKENS,
    BatchRunner,
    threads_for,
)
from es_rerank.engine.padding import LEAST_FILLED, similar_lengths
from es_rerank.engine.pool import Pool
from es_rerank.engine.processor import cores
from es_rerank.engine.session import CPU, CUDA, Session
from es_rerank.errors import SettingsError
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.local.tokenising import padding_token
from es_rerank.models.ready_made import ImportOptions
from es_rerank.models.ready_made.importing import import_model
from es_rerank.types import FloatArray

CLOSE = 1e-5
"""Rounding of float32 where a run has another shape."""

LENGTHS = np.random.default_rng(2).integers(2, 200, 300).tolist()
"""Natural lengths: hardly two of them are equal."""


class Sequence(NamedTuple):
    ids: list[int]
    type_ids: list[int]


def sequences(lengths: list[int]) -> list[Sequence]:
    draw = np.random.default_rng(0)
    return [Sequence(draw.integers(0, 100, length).tolist(), [0] * length) for length in lengths]


def first(output: FloatArray) -> float:
    return float(output[0])


def run(runs: BatchRunner[float], pool: Pool, wanted: list[Sequence]) -> list[float]:
    _, groups = pool.run_call(runs.work(wanted))
    found = dict(chain.from_iterable(group for group in groups if group))
    assert sorted(found) == list(range(len(wanted)))
    return [found[position] for position in range(len(wanted))]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked_encoder(tmp_path_factory.mktemp("masked") / GRAPH)


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 9), st.integers(1, 3000))
def test_every_sequence_is_in_one_run_of_similar_lengths_within_the_budget(
    lengths: list[int], most: int, tokens: int
) -> None:
    groups = similar_lengths(lengths, most=most, tokens=tokens)
    assert sorted(chain.from_iterable(groups)) == list(range(len(lengths)))
    in_order = [lengths[position] for position in chain.from_iterable(groups)]
    assert in_order == sorted(lengths, reverse=True)
    for group in groups:
        longest, filled = lengths[group[0]], sum(lengths[position] for position in group)
        assert 1 <= len(group) <= most
        assert len(group) == 1 or len(group) * longest <= tokens
        assert min(lengths[position] for position in group) >= LEAST_FILLED * longest
        assert filled >= LEAST_FILLED * len(group) * longest
        for shorter in set(lengths):
            same = [position for position in group if lengths[position] == shorter]
            assert same == sorted(same)
    for group, after in pairwise(groups):  # a run ends only where it must
        longest, following = lengths[group[0]], lengths[after[0]]
        assert len(group) == most or (len(group) + 1) * longest > tokens or following < LEAST_FILLED * longest


def test_padded_runs_give_the_scores_of_separate_ones(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, pool, sizes = Session(graph), Pool(2), list[int]()
    padded = session.run_padded

    def counted(ids: list[list[int]], *others: object) -> list[FloatArray]:
        sizes.append(len(ids))
        assert len(ids) <= ACCELERATOR_SEQUENCES
        assert len(ids) * max(map(len, ids)) <= ACCELERATOR_TOKENS
        return padded(ids, *others)  # type: ignore[arg-type]

    runs = BatchRunner(session, pool, first, by_row=True, pad_id=0, padded=True)
    monkeypatch.setattr(session, "run_padded", counted)
    wanted = sequences(LENGTHS)
    found = run(runs, pool, wanted)
    alone = [first(session.run([each.ids], [each.type_ids])[0]) for each in wanted]
    assert np.allclose(found, alone, rtol=0, atol=CLOSE)
    assert len(sizes) < 25  # of 300 sequences with 150 lengths
    assert sum(sizes) == len(wanted)
    pool.close()


def test_hidden_states_lose_their_padding(tmp_path: Path) -> None:
    model = onnx.load(masked_encoder(tmp_path / GRAPH))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("b.out", 1, ["batch", "tokens", 8]))
    onnx.save(model, tmp_path / GRAPH)
    session = Session(tmp_path / GRAPH)
    assert session.pads(0)
    wanted = sequences([7, 6, 9])
    states = session.run_padded([each.ids for each in wanted], [each.type_ids for each in wanted], 0)
    assert [state.shape for state in states] == [(7, 8), (6, 8), (9, 8)]
    for state, each in zip(states, wanted, strict=True):
        assert np.allclose(state, session.run([each.ids], [each.type_ids])[0], rtol=0, atol=CLOSE)


def test_a_mask_that_does_not_hide_the_padding_is_found(tmp_path: Path, graph: Path) -> None:
    assert Session(graph).pads(0)
    assert Session(graph).pads(99)
    assert not Session(graph).pads(100)  # the vocabulary has no such token
    assert not Session(masked_encoder(tmp_path / "visible.onnx", hides=False)).pads(0)
    assert not Session(masked_encoder(tmp_path / "mean.onnx", pooling="mean")).pads(0)
    assert not Session(encoder(tmp_path / "learned.onnx", learned=True)).pads(0)
    session, pool = Session(tmp_path / "visible.onnx"), Pool(1)
    wanted = sequences([7, 6, 9, 6])
    found = run(BatchRunner(session, pool, first, by_row=True, pad_id=0, padded=True), pool, wanted)
    assert found == [first(session.run([each.ids], [each.type_ids])[0]) for each in wanted]
    pool.close()


def test_on_the_cpu_nothing_is_padded_unless_it_is_asked_for(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, pool = Session(graph), Pool(1)
    monkeypatch.setattr(session, "run_padded", lambda *_, **__: pytest.fail("it was padded"))
    wanted = sequences([7, 6, 9])
    assert len(run(BatchRunner(session, pool, first, by_row=True, pad_id=0), pool, wanted)) == 3
    changes_its_neighbours = BatchRunner(session, pool, first, by_row=False, pad_id=0, padded=True)
    assert len(run(changes_its_neighbours, pool, wanted)) == 3
    pool.close()


def test_a_deadline_drops_the_runs_that_have_not_begun(graph: Path) -> None:
    pool = Pool(1)
    runs = BatchRunner(Session(graph), pool, first, by_row=True, pad_id=0, padded=True)
    _, groups = pool.run_call(runs.work(sequences([90, 9, 3])), deadline=time.monotonic() - 1)
    assert groups == [None] * 3
    pool.close()


def test_a_ready_made_graph_with_its_mask_is_padded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = encoder_repository(tmp_path / "source")
    masked_encoder(source / "onnx/model.onnx", scaled=True, width=64, heads=4, words=128)
    import_model(str(source), tmp_path / "model", ImportOptions(), say=lambda _: None)
    texts = [("the lamp of the harbour " * 9)[:length] for length in range(1, 200, 3)]
    with CrossEncoder(tmp_path / "model") as alone, CrossEncoder(tmp_path / "model", padded=True) as padded:
        expected, sizes = alone.score("a lamp", texts).values, list[int]()
        run_padded = padded._session.run_padded  # noqa: SLF001 which runs there are is not to be seen outside

        def counted(ids: list[list[int]], *others: Any) -> list[FloatArray]:
            sizes.append(len(ids))
            return run_padded(ids, *others)

        monkeypatch.setattr(padded._session, "run_padded", counted)  # noqa: SLF001 see above
        assert np.allclose(padded.score("a lamp", texts).values, expected, rtol=0, atol=CLOSE)
    assert sum(sizes) == len(texts)
    assert len(sizes) < 12


def test_a_gpu_gets_few_runs_at_a_time_unless_told() -> None:
    assert threads_for(CPU) == cores()
    assert threads_for(CUDA) == min(cores(), ACCELERATOR_THREADS)
    assert threads_for(CUDA, 7) == threads_for(CPU, 7) == 7


def test_a_provider_that_does_not_start_is_no_silent_cpu(
    graph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What onnxruntime-gpu does on a machine without a driver: it lists CUDA and computes on the CPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("no libcudnn\n"), raising=False)
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(SettingsError, match="CUDAExecutionProvider is installed and did not start"),
    ):
        Session(graph, CUDA)
    said = capsys.readouterr()
    assert (said.out, "libcudnn" in said.err) == ("", True)


def test_the_padding_token_is_the_tokenizers_own() -> None:
    assert padding_token(tiny_tokenizer()) == tiny_tokenizer().token_to_id("[PAD]")
    assert padding_token(tiny_t5_tokenizer()) == tiny_t5_tokenizer().token_to_id("<pad>")
    roberta = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, unk_token="<unk>"))
    assert padding_token(roberta) == 1
    assert padding_token(Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))) == 0

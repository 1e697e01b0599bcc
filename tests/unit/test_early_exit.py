"""Stopping early: every passage is read up to the exit, the best to the end,
from where they stood and with the whole model's bits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_graphs import encoder
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_models import REST, tiny_cross_encoder, tiny_monot5, with_exit

from es_rerank import load_reranker
from es_rerank.engine.session import EXIT_LOGITS, HIDDEN, LastLayers, Session
from es_rerank.errors import ModelError, ModelFolderError, SettingsError
from es_rerank.export.attention import fuse_attention
from es_rerank.export.early_exit import split
from es_rerank.models import LongTextReranker
from es_rerank.models.load import check_reranker
from es_rerank.models.wrappers import early_exit
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.models.wrappers.early_exit import HiddenStates
from es_rerank.node.checks import check_model
from es_rerank.types import FloatArray

QUERY = "who signed the treaty"
PASSAGES = [f"passage {number} of {'many words ' * (number % 7)}" for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_exit(tiny_cross_encoder(tmp_path / "model"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which outputs were asked of the whole graph, and what went on from hidden states,
    with the number of sequences.
    """
    seen: list[tuple[str, int]] = []
    outputs, run = Session.outputs, LastLayers.run

    def seen_outputs(
        self: Session, names: Sequence[str], ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
    ) -> list[FloatArray]:
        seen.append((names[0], len(ids)))
        return outputs(self, names, ids, type_ids)

    def seen_run(self: LastLayers, hidden: FloatArray) -> FloatArray:
        seen.append(("rest", len(hidden)))
        return run(self, hidden)

    monkeypatch.setattr(Session, "outputs", seen_outputs)
    monkeypatch.setattr(LastLayers, "run", seen_run)
    return seen


def read(asked: list[tuple[str, int]]) -> dict[str, int]:
    """Return how many sequences were read in which way."""
    return {name: sum(count for other, count in asked if other == name) for name, _ in asked}


def test_the_best_by_the_exit_have_the_whole_models_bits_and_are_not_begun_anew(
    folder: Path, asked: list[tuple[str, int]]
) -> None:
    with load_reranker(folder) as alone, load_reranker(f"exit:0.3+{folder}") as both:
        asked.clear()  # loading probes
        scores, expected = both.score(QUERY, PASSAGES), alone.score(QUERY, PASSAGES)
        assert read(asked) == {EXIT_LOGITS: 40, "rest": 12}
        same = scores.values == expected.values
        assert same.sum() == 12
        assert scores.values[~same].max() < scores.values[same].min()
        assert asyncio.run(both.ascore(QUERY, PASSAGES)).values.tobytes() == scores.values.tobytes()
        assert both.name == "tiny-cross-encoder with early exit"
        assert isinstance(both, LongTextReranker)


def test_what_is_not_kept_is_read_from_its_beginning_with_the_same_bits(
    folder: Path, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with load_reranker(f"exit:0.3+{folder}") as roomy:
        expected = roomy.score(QUERY, PASSAGES)
    monkeypatch.setattr(early_exit, "HiddenStates", lambda: HiddenStates(most=1))
    with load_reranker(f"exit:0.3+{folder}") as narrow:
        asked.clear()  # loading probes
        assert narrow.score(QUERY, PASSAGES).values.tobytes() == expected.values.tobytes()
    assert read(asked) == {EXIT_LOGITS: 40, HIDDEN: 12, "rest": 12}


def test_passages_that_are_the_same_are_each_scored(folder: Path) -> None:
    passages = [PASSAGES[3]] * 30
    with load_reranker(folder) as alone, load_reranker(f"exit:0.5+{folder}") as both:
        values, whole = both.score(QUERY, passages).values, alone.score(QUERY, passages).values[0]
        assert (values == whole).sum() == 15
        assert values.max() == whole


def test_scores_of_exit_and_end_are_remembered_and_the_ends_are_the_whole_models(folder: Path) -> None:
    cache = ScoreCache(1000)
    with (
        load_reranker(f"exit:0.3+{folder}", cache=cache) as both,
        load_reranker(folder, cache=cache) as whole,
    ):
        before, again = both.score(QUERY, PASSAGES), both.score(QUERY, PASSAGES)
        assert not before.cached.any()
        assert again.cached.all()
        assert before.values.tobytes() == again.values.tobytes()
        assert whole.score(QUERY, PASSAGES).cached.sum() == 12


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30), st.booleans()), max_size=60),
    st.integers(0, 200),
)
def test_hidden_states_never_take_more_room_than_they_may(
    steps: list[tuple[int, int, bool]], most: int
) -> None:
    states, put = HiddenStates(most), set[int]()
    for number, size, puts in steps:
        key = (bytes([number]), b"")
        if puts:
            states.put(key, np.full((size, 1), number, dtype=np.float32))
            put.add(number)
        elif (found := states.take(key)) is not None:
            assert number in put
            assert (found == number).all()
            assert states.take(key) is None
    kept = [states.take((bytes([number]), b"")) for number in range(6)]
    assert sum(each.nbytes for each in kept if each is not None) <= most


def test_the_oldest_hidden_states_go_first() -> None:
    states, one = HiddenStates(most=8), np.zeros((1, 1), dtype=np.float32)
    for number in range(3):
        states.put((bytes([number]), b""), one)
    assert [states.take((bytes([number]), b"")) is None for number in range(3)] == [True, False, False]


def test_closing_ends_the_threads(folder: Path) -> None:
    both = load_reranker(f"exit:0.3+{folder}")
    both.close()
    with pytest.raises(ModelError, match="is closed"):
        both.score(QUERY, PASSAGES)


def test_the_bundled_model_has_an_early_exit_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with load_reranker("exit:0.5+es-rerank-minilm-l6") as both:
        scores = both.score("who signed the treaty", ["the king signed it", "it rained"])
    assert scores.values[0] > scores.values[1]


@pytest.mark.parametrize("wrong", ["0+A", "1+A", "A", "0.3+", "0.3+cascade:0.3+A+B", "0.3+exit:0.3+A"])
def test_what_is_no_early_exit_is_refused(wrong: str) -> None:
    for ask in (load_reranker, check_reranker):
        with pytest.raises(SettingsError, match="is no early exit; write exit:SHARE"):
            ask(f"exit:{wrong}")
    assert check_model("cross-encoder", f"exit:{wrong}").status == "fail"


def test_a_model_without_an_exit_head_is_named(tmp_path: Path) -> None:
    plain, other = tiny_cross_encoder(tmp_path / "plain"), tiny_monot5(tmp_path / "other")
    for ask in (load_reranker, check_reranker):
        with pytest.raises(ModelFolderError, match="has no exit head; export it with --exit-layer"):
            ask(f"exit:0.3+{plain}")
    with pytest.raises(ModelFolderError, match="holds a monot5 and not a cross-encoder"):
        load_reranker(f"exit:0.3+{other}")
    assert check_model("cross-encoder", f"exit:0.3+{plain}").status == "fail"


def test_a_rest_that_was_altered_or_is_missing_is_refused(folder: Path) -> None:
    content = (folder / REST).read_bytes()
    (folder / REST).write_bytes(content[:-1] + b"!")
    with pytest.raises(ModelFolderError, match="does not have the checksum"):
        load_reranker(folder)
    (folder / REST).unlink()
    with pytest.raises(ModelFolderError, match="is missing"):
        load_reranker(f"exit:0.3+{folder}")


def test_its_name_is_known_before_it_is_loaded_and_the_doctor_sees_it(folder: Path) -> None:
    assert check_reranker(f"exit:0.3+{folder}") == "tiny-cross-encoder with early exit"
    assert check_model("cross-encoder", f"exit:0.3+{folder}").status == "ok"


def with_hidden(path: Path, name: str) -> Path:
    """Let a graph also give the tensor ``name`` as its hidden states,
    and an exit's logits of the first token.
    """
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Identity", [name], [HIDDEN]))
    model.graph.node.append(helper.make_node("Gather", [name, "index"], ["exit.token"], axis=1))
    model.graph.node.append(helper.make_node("MatMul", ["exit.token", "head"], [EXIT_LOGITS]))
    model.graph.output.extend(
        helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in (EXIT_LOGITS, HIDDEN)
    )
    onnx.save(model, path)
    return path


def test_the_parts_of_an_encoder_have_its_bits_and_read_its_weights(tmp_path: Path) -> None:
    width = 64
    path, first, rest = (
        encoder(tmp_path / "model.onnx", scaled=True, width=width),
        tmp_path / "first.onnx",
        tmp_path / "rest.onnx",
    )
    assert fuse_attention(path, width)
    size, ids = path.stat().st_size, np.random.default_rng(9).integers(0, 100, (3, 21)).tolist()
    before = Session(path).run(ids, ids)
    split(with_hidden(path, "a.out"), first, rest)
    assert abs(path.stat().st_size - size) < 0.01 * size
    assert max(first.stat().st_size, rest.stat().st_size) < 0.05 * size
    assert Session(path).run(ids, ids).tobytes() == before.tobytes()
    exit_logits, hidden = Session(first).outputs([EXIT_LOGITS, HIDDEN], ids, ids)
    assert exit_logits.shape == (3, 1)
    assert LastLayers(rest).run(hidden).tobytes() == before.tobytes()
    outputs = [
        {name for node in onnx.load(part, load_external_data=False).graph.node for name in node.output}
        for part in (first, rest)
    ]
    assert "b.ffn0" in outputs[1] - outputs[0]
    assert "a.ffn0" in outputs[0] - outputs[1]
    with pytest.raises(ModelFolderError, match="does not begin with hidden states"):
        LastLayers(path)


def test_a_graph_whose_end_reads_the_mask_cannot_be_cut(tmp_path: Path) -> None:
    path = with_hidden(encoder(tmp_path / "model.onnx", scaled=True), "a.out")
    content = path.read_bytes()
    with pytest.raises(ModelFolderError, match=r"also reads bias, so that it cannot go on"):
        split(path, tmp_path / "first.onnx", tmp_path / "rest.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == content

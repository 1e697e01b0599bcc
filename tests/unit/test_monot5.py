"""monoT5: the promises of every reranker, and its own: two logits by difference,
and a graph that gives just those.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_models import GRAPH, reseal, save_graph, tiny_bi_encoder, tiny_cross_encoder, tiny_monot5

from es_rerank.engine.session import CPU
from es_rerank.errors import ModelFolderError
from es_rerank.models import LongTextReranker, Reranker
from es_rerank.models.load import load_reranker
from es_rerank.models.local.monot5 import MonoT5
from es_rerank.models.local.open_model import open_model
from es_rerank.models.manifest import read_manifest
from es_rerank.testing.contract import RerankerContract

QUERY = "who signed the treaty"
PASSAGES = ["envoys of france and sweden", "bread rises for an hour", "", "{query} {document}"]
INPUTS = ("input_ids", "attention_mask")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonoT5]:
    with MonoT5(tiny_monot5(tmp_path_factory.mktemp("monot5"))) as model:
        yield model


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[MonoT5]:
    with MonoT5(with_graph(tmp_path, columns=2, value=float("nan"))) as model:
        yield model


def with_graph(folder: Path, *, columns: int, value: float = 1.0) -> Path:
    """A monoT5's folder whose graph gives ``value`` times the sum of all ids in every column."""
    tiny_monot5(folder)
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "row"], ["logits"]),
    ]
    save_graph(
        folder,
        nodes,
        {"row": np.full((1, columns), value, dtype=np.float32)},
        ("logits", ["batch", columns]),
        INPUTS,
    )
    return reseal(folder)


class TestMonoT5(RerankerContract):
    pass


def test_it_is_what_the_protocols_ask_for(reranker: MonoT5) -> None:
    assert isinstance(reranker, Reranker)
    assert isinstance(reranker, LongTextReranker)
    assert reranker.name == "tiny-monot5"


def test_the_logit_is_that_of_true_minus_that_of_false(reranker: MonoT5, tmp_path: Path) -> None:
    graph = open_model(tiny_monot5(tmp_path), "monot5", None, CPU).session
    for passage, value in zip(PASSAGES, reranker.score(QUERY, PASSAGES).values, strict=True):
        prompt = f"Query: {QUERY} Document: {passage} Relevant:"
        ids = reranker.tokenizer.encode(prompt).ids
        false, true = graph.run([ids], [[0] * len(ids)])[0]
        assert value == np.float32(float(true) - float(false))


def test_the_tail_behind_a_long_passage_is_read_unless_the_manifest_says_otherwise(tmp_path: Path) -> None:
    long = "treaty " * 100
    with (
        MonoT5(tiny_monot5(tmp_path / "a")) as kept,
        MonoT5(tiny_monot5(tmp_path / "b", truncation="prompt")) as cut,
    ):
        assert kept.score(QUERY, PASSAGES).values.tobytes() == cut.score(QUERY, PASSAGES).values.tobytes()
        assert kept.score(QUERY, [long]).values[0] != cut.score(QUERY, [long]).values[0]
        for model in (kept, cut):
            assert model.score(QUERY, [long, "treaty"]).truncated.tolist() == [True, False]


def test_a_long_text_is_cut_into_passages_that_fit(reranker: MonoT5) -> None:
    text = "the treaty was signed. " * 60
    (passages,) = reranker.cut(QUERY, [("", text)])
    assert len(passages) > 1
    assert {place for passage in passages for place in range(passage.start, passage.end)} >= {
        place for place, letter in enumerate(text) if letter != " "
    }
    assert not reranker.score(QUERY, [passage.text for passage in passages]).truncated.any()


@pytest.mark.parametrize("columns", [1, 3, 109])
def test_a_graph_with_other_than_two_logits_is_refused(tmp_path: Path, columns: int) -> None:
    folder = with_graph(tmp_path, columns=columns)
    with pytest.raises(
        ModelFolderError,
        match=(
            r"gives 1 logits, its manifest says 2|"
            r"gives an output of shape \(1, \d+\) for one pair and not one or two logits"
        ),
    ):
        MonoT5(folder)


def test_a_graph_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = tiny_monot5(tmp_path / "monot5")
    (folder / GRAPH).write_bytes((tiny_bi_encoder(tmp_path / "bi") / GRAPH).read_bytes())
    with pytest.raises(ModelFolderError, match="exported without its head"):
        MonoT5(reseal(folder))


def test_the_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="holds a cross-encoder and not a monot5"):
        MonoT5(tiny_cross_encoder(tmp_path))


def test_it_is_loaded_by_what_its_manifest_says(tmp_path: Path) -> None:
    folder = tiny_monot5(tmp_path)
    with load_reranker(folder, name="mine") as model:
        assert isinstance(model, MonoT5)
        assert model.name == "mine"
    contract = read_manifest(folder, kind="monot5").monot5
    assert contract is not None
    assert (contract.false_token, contract.true_token) == ("▁false", "▁true")

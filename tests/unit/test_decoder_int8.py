"""A decoder in int8: each token has a scale of its own, so prompts do not change each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from tiny_decoder import tiny_decoder
from tiny_models import GRAPH, reseal

from es_rerank.engine.past import PastSession
from es_rerank.models.local.decoder import Decoder
from es_rerank.models.manifest import read_manifest
from es_rerank.testing.contract import RerankerContract
from es_rerank.types import FloatArray

QUERY = "who signed the treaty?"
PASSAGES = [
    "envoys of France and Sweden signed it",
    "bread rises for an hour",
    "",
    "the harbour at night. " * 20,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_decoder(tmp_path_factory.mktemp("int8"), precision="int8")


class TestInInt8(RerankerContract):
    @pytest.fixture
    def reranker(self, folder: Path) -> Iterator[Decoder]:
        with Decoder(folder) as model:
            yield model

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Iterator[Decoder]:
        """A decoder whose head is made of numbers that are none."""
        changed(tiny_decoder(tmp_path, precision="int8"), "head.matrix", lambda head: head * np.nan)
        with Decoder(reseal(tmp_path)) as model:
            yield model


def changed(folder: Path, name: str, change: Callable[[FloatArray], FloatArray]) -> None:
    """Change a constant of a folder's graph."""
    model = onnx.load(folder / GRAPH)
    constant = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    constant.raw_data = change(numpy_helper.to_array(constant).copy()).tobytes()
    onnx.save(model, folder / GRAPH)


def test_weights_and_embeddings_are_bytes_and_the_head_is_not(folder: Path) -> None:
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(folder / GRAPH).graph.initializer}
    assert kinds["embeddings"] == kinds["model.layers.1.mlp.down_proj.int8"] == TensorProto.INT8
    assert kinds["head.matrix"] == TensorProto.FLOAT
    assert not any(name.endswith("_proj.matrix") for name in kinds)
    assert read_manifest(folder).by_row("int8")


def test_scores_are_near_those_in_fp32(folder: Path, tmp_path: Path) -> None:
    with Decoder(folder) as int8, Decoder(tiny_decoder(tmp_path)) as fp32:
        ours, exact = (model.score(QUERY, PASSAGES).values for model in (int8, fp32))
    assert 0 < np.abs(ours - exact).max() < 0.1 * np.abs(exact).min()


def test_a_token_of_huge_numbers_spoils_no_other_prompt(folder: Path, tmp_path: Path) -> None:
    """One scale for a run would leave the others nothing but zeros."""
    tiny_decoder(tmp_path, precision="int8")
    changed(
        tmp_path,
        "steps",
        lambda steps: steps * np.where(np.arange(len(steps)) == 7, 1e6, 1)[:, None].astype(np.float32),
    )
    session, plain = PastSession(tmp_path / GRAPH), [20, 30, 40, 50]
    together = session.run([plain, [7, 7, 7, 7]], [[0] * 4] * 2)
    assert together[0] == pytest.approx(session.run([plain], [[0] * 4])[0], abs=1e-4)
    assert together[0] == pytest.approx(PastSession(folder / GRAPH).run([plain], [[0] * 4])[0], abs=1e-4)

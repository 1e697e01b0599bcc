"""Folders with ready-made ONNX graphs, as repositories of the Hub lay them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import onnx
from encoder_graphs import encoder
from onnxruntime.quantization import QuantType, quantize_dynamic
from tiny_models import GRAPH, tiny_bi_encoder, tiny_cross_encoder

from es_rerank.models.manifest import TOKENIZER

CARD = "---\nlanguage: en\nlicense: apache-2.0\ntags:\n- reranker\n---\n# A model\n"
CONFIG: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "max_position_embeddings": 128,
    "hidden_size": 8,
}


def repository(
    folder: Path,
    kind: Literal["cross-encoder", "bi-encoder"] = "cross-encoder",
    *,
    graph: str = "onnx/model.onnx",
    labels: Literal[1, 2] = 1,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a tiny model as a repository with one fp32 graph; return ``folder``."""
    made = folder.with_name(f"{folder.name}-made")
    if kind == "cross-encoder":
        tiny_cross_encoder(made, labels=labels)
        stated = CONFIG | {"id2label": {str(number): f"LABEL_{number}" for number in range(labels)}}
    else:
        tiny_bi_encoder(made)
        stated = CONFIG | {"architectures": ["BertModel"], "id2label": None}
    (folder / graph).parent.mkdir(parents=True, exist_ok=True)
    (folder / graph).write_bytes((made / GRAPH).read_bytes())
    (folder / TOKENIZER).write_bytes((made / TOKENIZER).read_bytes())
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(stated | (config or {})), encoding="utf-8")
    shutil.rmtree(made)
    return folder


def encoder_repository(folder: Path) -> Path:
    """Write an encoder of two layers, as PyTorch exports it, as a repository; return ``folder``."""
    repository(folder)
    encoder(folder / "onnx/model.onnx", scaled=True, width=64, heads=4, words=128)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": 64}), encoding="utf-8")
    return folder


def quantise(folder: Path, name: str, *, unsigned: bool = False, reduced: bool = False) -> None:
    """Write an int8 graph with dynamic activations beside ``onnx/model.onnx``, as optimum makes it."""
    quantize_dynamic(
        folder / "onnx/model.onnx",
        folder / name,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=reduced,
        weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
    )


def with_external_data(folder: Path, location: str = "model.onnx_data") -> Path:
    """Move the weights of ``onnx/model.onnx`` into a file beside it; return ``folder``."""
    graph = folder / "onnx/model.onnx"
    onnx.save(
        onnx.load(graph),
        graph,
        save_as_external_data=True,
        location=location,
        size_threshold=256,
    )
    return folder

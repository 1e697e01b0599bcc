"""Tiny embedders in jars, as Maven's repositories have real ones: random weights, activations quantised anew
in every run.
"""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from tiny_models import GRAPH, save_graph, tiny_tokenizer

from es_rerank.models.contracts import BiEncoderContract
from es_rerank.models.manifest import TOKENIZER, file_record
from es_rerank.models.ready_made import maven

DIMS = 16
QUERY_PREFIX, PASSAGE_PREFIX = "find: ", "text: "
NAME = "tiny"
ARTIFACT = "langchain4j-embeddings-tiny-q"


def tiny_jar(
    jar: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pooling: Literal["mean", "cls"] = "cls",
    seed: int = 0,
    name: str = NAME,
    quantised: bool = True,
) -> Path:
    """Write a jar with an embedder, make it known as ``maven:NAME``, and return ``jar``.

    The hidden state of each token depends on all tokens that the mask shows. Without ``quantised`` the graph
    only bears the name of an int8 graph: then its vectors do not depend on the batch.
    """
    parts = jar.parent / f"parts of {jar.name}"
    parts.mkdir(parents=True)
    graph = parts / "graph.onnx"
    graph.write_bytes(_graph(seed, quantised=quantised))
    tiny_tokenizer().save(str(parts / TOKENIZER))
    jar.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
        archive.write(graph, "tiny-q.onnx")
        archive.write(parts / TOKENIZER, "tiny-q-tokenizer.json")
    model = maven.JarModel(
        artifact=ARTIFACT,
        graph=file_record(graph),
        tokenizer=file_record(parts / TOKENIZER),
        contract=BiEncoderContract(
            dims=DIMS, pooling=pooling, query_prefix=QUERY_PREFIX, passage_prefix=PASSAGE_PREFIX
        ),
        scripts=("Latin",),
        authors="a test",
        original="tests/tiny",
        converted="tests/tiny-onnx",
    )
    monkeypatch.setitem(maven.MODELS, name, model)
    return jar


def local_repository(home: Path, artifact: str = ARTIFACT, version: str = "0.36.2") -> Path:
    """Return the path of an artifact's jar in Maven's own cache below a home folder, whose folder is made."""
    folder = home.joinpath(".m2", "repository", "dev", "langchain4j", artifact, version)
    folder.mkdir(parents=True)
    return folder / f"{artifact}-{version}.jar"


@cache
def _graph(seed: int, *, quantised: bool) -> bytes:
    """Return a graph file that computes tanh((word + 3 * mean of all words) W) V."""
    draw = np.random.default_rng(seed)
    words = tiny_tokenizer().get_vocab_size()
    constants = {
        "words": draw.normal(size=(words, DIMS)).astype(np.float32),
        "inner": draw.normal(size=(DIMS, DIMS)).astype(np.float32),
        "outer": draw.normal(size=(DIMS, DIMS)).astype(np.float32),
        "three": np.asarray(3, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Constant", [], ["two"], value_ints=[2]),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "two"], ["column"]),
        helper.make_node("Mul", ["word", "column"], ["shown"]),
        helper.make_node("ReduceSum", ["shown", "one"], ["sum"]),
        helper.make_node("ReduceSum", ["column", "one"], ["count"]),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Mul", ["mean", "three"], ["context"]),
        helper.make_node("Add", ["word", "context"], ["both"]),
        helper.make_node("MatMul", ["both", "inner"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "outer"], ["last_hidden_state"]),
    ]
    output: tuple[str, list[str | int]] = ("last_hidden_state", ["batch", "tokens", DIMS])
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder, GRAPH), Path(folder, "int8.onnx")
        save_graph(Path(folder), nodes, constants, output, ("input_ids", "attention_mask"))
        if not quantised:
            return fp32.read_bytes()
        quantize_dynamic(
            onnx.load(fp32),
            int8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=["MatMul"],
        )
        return int8.read_bytes()

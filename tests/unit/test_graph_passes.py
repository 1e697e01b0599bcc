"""Graph passes are kept only where they hold for what the tokenizer gives, in the output that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from encoder_graphs import encoder
from onnx import TensorProto, helper, numpy_helper
from rotary_graphs import rotary_encoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from es_rerank.engine.session import Session
from es_rerank.export.passes import run_passes
from es_rerank.export.probing import Sequences
from es_rerank.models.manifest import TOKENIZER

WORDS, CLS, SEP = 300, 298, 299
LONGEST = 64
TYPES = helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "tokens"])


def tokenizer(segments: int = 2) -> Tokenizer:
    """A tokenizer of words, whose special tokens are the last of its vocabulary."""
    known = {**{f"w{number}": number for number in range(1, CLS)}, "a": 0, "[CLS]": CLS, "[SEP]": SEP}
    made = Tokenizer(models.WordLevel(known, unk_token="w1"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[CLS]", "[SEP]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1" if segments == 2 else "[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return made


def constant(graph: onnx.GraphProto, name: str, value: Any) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def before(graph: onnx.GraphProto, kind: str, nodes: list[onnx.NodeProto]) -> onnx.NodeProto:
    """Put nodes before the first one of a kind; return that one."""
    place = next(number for number, node in enumerate(graph.node) if node.op_type == kind)
    for number, node in enumerate(nodes):
        graph.node.insert(place + number, node)
    found: onnx.NodeProto = graph.node[place + len(nodes)]
    return found


def the_passage(graph: onnx.GraphProto) -> None:
    """The head reads the first token of the passage."""
    graph.input.append(TYPES)
    before(graph, "ArgMax", []).input[0] = "token_type_ids"


def the_end(graph: onnx.GraphProto) -> None:
    """The head reads the first [SEP]."""
    found = helper.make_node("Equal", ["input_ids", constant(graph, "sep", SEP)], ["is_sep"])
    number = helper.make_node("Cast", ["is_sep"], ["end"], to=TensorProto.INT64)
    before(graph, "ArgMax", [found, number]).input[0] = "end"


def apart(graph: onnx.GraphProto) -> None:
    """In the local layers, query and passage do not see each other."""
    graph.input.append(TYPES)
    axes = [constant(graph, f"axis_{axis}", [axis]) for axis in (1, 2)]
    sides = [
        helper.make_node("Unsqueeze", ["token_type_ids", axis], [f"side_{number}"])
        for number, axis in enumerate(axes)
    ]
    equal = helper.make_node("Equal", ["side_0", "side_1"], ["equal"])
    wide = helper.make_node("Unsqueeze", ["equal", axes[0]], ["same"])
    near = before(graph, "LessOrEqual", [*sides, equal, wide])
    for node in graph.node:
        node.input[:] = ["same" if name == near.output[0] else name for name in node.input]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (None, ("attention", "first_row")),
        (the_passage, ("attention",)),
        (the_end, ("attention",)),
        (apart, ("first_row",)),
    ],
    ids=["the first token", "the passage's first token", "the token [SEP]", "query and passage apart"],
)
def test_a_pass_holds_for_pairs_with_segments_and_special_tokens(
    tmp_path: Path, change: Any, kept: tuple[str, ...]
) -> None:
    path = rotary_encoder(tmp_path / "model.onnx", local=(False, True), words=WORDS)
    model = onnx.load(path)
    if change is not None:
        change(model.graph)
    onnx.save(model, path)
    made = tokenizer()
    made.save(str(tmp_path / TOKENIZER))
    pair = made.encode(" ".join(f"w{number}" for number in range(101, 110)), "w201 w7 w202")
    scores = Session(path).run([pair.ids], [pair.type_ids])
    assert run_passes(path, "cross-encoder", LONGEST) == kept
    assert np.abs(Session(path).run([pair.ids], [pair.type_ids]) - scores).max() < 1e-5


@pytest.mark.parametrize("made", [encoder, rotary_encoder])
def test_inputs_in_32_bits_get_the_passes(made: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"scaled": True} if made is encoder else {"local": (False, True)}
    path = made(tmp_path / "model.onnx", **options)
    model = onnx.load(path)
    for each in model.graph.input:
        each.type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, path)
    tokenizer().save(str(tmp_path / TOKENIZER))
    ids, types = [[5, 6, 7, 8]], [[0] * 4]
    scores = Session(path).run(ids, types)
    assert run_passes(path, "cross-encoder", LONGEST) == ("attention", "first_row")
    assert np.abs(Session(path).run(ids, types) - scores).max() < 1e-5


def test_the_output_that_is_read_decides(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx", scaled=True)
    model = onnx.load(path)
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", constant(model.graph, "second", 1)], ["length"]),
        helper.make_node("Range", ["index", "length", "second"], ["positions"]),
        helper.make_node("Cast", ["positions"], ["distances"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["without", "distances"], ["bias"]),
    ]
    before(model.graph, "MatMul", nodes)
    next(node for node in model.graph.node if node.output[0] == "bias").output[0] = "without"
    first = helper.make_tensor_value_info("embedded", TensorProto.FLOAT, ["batch", "tokens", "width"])
    model.graph.output.insert(0, first)
    onnx.save(model, path)
    tokenizer().save(str(tmp_path / TOKENIZER))
    ids, types = [[5, 6, 7, 8]], [[0] * 4]
    scores = Session(path).run(ids, types)
    assert run_passes(path, "cross-encoder", LONGEST) == ("first_row",)
    assert np.abs(Session(path).run(ids, types) - scores).max() < 1e-5


def test_sequences_hold_every_id_and_stay_in_the_tables_of_the_graph(tmp_path: Path) -> None:
    graph = onnx.load(rotary_encoder(tmp_path / "model.onnx", words=WORDS)).graph
    drawn = Sequences.of(tokenizer(), graph, pairs=True)
    assert drawn == Sequences(WORDS, (CLS, SEP), 2)
    ids, types = (np.asarray(rows) for rows in drawn.rows(WORDS))
    assert set(ids.ravel()) == set(range(WORDS))
    assert {tuple(np.unique(row)) for row in types} == {(0, 1)}
    assert Sequences.of(tokenizer(1), graph, pairs=True).segments == 1
    assert Sequences.of(tokenizer(), graph, pairs=False).segments == 1
    small = onnx.load(rotary_encoder(tmp_path / "small.onnx", words=50)).graph
    assert Sequences.of(tokenizer(), small, pairs=True) == Sequences(50, (), 2)

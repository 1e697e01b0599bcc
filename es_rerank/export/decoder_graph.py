"""The graph of a decoder reranker, written operator by operator. Needs onnx and no torch.

Qwen2 and Qwen3 are stacks of one layer: RMS norm, attention with rotary positions whose keys and values are
shared by groups of heads, RMS norm, and a gated linear unit. transformers' ``modeling_qwen2.py`` and
``modeling_qwen3.py`` are the reference; the weights have their names.

One graph serves whole prompts, the shared beginning of prompts, and the rest of prompts behind a beginning:

- inputs: ``input_ids``, int64, (batch, tokens), nothing padded; for each layer i ``past_{i}_key`` and
  ``past_{i}_value``, float32, (batch, key_value_heads, past, head_size), where past may be 0;
- outputs: ``logits``, float32, (batch, 2), of false and true behind the last token; ``present_{i}_key`` and
  ``present_{i}_value``, float32, (batch, key_value_heads, past + tokens, head_size).

Positions count on from the past. The last layer computes its attention and its linear unit for the last token
alone, because nothing else of it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..engine.session import LOGITS
from ..types import FloatArray
from .rewriting import DOMAIN
from .static_int8 import FULL, on_grid

_OPSET = 18
_IR_VERSION = 9
_UNSEEN = float(np.finfo(np.float32).min)
"""Added to a score of attention, it leaves the token behind the reading one no weight."""

_TINY = np.finfo(np.float32).tiny
"""A row of zeros is divided by this."""

Weights = Callable[[str], FloatArray | None]
"""Returns a weight by its name in transformers, None when the model has no such weight."""

Store = Callable[[npt.NDArray[Any], str], TensorProto]
"""Returns the tensor that holds an array under a name; the array may lie in another file."""


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The numbers of a decoder that its weights do not tell.

    ``cosines`` and ``sines`` hold the rotary positions, float32, (max_length, head_size / 2).
    """

    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    epsilon: float
    cosines: FloatArray
    sines: FloatArray


def past_names(layers: int) -> list[str]:
    """Return the names of the inputs that hold the past, in order."""
    return [f"past_{layer}_{part}" for layer in range(layers) for part in ("key", "value")]


def decoder_graph(
    shape: DecoderShape,
    weights: Weights,
    answers: tuple[int, int],
    *,
    store: Store = numpy_helper.from_array,
    largest: int | None = None,
) -> onnx.ModelProto:
    """Return the graph of a decoder whose head has two rows: those of the tokens false and true, ``answers``.

    ``lm_head.weight`` is the head; the embeddings are, when the model has none. ``largest`` is the largest
    weight of an int8 graph, ``FULL`` or ``REDUCED``; None for fp32. In int8 each token has a scale of its
    own, so that neither other tokens nor other prompts of a run change it. The head stays fp32. Raises
    KeyError when a weight is missing.
    """
    return _Writer(shape, weights, store, largest).written(answers)


class _Writer:
    """Collects nodes and weights. Each method adds nodes and returns the name of their output."""

    def __init__(self, shape: DecoderShape, weights: Weights, store: Store, largest: int | None) -> None:
        self._shape, self._weights, self._store, self._largest = shape, weights, store, largest
        self._nodes: list[onnx.NodeProto] = []
        self._rounded: dict[str, tuple[str, str]] = {}
        self._constants: dict[str, onnx.TensorProto] = {}

    def written(self, answers: tuple[int, int]) -> onnx.ModelProto:
        """Return the whole graph."""
        shape = self._shape
        embeddings = self._weight("model.embed_tokens.weight")
        hidden = self._embedded(embeddings)
        self._positions()
        for layer in range(shape.layers):
            hidden = self._layer(layer, hidden, last=layer == shape.layers - 1)
        normed = self._norm(hidden, "model.norm.weight")
        head = self._weights("lm_head.weight")
        rows = (embeddings if head is None else head)[list(answers)]
        logits = self._product(normed, "head", rows, exact=True)
        self._node("Squeeze", [logits, self._integers("one", [1])], LOGITS)
        return self._model()

    def _model(self) -> onnx.ModelProto:
        shape, names = self._shape, past_names(self._shape.layers)

        def cache(name: str, tokens: str) -> onnx.ValueInfoProto:
            dims: list[str | int | None] = ["batch", shape.key_value_heads, tokens, shape.head_size]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

        graph = helper.make_graph(
            self._nodes,
            "decoder",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
                *(cache(name, "past") for name in names),
            ],
            [
                helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", 2]),
                *(cache(name.replace("past", "present", 1), "total") for name in names),
            ],
            list(self._constants.values()),
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, 1)],
            ir_version=_IR_VERSION,
        )

    def _embedded(self, embeddings: FloatArray) -> str:
        """Return the embeddings of the tokens; in int8 each row of the table has a step of its own."""
        if self._largest is None:
            return self._node("Gather", [self._constant("embeddings", embeddings), "input_ids"], "embedded")
        grid, steps = on_grid(embeddings.T, FULL)
        rows = self._node(
            "Gather", [self._constant("embeddings", np.ascontiguousarray(grid.T)), "input_ids"], "rows"
        )
        numbers = self._node("Cast", [rows], "numbers", to=TensorProto.FLOAT)
        step = self._node("Gather", [self._constant("steps", steps[:, None]), "input_ids"], "row_steps")
        return self._node("Mul", [numbers, step], "embedded")

    def _positions(self) -> None:
        """Add the rotary positions of all tokens and of the last one, and the mask of the tokens behind."""
        zero, one = self._integer("begin", 0), self._integer("step", 1)
        past = self._node(
            "Gather", [self._node("Shape", ["past_0_key"], "past_shape"), self._integer("axis", 2)], "past"
        )
        tokens = self._node("Gather", [self._node("Shape", ["input_ids"], "shape"), one], "tokens")
        total = self._node("Add", [past, tokens], "total")
        own = self._node("Range", [past, total, one], "own")
        every = self._node("Range", [zero, total, one], "every")
        row = self._node("Unsqueeze", [own, self._integers("column", [1])], "row")
        visible = self._node("LessOrEqual", [every, row], "visible")
        numbers = [self._constant("seen", np.float32(0)), self._constant("hidden", np.float32(_UNSEEN))]
        self._node("Where", [visible, *numbers], "mask")
        last = self._node("Gather", [own, self._integers("end", [-1])], "last")
        for name, table in (("cosines", self._shape.cosines), ("sines", self._shape.sines)):
            constant = self._constant(f"{name}_table", table)
            self._node("Gather", [constant, own], f"{name}_own")
            self._node("Gather", [constant, last], f"{name}_last")

    def _layer(self, layer: int, hidden: str, *, last: bool) -> str:
        """Return the hidden states after a layer; those of the last layer are the last token's alone."""
        name, end = f"model.layers.{layer}", self._integers("end", [-1])
        normed = self._norm(hidden, f"{name}.input_layernorm.weight")
        asking = normed
        if last:
            asking = self._node("Gather", [normed, end], f"{name}.asking", axis=1)
            hidden = self._node("Gather", [hidden, end], f"{name}.left", axis=1)
        attended = self._attention(layer, normed, asking, last=last)
        hidden = self._node("Add", [hidden, attended], f"{name}.attended")
        normed = self._norm(hidden, f"{name}.post_attention_layernorm.weight")
        return self._node("Add", [hidden, self._gated(f"{name}.mlp", normed)], f"{name}.out")

    def _attention(self, layer: int, normed: str, asking: str, *, last: bool) -> str:
        name, shape = f"model.layers.{layer}.self_attn", self._shape
        groups, places = shape.key_value_heads, "last" if last else "own"
        queries = self._turned(self._heads(f"{name}.q", asking, shape.heads, normed=True), places)
        keys = self._turned(self._heads(f"{name}.k", normed, groups, normed=True), "own")
        values = self._heads(f"{name}.v", normed, groups, normed=False)
        keys, values = (
            self._node("Concat", [f"past_{layer}_{part}", new], f"present_{layer}_{part}", axis=2)
            for part, new in (("key", keys), ("value", values))
        )
        # The queries of a group stand below each other, so that its keys need no copy for each of them.
        grouped = self._reshaped(queries, [0, groups, -1, shape.head_size], f"{name}.grouped")
        scale = self._constant("scale", np.float32(shape.head_size**-0.5))
        scaled = self._node("Mul", [grouped, scale], f"{name}.scaled")
        turned = self._node("Transpose", [keys], f"{name}.keys", perm=(0, 1, 3, 2))
        scores = self._node("MatMul", [scaled, turned], f"{name}.scores")
        if not last:  # the last token sees all
            single = self._reshaped(scores, [0, shape.heads, -1, 0], f"{name}.single")
            masked = self._node("Add", [single, "mask"], f"{name}.masked")
            scores = self._reshaped(masked, [0, groups, -1, 0], f"{name}.masked_groups")
        weights = self._node("Softmax", [scores], f"{name}.weights", axis=-1)
        mixed = self._node("MatMul", [weights, values], f"{name}.mixed")
        split = self._reshaped(mixed, [0, shape.heads, -1, shape.head_size], f"{name}.split")
        merged = self._node("Transpose", [split], f"{name}.merged", perm=(0, 2, 1, 3))
        whole = self._reshaped(merged, [0, 0, shape.heads * shape.head_size], f"{name}.whole")
        return self._linear(whole, f"{name}.o_proj")

    def _heads(self, name: str, read: str, heads: int, *, normed: bool) -> str:
        """Return a projection split into heads, (batch, heads, tokens, head_size).

        Qwen3 norms each head of queries and keys.
        """
        projected = self._linear(read, f"{name}_proj")
        split = self._reshaped(projected, [0, 0, heads, self._shape.head_size], f"{name}.split")
        if normed and self._weights(f"{name}_norm.weight") is not None:
            split = self._norm(split, f"{name}_norm.weight")
        return self._node("Transpose", [split], f"{name}.heads", perm=(0, 2, 1, 3))

    def _turned(self, heads: str, places: str) -> str:
        """Return heads after the rotation by their positions: ``own`` of all tokens, ``last`` of the last."""
        low, high = f"{heads}.low", f"{heads}.high"
        self._nodes.append(
            helper.make_node("Split", [heads], [low, high], f"{heads}.halves", axis=-1, num_outputs=2)
        )
        cosines, sines = f"cosines_{places}", f"sines_{places}"
        (low_cos, low_sin), (high_cos, high_sin) = (
            [self._node("Mul", [half, table], f"{half}.{table}") for table in (cosines, sines)]
            for half in (low, high)
        )
        turned = [
            self._node("Sub", [low_cos, high_sin], f"{low}.turned"),
            self._node("Add", [high_cos, low_sin], f"{high}.turned"),
        ]
        return self._node("Concat", turned, f"{heads}.turned", axis=-1)

    def _gated(self, name: str, read: str) -> str:
        gate, up = (self._linear(read, f"{name}.{part}_proj") for part in ("gate", "up"))
        opened = self._node("Mul", [gate, self._node("Sigmoid", [gate], f"{name}.opening")], f"{name}.opened")
        return self._linear(self._node("Mul", [opened, up], f"{name}.inner"), f"{name}.down_proj")

    def _norm(self, read: str, name: str) -> str:
        """Return the RMS norm over the last axis, in plain operators; ONNX Runtime fuses them."""
        squares = self._node("Mul", [read, read], f"{name}.{read}.squares")
        mean = self._node(
            "ReduceMean", [squares, self._integers("last_axis", [-1])], f"{name}.{read}.mean", keepdims=1
        )
        epsilon = self._constant("epsilon", np.float32(self._shape.epsilon))
        root = self._node(
            "Sqrt", [self._node("Add", [mean, epsilon], f"{name}.{read}.sum")], f"{name}.{read}.root"
        )
        divided = self._node("Div", [read, root], f"{name}.{read}.divided")
        return self._node("Mul", [divided, self._constant(name, self._weight(name))], f"{name}.{read}.normed")

    def _linear(self, read: str, name: str) -> str:
        product = self._product(read, name, self._weight(f"{name}.weight"))
        bias = self._weights(f"{name}.bias")
        if bias is None:
            return product
        return self._node("Add", [self._constant(f"{name}.bias", bias), product], f"{name}.sum")

    def _product(self, read: str, name: str, weight: FloatArray, *, exact: bool = False) -> str:
        """Return ``read`` times a weight of (outputs, inputs), in int8 unless it is to be ``exact``."""
        if self._largest is None or exact:
            matrix = self._constant(f"{name}.matrix", np.ascontiguousarray(weight.T))
            return self._node("MatMul", [read, matrix], f"{name}.product")
        rounded, most = self._rounded_rows(read)
        grid, steps = on_grid(weight.T, self._largest)
        inputs = [
            rounded,
            self._constant(f"{name}.int8", np.ascontiguousarray(grid)),
            self._constant("byte_step", np.float32(1 / FULL)),
            self._constant(f"{name}.steps", steps),
            self._constant("byte_zero", np.uint8(FULL + 1)),
        ]
        product = self._node("MatMulIntegerToFloat", inputs, f"{name}.bytes", domain=DOMAIN)
        return self._node("Mul", [product, most], f"{name}.product")

    def _rounded_rows(self, read: str) -> tuple[str, str]:
        """Return the bytes of each row divided by its largest number, and this number."""
        if read not in self._rounded:
            size = self._node("Abs", [read], f"{read}.size")
            most = self._node(
                "ReduceMax", [size, self._integers("last_axis", [-1])], f"{read}.most", keepdims=1
            )
            some = self._node("Max", [most, self._constant("tiny", _TINY)], f"{read}.some")
            part = self._node("Div", [read, some], f"{read}.part")
            scale = [
                self._constant("byte_step", np.float32(1 / FULL)),
                self._constant("byte_zero", np.uint8(FULL + 1)),
            ]
            rounded = self._node("QuantizeLinear", [part, *scale], f"{read}.rounded")
            self._rounded[read] = rounded, some
        return self._rounded[read]

    def _weight(self, name: str) -> FloatArray:
        weight = self._weights(name)
        if weight is None:
            raise KeyError(name)
        return weight

    def _reshaped(self, read: str, dims: list[int], out: str) -> str:
        return self._node("Reshape", [read, self._integers("dims_" + "_".join(map(str, dims)), dims)], out)

    def _node(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:  # noqa: ANN401 as make_node takes them
        self._nodes.append(helper.make_node(kind, inputs, [out], out, **attributes))
        return out

    def _integer(self, name: str, value: int) -> str:
        return self._constant(name, np.asarray(value, dtype=np.int64))

    def _integers(self, name: str, values: list[int]) -> str:
        return self._constant(name, np.asarray(values, dtype=np.int64))

    def _constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        if name not in self._constants:
            self._constants[name] = self._store(np.asarray(value), name)
        return name

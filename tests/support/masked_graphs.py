"""Encoders whose mask hides padding, as PyTorch exports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from encoder_graphs import encoder
from onnx import helper, numpy_helper


def masked_encoder(path: Path, *, hides: bool = True, **options: Any) -> Path:
    """Write an encoder whose scores get the smallest float32 where the mask is 0. Not ``hides``: it reads its
    mask, and padding all the same.
    """
    encoder(path, **options)
    model = onnx.load(path)
    nodes = list(model.graph.node)
    place = next(number for number, node in enumerate(nodes) if node.output[0] == "bias")
    lowest = np.finfo(np.float32).min if hides else 0
    for name, value in (("visible", 1), ("lowest", lowest)):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
    nodes[place : place + 1] = [
        helper.make_node("Sub", ["visible", "mask"], ["padding"]),
        helper.make_node("Mul", ["padding", "lowest"], ["rows"]),
        helper.make_node("Unsqueeze", ["rows", "axes"], ["bias"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path

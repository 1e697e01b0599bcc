"""Whether this processor adds products of bytes up exactly: measured, not read from its flags.

A test may expect one outcome on x86-64 with VNNI or ARM, and another on x86-64 without VNNI, only
where this decides it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

INPUTS, COLUMNS = 64, 32
LARGEST_ACTIVATION = 255


@cache
def added_exactly(largest: int) -> bool:
    """Whether sums of the largest activation times weights of ``largest``, of either sign, come out exactly.

    x86-64 with AVX2 and without VNNI adds two products within 16 bits, where the sum stops at 32,767:
    255 x 63 x 2 fits, 255 x 127 x 2 does not. One row and several are multiplied by different code.
    """
    weights = np.full((INPUTS, COLUMNS), largest, dtype=np.int8)
    weights[:, 1::2] *= -1
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "products",
        [helper.make_tensor_value_info("activations", TensorProto.UINT8, ["rows", INPUTS])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["rows", COLUMNS])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    several = np.full((4, INPUTS), LARGEST_ACTIVATION, dtype=np.uint8)
    return all(
        (session.run(None, {"activations": rows})[0] == rows.astype(np.int64) @ weights).all()
        for rows in (several, several[:1])
    )

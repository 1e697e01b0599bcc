"""Values of tensors inside a graph, as the graph computes them for whole sequences."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ..engine.session import CPU, feeds

_ROWS = 2
"""Sequences of one run, so that the batch size is never taken for another axis of length 1."""


class Probe:
    """A graph file, run to see what a tensor holds."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        """Load the graph file ``path`` with the tensors ``names`` as its outputs."""
        self._names = sorted(set(names))
        model = onnx.load(path, load_external_data=False)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # In the same folder, so that external weights are found.
        probed = path.with_name(f"probed_{path.name}")
        onnx.save(model, probed)
        try:
            self._session = onnxruntime.InferenceSession(str(probed), options, providers=[CPU])
        finally:
            probed.unlink()

    def values(self, tokens: int) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors by name, for two drawn sequences of ``tokens`` tokens without padding."""
        ids = np.random.default_rng(tokens).integers(0, 100, (_ROWS, tokens)).tolist()
        inputs = feeds([node.name for node in self._session.get_inputs()], ids, [[0] * tokens] * _ROWS)
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))

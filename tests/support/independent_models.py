"""Runs the tiny models of the tests directly, one pair or one text at a time.

It imports nothing of the product.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

LIMIT = 512
"""Tokens, special ones included: the length for which the models of ``test_differential`` are made."""


class _Model:
    """A folder's graph and tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    def encoded(self, *texts: str) -> Encoding:
        encoding = self._tokenizer.encode(*texts)
        assert len(encoding.ids) <= LIMIT, "a longer text would be cut, and here it is not"
        return encoding

    def run(self, encoding: Encoding) -> npt.NDArray[np.float32]:
        """Return the graph's output for one sequence, without the dimension of the batch."""
        numbers = {
            "input_ids": encoding.ids,
            "attention_mask": [1] * len(encoding.ids),
            "token_type_ids": encoding.type_ids,
        }
        feeds = {name: np.asarray([values], dtype=np.int64) for name, values in numbers.items()}
        result: npt.NDArray[np.float32] = self._session.run(None, feeds)[0][0]
        return result


class PairModel(_Model):
    """A cross-encoder with one label."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._known: dict[tuple[str, str], float] = {}

    def logit(self, query: str, text: str) -> float:
        if (query, text) not in self._known:
            self._known[query, text] = float(self.run(self.encoded(query, text))[0])
        return self._known[query, text]


class TextModel(_Model):
    """A bi-encoder: the mean of its hidden states, of length 1."""

    def vector(self, text: str) -> list[float]:
        mean = self.run(self.encoded(text)).mean(axis=0)
        return [float(value) for value in mean / np.linalg.norm(mean)]


def probability(logit: float) -> float:
    """Return the logistic of a logit: what a model without calibration gives for a pair."""
    return 1 / (1 + math.exp(-logit))

"""Trial runs of a ready-made graph: does it read what this engine will give it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...engine.session import Session
from ...errors import ModelFolderError, SettingsError
from ...types import FloatArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENS = 3
_ROWS_TOKENS = 9
_LEAST_WINDOW = 48
"""Tokens of the longest sequence with which the engine tries whether rows may share a run."""
_TOLERANCE = 1e-3
"""Most by which the result of a row may change beside another row: rounding changes far less."""


def output_shape(graph: Path, session: Session) -> tuple[int, ...]:
    """Return the shape of the output for one sequence of three tokens.

    Raises ModelFolderError when the graph does not run, or its numbers are not finite.
    """
    try:
        output = session.try_run([[0] * _TOKENS], [[0] * _TOKENS])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ModelFolderError(
            f"{graph} loads but does not run on a sequence of {_TOKENS} tokens ({_short(error)}); a graph "
            "with fixed sizes cannot be used, run: es-rerank export MODEL OUT"
        ) from error
    if not np.isfinite(output).all():
        raise ModelFolderError(
            f"{graph} gives numbers that are not finite; its weights are broken, fetch it again"
        )
    return output.shape


def check_vocabulary(graph: Path, session: Session, tokenizer: Tokenizer) -> None:
    """Raise ModelFolderError when the tokenizer gives ids or segments that the graph does not know."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    segment = max(tokenizer.encode("a", "a").type_ids, default=0)
    if not _runs(session, [largest] * _TOKENS, 0):
        raise ModelFolderError(
            f"{graph} does not know the token {largest}, the last one of tokenizer.json: the two are not of "
            "one model; fetch both again"
        )
    if not _runs(session, [largest] * _TOKENS, segment):
        raise ModelFolderError(
            f"{graph} does not know the segment {segment} that tokenizer.json gives to a passage: the "
            "two are not of one model; fetch both again"
        )


def running_window(graph: Path, session: Session, window: int, *, asked: bool) -> int:
    """Return the longest sequence in tokens, at most ``window``, that the graph runs.

    Raises SettingsError when the user ``asked`` for more, ModelFolderError when it is shorter than 48.
    """
    if _runs(session, [0] * window, 0):
        return window
    low, high = _TOKENS, window
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _runs(session, [0] * middle, 0) else (low, middle)
    if low < _LEAST_WINDOW:
        raise ModelFolderError(
            f"{graph} runs no more than {low} tokens, too few for a passage; run: es-rerank export MODEL OUT"
        )
    if asked:
        raise SettingsError(
            f"--max-length {window} is more than the {low} tokens that {graph} runs; choose at most {low}"
        )
    return low


def check_rows(graph: Path, session: Session, *, shared: bool) -> None:
    """Raise ModelFolderError when two sequences in one run do not get the results of separate runs.

    ``shared``: two sequences will share a run. Otherwise nothing is checked.
    """
    if not shared:
        return
    rows = [[number % 3 for number in range(_ROWS_TOKENS)], [number % 2 for number in range(_ROWS_TOKENS)]]
    types = [[0] * _ROWS_TOKENS] * 2
    try:
        together = session.try_run(rows, types)
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ModelFolderError(
            f"{graph} does not run on two sequences at once ({_short(error)}); a graph with fixed sizes "
            "cannot be used, run: es-rerank export MODEL OUT"
        ) from error
    alone = [session.try_run([row], [kind])[0] for row, kind in zip(rows, types, strict=True)]
    if len(together) != len(rows) or any(
        not _same(one, other) for one, other in zip(together, alone, strict=True)
    ):
        raise ModelFolderError(
            f"{graph} gives a sequence another result beside a second sequence than alone; run: es-rerank "
            "export MODEL OUT"
        )


def _same(one: FloatArray, other: FloatArray) -> bool:
    return one.shape == other.shape and bool(
        (np.abs(one - other) <= _TOLERANCE * np.maximum(1.0, np.abs(other))).all()
    )


def _runs(session: Session, ids: list[int], segment: int) -> bool:
    try:
        output = session.try_run([ids], [[segment] * len(ids)])
    except Exception:  # noqa: BLE001 ONNX Runtime's exceptions share no base but Exception
        return False
    return len(output) == 1


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def check_logits(graph: Path, last: str) -> None:
    """Raise ModelFolderError when the operator that computes a reranker's output gives no logit.

    LogSoftmax does: the difference of its two outputs is the log-odds.
    """
    if last in {"Sigmoid", "HardSigmoid", "Softmax", "Tanh"}:
        raise ModelFolderError(
            f"{graph} ends in {last}, so that it gives probabilities and not logits; take another graph with "
            "--graph, or run: es-rerank export MODEL OUT"
        )

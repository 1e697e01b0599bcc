"""Which of a repository's graphs are taken: one in fp32 and the int8 one that suits this processor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ...engine.processor import adds_bytes_exactly, architecture
from ...errors import ModelFolderError, SettingsError
from ..manifest import Precision

FOLDERS = ("onnx", "")
"""Where graphs lie: in the folder of the Hub's convention, or at the root, where optimum writes them."""

_FP32 = ("model", "model_fp32", "model_optimized", "model_O3", "model_O2", "model_O1")
"""Names of fp32 graphs without their ending, the first that is there is taken. ``model_O4`` is fp16."""

Machine = Literal["arm64", "vnni", "plain"]

_INT8: dict[Machine, tuple[str, ...]] = {
    "vnni": (
        "model_qint8_avx512_vnni",
        "model_qint8_avx512",
        "model_int8",
        "model_quantized",
        "model_qint8_arm64",
        "model_quint8_avx2",
        "model_uint8",
    ),
    "arm64": (
        "model_qint8_arm64",
        "model_int8",
        "model_quantized",
        "model_qint8_avx512_vnni",
        "model_qint8_avx512",
        "model_quint8_avx2",
        "model_uint8",
    ),
    "plain": (
        "model_quint8_avx2",
        "model_uint8",
        "model_quantized",
        "model_int8",
        "model_qint8_arm64",
        "model_qint8_avx512",
        "model_qint8_avx512_vnni",
    ),
}
"""Names of int8 graphs, the best first: those of transformers.js (scripts/quantize.py), which Xenova and
onnx-community publish, and those of sentence-transformers (backend/quantize.py).

Where bytes are added exactly, signed weights of 8 bits keep the most. Without VNNI their sums may overflow,
and those of unsigned weights never do."""

_SUITS: dict[Machine, str] = {
    "vnni": "this processor has VNNI, which adds signed bytes exactly",
    "arm64": "this processor is an ARM, which adds signed bytes exactly",
    "plain": "this processor has no VNNI, and sums of unsigned bytes do not overflow on it",
}

_TAKEN: tuple[Precision, ...] = ("fp32", "int8")

_NOT_TAKEN = {"fp16": "16 bits", "O4": "16 bits", "bnb4": "4 bits", "q4": "4 bits", "q4f16": "4 bits"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The graphs to take, by the precision that their names state, and what is said about the choice.

    Names are paths within the repository, with slashes. ``said``: one line for each graph that was chosen
    among several or left out.
    """

    graphs: dict[Precision, str]
    said: tuple[str, ...] = ()


def machine() -> Machine:
    """Return which int8 graphs suit this processor."""
    if architecture() == "arm64":
        return "arm64"
    return "vnni" if adds_bytes_exactly() else "plain"


def graphs_among(files: Iterable[str]) -> list[str]:
    """Return the graphs among the files of a repository: those of ``FOLDERS``, in their order."""
    found = [name for name in files if name.lower().endswith(".onnx")]
    return [
        name
        for folder in FOLDERS
        for name in sorted(found)
        if str(PurePosixPath(name).parent) == (folder or ".")
    ]


def choose(model: str, files: Sequence[str], *, graph: str | None, only: Precision | None) -> Choice:
    """Return which graphs of a repository are taken.

    ``graph`` is the one that the user names. ``only`` leaves out the other precision. Raises ModelFolderError
    when there is none, or none that can be told from its name; SettingsError when ``graph`` is not there.
    """
    present = graphs_among(files)
    if graph is not None:
        wanted = graph.replace("\\", "/").removeprefix("./")
        if wanted not in files:
            raise SettingsError(
                f"{model} has no graph {graph}; choose one of: {', '.join(present) or 'none'}"
            )
        return Choice({"fp32": wanted})
    if not present:
        raise ModelFolderError(
            f"{model} has no ready-made ONNX graph (onnx/model.onnx); if it has torch weights, run: "
            "es-rerank export MODEL OUT"
        )
    chosen: dict[Precision, str] = {}
    for folder in FOLDERS:  # that of the convention goes before the root, for each precision
        names = {PurePosixPath(name).stem: name for name in present if _folder(name) == folder}
        chosen = _of_folder(names, only) | chosen
    if chosen:
        return Choice(chosen, _said(present, chosen, only))
    if only is not None and (others := _other_precisions(present)):
        raise ModelFolderError(f"{model} has no graph in {only}, only {', '.join(others)}; leave --only out")
    if len(present) == 1 and not _is_part(present[0]):
        return Choice({"fp32": present[0]})
    raise ModelFolderError(
        f"none of the graphs of {model} is known by its name ({', '.join(present)}); "
        + (
            "a model of several graphs cannot be imported, run: es-rerank export MODEL OUT"
            if any(map(_is_part, present))
            else f"name one with --graph, as in --graph {present[0]}"
        )
    )


def _folder(name: str) -> str:
    return "" if (parent := str(PurePosixPath(name).parent)) == "." else parent


def _of_folder(names: dict[str, str], only: Precision | None) -> dict[Precision, str]:
    found = {
        precision: next((names[stem] for stem in _names(precision) if stem in names), None)
        for precision in _TAKEN
        if only in {None, precision}
    }
    return {precision: name for precision, name in found.items() if name is not None}


def _names(precision: Precision) -> tuple[str, ...]:
    return _FP32 if precision == "fp32" else _INT8[machine()]


def _other_precisions(present: Sequence[str]) -> list[str]:
    """Return the graphs whose names state a precision, each with it."""
    stated = {stem: precision for precision in _TAKEN for stem in _names(precision)}
    return [f"{name} ({stated[stem]})" for name in present if (stem := PurePosixPath(name).stem) in stated]


def _said(present: Sequence[str], chosen: dict[Precision, str], only: Precision | None) -> tuple[str, ...]:
    """Return why an int8 graph was chosen, and which graphs were left out."""
    lines = []
    int8 = [name for name in present if PurePosixPath(name).stem in _INT8[machine()]]
    if "int8" in chosen and len(int8) > 1:
        lines.append(f"int8: {chosen['int8']} of {len(int8)} files, because {_SUITS[machine()]}")
    left = [name for name in present if name not in chosen.values()]
    few = sorted(name for name in left if _bits(name))
    if few:
        lines.append(f"not taken: {', '.join(few)}, because graphs in 16 and 4 bits are not run here")
    if others := sorted(set(left) - set(few)):
        why = f"only {only} was asked for" if only else "one graph of each precision is enough"
        lines.append(f"not taken: {', '.join(others)}, because {why}")
    return tuple(lines)


def _bits(name: str) -> str | None:
    return next(
        (bits for end, bits in _NOT_TAKEN.items() if PurePosixPath(name).stem.endswith(f"_{end}")), None
    )


def _is_part(name: str) -> bool:
    return PurePosixPath(name).stem.startswith(("decoder_", "encoder_", "text_", "vision_"))

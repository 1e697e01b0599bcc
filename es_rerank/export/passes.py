"""Runs the graph passes that fit a kind of model. Needs onnx and no torch."""

from __future__ import annotations

from pathlib import Path

import onnx

from ..models.manifest import TOKENIZER, GraphPass, ModelKind
from ..text.pairs import open_tokenizer
from .attention import fuse_attention
from .first_token import first_token_only
from .probing import Sequences


def run_passes(graph: Path, kind: ModelKind, max_length: int) -> tuple[GraphPass, ...]:
    """Rewrite the fp32 graph file of an encoder, so that it computes less; return what changed it.

    ``max_length`` is the longest input in tokens. A pass leaves the file as it is where the rewritten graph
    would give other outputs, for sequences like those that ``tokenizer.json`` beside the file gives. Raises
    ModelFolderError when this tokenizer cannot be read.
    """
    if kind in {"monot5", "decoder"}:
        return ()
    done: list[GraphPass] = []
    tokenizer = open_tokenizer(graph.with_name(TOKENIZER))
    pairs = kind == "cross-encoder"
    sequences = Sequences.of(tokenizer, onnx.load(graph, load_external_data=False).graph, pairs=pairs)
    if fuse_attention(graph, max_length, sequences):
        done.append("attention")
    if pairs and first_token_only(graph, sequences):
        done.append("first_row")
    return tuple(done)

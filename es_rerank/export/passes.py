"""Runs the graph passes that fit a kind of model. Needs onnx and no torch."""

from __future__ import annotations

from pathlib import Path

from ..models.manifest import GraphPass, ModelKind
from .attention import fuse_attention
from .first_token import first_token_only


def run_passes(graph: Path, kind: ModelKind, max_length: int) -> tuple[GraphPass, ...]:
    """Rewrite the fp32 graph file of an encoder, so that it computes less; return what changed it.

    ``max_length`` is the longest input in tokens. A pass leaves the file as it is where the rewritten graph
    would give other outputs.
    """
    done: list[GraphPass] = []
    if kind != "monot5" and fuse_attention(graph, max_length):
        done.append("attention")
    if kind == "cross-encoder" and first_token_only(graph):
        done.append("first_row")
    return tuple(done)

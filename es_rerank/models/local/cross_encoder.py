"""A cross-encoder from an exported folder: it reads query and passage as one sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...text.pairs import PairEncoder
from ..contracts import CrossEncoderContract
from ..manifest import Manifest, ModelKind
from .local import LocalReranker, Pairs

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class CrossEncoder(LocalReranker):
    """Scores pairs with an exported cross-encoder; arguments and errors are those of ``LocalReranker``."""

    kind: ModelKind = "cross-encoder"

    def _labels(self, manifest: Manifest) -> int:
        return _contract(manifest).labels

    def _reading(self, manifest: Manifest, tokenizer: Tokenizer) -> Pairs:
        truncation = _contract(manifest).truncation
        return PairEncoder(
            tokenizer,
            max_length=manifest.max_length,
            strategy=truncation.strategy,
            query_share=truncation.query_share,
        )


def _contract(manifest: Manifest) -> CrossEncoderContract:
    assert manifest.cross_encoder is not None  # noqa: S101 the manifest checks it
    return manifest.cross_encoder

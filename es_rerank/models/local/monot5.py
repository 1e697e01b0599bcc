"""A monoT5 from an exported folder: the prompt asks whether a document is relevant, and the first decoded
token answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...text.prompted_pairs import PromptEncoder
from ..manifest import Manifest, ModelKind
from .local import LocalReranker, Pairs

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class MonoT5(LocalReranker):
    """Scores pairs with an exported monoT5; arguments and errors are those of ``LocalReranker``.

    The logit is the logit of the true token minus the logit of the false token, after one decoder step. The
    logistic of it is the probability of true, where true and false are the only two answers (Nogueira et al.
    2020, https://aclanthology.org/2020.findings-emnlp.63).
    """

    kind: ModelKind = "monot5"

    def _labels(self, manifest: Manifest) -> int:  # noqa: ARG002 the two tokens, false and true
        return 2

    def _reading(self, manifest: Manifest, tokenizer: Tokenizer) -> Pairs:
        assert manifest.monot5 is not None  # noqa: S101 the manifest checks it
        return PromptEncoder(
            tokenizer,
            max_length=manifest.max_length,
            prompt=manifest.monot5.prompt,
            truncation=manifest.monot5.truncation,
        )

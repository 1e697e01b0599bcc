"""A decoder from an exported folder: the prompt asks whether a document is relevant, and the next token
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.batch_runner import BatchRunner, GraphRunner
from ...engine.past import PastRunner, PastSession
from ...engine.pool import Pool, Stage
from ...engine.session import CPU
from ...observation import Runs
from ...text.decoder_pairs import DecoderPairEncoder
from ...text.pairs import Encoded
from ..contracts import DecoderContract
from ..manifest import Manifest, ModelKind, Precision
from .local import LocalReranker, Pairs, logit
from .tokenising import TokenEstimate

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Decoder(LocalReranker):
    """Scores pairs with an exported decoder; arguments and errors are those of ``LocalReranker``.

    The logit is the logit of the true token minus the logit of the false token, behind the whole prompt. What
    all prompts of a query have in common is computed once for a call, and its keys and values are used for
    all of its pairs. Where it ends depends on the instruction and the query alone.

    ``instruction`` says what makes a document relevant; None for the model's own. ``shares`` False computes
    each prompt as a whole: the same scores but for rounding, more slowly.
    """

    kind: ModelKind = "decoder"

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str | None = None,
        threads: int = 0,
        pool: Pool | None = None,
        variant: Precision | None = None,
        provider: str = CPU,
        instruction: str | None = None,
        shares: bool = True,
    ) -> None:
        self._instruction, self._shares = instruction, shares
        super().__init__(folder, name=name, threads=threads, pool=pool, variant=variant, provider=provider)
        self._identity += f" {self.instruction!r}"

    @property
    def instruction(self) -> str:
        """The instruction that all prompts have."""
        own = _contract(self._manifest).instruction
        return own if self._instruction is None else self._instruction

    def _labels(self, manifest: Manifest) -> int:  # noqa: ARG002 the two tokens, false and true
        return 2

    def _reading(self, manifest: Manifest, tokenizer: Tokenizer) -> Pairs:
        self._prompts = prompts_of(manifest, tokenizer, self.instruction)
        return self._prompts

    def _runner(self, reads: GraphRunner, *, by_row: bool) -> BatchRunner[float]:
        assert isinstance(reads, PastSession)  # noqa: S101 ``open_model`` opens decoders so
        self._behind = PastRunner(reads, self._pool, logit, by_row=by_row)
        return self._behind

    def _estimate(self, manifest: Manifest) -> TokenEstimate:
        return _PromptEstimate(manifest.max_length, self._prompts)

    def _stated(self) -> set[str]:
        return {"kind", "max_length", "decoder"}

    def _stages(self, pairs: Sequence[Encoded], runs: Runs) -> Stage:
        if self._shares:
            return self._behind.stages(pairs, runs)
        whole = [
            Encoded(ids := [*pair.beginning, *pair.ids], [0] * len(ids), pair.truncated) for pair in pairs
        ]
        return self._runs.work(whole, runs)


class _PromptEstimate(TokenEstimate):
    """Estimates the tokens that a decoder computes: the beginning of the prompts once, and what follows it in
    each of them.
    """

    def __init__(self, most: int, prompts: DecoderPairEncoder) -> None:
        super().__init__(most, prompts.after)
        self._before = prompts.before

    def expected(self, beside: str, texts: Sequence[str], most_parts: int | None = 1) -> float:
        begins = self._before + self.tokens(beside) if texts else 0.0
        return begins + super().expected("", texts, most_parts)

    def learn(self, pool: Pool, beside: str, texts: Sequence[str], sequences: Sequence[Encoded]) -> None:  # noqa: ARG002 it is not in these sequences
        read = [
            sequence._replace(
                ids=sequence.ids[: -self._fixed or None],
                truncated=sequence.truncated or not sequence.beginning,
            )
            for sequence in sequences
        ]
        super().learn(pool, "", texts, read)


def prompts_of(manifest: Manifest, tokenizer: Tokenizer, instruction: str | None) -> DecoderPairEncoder:
    """Return what fills the prompts of a decoder; ``instruction`` is None for the decoder's own.

    Raises ModelFolderError when the instruction leaves too few tokens for query and document.
    """
    contract = _contract(manifest)
    return DecoderPairEncoder(
        tokenizer,
        max_length=manifest.max_length,
        prompt=contract.prompt,
        instruction=contract.instruction if instruction is None else instruction,
        instructed=contract.instructed,
    )


def _contract(manifest: Manifest) -> DecoderContract:
    assert manifest.decoder is not None  # noqa: S101 the manifest checks it
    return manifest.decoder

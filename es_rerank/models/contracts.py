"""The contracts of the kinds of model: how each turns texts into scores or vectors."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..text.pairs import BGE_QUERY_SHARE, TruncationStrategy
from ..text.prompted_pairs import MONOT5_PROMPT, PromptTruncation
from ..types import Calibration

StatedActivation = Literal["Sigmoid", "Identity", "Softmax"]


class ManifestPart(BaseModel):
    """A part of the manifest: it does not change, and has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Truncation(ManifestPart):
    """How a pair is truncated when it is longer than the model's input.

    ``query_share`` is the share of the input that the strategy ``only_second`` leaves to the query.
    """

    strategy: TruncationStrategy = "longest_first"
    query_share: float = Field(default=BGE_QUERY_SHARE, gt=0, lt=1)


class CalibrationRecord(ManifestPart):
    """The coefficients of ``types.Calibration``; probability is the logistic of their weighted sum.

    ``types.Calibration`` says which value each coefficient multiplies. ``error`` is the expected calibration
    error of the blended probabilities, 0..1, and ``pair_error`` that of the pair's. Both are None where
    nobody measured them. ``es-rerank calibrate`` measures them on windows that the coefficients were not
    fitted to.
    """

    logit: float = 1.0
    first_stage: float = 0.0
    intercept: float = 0.0
    pair_logit: float | None = None
    pair_intercept: float | None = None
    error: float | None = Field(default=None, ge=0, le=1)
    pair_error: float | None = Field(default=None, ge=0, le=1)

    def coefficients(self) -> Calibration:
        """Return the calibration as the NamedTuple that scoring uses."""
        return Calibration(**self.model_dump(include=set(Calibration._fields)))


class CrossEncoderContract(ManifestPart):
    """How a cross-encoder turns a pair into a logit.

    ``labels``: 1 when the graph returns the logit itself, 2 when the logit is the second output minus the
    first. ``activation`` names the function from logit to probability. ``stated_activation`` is the function
    that the exported model's own files apply to its logits, or None when they state none. It tells whether
    the scores that the model's authors publish are logits or probabilities; it does not change the scores
    here.
    """

    truncation: Truncation = Truncation()
    labels: Literal[1, 2] = 1
    activation: Literal["logistic"] = "logistic"
    stated_activation: StatedActivation | None = None


class MonoT5Contract(ManifestPart):
    """How a monoT5 turns a prompt into a logit: the logit of ``true_token`` minus the logit of
    ``false_token``.

    ``prompt`` contains ``{query}`` and ``{document}``. ``truncation``: ``document`` cuts a document that is
    too long and keeps the text of the prompt after it; ``prompt`` cuts the whole prompt at its end, as
    pygaggle does.
    """

    prompt: str = MONOT5_PROMPT
    false_token: str
    true_token: str
    truncation: PromptTruncation = "document"


class DecoderContract(ManifestPart):
    """How a decoder turns a prompt into a logit: the logit of ``true_token`` minus the logit of
    ``false_token``, both behind the prompt's last token.

    ``prompt`` lists the prompt's pieces. Each is tokenised alone and the tokens are joined, as the reference
    does it, so that no token spans two pieces. Together they contain ``{instruction}``, ``{query}`` and
    ``{document}`` in this order, so that all prompts of a query begin alike. ``instructed`` stands in the
    place of ``{instruction}``, filled with the instruction; nothing stands there when the instruction is
    empty. ``instruction`` is the one that is used where the user states none.
    """

    prompt: tuple[str, ...] = Field(min_length=1)
    instruction: str
    instructed: str = "{instruction}"
    false_token: str
    true_token: str

    @model_validator(mode="after")
    def _fillable(self) -> Self:
        places = re.findall("{instruction}|{query}|{document}", "".join(self.prompt))
        if places != ["{instruction}", "{query}", "{document}"]:
            raise ValueError("a prompt contains {instruction}, {query} and {document} once, in this order")
        if self.instructed.count("{instruction}") != 1:
            raise ValueError("instructed contains {instruction} once")
        return self


class BiEncoderContract(ManifestPart):
    """How a bi-encoder turns texts into vectors; a prefix is put before the text of a query or a passage."""

    dims: int = Field(ge=1)
    pooling: Literal["mean", "cls"]
    normalise: Literal[True] = True
    query_prefix: str = ""
    passage_prefix: str = ""

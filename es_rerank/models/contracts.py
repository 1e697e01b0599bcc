"""The contracts of the kinds of model: how each turns texts into scores or vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..text.pairs import BGE_QUERY_SHARE, TruncationStrategy
from ..text.prompted_pairs import MONOT5_PROMPT, PromptTruncation
from ..types import Blend, Calibration

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


class _Coefficients(ManifestPart):
    """Coefficients are finite: with others no score would be a number."""

    model_config = ConfigDict(allow_inf_nan=False)


class PairRecord(_Coefficients):
    """The coefficients of a pair alone; ``types.Calibration`` says what they multiply.

    ``error`` is the expected calibration error of these probabilities, 0..1, on windows that the coefficients
    were not fitted to. It is None where nobody measured it.
    """

    logit: float
    intercept: float
    error: float | None = Field(default=None, ge=0, le=1)


class BlendRecord(_Coefficients):
    """The coefficients of ``types.Blend``, which says what each means; ``error`` as in ``PairRecord``."""

    logit: float
    first_stage: float
    intercept: float
    least_agreement: float | None = Field(default=None, ge=-1, le=1)
    alone_first_stage: float = Field(default=0.0, ge=0)
    alone_intercept: float = 0.0
    error: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _keeps_order(self) -> Self:
        if self.least_agreement is not None and self.alone_first_stage <= 0:
            raise ValueError(
                "a blend with least_agreement needs alone_first_stage above 0, so that the scores of a "
                "window that is left alone are in the order of its first stage"
            )
        return self

    def coefficients(self) -> Blend:
        """Return the blend as the NamedTuple that scoring uses."""
        return Blend(**self.model_dump(include=set(Blend._fields)))


BlendKey = Annotated[str, Field(pattern="^(dense|bm25|hybrid)(:.+)?$")]


class CalibrationRecord(ManifestPart):
    """The two calibrations of a model: of the pair alone, and blended with the first stage.

    ``pair`` is None where nothing was fitted for a pair alone. ``blends`` has a blend for each key of
    ``types.Calibration``. The flat form of earlier releases is read as one blend, "dense", and as the pair.
    """

    pair: PairRecord | None = None
    blends: dict[BlendKey, BlendRecord] = {}

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Return a calibration as the record whose errors nobody measured."""
        pair = None
        if calibration.pair_logit is not None and calibration.pair_intercept is not None:
            pair = PairRecord(logit=calibration.pair_logit, intercept=calibration.pair_intercept)
        blends = {key: BlendRecord(**blend._asdict()) for key, blend in calibration.blends.items()}
        return cls(pair=pair, blends=blends)

    @model_validator(mode="before")
    @classmethod
    def _of_flat_form(cls, stated: object) -> object:
        if not isinstance(stated, Mapping) or not ({"logit", "first_stage", "intercept"} & set(stated)):
            return stated
        old = _FlatCalibration.model_validate(stated)
        read = Calibration.of_one(
            old.logit, old.first_stage, old.intercept, old.pair_logit, old.pair_intercept
        )
        found = cls.of(read)
        pair = None if found.pair is None else {**found.pair.model_dump(), "error": old.pair_error}
        blends = {key: {**blend.model_dump(), "error": old.error} for key, blend in found.blends.items()}
        return {"pair": pair, "blends": blends}

    def coefficients(self) -> Calibration:
        """Return the calibration as the NamedTuple that scoring uses."""
        return Calibration(
            None if self.pair is None else self.pair.logit,
            None if self.pair is None else self.pair.intercept,
            {key: blend.coefficients() for key, blend in self.blends.items()},
        )


class _FlatCalibration(_Coefficients):
    """The form in which manifests and sidecars of earlier releases state a calibration."""

    model_config = ConfigDict(strict=True)

    logit: float = 1.0
    first_stage: float = 0.0
    intercept: float = 0.0
    pair_logit: float | None = None
    pair_intercept: float | None = None
    error: float | None = Field(default=None, ge=0, le=1)
    pair_error: float | None = Field(default=None, ge=0, le=1)


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

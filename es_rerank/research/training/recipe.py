"""What the cross-encoders that we ship were trained on and how: data list, seeds and every number of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...errors import SettingsError

RECIPE = "recipe.json"
"""Where a training run writes its recipe, in its folder."""

Part = Literal["all", "train", "evaluate"]
Kind = Literal["mined", "pool", "same_title"]
WeakKind = Literal["sentence", "keywords", "title", "labelled"]


class Source(BaseModel):
    """One collection of labelled queries.

    ``kind`` says where negatives come from: ``mined`` from BM25 and dense neighbours over the whole collection;
    ``pool`` first from the query's own judged pool, the rest mined; ``same_title`` mined among documents that share
    the positive's title. ``part`` is a tenth held out by a hash of the query id (``evaluate``) or the other nine.
    ``queries`` bounds how many are drawn; each is used ``repeats`` times with fresh negatives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    splits: tuple[str, ...]
    kind: Kind = "mined"
    part: Part = "all"
    queries: int = 100_000
    repeats: int = 1
    without: str | None = None
    """A collection whose held-out tenth must not be trained on: queries with the same text are dropped."""
    judged_only: bool = False
    """Read only documents judged for the drawn queries: keeps the texts of other splits out of training altogether."""


_CONTRAST_LIST = 8
"""Half of them say the same of another time, and a language has four ways to say it (``contrasts.json``)."""

_OF_LISTS = {
    *(
        "seed",
        "sources",
        "weak",
        "weak_kinds",
        "weak_first",
        "list_size",
        "passage_tokens",
        "title_share",
        "false_negative_margin",
    ),
    *("distil_scale", "bm25_weight"),
}


class Recipe(BaseModel):
    """Every choice of a training run; two runs of one recipe differ only by floating-point order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 13
    sources: tuple[Source, ...]
    weak: int = 9_000
    """How many lists are made of texts that stand for queries, taught by the bi-encoder and BM25 alone."""
    weak_kinds: dict[WeakKind, float] = {"sentence": 0.4, "keywords": 0.3, "title": 0.1, "labelled": 0.2}
    """Share of each kind of text among them."""
    weak_first: float = 0.3
    """Share of the weak lists that is trained on before all others."""
    list_size: int = 6
    """Passages per list: one positive (or more, in judged pools) and negatives."""
    lists_per_step: int = 16
    max_tokens: int = 384
    passage_tokens: tuple[int, ...] = (48, 96, 160, 256, 384)
    """The lengths at which documents are cut, each document at one of them: from a sentence to what is served at most."""
    title_share: float = 0.7
    """Share of the passages that are read with their title before them."""
    false_negative_margin: float = 0.08
    """A mined negative nearer to the query than the positive by more than this cosine is dropped as a likely positive."""
    steps: int = Field(default=670, ge=1)
    warmup_share: float = 0.06
    body_rate: float = 8e-5
    head_rate: float = 5e-4
    binary_weight: float = 0.3
    distil_weight_labelled: float = 0.3
    """Weight of the teacher on labelled lists where it agrees with the labels; where it errs it teaches nothing."""
    distil_weight_weak: float = 1.0
    distil_scale: float = 20.0
    """The bi-encoder's logits are distil_scale * cosine: the temperature that all-MiniLM-L6-v2 was trained with."""
    bm25_weight: float = 0.5
    """What BM25's standardised scores weigh in the teacher beside the bi-encoder's."""
    exit_layers: tuple[int, ...] = (2, 3)
    """The layers, counted from 1, whose output feeds a head of its own, so that the encoder may stop there."""
    exit_weight: float = 0.4
    """Weight of each exit head's own loss on labels and teacher."""
    exit_distil_weight: float = 0.4
    """Weight of the last head as the teacher of each exit head."""
    average_decay: float = 0.99
    """What is saved is the exponential moving average of the weights over the steps."""
    lists_per_pass: int = 16
    """Lists whose gradients are computed at once; a step adds up as many passes as it needs. Bounds memory."""
    batch_tokens: int = 4_096
    """Padded tokens that are read at once: passages of a pass, sorted by length, so that little is padding."""
    checkpoint_every: int = 100
    first_list: int = Field(default=0, ge=0)
    """How many lists at the head are passed over: those that the model which this run starts from has learned from."""
    spare_tenth: bool = False
    """Pass over the tenth of the queries, by a hash of their text, from which the calibration is learned afterwards."""
    reranker_weight: float = 2.0
    """What a teaching reranker's standardised logits weigh in the teacher beside those of bi-encoder and BM25 together."""

    layers: int | None = Field(default=None, ge=1)
    """How many of the base's layers are kept, counted from the first; all without it."""
    contrasts: int = Field(default=0, ge=0)
    """How many lists are made of statements that differ in a word of time alone (``contrasts``)."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.layers is not None and self.exit_layers and max(self.exit_layers) >= self.layers:
            raise ValueError(
                f"exit_layers {self.exit_layers} do not lie below the last of {self.layers} layers"
            )
        if self.contrasts and self.list_size > _CONTRAST_LIST:
            raise ValueError(
                f"list_size {self.list_size} is more than the {_CONTRAST_LIST} statements that a contrast can have"
            )
        return self

    def of_lists(self) -> str:
        """Return, as JSON, what of the recipe the training lists depend on: those of another schedule can be used again."""
        return self.model_dump_json(include=_OF_LISTS | ({"contrasts"} if self.contrasts else set()))


FIRST_ROUND = Recipe(
    sources=(
        Source(collection="nq_open_oracle", splits=("all",), part="train"),
        Source(collection="qed", splits=("dev",), without="nq_open_oracle"),
        Source(collection="scifact", splits=("train",), repeats=2),
        Source(collection="selqa", splits=("dev",), kind="pool", judged_only=True, repeats=2),
        Source(collection="covidqa", splits=("all",)),
        Source(collection="pubmedqa", splits=("train", "test"), repeats=2),
        Source(
            collection="product_qa",
            splits=("ePQA_dev", "hetPQA_dev", "semiPQA_dev"),
            kind="pool",
            judged_only=True,
        ),
        Source(collection="msrd_movies", splits=("all",), kind="pool", part="train", queries=3_000),
        Source(collection="medquad", splits=("train",), judged_only=True, queries=1_500),
        Source(collection="policyqa", splits=("dev", "test"), kind="same_title", queries=1_000),
    ),
)
"""The first round of the cross-encoder that ships in the package: what the bi-encoder knows, then labels too."""

SECOND_ROUND = FIRST_ROUND.model_copy(
    update={
        "steps": 850,
        "warmup_share": 0.04,
        "body_rate": 5e-5,
        "head_rate": 3e-4,
        "distil_weight_labelled": 0.5,
        "first_list": FIRST_ROUND.steps * FIRST_ROUND.lists_per_step,
        "spare_tenth": True,
    }
)
"""Its second round, which goes on from the first, over the lists that the first did not reach, with the first as a teacher."""

THIRD_ROUND = SECOND_ROUND.model_copy(
    update={
        "sources": tuple(
            source.model_copy(update={"repeats": 2}) if source.collection == "nq_open_oracle" else source
            for source in FIRST_ROUND.sources
        ),
        "weak": 0,
        "list_size": 12,
        "lists_per_pass": 8,
        "steps": 900,
        "body_rate": 1e-4,
        "distil_weight_labelled": 0.3,
        "first_list": 0,
    }
)
"""Its third round, which goes on from the second: labelled questions alone, among twice as many passages."""

ZH_EN_FIRST_ROUND = Recipe(
    sources=(
        Source(collection="cmrc2018", splits=("trial",), judged_only=True, repeats=3),
        Source(collection="drcd", splits=("dev",), judged_only=True),
        Source(collection="nq_open_oracle", splits=("all",), part="train"),
        Source(collection="selqa", splits=("dev",), kind="pool", judged_only=True),
        Source(collection="scifact", splits=("train",)),
        Source(collection="pubmedqa", splits=("train", "test")),
        Source(collection="qed", splits=("dev",), without="nq_open_oracle"),
    ),
    weak=8_000,
    weak_kinds={"sentence": 0.6, "title": 0.1, "labelled": 0.3},
    list_size=8,
    false_negative_margin=0.02,
    steps=400,
    warmup_share=0.04,
    body_rate=1.2e-4,
    head_rate=8e-4,
    distil_scale=50.0,
    exit_layers=(3,),
    spare_tenth=True,
    layers=6,
    contrasts=1_000,
)
"""The first round of the cross-encoder for Chinese and English: half the layers of a multilingual bi-encoder, whose cosines are compressed."""

ZH_EN_SECOND_ROUND = ZH_EN_FIRST_ROUND.model_copy(
    update={
        "steps": 780,
        "body_rate": 8e-5,
        "head_rate": 5e-4,
        "first_list": ZH_EN_FIRST_ROUND.steps * ZH_EN_FIRST_ROUND.lists_per_step,
    }
)
"""Its second round, over the lists that the first did not reach."""

ROUNDS: Mapping[str, Recipe] = {
    "first": FIRST_ROUND,
    "second": SECOND_ROUND,
    "third": THIRD_ROUND,
    "zh-en-first": ZH_EN_FIRST_ROUND,
    "zh-en-second": ZH_EN_SECOND_ROUND,
}
"""The recipes of the cross-encoders that we ship by the names that ``--recipe`` takes."""


def read_recipe(name: str) -> Recipe:
    """Return a round of a cross-encoder that we ship by its name, or the recipe in a JSON file.

    Raises SettingsError, with pydantic's account of the fields, when the file is not a recipe.
    """
    if name in ROUNDS:
        return ROUNDS[name]
    try:
        return Recipe.model_validate_json(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} is not a training recipe, nor one of {', '.join(ROUNDS)}: {error}"
        ) from error
